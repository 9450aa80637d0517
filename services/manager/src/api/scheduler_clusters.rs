//! Scheduler clusters: a cluster without its seed peers, in the incumbent's shape.
//! **Invariant:** it is a view: who writes to it writes to the cluster with its id.

use axum::extract::{OriginalUri, State};
use axum::response::IntoResponse;
use df_api::Code;
use df_api::manager::{
    Cluster, CreateClusterRequest, CreateSchedulerClusterRequest, SchedulerCluster, SeedPeerClusterConfig,
    UpdateClusterRequest, UpdateSchedulerClusterRequest,
};
use df_http::extract::{Json, Path, Query};
use df_http::{ApiError, Problems};

use crate::api::clusters::{ListClusters, add, change, remove};
use crate::app::App;
use crate::db::Page;
use crate::db::instances::Kind;
use crate::paging::PER_PAGE_DEFAULT;

/// List scheduler clusters
///
/// By id; the `Link` header leads to the other pages.
#[utoipa::path(
    get,
    path = "/api/v1/scheduler-clusters",
    operation_id = "list_scheduler_clusters",
    tag = "clusters",
    params(ListClusters),
    responses((status = 200, description = "One page", body = Vec<SchedulerCluster>), Problems)
)]
pub async fn list_scheduler_clusters(
    State(app): State<App>,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListClusters>,
) -> Result<impl IntoResponse, ApiError> {
    let page = Page::parse(query.page, query.per_page, PER_PAGE_DEFAULT)?;
    let listed = app.db().list_clusters(query.name.as_deref(), page).await?;
    let parts: Vec<SchedulerCluster> = listed.items.into_iter().map(Cluster::into_scheduler_cluster).collect();
    Ok((page.link(&uri, listed.total), Json(parts)))
}

/// Add a scheduler cluster
///
/// That is a cluster: its seed peer cluster comes with it and has the same id.
#[utoipa::path(
    post,
    path = "/api/v1/scheduler-clusters",
    operation_id = "create_scheduler_cluster",
    tag = "clusters",
    request_body = CreateSchedulerClusterRequest,
    responses((status = 200, description = "Made", body = SchedulerCluster), Problems)
)]
pub async fn create_scheduler_cluster(
    State(app): State<App>,
    Json(body): Json<CreateSchedulerClusterRequest>,
) -> Result<Json<SchedulerCluster>, ApiError> {
    let block_list = body.seed_client_config.block_list;
    let new = CreateClusterRequest {
        name: body.name,
        bio: body.bio,
        scopes: body.scopes,
        scheduler_cluster_config: body.config,
        seed_peer_cluster_config: SeedPeerClusterConfig { block_list, ..SeedPeerClusterConfig::default() },
        peer_cluster_config: body.client_config,
        is_default: body.is_default,
        strict: false,
    };
    Ok(Json(add(&app, &new).await?.into_scheduler_cluster()))
}

/// Get a scheduler cluster
#[utoipa::path(
    get,
    path = "/api/v1/scheduler-clusters/{id}",
    operation_id = "get_scheduler_cluster",
    tag = "clusters",
    params(("id" = i64, Path, description = "The cluster")),
    responses((status = 200, description = "The scheduler cluster", body = SchedulerCluster), Problems)
)]
pub async fn get_scheduler_cluster(
    State(app): State<App>,
    Path(id): Path<i64>,
) -> Result<Json<SchedulerCluster>, ApiError> {
    Ok(Json(app.db().cluster(id).await?.into_scheduler_cluster()))
}

/// Change a scheduler cluster
///
/// Only what is present changes.
#[utoipa::path(
    patch,
    path = "/api/v1/scheduler-clusters/{id}",
    operation_id = "update_scheduler_cluster",
    tag = "clusters",
    params(("id" = i64, Path, description = "The cluster")),
    request_body = UpdateSchedulerClusterRequest,
    responses((status = 200, description = "As it is now", body = SchedulerCluster), Problems)
)]
pub async fn update_scheduler_cluster(
    State(app): State<App>,
    Path(id): Path<i64>,
    Json(body): Json<UpdateSchedulerClusterRequest>,
) -> Result<Json<SchedulerCluster>, ApiError> {
    let UpdateSchedulerClusterRequest { name, bio, config, client_config, scopes, is_default } = body;
    let update = UpdateClusterRequest {
        name,
        bio,
        scopes,
        scheduler_cluster_config: config,
        peer_cluster_config: client_config,
        is_default,
        ..UpdateClusterRequest::default()
    };
    Ok(Json(change(&app, id, update).await?.into_scheduler_cluster()))
}

/// Delete a scheduler cluster
///
/// That is the whole cluster, its seed peer cluster with it.
#[utoipa::path(
    delete,
    path = "/api/v1/scheduler-clusters/{id}",
    operation_id = "delete_scheduler_cluster",
    tag = "clusters",
    params(("id" = i64, Path, description = "The cluster")),
    responses((status = 200, description = "Deleted"), Problems)
)]
pub async fn delete_scheduler_cluster(State(app): State<App>, Path(id): Path<i64>) -> Result<(), ApiError> {
    remove(&app, id).await
}

/// Put a scheduler into its cluster
///
/// A scheduler belongs to the cluster that it is configured with; for any other this is 409.
#[utoipa::path(
    put,
    path = "/api/v1/scheduler-clusters/{id}/schedulers/{scheduler_id}",
    operation_id = "add_scheduler",
    tag = "clusters",
    params(
        ("id" = i64, Path, description = "The cluster"),
        ("scheduler_id" = i64, Path, description = "The scheduler"),
    ),
    responses((status = 200, description = "It is there"), Problems)
)]
pub async fn add_scheduler(State(app): State<App>, Path((id, scheduler_id)): Path<(i64, i64)>) -> Result<(), ApiError> {
    let cluster = app.db().cluster(id).await?;
    let own = app.db().instance(Kind::Scheduler, scheduler_id).await?.cluster_id;
    if own == cluster.id {
        return Ok(());
    }
    let said =
        format!("scheduler {scheduler_id} is configured with cluster {own}; change its schedulerClusterID instead");
    Err(ApiError::new(Code::Conflict, said))
}
