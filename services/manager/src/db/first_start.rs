//! What a manager has from its first start on: root, a signing key, the default cluster, the environment's join token.
//! **Invariant:** one transaction, and doing it again changes nothing, so a first start that was killed is simply repeated.

use df_api::manager::CreateClusterRequest;
use sea_query::{Asterisk, Expr, Func, Order, Query};

use super::clusters::{self, ClusterError};
use super::connection::{Connection, Tx};
use super::{Db, DbError, insert, join_tokens};

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
        Ok(count_users(&mut self.reading().await?).await? == 0)
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
            clusters::add(&mut tx, &cluster, now).await?;
        }
        if let Some(hash) = join_token_hash {
            join_tokens::set_environment_token(&mut tx, hash, now).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Key id and PKCS#8, newest first.
    pub async fn signing_keys(&self) -> Result<Vec<(String, Vec<u8>)>, DbError> {
        let mut keys = Query::select();
        keys.columns(["kid", "pkcs8"]).from("signing_keys");
        self.fetch_all(keys.order_by("created_at_ms", Order::Desc).order_by("kid", Order::Asc)).await
    }
}

async fn count_users(on: &mut Connection) -> Result<i64, DbError> {
    on.count(Query::select().expr(Func::count(Expr::col(Asterisk))).from("users")).await
}

async fn plant_root(tx: &mut Tx, seeds: &Seeds, now: i64) -> Result<(), DbError> {
    let row = [
        ("name", "root".into()),
        ("password_hash", seeds.root_password_hash.as_str().into()),
        ("password_is_default", seeds.root_password_is_default.into()),
        ("created_at_ms", now.into()),
        ("updated_at_ms", now.into()),
    ];
    let id = tx.insert(&mut insert("users", row)).await?;
    tx.execute(&insert("user_roles", [("user_id", id.into()), ("role", "root".into())])).await.map(drop)
}

async fn plant_key(tx: &mut Tx, seeds: &Seeds, now: i64) -> Result<(), DbError> {
    let row = [
        ("kid", seeds.key_id.as_str().into()),
        ("pkcs8", seeds.key_pkcs8.clone().into()),
        ("created_at_ms", now.into()),
    ];
    tx.execute(&insert("signing_keys", row)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::scratch::{Scratch, on_every_database};
    use crate::key_ring::KeyRing;
    use crate::keys;

    on_every_database! {
        managers_that_start_at_once_have_one_root_and_one_key,
        a_key_that_another_manager_has_added_is_good_here,
    }

    fn seeds() -> Seeds {
        let (key_id, key_pkcs8) = keys::generate().unwrap();
        Seeds { root_password_hash: "hash".to_owned(), root_password_is_default: true, key_id, key_pkcs8 }
    }

    async fn managers_that_start_at_once_have_one_root_and_one_key(scratch: Scratch) {
        let start = async |token: &str| {
            let db = scratch.second().await;
            db.plant(Some(&seeds()), Some(token), 1).await.unwrap();
            db.signing_keys().await.unwrap()
        };
        let (one, other, third) = tokio::join!(start("a"), start("a"), start("a"));
        assert!(one.len() == 1 && one == other && other == third, "{one:?} {other:?} {third:?}");
        let db = &scratch.db;
        assert_eq!(db.all_clusters().await.unwrap().len(), 1);
        assert_eq!(db.list_join_tokens().await.unwrap().len(), 1);
        assert_eq!(db.account("root").await.unwrap().unwrap().user.roles, ["root"]);
    }

    async fn a_key_that_another_manager_has_added_is_good_here(scratch: Scratch) {
        let db = &scratch.db;
        db.plant(Some(&seeds()), None, 1).await.unwrap();
        let (here, there) = (KeyRing::open(db.clone()).await.unwrap(), scratch.second().await);
        let mut tx = there.begin().await.unwrap();
        plant_key(&mut tx, &seeds(), 2).await.unwrap();
        tx.commit().await.unwrap();
        let newest = KeyRing::open(there).await.unwrap().current();
        let token = newest.sign_session(1, "s", crate::db::now_ms()).unwrap();
        assert!(here.current().check_session(&token).is_none());
        // Not at once: it was read within this second.
        let checked = async || Ok(here.check_session(&token).await?);
        df_testkit::until("the key is read", std::time::Duration::from_secs(20), checked).await.unwrap();
        assert_eq!(here.current().jwks(), newest.jwks());
    }
}
