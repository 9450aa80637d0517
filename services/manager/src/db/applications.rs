//! The applications' table.

use df_api::Code;
use df_api::manager::{Application, CreateApplicationRequest, UpdateApplicationRequest};
use df_api::rules::ApplicationPriority;
use df_http::ApiError;
use sqlx::types::Json;
use sqlx::{FromRow, SqliteConnection};

use super::{Db, DbError, Listed, Page, time};
use crate::check_cluster::Refused;

/// More would make every lease of a scheduler long.
const APPLICATIONS_MAX: i64 = 1000;

#[derive(Debug, thiserror::Error)]
pub enum ApplicationError {
    #[error("there is no application {0}")]
    Unknown(i64),
    #[error("name {0:?} is taken by another application; names are unique")]
    NameTaken(String),
    #[error("there are {APPLICATIONS_MAX} applications, which is the most; delete one first")]
    Full,
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Db(#[from] DbError),
}

#[derive(FromRow)]
struct ApplicationRow {
    id: i64,
    name: String,
    url: String,
    bio: String,
    priority: Json<ApplicationPriority>,
    created_at_ms: i64,
    updated_at_ms: i64,
}

impl From<ApplicationRow> for Application {
    fn from(row: ApplicationRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            url: row.url,
            bio: row.bio,
            priority: row.priority.0,
            created_at: time(row.created_at_ms),
            updated_at: time(row.updated_at_ms),
        }
    }
}

impl From<sqlx::Error> for ApplicationError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

impl From<ApplicationError> for ApiError {
    fn from(error: ApplicationError) -> Self {
        match error {
            ApplicationError::Unknown(_) => ApiError::not_found(error),
            ApplicationError::NameTaken(_) | ApplicationError::Full => ApiError::new(Code::Conflict, error.to_string()),
            ApplicationError::Refused(refused) => refused.into(),
            ApplicationError::Db(error) => error.into(),
        }
    }
}

// === impl Db ===

impl Db {
    pub async fn list_applications(&self, page: Page) -> Result<Listed<Application>, DbError> {
        let total = sqlx::query_scalar("SELECT COUNT(*) FROM applications").fetch_one(self.read()).await?;
        let rows: Vec<ApplicationRow> = sqlx::query_as("SELECT * FROM applications ORDER BY id LIMIT $1 OFFSET $2")
            .bind(page.per_page)
            .bind(page.offset())
            .fetch_all(self.read())
            .await?;
        Ok(Listed { items: rows.into_iter().map(Application::from).collect(), total })
    }

    /// All of them, for schedulers.
    pub async fn all_applications(&self) -> Result<Vec<Application>, DbError> {
        let rows: Vec<ApplicationRow> =
            sqlx::query_as("SELECT * FROM applications ORDER BY id").fetch_all(self.read()).await?;
        Ok(rows.into_iter().map(Application::from).collect())
    }

    pub async fn application(&self, id: i64) -> Result<Application, ApplicationError> {
        fetch(self.read().acquire().await?.as_mut(), id).await
    }

    pub async fn create_application(
        &self,
        new: &CreateApplicationRequest,
        now: i64,
    ) -> Result<Application, ApplicationError> {
        let mut tx = self.begin().await?;
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM applications").fetch_one(&mut *tx).await?;
        if count >= APPLICATIONS_MAX {
            return Err(ApplicationError::Full);
        }
        let id: i64 = sqlx::query_scalar(
            "INSERT INTO applications (name, url, bio, priority, created_at_ms, updated_at_ms) \
             VALUES ($1, $2, $3, $4, $5, $5) RETURNING id",
        )
        .bind(&new.name)
        .bind(&new.url)
        .bind(&new.bio)
        .bind(Json(&new.priority))
        .bind(now)
        .fetch_one(&mut *tx)
        .await
        .map_err(|error| name_taken(error, &new.name))?;
        let application = fetch(&mut tx, id).await?;
        tx.commit().await?;
        Ok(application)
    }

    /// `check` sees the application as it would become, and may refuse it.
    pub async fn update_application(
        &self,
        id: i64,
        change: UpdateApplicationRequest,
        now: i64,
        check: fn(&Application) -> Result<(), Refused>,
    ) -> Result<Application, ApplicationError> {
        let mut tx = self.begin().await?;
        let known = fetch(&mut tx, id).await?;
        let application = Application {
            name: change.name.unwrap_or(known.name),
            url: change.url.unwrap_or(known.url),
            bio: change.bio.unwrap_or(known.bio),
            priority: change.priority.unwrap_or(known.priority),
            updated_at: time(now),
            ..known
        };
        check(&application)?;
        sqlx::query(
            "UPDATE applications SET name = $2, url = $3, bio = $4, priority = $5, updated_at_ms = $6 WHERE id = $1",
        )
        .bind(id)
        .bind(&application.name)
        .bind(&application.url)
        .bind(&application.bio)
        .bind(Json(&application.priority))
        .bind(now)
        .execute(&mut *tx)
        .await
        .map_err(|error| name_taken(error, &application.name))?;
        tx.commit().await?;
        Ok(application)
    }

    pub async fn delete_application(&self, id: i64) -> Result<(), ApplicationError> {
        let mut tx = self.begin().await?;
        fetch(&mut tx, id).await?;
        sqlx::query("DELETE FROM applications WHERE id = $1").bind(id).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }
}

async fn fetch(connection: &mut SqliteConnection, id: i64) -> Result<Application, ApplicationError> {
    let row: Option<ApplicationRow> =
        sqlx::query_as("SELECT * FROM applications WHERE id = $1").bind(id).fetch_optional(connection).await?;
    row.map(Application::from).ok_or(ApplicationError::Unknown(id))
}

fn name_taken(error: sqlx::Error, name: &str) -> ApplicationError {
    match error.as_database_error() {
        Some(refusal) if refusal.is_unique_violation() => ApplicationError::NameTaken(name.to_owned()),
        _ => error.into(),
    }
}
