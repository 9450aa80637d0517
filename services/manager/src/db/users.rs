//! Users and the roles they have.
//! **Invariant:** somebody can always repair everything: the last user with the role root who can sign in keeps it.

use df_api::Code;
use df_api::manager::{Action, Permission, SignUpRequest, UpdateUserRequest, User, UserState};
use df_http::ApiError;
use sea_query::{Asterisk, Expr, ExprTrait as _, Func, Order, Query, SelectStatement};
use sqlx::FromRow;

use super::connection::{Connection, Tx};
use super::{Db, DbError, Listed, Page, insert, sessions, time, time_after};
use crate::check_cluster::Refused;

/// May do everything.
pub const ROOT: &str = "root";
/// May read everything; the role of who signs up.
pub const GUEST: &str = "guest";

const COLUMNS: [&str; 11] = [
    "id",
    "name",
    "email",
    "phone",
    "avatar",
    "location",
    "bio",
    "password_is_default",
    "enabled",
    "created_at_ms",
    "updated_at_ms",
];

#[derive(Debug, thiserror::Error)]
pub enum UserError {
    #[error("there is no user {0}")]
    Unknown(i64),
    #[error("name {0:?} is taken by another user; names are unique")]
    NameTaken(String),
    #[error("email {0:?} is another user's; addresses are unique")]
    EmailTaken(String),
    #[error("there is no role {0:?}; GET /api/v1/roles lists those there are")]
    UnknownRole(String),
    #[error("{0} is the last who can sign in as root; make another user root first")]
    LastRoot(String),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// A user with what only sign-in looks at.
pub struct Account {
    pub user: User,
    pub password_hash: String,
}

#[derive(FromRow)]
pub(super) struct UserRow {
    id: i64,
    name: String,
    email: String,
    phone: String,
    avatar: String,
    location: String,
    bio: String,
    password_is_default: bool,
    enabled: bool,
    created_at_ms: i64,
    updated_at_ms: i64,
}

/// One for each permission of each role of a user; one at least.
#[derive(FromRow)]
pub(super) struct CallerRow {
    #[sqlx(flatten)]
    user: UserRow,
    role: Option<String>,
    object: Option<String>,
    action: Option<String>,
}

// === impl UserRow ===

impl UserRow {
    fn with_roles(self, roles: Vec<String>) -> User {
        User {
            id: self.id,
            name: self.name,
            email: self.email,
            phone: self.phone,
            avatar: self.avatar,
            location: self.location,
            bio: self.bio,
            state: if self.enabled { UserState::Enable } else { UserState::Disable },
            roles,
            password_is_default: self.password_is_default,
            created_at: time(self.created_at_ms),
            updated_at: time(self.updated_at_ms),
        }
    }
}

// === impl CallerRow ===

impl CallerRow {
    /// Of one user.
    pub(super) fn gather(rows: Vec<Self>) -> Option<(User, Vec<Permission>)> {
        let mut roles: Vec<String> = rows.iter().filter_map(|row| row.role.clone()).collect();
        roles.sort_unstable();
        roles.dedup();
        let permission = |row: &Self| {
            let action = action(row.action.as_deref()?)?;
            Some(Permission { object: row.object.clone()?, action })
        };
        let permissions = rows.iter().filter_map(permission).collect();
        let row = rows.into_iter().next()?;
        Some((row.user.with_roles(roles), permissions))
    }
}

/// As it is on the wire and in the table.
pub(super) fn action(text: &str) -> Option<Action> {
    match text {
        "read" => Some(Action::Read),
        "*" => Some(Action::All),
        _ => None,
    }
}

impl From<UserError> for ApiError {
    fn from(error: UserError) -> Self {
        match error {
            UserError::Unknown(_) | UserError::UnknownRole(_) => ApiError::not_found(error),
            UserError::NameTaken(_) | UserError::EmailTaken(_) | UserError::LastRoot(_) => {
                ApiError::new(Code::Conflict, error.to_string())
            }
            UserError::Refused(refused) => refused.into(),
            UserError::Db(error) => error.into(),
        }
    }
}

// === impl Db ===

impl Db {
    pub async fn account(&self, name: &str) -> Result<Option<Account>, DbError> {
        #[derive(FromRow)]
        struct AccountRow {
            #[sqlx(flatten)]
            user: UserRow,
            password_hash: String,
        }
        let mut on = self.reading().await?;
        let named = Expr::col("name").eq(name);
        let found = on.fetch_optional(all().columns(COLUMNS).column("password_hash").and_where(named)).await?;
        let Some(AccountRow { user, password_hash }) = found else { return Ok(None) };
        let roles = roles_of(&mut on, user.id).await?;
        Ok(Some(Account { user: user.with_roles(roles), password_hash }))
    }

