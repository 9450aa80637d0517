//! The route lists: one for peers, one for the programs of this node, and the document of both.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use df_api::{Code, Problem};
use df_http::credential::{self, CredentialScheme};
use df_http::{base, layers};
use df_peer::Uploads;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::{local_tasks, objects, tags, tasks};
use crate::mirror;
use crate::state::AppState;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Dragonfly dfdaemon", description = "Pieces for peers, tasks for the programs of this node.\n\nThe registry mirror at `/v2/…` speaks the OCI distribution API and is not listed here."),
    components(schemas(Problem, Code)),
    // Peers show one, programs of this node none.
    security(("credential" = []), ()),
    modifiers(&CredentialScheme),
    tags(
        (name = "tasks", description = "Contents on this host"),
        (name = "objects", description = "What object stores have")
    )
)]
struct Document;

/// For other peers: bytes and pieces, with a cluster credential.
fn peer_operations() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(tasks::get_task_content)).routes(routes!(tasks::list_pieces))
}

/// For other peers only: a seed peer starts tasks, and resolves tags, for them.
fn seed_operations() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(tasks::fetch_task_content)).routes(routes!(tags::resolve_tag))
}

/// For programs of this node: also new tasks.
fn local_operations() -> OpenApiRouter<AppState> {
    peer_operations()
        .routes(routes!(tasks::create_task, local_tasks::list_tasks))
        .routes(routes!(tasks::get_task, local_tasks::delete_task))
        .routes(routes!(local_tasks::import_task))
        .routes(routes!(local_tasks::clone_task))
        .routes(routes!(objects::list_objects))
}

pub fn openapi() -> OpenApi {
    OpenApiRouter::<AppState>::with_openapi(Document::openapi())
        .merge(local_operations().merge(seed_operations()))
        .split_for_parts()
        .1
}

pub fn peer_router(mut state: AppState, uploads: Arc<Uploads>) -> Router {
    state.uploads = Some(uploads.clone());
    let gate = state.peer.gate().clone();
    let (operations, _) = peer_operations().merge(seed_operations()).split_for_parts();
    let limited = operations.route_layer(from_fn_with_state(uploads, tasks::limit_requests));
    // Outside of the limit: strangers do not use up what members may ask.
    let operations = limited.route_layer(from_fn_with_state(gate, credential::require_member)).with_state(state);
    layers::apply(operations.merge(base::routes(openapi(), base::always_ready())), "dfdaemon")
}

pub fn local_router(state: AppState) -> Router {
    let mirror = state.mirror.clone();
    let (operations, _) = local_operations().split_for_parts();
    let operations = operations.with_state(state).merge(mirror::router(mirror));
    layers::apply(operations.merge(base::routes(openapi(), base::always_ready())), "dfdaemon")
}
