//! Sessions: who is signed in, and what that user may do.
//! **Invariant:** every call asks here, so who is signed out or disabled, or has lost a role, is so with the next one.

use df_api::manager::{Permission, User};
use sea_query::{Expr, ExprTrait as _, Query};

use super::connection::Tx;
use super::users::{self, CallerRow};
use super::{Db, DbError, insert};

/// A session to begin.
pub struct NewSession<'a> {
    pub id: &'a str,
    pub user_id: i64,
    pub now: i64,
    pub expires: i64,
}

// === impl Db ===

impl Db {
    /// The user of a session that is neither over nor revoked, and what the user's roles permit.
    pub async fn session_user(&self, session: &str, now: i64) -> Result<Option<(User, Vec<Permission>)>, DbError> {
        let mut callers = users::callers();
        callers
            .inner_join("sessions", Expr::col(("sessions", "user_id")).equals(("users", "id")))
            .and_where(Expr::col(("sessions", "id")).eq(session))
            .and_where(Expr::col(("sessions", "revoked_at_ms")).is_null())
            .and_where(Expr::col(("sessions", "expires_at_ms")).gt(now));
        Ok(CallerRow::gather(self.fetch_all(&callers).await?))
    }

    pub async fn start_session(&self, new: &NewSession<'_>) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        start(&mut tx, new).await?;
        tx.commit().await
    }

    /// The former is worth nothing from then on. False when it was worth nothing already.
    pub async fn replace_session(&self, former: &str, new: &NewSession<'_>) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        if revoke(&mut tx, former, new.now).await? == 0 {
            return Ok(false);
        }
        start(&mut tx, new).await?;
        tx.commit().await?;
        Ok(true)
    }

    pub async fn revoke_session(&self, session: &str, now: i64) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        revoke(&mut tx, session, now).await?;
        tx.commit().await
    }

    /// Those that are over.
    pub async fn sweep_sessions(&self, now: i64) -> Result<u64, DbError> {
        self.execute(Query::delete().from_table("sessions").and_where(Expr::col("expires_at_ms").lte(now))).await
    }
}

async fn start(tx: &mut Tx, new: &NewSession<'_>) -> Result<(), DbError> {
    let row = [
        ("id", new.id.into()),
        ("user_id", new.user_id.into()),
        ("created_at_ms", new.now.into()),
        ("expires_at_ms", new.expires.into()),
    ];
    tx.execute(&insert("sessions", row)).await.map(drop)
}

/// How many.
async fn revoke(tx: &mut Tx, session: &str, now: i64) -> Result<u64, DbError> {
    let mut revoked = Query::update();
    revoked.table("sessions").value("revoked_at_ms", now).and_where(Expr::col("id").eq(session));
    tx.execute(revoked.and_where(Expr::col("revoked_at_ms").is_null())).await
}

/// All of a user, but the one that is kept.
pub(super) async fn revoke_all(tx: &mut Tx, user_id: i64, kept: Option<&str>, now: i64) -> Result<(), DbError> {
    let mut revoked = Query::update();
    revoked.table("sessions").value("revoked_at_ms", now).and_where(Expr::col("user_id").eq(user_id));
    revoked.and_where(Expr::col("revoked_at_ms").is_null());
    revoked.and_where_option(kept.map(|kept| Expr::col("id").ne(kept)));
    tx.execute(&revoked).await.map(drop)
}