    pub async fn list_users(&self, name: Option<&str>, page: Page) -> Result<Listed<User>, DbError> {
        let mut found = all();
        found.and_where_option(name.map(|name| Expr::col("name").eq(name)));
        let listed = self.list(&found, COLUMNS, page).await?;
        let rows: Vec<UserRow> = listed.items;
        let ids = rows.iter().map(|row| row.id);
        let mut roles = Query::select();
        roles.columns(["user_id", "role"]).from("user_roles").and_where(Expr::col("user_id").is_in(ids));
        let roles: Vec<(i64, String)> = self.fetch_all(roles.order_by("role", Order::Asc)).await?;
        let of = |id: i64| roles.iter().filter(|(user, _)| *user == id).map(|(_, role)| role.clone()).collect();
        let items = rows.into_iter().map(|row| {
            let roles = of(row.id);
            row.with_roles(roles)
        });
        Ok(Listed { items: items.collect(), total: listed.total })
    }

    pub async fn user(&self, id: i64) -> Result<User, UserError> {
        fetch(&mut self.reading().await?, id).await
    }

    /// What the roles of a user permit, whether or not the user can sign in.
    pub async fn permissions_of(&self, id: i64) -> Result<Vec<Permission>, DbError> {
        let mut rows = Query::select();
        rows.columns([("role_permissions", "object"), ("role_permissions", "action")])
            .from("user_roles")
            .inner_join("role_permissions", Expr::col(("role_permissions", "role")).equals(("user_roles", "role")))
            .and_where(Expr::col(("user_roles", "user_id")).eq(id));
        let rows: Vec<(String, String)> = self.fetch_all(&rows).await?;
        let permission = |(object, text): (String, String)| Some(Permission { object, action: action(&text)? });
        Ok(rows.into_iter().filter_map(permission).collect())
    }

    /// A guest.
    pub async fn create_user(&self, new: &SignUpRequest, password_hash: &str, now: i64) -> Result<User, UserError> {
        let mut tx = self.begin().await?;
        refuse_taken_email(&mut tx, &new.email, 0).await?;
        let user = add(&mut tx, new, password_hash, now).await?;
        tx.commit().await?;
        Ok(user)
    }

    /// `check` sees the user as it would become, and may refuse it.
    pub async fn update_user(
        &self,
        id: i64,
        change: UpdateUserRequest,
        now: i64,
        check: fn(&User) -> Result<(), Refused>,
    ) -> Result<User, UserError> {
        let mut tx = self.begin().await?;
        let known = fetch(&mut tx, id).await?;
        let now = time_after(known.updated_at.timestamp_millis(), now);
        let user = User {
            email: change.email.unwrap_or(known.email),
            phone: change.phone.unwrap_or(known.phone),
            avatar: change.avatar.unwrap_or(known.avatar),
            location: change.location.unwrap_or(known.location),
            bio: change.bio.unwrap_or(known.bio),
            state: change.state.unwrap_or(known.state),
            updated_at: time(now),
            ..known
        };
        check(&user)?;
        refuse_taken_email(&mut tx, &user.email, id).await?;
        if user.state == UserState::Disable {
            refuse_last_root(&mut tx, &user).await?;
            sessions::revoke_all(&mut tx, id, None, now).await?;
        }
        let mut update = Query::update();
        update.table("users").and_where(Expr::col("id").eq(id)).values([
            ("email", user.email.as_str().into()),
            ("phone", user.phone.as_str().into()),
            ("avatar", user.avatar.as_str().into()),
            ("location", user.location.as_str().into()),
            ("bio", user.bio.as_str().into()),
            ("enabled", (user.state == UserState::Enable).into()),
            ("updated_at_ms", now.into()),
        ]);
        tx.execute(&update).await?;
        tx.commit().await?;
        Ok(user)
    }

    /// Signs the user out everywhere but in the session that is kept.
    pub async fn set_password(&self, id: i64, hash: &str, kept: Option<&str>, now: i64) -> Result<(), UserError> {
        let mut tx = self.begin().await?;
        fetch(&mut tx, id).await?;
        let mut update = Query::update();
        update.table("users").and_where(Expr::col("id").eq(id)).values([
            ("password_hash", hash.into()),
            ("password_is_default", false.into()),
            ("updated_at_ms", now.into()),
        ]);
        tx.execute(&update).await?;
        sessions::revoke_all(&mut tx, id, kept, now).await?;
        Ok(tx.commit().await?)
    }

