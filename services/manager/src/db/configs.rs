//! Named values.
//! **Invariant:** `gc` is there and can be read: how long audits and jobs are kept.

use std::time::Duration;

use df_api::Code;
use df_api::manager::{Config, CreateConfigRequest, UpdateConfigRequest};
use df_http::ApiError;
use sea_query::{Asterisk, Expr, ExprTrait as _, Func, Query, SelectStatement};
use serde::Deserialize;
use sqlx::FromRow;

use super::connection::Connection;
use super::users::{UserError, refuse_unknown};
use super::{Db, DbError, Listed, Page, insert, time, time_after};
use crate::check_cluster::Refused;

/// The name of the manager's own.
pub const GC: &str = "gc";
const CONFIGS_MAX: i64 = 1000;

const COLUMNS: [&str; 7] = ["id", "name", "value", "bio", "user_id", "created_at_ms", "updated_at_ms"];

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("there is no config {0}")]
    Unknown(i64),
    #[error("name {0:?} is taken by another config; names are unique")]
    NameTaken(String),
    #[error("config {GC} is the manager's own; it keeps its name and stays")]
    Own,
    #[error("there are {CONFIGS_MAX} configs, which is the most; delete one first")]
    Full,
    #[error(transparent)]
    User(#[from] UserError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// `None` takes all.
#[derive(Clone, Debug, Default)]
pub struct ConfigFilter {
    pub name: Option<String>,
    pub value: Option<String>,
    pub user_id: Option<i64>,
}

/// What `gc` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    pub audits: Duration,
    pub jobs: Duration,
}

#[derive(FromRow)]
struct ConfigRow {
    id: i64,
    name: String,
    value: String,
    bio: String,
    user_id: i64,
    created_at_ms: i64,
    updated_at_ms: i64,
}

impl From<ConfigRow> for Config {
    fn from(row: ConfigRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            value: row.value,
            bio: row.bio,
            user_id: row.user_id,
            created_at: time(row.created_at_ms),
            updated_at: time(row.updated_at_ms),
        }
    }
}

impl From<ConfigError> for ApiError {
    fn from(error: ConfigError) -> Self {
        match error {
            ConfigError::Unknown(_) => ApiError::not_found(error),
            ConfigError::NameTaken(_) | ConfigError::Own | ConfigError::Full => {
                ApiError::new(Code::Conflict, error.to_string())
            }
            ConfigError::User(error) => error.into(),
            ConfigError::Refused(refused) => refused.into(),
            ConfigError::Db(error) => error.into(),
        }
    }
}

// === impl Kept ===

impl Kept {
    /// `{"audit":{"ttl":NANOSECONDS},"job":{"ttl":NANOSECONDS}}`, as the incumbent writes it.
    pub fn parse(value: &str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Ttl {
            ttl: u64,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Gc {
            audit: Ttl,
            job: Ttl,
        }
        let Gc { audit, job } = serde_json::from_str(value)?;
        Ok(Self { audits: Duration::from_nanos(audit.ttl), jobs: Duration::from_nanos(job.ttl) })
    }
}

// === impl Db ===

impl Db {
    pub async fn list_configs(&self, filter: &ConfigFilter, page: Page) -> Result<Listed<Config>, DbError> {
        let equal = |column: &'static str, text: &Option<String>| text.as_ref().map(|text| Expr::col(column).eq(text));
        let mut found = all();
        found
            .and_where_option(equal("name", &filter.name))
            .and_where_option(equal("value", &filter.value))
            .and_where_option(filter.user_id.map(|id| Expr::col("user_id").eq(id)));
        let listed = self.list(&found, COLUMNS, page).await?;
        let rows: Vec<ConfigRow> = listed.items;
        Ok(Listed { items: rows.into_iter().map(Config::from).collect(), total: listed.total })
    }

    pub async fn config(&self, id: i64) -> Result<Config, ConfigError> {
        fetch(&mut self.reading().await?, id).await
    }

