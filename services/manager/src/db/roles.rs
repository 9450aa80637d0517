//! Roles: names for what users may do.
//! **Invariant:** `root` may do everything and stays, as `guest` does; a role that somebody has is not deleted.

use df_api::Code;
use df_api::manager::{CreateRoleRequest, Permission, RolePermissions};
use df_http::ApiError;
use sea_query::{Asterisk, Expr, ExprTrait as _, Func, Order, Query};

use super::connection::{Connection, Tx};
use super::users::{GUEST, ROOT, action};
use super::{Db, DbError, insert};

#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    #[error("there is no role {0:?}; GET /api/v1/roles lists those there are")]
    Unknown(String),
    #[error("there is a role {0:?} already; POST /api/v1/roles/{0}/permissions adds to it")]
    NameTaken(String),
    #[error("role {0} has {1} already")]
    Has(String, Permission),
    #[error("role {0} does not have {1}")]
    HasNot(String, Permission),
    #[error("role {0} is built in")]
    BuiltIn(String),
    #[error("role {0} is of {1} users; take it from them first")]
    InUse(String, i64),
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<RoleError> for ApiError {
    fn from(error: RoleError) -> Self {
        match error {
            RoleError::Unknown(_) | RoleError::HasNot(..) => ApiError::not_found(error),
            RoleError::NameTaken(_) | RoleError::Has(..) | RoleError::BuiltIn(_) | RoleError::InUse(..) => {
                ApiError::new(Code::Conflict, error.to_string())
            }
            RoleError::Db(error) => error.into(),
        }
    }
}

// === impl Db ===

impl Db {
    pub async fn list_roles(&self) -> Result<Vec<String>, DbError> {
        let mut names = Query::select();
        let names: Vec<(String,)> =
            self.fetch_all(names.column("name").from("roles").order_by("name", Order::Asc)).await?;
        Ok(names.into_iter().map(|(name,)| name).collect())
    }

    pub async fn role(&self, role: &str) -> Result<RolePermissions, RoleError> {
        fetch(&mut self.reading().await?, role).await
    }

    pub async fn create_role(&self, new: &CreateRoleRequest, now: i64) -> Result<RolePermissions, RoleError> {
        let mut tx = self.begin().await?;
        let row = [("name", new.role.as_str().into()), ("created_at_ms", now.into())];
        tx.execute(&insert("roles", row)).await.map_err(|error| match error {
            DbError::Duplicate(_) => RoleError::NameTaken(new.role.clone()),
            _ => error.into(),
        })?;
        for permission in &new.permissions {
            add(&mut tx, &new.role, permission).await?;
        }
        let role = fetch(&mut tx, &new.role).await?;
        tx.commit().await?;
        Ok(role)
    }

    pub async fn delete_role(&self, role: &str) -> Result<(), RoleError> {
        let mut tx = self.begin().await?;
        let RolePermissions { role, .. } = fetch(&mut tx, role).await?;
        if role == ROOT || role == GUEST {
            return Err(RoleError::BuiltIn(role));
        }
        let mut having = Query::select();
        having.expr(Func::count(Expr::col(Asterisk))).from("user_roles");
        let having = tx.count(having.and_where(Expr::col("role").eq(role.as_str()))).await?;
        if having > 0 {
            return Err(RoleError::InUse(role, having));
        }
        tx.execute(Query::delete().from_table("roles").and_where(Expr::col("name").eq(role))).await?;
        Ok(tx.commit().await?)
    }

    pub async fn add_permission(&self, role: &str, permission: &Permission) -> Result<(), RoleError> {
        let mut tx = self.begin().await?;
        let known = fetch(&mut tx, role).await?;
        if known.permissions.contains(permission) {
            return Err(RoleError::Has(known.role, permission.clone()));
        }
        add(&mut tx, role, permission).await?;
        Ok(tx.commit().await?)
    }

    pub async fn delete_permission(&self, role: &str, permission: &Permission) -> Result<(), RoleError> {
        let mut tx = self.begin().await?;
        let known = fetch(&mut tx, role).await?;
        if role == ROOT {
            return Err(RoleError::BuiltIn(known.role));
        }
        if !known.permissions.contains(permission) {
            return Err(RoleError::HasNot(known.role, permission.clone()));
        }
        let mut gone = Query::delete();
        gone.from_table("role_permissions").and_where(Expr::col("role").eq(role));
        gone.and_where(Expr::col("object").eq(permission.object.as_str()));
        gone.and_where(Expr::col("action").eq(permission.action.as_str()));
        tx.execute(&gone).await?;
        Ok(tx.commit().await?)
    }
}

async fn fetch(on: &mut Connection, role: &str) -> Result<RolePermissions, RoleError> {
    let known = Query::select().column("name").from("roles").and_where(Expr::col("name").eq(role)).to_owned();
    let known: Option<(String,)> = on.fetch_optional(&known).await?;
    let (role,) = known.ok_or_else(|| RoleError::Unknown(role.to_owned()))?;
    let mut rows = Query::select();
    rows.columns(["object", "action"]).from("role_permissions").and_where(Expr::col("role").eq(role.as_str()));
    let rows: Vec<(String, String)> =
        on.fetch_all(rows.order_by("object", Order::Asc).order_by("action", Order::Asc)).await?;
    let permission = |(object, text): (String, String)| Some(Permission { object, action: action(&text)? });
    Ok(RolePermissions { role, permissions: rows.into_iter().filter_map(permission).collect() })
}

async fn add(tx: &mut Tx, role: &str, permission: &Permission) -> Result<(), DbError> {
    let row = [
        ("role", role.into()),
        ("object", permission.object.as_str().into()),
        ("action", permission.action.as_str().into()),
    ];
    tx.execute(&insert("role_permissions", row)).await.map(drop)
}
