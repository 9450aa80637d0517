//! The applications' table.

use df_api::Code;
use df_api::manager::{Application, CreateApplicationRequest, UpdateApplicationRequest};
use df_api::rules::ApplicationPriority;
use df_http::ApiError;
use sea_query::{Asterisk, Expr, ExprTrait as _, Func, Order, Query, SelectStatement};
use sqlx::FromRow;

use super::connection::Connection;
use super::users::{UserError, refuse_unknown};
use super::{Db, DbError, JsonText, Listed, Page, insert, json, time};
use crate::check_cluster::Refused;

/// More would make every lease of a scheduler long.
const APPLICATIONS_MAX: i64 = 1000;

const COLUMNS: [&str; 8] = ["id", "name", "url", "bio", "priority", "user_id", "created_at_ms", "updated_at_ms"];

#[derive(Debug, thiserror::Error)]
pub enum ApplicationError {
    #[error("there is no application {0}")]
    Unknown(i64),
    #[error("name {0:?} is taken by another application; names are unique")]
    NameTaken(String),
    #[error("there are {APPLICATIONS_MAX} applications, which is the most; delete one first")]
    Full,
    #[error(transparent)]
    User(#[from] UserError),
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
    #[sqlx(try_from = "String")]
    priority: JsonText<ApplicationPriority>,
    user_id: i64,
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
            user_id: row.user_id,
            created_at: time(row.created_at_ms),
            updated_at: time(row.updated_at_ms),
        }
    }
}

impl From<ApplicationError> for ApiError {
    fn from(error: ApplicationError) -> Self {
        match error {
            ApplicationError::Unknown(_) => ApiError::not_found(error),
            ApplicationError::NameTaken(_) | ApplicationError::Full => ApiError::new(Code::Conflict, error.to_string()),
            ApplicationError::User(error) => error.into(),
            ApplicationError::Refused(refused) => refused.into(),
            ApplicationError::Db(error) => error.into(),
        }
    }
}

// === impl Db ===

impl Db {
    pub async fn list_applications(&self, page: Page) -> Result<Listed<Application>, DbError> {
        let listed = self.list(&all(), COLUMNS, page).await?;
        let items: Vec<ApplicationRow> = listed.items;
        Ok(Listed { items: items.into_iter().map(Application::from).collect(), total: listed.total })
    }

    /// All of them, for schedulers.
    pub async fn all_applications(&self) -> Result<Vec<Application>, DbError> {
        let rows: Vec<ApplicationRow> = self.fetch_all(all().columns(COLUMNS).order_by("id", Order::Asc)).await?;
        Ok(rows.into_iter().map(Application::from).collect())
    }

    pub async fn application(&self, id: i64) -> Result<Application, ApplicationError> {
        fetch(&mut self.reading().await?, id).await
    }

    pub async fn create_application(
        &self,
        new: &CreateApplicationRequest,
        user_id: i64,
        now: i64,
    ) -> Result<Application, ApplicationError> {
        let mut tx = self.begin().await?;
        refuse_unknown(&mut tx, user_id).await?;
        if tx.count(all().expr(Func::count(Expr::col(Asterisk)))).await? >= APPLICATIONS_MAX {
            return Err(ApplicationError::Full);
        }
        let row = [
            ("name", new.name.as_str().into()),
            ("url", new.url.as_str().into()),
            ("bio", new.bio.as_str().into()),
            ("priority", json(&new.priority)?),
            ("user_id", user_id.into()),
            ("created_at_ms", now.into()),
            ("updated_at_ms", now.into()),
        ];
        let id = tx.insert(&mut insert("applications", row)).await.map_err(|error| name_taken(error, &new.name))?;
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
            user_id: change.user_id.unwrap_or(known.user_id),
            updated_at: time(now),
            ..known
        };
        check(&application)?;
        refuse_unknown(&mut tx, application.user_id).await?;
        let mut update = Query::update();
        update.table("applications").and_where(Expr::col("id").eq(id)).values([
            ("name", application.name.as_str().into()),
            ("url", application.url.as_str().into()),
            ("bio", application.bio.as_str().into()),
            ("priority", json(&application.priority)?),
            ("user_id", application.user_id.into()),
            ("updated_at_ms", now.into()),
        ]);
        tx.execute(&update).await.map_err(|error| name_taken(error, &application.name))?;
        tx.commit().await?;
        Ok(application)
    }

    pub async fn delete_application(&self, id: i64) -> Result<(), ApplicationError> {
        let mut tx = self.begin().await?;
        fetch(&mut tx, id).await?;
        tx.execute(Query::delete().from_table("applications").and_where(Expr::col("id").eq(id))).await?;
        Ok(tx.commit().await?)
    }
}

fn all() -> SelectStatement {
    Query::select().from("applications").to_owned()
}

async fn fetch(on: &mut Connection, id: i64) -> Result<Application, ApplicationError> {
    let row: Option<ApplicationRow> =
        on.fetch_optional(all().columns(COLUMNS).and_where(Expr::col("id").eq(id))).await?;
    row.map(Application::from).ok_or(ApplicationError::Unknown(id))
}

fn name_taken(error: DbError, name: &str) -> ApplicationError {
    match error {
        DbError::Duplicate(_) => ApplicationError::NameTaken(name.to_owned()),
        _ => error.into(),
    }
}