    /// Nothing changes when the user has it already.
    pub async fn add_user_role(&self, id: i64, role: &str) -> Result<(), UserError> {
        let mut tx = self.begin().await?;
        let user = fetch(&mut tx, id).await?;
        let known = Query::select().expr(Func::count(Expr::col(Asterisk))).from("roles").to_owned();
        if tx.count(known.clone().and_where(Expr::col("name").eq(role))).await? == 0 {
            return Err(UserError::UnknownRole(role.to_owned()));
        }
        if !user.roles.iter().any(|known| known == role) {
            tx.execute(&insert("user_roles", [("user_id", id.into()), ("role", role.into())])).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Nothing changes when the user does not have it.
    pub async fn delete_user_role(&self, id: i64, role: &str) -> Result<(), UserError> {
        let mut tx = self.begin().await?;
        let user = fetch(&mut tx, id).await?;
        if role == ROOT {
            refuse_last_root(&mut tx, &user).await?;
        }
        let mut gone = Query::delete();
        gone.from_table("user_roles").and_where(Expr::col("user_id").eq(id)).and_where(Expr::col("role").eq(role));
        tx.execute(&gone).await?;
        Ok(tx.commit().await?)
    }
}

fn all() -> SelectStatement {
    Query::select().from("users").to_owned()
}

/// Users who can sign in, with what their roles permit.
pub(super) fn callers() -> SelectStatement {
    all()
        .columns(COLUMNS.map(|column| ("users", column)))
        .column(("user_roles", "role"))
        .columns([("role_permissions", "object"), ("role_permissions", "action")])
        .left_join("user_roles", Expr::col(("user_roles", "user_id")).equals(("users", "id")))
        .left_join("role_permissions", Expr::col(("role_permissions", "role")).equals(("user_roles", "role")))
        .and_where(Expr::col(("users", "enabled")).eq(true))
        .to_owned()
}

pub(super) async fn fetch(on: &mut Connection, id: i64) -> Result<User, UserError> {
    let row: Option<UserRow> = on.fetch_optional(all().columns(COLUMNS).and_where(Expr::col("id").eq(id))).await?;
    let row = row.ok_or(UserError::Unknown(id))?;
    let roles = roles_of(on, id).await?;
    Ok(row.with_roles(roles))
}

/// A guest. The address is nobody else's.
pub(super) async fn add(tx: &mut Tx, new: &SignUpRequest, password_hash: &str, now: i64) -> Result<User, UserError> {
    let row = [
        ("name", new.name.as_str().into()),
        ("email", new.email.as_str().into()),
        ("phone", new.phone.as_str().into()),
        ("avatar", new.avatar.as_str().into()),
        ("location", new.location.as_str().into()),
        ("bio", new.bio.as_str().into()),
        ("password_hash", password_hash.into()),
        ("created_at_ms", now.into()),
        ("updated_at_ms", now.into()),
    ];
    let id = tx.insert(&mut insert("users", row)).await.map_err(|error| match error {
        DbError::Duplicate(_) => UserError::NameTaken(new.name.clone()),
        _ => error.into(),
    })?;
    tx.execute(&insert("user_roles", [("user_id", id.into()), ("role", GUEST.into())])).await?;
    fetch(tx, id).await
}

async fn roles_of(on: &mut Connection, id: i64) -> Result<Vec<String>, DbError> {
    let mut roles = Query::select();
    roles.column("role").from("user_roles").and_where(Expr::col("user_id").eq(id)).order_by("role", Order::Asc);
    let roles: Vec<(String,)> = on.fetch_all(&roles).await?;
    Ok(roles.into_iter().map(|(role,)| role).collect())
}

/// For what belongs to a user.
pub(super) async fn refuse_unknown(tx: &mut Tx, id: i64) -> Result<(), UserError> {
    let mut known = all();
    known.expr(Func::count(Expr::col(Asterisk))).and_where(Expr::col("id").eq(id));
    if tx.count(&known).await? == 0 { Err(UserError::Unknown(id)) } else { Ok(()) }
}

/// Those without an address are many.
async fn refuse_taken_email(tx: &mut Tx, email: &str, own: i64) -> Result<(), UserError> {
    let mut others = Query::select();
    others.expr(Func::count(Expr::col(Asterisk))).from("users").and_where(Expr::col("email").eq(email));
    if !email.is_empty() && tx.count(others.and_where(Expr::col("id").ne(own))).await? > 0 {
        return Err(UserError::EmailTaken(email.to_owned()));
    }
    Ok(())
}

async fn refuse_last_root(tx: &mut Tx, user: &User) -> Result<(), UserError> {
    let mut others = all();
    others
        .expr(Func::count(Expr::col(Asterisk)))
        .inner_join("user_roles", Expr::col(("user_roles", "user_id")).equals(("users", "id")))
        .and_where(Expr::col(("user_roles", "role")).eq(ROOT))
        .and_where(Expr::col(("users", "enabled")).eq(true))
        .and_where(Expr::col(("users", "id")).ne(user.id));
    if user.roles.iter().any(|role| role == ROOT) && tx.count(&others).await? == 0 {
        return Err(UserError::LastRoot(user.name.clone()));
    }
    Ok(())
}
