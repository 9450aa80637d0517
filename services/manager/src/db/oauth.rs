//! Providers that people sign in with, and which user is whom there.
//! **Invariant:** a person at a provider is one user here, told by the provider's own id; an address or a name that is the
//! same makes nobody another user.

use df_api::Code;
use df_api::manager::{Oauth, SignUpRequest, User};
use df_http::ApiError;
use sea_query::{Asterisk, Expr, ExprTrait as _, Func, Query, SelectStatement};
use sqlx::FromRow;

use super::connection::{Connection, Tx};
use super::users::{self, UserError};
use super::{Db, DbError, Listed, Page, insert, time, time_after};
use crate::check_cluster::Refused;

const PROVIDERS_MAX: i64 = 20;
/// Names that are tried for a newcomer whose name is taken.
const NAMES_MAX: usize = 100;

const COLUMNS: [&str; 9] =
    ["id", "name", "bio", "client_id", "client_secret", "redirect_url", "issuer", "created_at_ms", "updated_at_ms"];

#[derive(Debug, thiserror::Error)]
pub enum OauthError {
    #[error("there is no provider {0}")]
    Unknown(i64),
    #[error("nobody signs in with {0:?} here; root adds providers: POST /api/v1/oauth")]
    UnknownName(String),
    #[error("name {0:?} is taken by another provider; names are unique")]
    NameTaken(String),
    #[error("there are {PROVIDERS_MAX} providers, which is the most; delete one first")]
    Full,
    #[error("all names like {0:?} are taken")]
    NoName(String),
    #[error("{0} has no account here, and nobody gets one by signing in; root sets signUp: true")]
    Closed(String),
    #[error(transparent)]
    User(#[from] UserError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// With its secret, sealed.
#[derive(Clone)]
pub struct Provider {
    pub oauth: Oauth,
    pub sealed_secret: String,
}

/// Only what is present changes.
pub struct ProviderChange {
    pub bio: Option<String>,
    pub client_id: Option<String>,
    pub redirect_url: Option<String>,
    pub sealed_secret: Option<String>,
}

/// Somebody, as a provider tells of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The provider's own id, which never changes.
    pub subject: String,
    /// What a user may be called.
    pub name: String,
    pub email: String,
    pub avatar: String,
}

#[derive(FromRow)]
struct ProviderRow {
    id: i64,
    name: String,
    bio: String,
    client_id: String,
    client_secret: String,
    redirect_url: String,
    issuer: String,
    created_at_ms: i64,
    updated_at_ms: i64,
}

impl From<ProviderRow> for Provider {
    fn from(row: ProviderRow) -> Self {
        let oauth = Oauth {
            id: row.id,
            name: row.name,
            bio: row.bio,
            client_id: row.client_id,
            redirect_url: row.redirect_url,
            issuer: row.issuer,
            created_at: time(row.created_at_ms),
            updated_at: time(row.updated_at_ms),
        };
        Self { oauth, sealed_secret: row.client_secret }
    }
}

impl From<OauthError> for ApiError {
    fn from(error: OauthError) -> Self {
        match error {
            OauthError::Unknown(_) | OauthError::UnknownName(_) => ApiError::not_found(error),
            OauthError::NameTaken(_) | OauthError::Full | OauthError::NoName(_) => {
                ApiError::new(Code::Conflict, error.to_string())
            }
            OauthError::Closed(_) => ApiError::forbidden(error),
            OauthError::User(error) => error.into(),
            OauthError::Refused(refused) => refused.into(),
            OauthError::Db(error) => error.into(),
        }
    }
}

// === impl Db ===

impl Db {
    pub async fn list_oauth(&self, page: Page) -> Result<Listed<Oauth>, DbError> {
        let listed = self.list(&all(), COLUMNS, page).await?;
        let rows: Vec<ProviderRow> = listed.items;
        Ok(Listed { items: rows.into_iter().map(|row| Provider::from(row).oauth).collect(), total: listed.total })
    }

    pub async fn oauth(&self, id: i64) -> Result<Provider, OauthError> {
        fetch(&mut self.reading().await?, id).await
    }

    pub async fn oauth_named(&self, name: &str) -> Result<Provider, OauthError> {
        let row: Option<ProviderRow> =
            self.fetch_optional(all().columns(COLUMNS).and_where(Expr::col("name").eq(name))).await?;
        row.map(Provider::from).ok_or_else(|| OauthError::UnknownName(name.to_owned()))
    }

