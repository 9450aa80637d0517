//! What a manager has from its first start on: root, a signing key, the default cluster, the environment's join token.
//! **Invariant:** one transaction, and doing it again changes nothing, so a first start that was killed is simply repeated.

use df_api::manager::CreateClusterRequest;
use sqlx::SqliteConnection;

use super::clusters::{self, ClusterError};
use super::{Db, DbError, join_tokens};

/// Made beforehand, because hashing is slow and a transaction should not be; used only where there is nothing yet.
pub struct Seeds {
    pub root_password_hash: String,
    pub root_password_is_default: bool,
    pub key_id: String,
    pub key_pkcs8: Vec<u8>,
}

// === impl Db ===

impl Db {
    /// Nobody has started with this database yet.
    pub async fn is_new(&self) -> Result<bool, DbError> {
        Ok(count_users(self.read().acquire().await?.as_mut()).await? == 0)
    }

    /// `seeds` of a new database; at any start the hash of the environment's join token, which replaces the former.
    pub async fn plant(
        &self,
        seeds: Option<&Seeds>,
        join_token_hash: Option<&str>,
        now: i64,
    ) -> Result<(), ClusterError> {
        let mut tx = self.begin().await?;
        if let Some(seeds) = seeds
            && count_users(&mut tx).await? == 0
        {
            plant_root(&mut tx, seeds, now).await?;
            plant_key(&mut tx, seeds, now).await?;
            let cluster = CreateClusterRequest { name: "cluster-1".to_owned(), is_default: true, ..Default::default() };
            clusters::insert(&mut tx, &cluster, now).await?;
        }
        if let Some(hash) = join_token_hash {
            join_tokens::set_environment_token(&mut tx, hash, now).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Key id and PKCS#8, newest first.
    pub async fn signing_keys(&self) -> Result<Vec<(String, Vec<u8>)>, DbError> {
        Ok(sqlx::query_as("SELECT kid, pkcs8 FROM signing_keys ORDER BY created_at_ms DESC, kid")
            .fetch_all(self.read())
            .await?)
    }
}

async fn count_users(tx: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT COUNT(*) FROM users").fetch_one(tx).await
}

async fn plant_root(tx: &mut SqliteConnection, seeds: &Seeds, now: i64) -> Result<(), sqlx::Error> {
    let id: i64 = sqlx::query_scalar(
        "INSERT INTO users (name, password_hash, password_is_default, created_at_ms, updated_at_ms) \
         VALUES ('root', $1, $2, $3, $3) RETURNING id",
    )
    .bind(&seeds.root_password_hash)
    .bind(seeds.root_password_is_default)
    .bind(now)
    .fetch_one(&mut *tx)
    .await?;
    sqlx::query("INSERT INTO user_roles (user_id, role) VALUES ($1, 'root')").bind(id).execute(tx).await?;
    Ok(())
}

async fn plant_key(tx: &mut SqliteConnection, seeds: &Seeds, now: i64) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO signing_keys (kid, pkcs8, created_at_ms) VALUES ($1, $2, $3)")
        .bind(&seeds.key_id)
        .bind(&seeds.key_pkcs8)
        .bind(now)
        .execute(tx)
        .await
        .map(drop)
}