    /// How long things are kept.
    pub async fn kept(&self) -> Result<Option<Kept>, DbError> {
        let row: Option<(String,)> =
            self.fetch_optional(all().column("value").and_where(Expr::col("name").eq(GC))).await?;
        Ok(row.and_then(|(value,)| Kept::parse(&value).ok()))
    }

    pub async fn create_config(
        &self,
        new: &CreateConfigRequest,
        user_id: i64,
        now: i64,
    ) -> Result<Config, ConfigError> {
        let mut tx = self.begin().await?;
        refuse_unknown(&mut tx, user_id).await?;
        if tx.count(all().expr(Func::count(Expr::col(Asterisk)))).await? >= CONFIGS_MAX {
            return Err(ConfigError::Full);
        }
        let row = [
            ("name", new.name.as_str().into()),
            ("value", new.value.as_str().into()),
            ("bio", new.bio.as_str().into()),
            ("user_id", user_id.into()),
            ("created_at_ms", now.into()),
            ("updated_at_ms", now.into()),
        ];
        let id = tx.insert(&mut insert("configs", row)).await.map_err(|error| name_taken(error, &new.name))?;
        let config = fetch(&mut tx, id).await?;
        tx.commit().await?;
        Ok(config)
    }

    /// `check` sees the config as it would become, and may refuse it.
    pub async fn update_config(
        &self,
        id: i64,
        change: UpdateConfigRequest,
        now: i64,
        check: fn(&Config) -> Result<(), Refused>,
    ) -> Result<Config, ConfigError> {
        let mut tx = self.begin().await?;
        let known = fetch(&mut tx, id).await?;
        let was_own = known.name == GC;
        let now = time_after(known.updated_at.timestamp_millis(), now);
        let config = Config {
            name: change.name.unwrap_or(known.name),
            value: change.value.unwrap_or(known.value),
            bio: change.bio.unwrap_or(known.bio),
            user_id: change.user_id.unwrap_or(known.user_id),
            updated_at: time(now),
            ..known
        };
        if was_own && config.name != GC {
            return Err(ConfigError::Own);
        }
        check(&config)?;
        refuse_unknown(&mut tx, config.user_id).await?;
        let mut update = Query::update();
        update.table("configs").and_where(Expr::col("id").eq(id)).values([
            ("name", config.name.as_str().into()),
            ("value", config.value.as_str().into()),
            ("bio", config.bio.as_str().into()),
            ("user_id", config.user_id.into()),
            ("updated_at_ms", now.into()),
        ]);
        tx.execute(&update).await.map_err(|error| name_taken(error, &config.name))?;
        tx.commit().await?;
        Ok(config)
    }

    pub async fn delete_config(&self, id: i64) -> Result<(), ConfigError> {
        let mut tx = self.begin().await?;
        if fetch(&mut tx, id).await?.name == GC {
            return Err(ConfigError::Own);
        }
        tx.execute(Query::delete().from_table("configs").and_where(Expr::col("id").eq(id))).await?;
        Ok(tx.commit().await?)
    }
}

fn all() -> SelectStatement {
    Query::select().from("configs").to_owned()
}

async fn fetch(on: &mut Connection, id: i64) -> Result<Config, ConfigError> {
    let row: Option<ConfigRow> = on.fetch_optional(all().columns(COLUMNS).and_where(Expr::col("id").eq(id))).await?;
    row.map(Config::from).ok_or(ConfigError::Unknown(id))
}

fn name_taken(error: DbError, name: &str) -> ConfigError {
    match error {
        DbError::Duplicate(_) => ConfigError::NameTaken(name.to_owned()),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_how_long_is_read_as_the_incumbent_writes_it() {
        let kept = Kept::parse(r#"{"audit":{"ttl":604800000000000},"job":{"ttl":21600000000000}}"#).unwrap();
        assert_eq!((kept.audits.as_secs(), kept.jobs.as_secs()), (7 * 24 * 3600, 6 * 3600));
        for wrong in ["", "{}", r#"{"audit":{"ttl":-1},"job":{"ttl":1}}"#, r#"{"audit":{"ttl":"7d"},"job":{"ttl":1}}"#]
        {
            assert!(Kept::parse(wrong).is_err(), "{wrong}");
        }
    }
}
