//! Join tokens: root makes and withdraws them.
//! **Invariant:** the secret is in the one answer that made it and nowhere else.

use axum::extract::State;
use df_api::manager::{CreateJoinTokenRequest, CreatedJoinToken, JoinToken};
use df_http::extract::{Json, Path};
use df_http::{ApiError, Problems};

use crate::app::App;
use crate::check_cluster::{at_most, ensure};
use crate::db::join_tokens::Source;
use crate::db::now_ms;
use crate::secret::{self, Purpose};

const NAME_CHARS_MAX: usize = 100;

/// List join tokens, without their secrets
#[utoipa::path(
    get,
    path = "/api/v1/join-tokens",
    operation_id = "list_join_tokens",
    tag = "components",
    responses((status = 200, description = "By id", body = Vec<JoinToken>), Problems)
)]
pub async fn list_join_tokens(State(app): State<App>) -> Result<Json<Vec<JoinToken>>, ApiError> {
    Ok(Json(app.db().list_join_tokens().await?))
}

/// Make a join token
///
/// Its secret is shown this once.
#[utoipa::path(
    post,
    path = "/api/v1/join-tokens",
    operation_id = "create_join_token",
    tag = "components",
    request_body = CreateJoinTokenRequest,
    responses((status = 200, description = "Made", body = CreatedJoinToken), Problems)
)]
pub async fn create_join_token(
    State(app): State<App>,
    Json(body): Json<CreateJoinTokenRequest>,
) -> Result<Json<CreatedJoinToken>, ApiError> {
    let CreateJoinTokenRequest { name, cluster_id } = body;
    ensure(!name.trim().is_empty(), "name", "\"\"", || {
        "say where it is used, so that you know which to withdraw".to_owned()
    })?;
    at_most("name", &name, NAME_CHARS_MAX)?;
    if let Some(id) = cluster_id {
        app.db().cluster(id).await?;
    }
    let token = secret::generate(Purpose::Join).map_err(ApiError::internal)?;
    let hash = secret::hash(&token);
    let join_token = app.db().create_join_token(&name, cluster_id, &hash, Source::Api, now_ms()).await?;
    tracing::info!(id = join_token.id, name, "a join token was made");
    Ok(Json(CreatedJoinToken { token, join_token }))
}

/// Withdraw a join token
///
/// Nobody joins with it any more; members stay members until their credential expires.
#[utoipa::path(
    delete,
    path = "/api/v1/join-tokens/{id}",
    operation_id = "delete_join_token",
    tag = "components",
    params(("id" = i64, Path, description = "The join token")),
    responses((status = 200, description = "Withdrawn"), Problems)
)]
pub async fn delete_join_token(State(app): State<App>, Path(id): Path<i64>) -> Result<(), ApiError> {
    match app.db().delete_join_token(id).await? {
        true => Ok(()),
        false => Err(ApiError::not_found(format!("there is no join token {id}"))),
    }
}
