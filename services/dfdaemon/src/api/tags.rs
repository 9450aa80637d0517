//! What a tag means, for the nodes of the cluster.

use axum::extract::State;
use df_api::dfdaemon::{ResolveTagRequest, TagAnswer};
use df_http::extract::Json;
use df_http::{ApiError, Problems};

use crate::mirror;
use crate::state::AppState;

/// Ask a seed peer what a tag means now
///
/// It asks the registry with the token given, or as anybody, and not again within `proxy.tagWindowMs`: however many nodes
/// pull, the registry is asked once. Where the registry does not answer, the last known digest, marked as stale. A
/// reference may be a digest: then the answer says that the registry has it there. The registry's no (401, 403, 404, 429) is
/// told, but not its challenges: where to show a password, a node asks the registry itself. 403 to who shows no token when the seed peer has a password of its own for that
/// registry, 502 where nothing can be said.
#[utoipa::path(post, path = "/v1/tags", operation_id = "resolve_tag", tag = "tasks", request_body = ResolveTagRequest,
    responses((status = 200, description = "The digest of the tag's manifest, or the registry's no", body = TagAnswer), Problems),
    security(("credential" = [])))]
pub async fn resolve_tag(
    State(app): State<AppState>,
    Json(request): Json<ResolveTagRequest>,
) -> Result<Json<TagAnswer>, ApiError> {
    if app.peer.config().seed_peer_cluster_id.is_none() {
        return Err(ApiError::forbidden("only a seed peer resolves tags for others"));
    }
    mirror::resolve_for_node(&app.mirror, &request.origin).await.map(Json)
}
