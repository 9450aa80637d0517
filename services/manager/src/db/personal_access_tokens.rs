//! Personal access tokens, as hashes.
//! **Invariant:** a token's text never reaches this file; whom it acts for and what it opens is looked up at every call.

use df_api::Code;
use df_api::manager::{Permission, PersonalAccessToken, Scope, TokenState, UpdatePersonalAccessTokenRequest, User};
use df_http::ApiError;
use sea_query::{Asterisk, Expr, ExprTrait as _, Func, Query, SelectStatement};
use sqlx::FromRow;

use super::connection::Connection;
use super::users::{self, CallerRow, UserError, refuse_unknown};
use super::{Db, DbError, JsonText, Listed, Page, insert, json, time, time_after};
use crate::check_cluster::Refused;

/// Of one user.
const TOKENS_MAX: i64 = 100;

const COLUMNS: [&str; 9] =
    ["id", "name", "bio", "scopes", "active", "expires_at_ms", "user_id", "created_at_ms", "updated_at_ms"];

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("there is no personal access token {0}")]
    Unknown(i64),
    #[error("name {0:?} is taken by another token of this user; names are unique")]
    NameTaken(String),
    #[error("this user has {TOKENS_MAX} tokens, which is the most; delete one first")]
    Full,
    #[error(transparent)]
    User(#[from] UserError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Db(#[from] DbError),
}

pub struct NewToken<'a> {
    pub name: &'a str,
    pub bio: &'a str,
    pub hash: &'a str,
    pub scopes: &'a [Scope],
    pub expires: i64,
    pub user_id: i64,
    pub now: i64,
}

/// `None` takes all.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenFilter {
    pub state: Option<TokenState>,
    pub user_id: Option<i64>,
}

#[derive(FromRow)]
struct TokenRow {
    id: i64,
    name: String,
    bio: String,
    #[sqlx(try_from = "String")]
    scopes: JsonText<Vec<Scope>>,
    active: bool,
    expires_at_ms: i64,
    user_id: i64,
    created_at_ms: i64,
    updated_at_ms: i64,
}

impl From<TokenRow> for PersonalAccessToken {
    fn from(row: TokenRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            bio: row.bio,
            token: None,
            scopes: row.scopes.0,
            state: if row.active { TokenState::Active } else { TokenState::Inactive },
            expired_at: time(row.expires_at_ms),
            user_id: row.user_id,
            created_at: time(row.created_at_ms),
            updated_at: time(row.updated_at_ms),
        }
    }
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Unknown(_) => ApiError::not_found(error),
            TokenError::User(error) => error.into(),
            TokenError::NameTaken(_) | TokenError::Full => ApiError::new(Code::Conflict, error.to_string()),
            TokenError::Refused(refused) => refused.into(),
            TokenError::Db(error) => error.into(),
        }
    }
}

// === impl Db ===

impl Db {
    /// The token with this hash, and its user with what the user's roles permit, unless disabled.
    pub async fn token_user(
        &self,
        hash: &str,
    ) -> Result<Option<(PersonalAccessToken, User, Vec<Permission>)>, DbError> {
        let mut on = self.reading().await?;
        let found = on.fetch_optional(all().columns(COLUMNS).and_where(Expr::col("hash").eq(hash))).await?;
        let Some(token) = found.map(|row: TokenRow| PersonalAccessToken::from(row)) else { return Ok(None) };
        let mut callers = users::callers();
        let rows = on.fetch_all(callers.and_where(Expr::col(("users", "id")).eq(token.user_id))).await?;
        Ok(CallerRow::gather(rows).map(|(user, permissions)| (token, user, permissions)))
    }

