//! Users, their roles and sessions, and the tries to sign in.
//! **Invariant:** a try is counted before the password is looked at, so tries in parallel cannot outrun the count.

use std::time::Duration;

use df_api::manager::{User, UserState};
use sqlx::FromRow;

use super::{Db, DbError, time};

/// Wrong tries in a row that a name has.
pub const TRIES_MAX: i64 = 5;
/// After the last of them; also how long a name must be quiet for its count to start anew.
pub const PAUSE: Duration = Duration::from_secs(60);

const PAUSE_MS: i64 = PAUSE.as_millis() as i64;

/// May this name try a password now?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Try {
    /// This one counts; so many are left after it.
    Counted {
        left: i64,
    },
    Paused {
        ms: i64,
    },
}

/// A user with what only sign-in looks at.
pub struct Account {
    pub user: User,
    pub password_hash: String,
}

#[derive(FromRow)]
struct UserRow {
    id: i64,
    name: String,
    email: String,
    password_hash: String,
    password_is_default: bool,
    enabled: bool,
    roles: String,
    created_at_ms: i64,
    updated_at_ms: i64,
}

impl From<UserRow> for Account {
    fn from(row: UserRow) -> Self {
        let user = User {
            id: row.id,
            name: row.name,
            email: row.email,
            state: if row.enabled { UserState::Enable } else { UserState::Disable },
            roles: row.roles.split(',').filter(|role| !role.is_empty()).map(str::to_owned).collect(),
            password_is_default: row.password_is_default,
            created_at: time(row.created_at_ms),
            updated_at: time(row.updated_at_ms),
        };
        Self { user, password_hash: row.password_hash }
    }
}

// === impl Db ===

impl Db {
    pub async fn account(&self, name: &str) -> Result<Option<Account>, DbError> {
        let row: Option<UserRow> = sqlx::query_as(
            "SELECT id, name, email, password_hash, password_is_default, enabled, created_at_ms, updated_at_ms, \
               COALESCE((SELECT GROUP_CONCAT(role, ',') FROM user_roles WHERE user_id = users.id), '') AS roles \
             FROM users WHERE name = $1",
        )
        .bind(name)
        .fetch_optional(self.read())
        .await?;
        Ok(row.map(Account::from))
    }

    /// The user of a session that is neither over nor revoked.
    pub async fn session_user(&self, session: &str, now: i64) -> Result<Option<User>, DbError> {
        let row: Option<UserRow> = sqlx::query_as(
            "SELECT users.id, name, email, password_hash, password_is_default, enabled, users.created_at_ms, \
               updated_at_ms, \
               COALESCE((SELECT GROUP_CONCAT(role, ',') FROM user_roles WHERE user_id = users.id), '') AS roles \
             FROM sessions JOIN users ON users.id = sessions.user_id \
             WHERE sessions.id = $1 AND revoked_at_ms IS NULL AND expires_at_ms > $2 AND enabled",
        )
        .bind(session)
        .bind(now)
        .fetch_optional(self.read())
        .await?;
        Ok(row.map(|row| Account::from(row).user))
    }

    pub async fn start_session(&self, session: &str, user: i64, now: i64, expires: i64) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        sqlx::query("INSERT INTO sessions (id, user_id, created_at_ms, expires_at_ms) VALUES ($1, $2, $3, $4)")
            .bind(session)
            .bind(user)
            .bind(now)
            .bind(expires)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    pub async fn revoke_session(&self, session: &str, now: i64) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE sessions SET revoked_at_ms = $2 WHERE id = $1")
            .bind(session)
            .bind(now)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    pub async fn begin_try(&self, name: &str, now: i64) -> Result<Try, DbError> {
        let mut tx = self.begin().await?;
        let row: Option<(i64, i64)> = sqlx::query_as("SELECT tries, last_try_ms FROM sign_in_tries WHERE name = $1")
            .bind(name)
            .fetch_optional(&mut *tx)
            .await?;
        let tries = match row {
            Some((tries, last)) if now - last < PAUSE_MS => {
                if tries >= TRIES_MAX {
                    return Ok(Try::Paused { ms: last + PAUSE_MS - now });
                }
                tries + 1
            }
            _ => 1,
        };
        sqlx::query(
            "INSERT INTO sign_in_tries (name, tries, last_try_ms) VALUES ($1, $2, $3) \
             ON CONFLICT (name) DO UPDATE SET tries = excluded.tries, last_try_ms = excluded.last_try_ms",
        )
        .bind(name)
        .bind(tries)
        .bind(now)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(Try::Counted { left: TRIES_MAX - tries })
    }

    pub async fn forget_tries(&self, name: &str) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM sign_in_tries WHERE name = $1").bind(name).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    /// Sessions that are over and tries that count no more.
    pub async fn sweep_accounts(&self, now: i64) -> Result<u64, DbError> {
        let mut tx = self.begin().await?;
        let sessions =
            sqlx::query("DELETE FROM sessions WHERE expires_at_ms <= $1").bind(now).execute(&mut *tx).await?;
        let tries = sqlx::query("DELETE FROM sign_in_tries WHERE last_try_ms <= $1")
            .bind(now - PAUSE_MS)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(sessions.rows_affected() + tries.rows_affected())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::scratch;

    #[tokio::test]
    async fn five_tries_then_a_minute_of_pause_then_five_again() {
        let (db, _folder) = scratch().await;
        for left in (0..TRIES_MAX).rev() {
            assert_eq!(db.begin_try("eve", 1_000).await.unwrap(), Try::Counted { left });
        }
        assert_eq!(db.begin_try("eve", 31_000).await.unwrap(), Try::Paused { ms: 30_000 });
        assert_eq!(db.begin_try("adam", 31_000).await.unwrap(), Try::Counted { left: 4 });
        assert_eq!(db.begin_try("eve", 61_000).await.unwrap(), Try::Counted { left: 4 });
        assert_eq!(db.sweep_accounts(121_000).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn tries_in_parallel_cannot_outrun_the_count() {
        let (db, _folder) = scratch().await;
        let tries = (0..20).map(|_| {
            let db = db.clone();
            tokio::spawn(async move { db.begin_try("eve", 1_000).await.unwrap() })
        });
        let mut counted = 0;
        for one in tries.collect::<Vec<_>>() {
            counted += i64::from(matches!(one.await.unwrap(), Try::Counted { .. }));
        }
        assert_eq!(counted, TRIES_MAX);
    }
}
