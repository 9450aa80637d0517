//! Seed peer clusters: the seed peers of a cluster, in the incumbent's shape.
//! **Invariant:** it is a view: who writes to it writes to the cluster with its id.

use axum::extract::{OriginalUri, State};
use axum::response::IntoResponse;
use df_api::Code;
use df_api::manager::{
    Cluster, CreateClusterRequest, CreateSeedPeerClusterRequest, SeedPeerCluster, UpdateClusterRequest,
    UpdateSeedPeerClusterRequest,
};
use df_http::extract::{Json, Path, Query};
use df_http::{ApiError, Problems};

use crate::api::clusters::{ListClusters, add, change, remove};
use crate::app::App;
use crate::db::Page;
use crate::db::instances::Kind;
use crate::paging::PER_PAGE_DEFAULT;

/// List seed peer clusters
///
/// By id; the `Link` header leads to the other pages.
#[utoipa::path(
    get,
    path = "/api/v1/seed-peer-clusters",
    operation_id = "list_seed_peer_clusters",
    tag = "clusters",
    params(ListClusters),
    responses((status = 200, description = "One page", body = Vec<SeedPeerCluster>), Problems)
)]
pub async fn list_seed_peer_clusters(
    State(app): State<App>,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListClusters>,
) -> Result<impl IntoResponse, ApiError> {
    let page = Page::parse(query.page, query.per_page, PER_PAGE_DEFAULT)?;
    let listed = app.db().list_clusters(query.name.as_deref(), page).await?;
    let parts: Vec<SeedPeerCluster> = listed.items.into_iter().map(Cluster::into_seed_peer_cluster).collect();
    Ok((page.link(&uri, listed.total), Json(parts)))
}

/// Add a seed peer cluster
///
/// That is a cluster: its scheduler cluster comes with it and has the same id.
#[utoipa::path(
    post,
    path = "/api/v1/seed-peer-clusters",
    operation_id = "create_seed_peer_cluster",
    tag = "clusters",
    request_body = CreateSeedPeerClusterRequest,
    responses((status = 200, description = "Made", body = SeedPeerCluster), Problems)
)]
pub async fn create_seed_peer_cluster(
    State(app): State<App>,
    Json(body): Json<CreateSeedPeerClusterRequest>,
) -> Result<Json<SeedPeerCluster>, ApiError> {
    let CreateSeedPeerClusterRequest { name, bio, config } = body;
    let new = CreateClusterRequest { name, bio, seed_peer_cluster_config: config, ..CreateClusterRequest::default() };
    Ok(Json(add(&app, &new).await?.into_seed_peer_cluster()))
}

/// Get a seed peer cluster
#[utoipa::path(
    get,
    path = "/api/v1/seed-peer-clusters/{id}",
    operation_id = "get_seed_peer_cluster",
    tag = "clusters",
    params(("id" = i64, Path, description = "The cluster")),
    responses((status = 200, description = "The seed peer cluster", body = SeedPeerCluster), Problems)
)]
pub async fn get_seed_peer_cluster(
    State(app): State<App>,
    Path(id): Path<i64>,
) -> Result<Json<SeedPeerCluster>, ApiError> {
    Ok(Json(app.db().cluster(id).await?.into_seed_peer_cluster()))
}

/// Change a seed peer cluster
///
/// Only what is present changes.
#[utoipa::path(
    patch,
    path = "/api/v1/seed-peer-clusters/{id}",
    operation_id = "update_seed_peer_cluster",
    tag = "clusters",
    params(("id" = i64, Path, description = "The cluster")),
    request_body = UpdateSeedPeerClusterRequest,
    responses((status = 200, description = "As it is now", body = SeedPeerCluster), Problems)
)]
pub async fn update_seed_peer_cluster(
    State(app): State<App>,
    Path(id): Path<i64>,
    Json(body): Json<UpdateSeedPeerClusterRequest>,
) -> Result<Json<SeedPeerCluster>, ApiError> {
    let UpdateSeedPeerClusterRequest { name, bio, config } = body;
    let update =
        UpdateClusterRequest { name, bio, seed_peer_cluster_config: config, ..UpdateClusterRequest::default() };
    Ok(Json(change(&app, id, update).await?.into_seed_peer_cluster()))
}

/// Delete a seed peer cluster
///
/// That is the whole cluster, its scheduler cluster with it.
#[utoipa::path(
    delete,
    path = "/api/v1/seed-peer-clusters/{id}",
    operation_id = "delete_seed_peer_cluster",
    tag = "clusters",
    params(("id" = i64, Path, description = "The cluster")),
    responses((status = 200, description = "Deleted"), Problems)
)]
pub async fn delete_seed_peer_cluster(State(app): State<App>, Path(id): Path<i64>) -> Result<(), ApiError> {
    remove(&app, id).await
}

/// Put a seed peer into its cluster
///
/// A seed peer belongs to the cluster that it is configured with; for any other this is 409.
#[utoipa::path(
    put,
    path = "/api/v1/seed-peer-clusters/{id}/seed-peers/{seed_peer_id}",
    operation_id = "add_seed_peer",
    tag = "clusters",
    params(
        ("id" = i64, Path, description = "The cluster"),
        ("seed_peer_id" = i64, Path, description = "The seed peer"),
    ),
    responses((status = 200, description = "It is there"), Problems)
)]
pub async fn add_seed_peer(State(app): State<App>, Path((id, seed_peer_id)): Path<(i64, i64)>) -> Result<(), ApiError> {
    let cluster = app.db().cluster(id).await?;
    let own = app.db().instance(Kind::SeedPeer, seed_peer_id).await?.cluster_id;
    if own == cluster.id {
        return Ok(());
    }
    let said =
        format!("seed peer {seed_peer_id} is configured with cluster {own}; change its seedPeer.clusterID instead");
    Err(ApiError::new(Code::Conflict, said))
}

/// Put a scheduler cluster beside its seed peer cluster
///
/// They are two parts of one cluster and have its id; for any other this is 409.
#[utoipa::path(
    put,
    path = "/api/v1/seed-peer-clusters/{id}/scheduler-clusters/{scheduler_cluster_id}",
    operation_id = "add_scheduler_cluster",
    tag = "clusters",
    params(
        ("id" = i64, Path, description = "The cluster"),
        ("scheduler_cluster_id" = i64, Path, description = "The same"),
    ),
    responses((status = 200, description = "It is there"), Problems)
)]
pub async fn add_scheduler_cluster(
    State(app): State<App>,
    Path((id, scheduler_cluster_id)): Path<(i64, i64)>,
) -> Result<(), ApiError> {
    let (one, other) = (app.db().cluster(id).await?, app.db().cluster(scheduler_cluster_id).await?);
    if one.id == other.id {
        return Ok(());
    }
    let said = format!("{} and {} are two clusters: each has its own schedulers and seed peers", one.name, other.name);
    Err(ApiError::new(Code::Conflict, said))
}