    pub async fn create_oauth(&self, new: &Provider, now: i64) -> Result<Oauth, OauthError> {
        let Provider { oauth, sealed_secret } = new;
        let mut tx = self.begin().await?;
        if tx.count(all().expr(Func::count(Expr::col(Asterisk)))).await? >= PROVIDERS_MAX {
            return Err(OauthError::Full);
        }
        let row = [
            ("name", oauth.name.as_str().into()),
            ("bio", oauth.bio.as_str().into()),
            ("client_id", oauth.client_id.as_str().into()),
            ("client_secret", sealed_secret.as_str().into()),
            ("redirect_url", oauth.redirect_url.as_str().into()),
            ("issuer", oauth.issuer.as_str().into()),
            ("created_at_ms", now.into()),
            ("updated_at_ms", now.into()),
        ];
        let id = tx.insert(&mut insert("oauth", row)).await.map_err(|error| match error {
            DbError::Duplicate(_) => OauthError::NameTaken(oauth.name.clone()),
            _ => error.into(),
        })?;
        let made = fetch(&mut tx, id).await?.oauth;
        tx.commit().await?;
        Ok(made)
    }

    /// `check` sees the provider as it would become, and may refuse it.
    pub async fn update_oauth(
        &self,
        id: i64,
        change: ProviderChange,
        now: i64,
        check: fn(&Oauth) -> Result<(), Refused>,
    ) -> Result<Oauth, OauthError> {
        let mut tx = self.begin().await?;
        let Provider { oauth: known, sealed_secret } = fetch(&mut tx, id).await?;
        let now = time_after(known.updated_at.timestamp_millis(), now);
        let oauth = Oauth {
            bio: change.bio.unwrap_or(known.bio),
            client_id: change.client_id.unwrap_or(known.client_id),
            redirect_url: change.redirect_url.unwrap_or(known.redirect_url),
            updated_at: time(now),
            ..known
        };
        check(&oauth)?;
        let mut update = Query::update();
        update.table("oauth").and_where(Expr::col("id").eq(id)).values([
            ("bio", oauth.bio.as_str().into()),
            ("client_id", oauth.client_id.as_str().into()),
            ("client_secret", change.sealed_secret.unwrap_or(sealed_secret).into()),
            ("redirect_url", oauth.redirect_url.as_str().into()),
            ("updated_at_ms", now.into()),
        ]);
        tx.execute(&update).await?;
        tx.commit().await?;
        Ok(oauth)
    }

    /// Who signed in with it only, signs in no more.
    pub async fn delete_oauth(&self, id: i64) -> Result<(), OauthError> {
        match self.execute(Query::delete().from_table("oauth").and_where(Expr::col("id").eq(id))).await? {
            0 => Err(OauthError::Unknown(id)),
            _ => Ok(()),
        }
    }

    /// The user that the person is here; a new one, a guest, the first time, where newcomers are let in.
    pub async fn user_of(&self, provider: i64, person: &Person, newcomers: bool, now: i64) -> Result<User, OauthError> {
        let mut tx = self.begin().await?;
        let mut known = Query::select();
        known.column("user_id").from("oauth_users").and_where(Expr::col("oauth_id").eq(provider));
        known.and_where(Expr::col("subject").eq(person.subject.as_str()));
        let known: Option<(i64,)> = tx.fetch_optional(&known).await?;
        if let Some((id,)) = known {
            return Ok(users::fetch(&mut tx, id).await?);
        }
        if !newcomers {
            return Err(OauthError::Closed(person.name.clone()));
        }
        let name = free_name(&mut tx, &person.name).await?;
        let new = SignUpRequest {
            name,
            email: free_email(&mut tx, &person.email).await?,
            avatar: person.avatar.clone(),
            ..SignUpRequest::default()
        };
        // No password fits that.
        let user = users::add(&mut tx, &new, "", now).await?;
        let row =
            [("oauth_id", provider.into()), ("subject", person.subject.as_str().into()), ("user_id", user.id.into())];
        tx.execute(&insert("oauth_users", row)).await?;
        tx.commit().await?;
        Ok(user)
    }
}

fn all() -> SelectStatement {
    Query::select().from("oauth").to_owned()
}

async fn fetch(on: &mut Connection, id: i64) -> Result<Provider, OauthError> {
    let row: Option<ProviderRow> = on.fetch_optional(all().columns(COLUMNS).and_where(Expr::col("id").eq(id))).await?;
    row.map(Provider::from).ok_or(OauthError::Unknown(id))
}

/// The name itself, or with the first number behind it that makes it new.
async fn free_name(tx: &mut Tx, name: &str) -> Result<String, OauthError> {
    for number in 1..NAMES_MAX {
        let tried = if number == 1 { name.to_owned() } else { format!("{name}-{number}") };
        if count_users(tx, "name", &tried).await? == 0 {
            return Ok(tried);
        }
    }
    Err(OauthError::NoName(name.to_owned()))
}

/// None, where it is another user's: who has an address at a provider need not be who has it here.
async fn free_email(tx: &mut Tx, email: &str) -> Result<String, OauthError> {
    Ok(if count_users(tx, "email", email).await? == 0 { email.to_owned() } else { String::new() })
}

async fn count_users(tx: &mut Tx, column: &'static str, text: &str) -> Result<i64, DbError> {
    let mut users = Query::select();
    users.expr(Func::count(Expr::col(Asterisk))).from("users").and_where(Expr::col(column).eq(text));
    tx.count(&users).await
}
