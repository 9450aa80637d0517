//! Users, their roles and sessions, and the tries to sign in.
//! **Invariant:** a try is counted before the password is looked at, so tries in parallel cannot outrun the count.

use std::time::Duration;

use df_api::manager::{User, UserState};
use sea_query::{Expr, ExprTrait as _, Order, Query, SelectStatement};
use sqlx::FromRow;

use super::{Db, DbError, insert, time};

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

/// One for each role that the user has, or one without.
#[derive(FromRow)]
struct UserRow {
    id: i64,
    name: String,
    email: String,
    password_hash: String,
    password_is_default: bool,
    enabled: bool,
    role: Option<String>,
    created_at_ms: i64,
    updated_at_ms: i64,
}

// === impl Db ===

impl Db {
    pub async fn account(&self, name: &str) -> Result<Option<Account>, DbError> {
        let rows = self.fetch_all(users().and_where(Expr::col(("users", "name")).eq(name))).await?;
        Ok(of_rows(rows))
    }

    /// The user of a session that is neither over nor revoked.
    pub async fn session_user(&self, session: &str, now: i64) -> Result<Option<User>, DbError> {
        let mut users = users();
        users
            .inner_join("sessions", Expr::col(("sessions", "user_id")).equals(("users", "id")))
            .and_where(Expr::col(("sessions", "id")).eq(session))
            .and_where(Expr::col(("sessions", "revoked_at_ms")).is_null())
            .and_where(Expr::col(("sessions", "expires_at_ms")).gt(now))
            .and_where(Expr::col(("users", "enabled")).eq(true));
        Ok(of_rows(self.fetch_all(&users).await?).map(|account| account.user))
    }

    pub async fn start_session(&self, session: &str, user: i64, now: i64, expires: i64) -> Result<(), DbError> {
        let row = [
            ("id", session.into()),
            ("user_id", user.into()),
            ("created_at_ms", now.into()),
            ("expires_at_ms", expires.into()),
        ];
        self.execute(&insert("sessions", row)).await.map(drop)
    }

    pub async fn revoke_session(&self, session: &str, now: i64) -> Result<(), DbError> {
        let mut revoked = Query::update();
        revoked.table("sessions").value("revoked_at_ms", now).and_where(Expr::col("id").eq(session));
        self.execute(&revoked).await.map(drop)
    }

    pub async fn begin_try(&self, name: &str, now: i64) -> Result<Try, DbError> {
        let mut tx = self.begin().await?;
        let mut known = Query::select();
        known.columns(["tries", "last_try_ms"]).from("sign_in_tries").and_where(Expr::col("name").eq(name));
        let known: Option<(i64, i64)> = tx.fetch_optional(&known).await?;
        let tries = match known {
            Some((tries, last)) if now - last < PAUSE_MS => {
                if tries >= TRIES_MAX {
                    return Ok(Try::Paused { ms: last + PAUSE_MS - now });
                }
                tries + 1
            }
            _ => 1,
        };
        if known.is_some() {
            let mut again = Query::update();
            again.table("sign_in_tries").values([("tries", tries.into()), ("last_try_ms", now.into())]);
            tx.execute(again.and_where(Expr::col("name").eq(name))).await?;
        } else {
            let row = [("name", name.into()), ("tries", tries.into()), ("last_try_ms", now.into())];
            tx.execute(&insert("sign_in_tries", row)).await?;
        }
        tx.commit().await?;
        Ok(Try::Counted { left: TRIES_MAX - tries })
    }

    pub async fn forget_tries(&self, name: &str) -> Result<(), DbError> {
        let mut forgotten = Query::delete();
        forgotten.from_table("sign_in_tries").and_where(Expr::col("name").eq(name));
        self.execute(&forgotten).await.map(drop)
    }

    /// Sessions that are over and tries that count no more.
    pub async fn sweep_accounts(&self, now: i64) -> Result<u64, DbError> {
        let (mut over, mut quiet) = (Query::delete(), Query::delete());
        over.from_table("sessions").and_where(Expr::col("expires_at_ms").lte(now));
        quiet.from_table("sign_in_tries").and_where(Expr::col("last_try_ms").lte(now - PAUSE_MS));
        let mut tx = self.begin().await?;
        let gone = tx.execute(&over).await? + tx.execute(&quiet).await?;
        tx.commit().await?;
        Ok(gone)
    }
}

/// With their roles, in order.
fn users() -> SelectStatement {
    let columns =
        ["id", "name", "email", "password_hash", "password_is_default", "enabled", "created_at_ms", "updated_at_ms"];
    let role = ("user_roles", "role");
    Query::select()
        .columns(columns.map(|column| ("users", column)))
        .column(role)
        .from("users")
        .left_join("user_roles", Expr::col(("user_roles", "user_id")).equals(("users", "id")))
        .order_by(role, Order::Asc)
        .to_owned()
}

/// Of one user.
fn of_rows(rows: Vec<UserRow>) -> Option<Account> {
    let roles = rows.iter().filter_map(|row| row.role.clone()).collect();
    let row = rows.into_iter().next()?;
    let user = User {
        id: row.id,
        name: row.name,
        email: row.email,
        state: if row.enabled { UserState::Enable } else { UserState::Disable },
        roles,
        password_is_default: row.password_is_default,
        created_at: time(row.created_at_ms),
        updated_at: time(row.updated_at_ms),
    };
    Some(Account { user, password_hash: row.password_hash })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::scratch::{Scratch, on_every_database};

    on_every_database! {
        five_tries_then_a_minute_of_pause_then_five_again,
        tries_in_parallel_cannot_outrun_the_count,
    }

    async fn five_tries_then_a_minute_of_pause_then_five_again(scratch: Scratch) {
        let db = &scratch.db;
        for left in (0..TRIES_MAX).rev() {
            assert_eq!(db.begin_try("eve", 1_000).await.unwrap(), Try::Counted { left });
        }
        assert_eq!(db.begin_try("eve", 31_000).await.unwrap(), Try::Paused { ms: 30_000 });
        assert_eq!(db.begin_try("adam", 31_000).await.unwrap(), Try::Counted { left: 4 });
        assert_eq!(db.begin_try("eve", 61_000).await.unwrap(), Try::Counted { left: 4 });
        assert_eq!(db.sweep_accounts(121_000).await.unwrap(), 2);
    }

    async fn tries_in_parallel_cannot_outrun_the_count(scratch: Scratch) {
        let db = &scratch.db;
        let other = scratch.second().await;
        let tries = (0..20).map(|number| {
            let db = if number % 2 == 0 { db.clone() } else { other.clone() };
            tokio::spawn(async move { db.begin_try("eve", 1_000).await.unwrap() })
        });
        let mut counted = 0;
        for one in tries.collect::<Vec<_>>() {
            counted += i64::from(matches!(one.await.unwrap(), Try::Counted { .. }));
        }
        assert_eq!(counted, TRIES_MAX);
    }
}