    pub async fn list_personal_access_tokens(
        &self,
        filter: TokenFilter,
        page: Page,
    ) -> Result<Listed<PersonalAccessToken>, DbError> {
        let mut found = all();
        found.and_where_option(filter.state.map(|state| Expr::col("active").eq(state == TokenState::Active)));
        found.and_where_option(filter.user_id.map(|id| Expr::col("user_id").eq(id)));
        let listed = self.list(&found, COLUMNS, page).await?;
        let rows: Vec<TokenRow> = listed.items;
        Ok(Listed { items: rows.into_iter().map(PersonalAccessToken::from).collect(), total: listed.total })
    }

    pub async fn personal_access_token(&self, id: i64) -> Result<PersonalAccessToken, TokenError> {
        fetch(&mut self.reading().await?, id).await
    }

    pub async fn create_personal_access_token(&self, new: &NewToken<'_>) -> Result<PersonalAccessToken, TokenError> {
        let mut tx = self.begin().await?;
        refuse_unknown(&mut tx, new.user_id).await?;
        let mut own = all();
        own.expr(Func::count(Expr::col(Asterisk))).and_where(Expr::col("user_id").eq(new.user_id));
        if tx.count(&own).await? >= TOKENS_MAX {
            return Err(TokenError::Full);
        }
        let row = [
            ("name", new.name.into()),
            ("bio", new.bio.into()),
            ("hash", new.hash.into()),
            ("scopes", json(&new.scopes)?),
            ("active", true.into()),
            ("expires_at_ms", new.expires.into()),
            ("user_id", new.user_id.into()),
            ("created_at_ms", new.now.into()),
            ("updated_at_ms", new.now.into()),
        ];
        let id = tx.insert(&mut insert("personal_access_tokens", row)).await.map_err(|error| match error {
            DbError::Duplicate(_) => TokenError::NameTaken(new.name.to_owned()),
            _ => error.into(),
        })?;
        let token = fetch(&mut tx, id).await?;
        tx.commit().await?;
        Ok(token)
    }

    /// `check` sees the token as it would become, and may refuse it.
    pub async fn update_personal_access_token(
        &self,
        id: i64,
        change: UpdatePersonalAccessTokenRequest,
        now: i64,
        check: fn(&PersonalAccessToken) -> Result<(), Refused>,
    ) -> Result<PersonalAccessToken, TokenError> {
        let mut tx = self.begin().await?;
        let known = fetch(&mut tx, id).await?;
        let now = time_after(known.updated_at.timestamp_millis(), now);
        let token = PersonalAccessToken {
            bio: change.bio.unwrap_or(known.bio),
            scopes: change.scopes.unwrap_or(known.scopes),
            state: change.state.unwrap_or(known.state),
            expired_at: change.expired_at.unwrap_or(known.expired_at),
            updated_at: time(now),
            ..known
        };
        check(&token)?;
        let mut update = Query::update();
        update.table("personal_access_tokens").and_where(Expr::col("id").eq(id)).values([
            ("bio", token.bio.as_str().into()),
            ("scopes", json(&token.scopes)?),
            ("active", (token.state == TokenState::Active).into()),
            ("expires_at_ms", token.expired_at.timestamp_millis().into()),
            ("updated_at_ms", now.into()),
        ]);
        tx.execute(&update).await?;
        tx.commit().await?;
        Ok(token)
    }

    pub async fn delete_personal_access_token(&self, id: i64) -> Result<(), TokenError> {
        let mut gone = Query::delete();
        match self.execute(gone.from_table("personal_access_tokens").and_where(Expr::col("id").eq(id))).await? {
            0 => Err(TokenError::Unknown(id)),
            _ => Ok(()),
        }
    }
}

fn all() -> SelectStatement {
    Query::select().from("personal_access_tokens").to_owned()
}

async fn fetch(on: &mut Connection, id: i64) -> Result<PersonalAccessToken, TokenError> {
    let row: Option<TokenRow> = on.fetch_optional(all().columns(COLUMNS).and_where(Expr::col("id").eq(id))).await?;
    row.map(PersonalAccessToken::from).ok_or(TokenError::Unknown(id))
}
