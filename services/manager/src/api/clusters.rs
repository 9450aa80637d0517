//! Clusters: what the console edits.
//! **Invariant:** nothing is written that `check_cluster` did not see as a whole, also when a part is changed.

use axum::extract::{OriginalUri, State};
use axum::response::IntoResponse;
use df_api::manager::{Cluster, CreateClusterRequest, UpdateClusterRequest};
use df_http::extract::{Json, Path, Query};
use df_http::{ApiError, Problems};
use serde::Deserialize;

use crate::app::App;
use crate::check_cluster::{check_cluster, check_new_cluster};
use crate::db::{Page, now_ms};
use crate::paging::PER_PAGE_DEFAULT;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListClusters {
    /// 1 is the first.
    #[param(minimum = 1)]
    pub page: Option<i64>,
    /// 1 to 1000; 10 when left out.
    #[param(minimum = 1, maximum = 1000)]
    pub per_page: Option<i64>,
    /// Only the one of this name.
    pub name: Option<String>,
}

/// List clusters
///
/// By id; the `Link` header leads to the other pages.
#[utoipa::path(
    get,
    path = "/api/v1/clusters",
    operation_id = "list_clusters",
    tag = "clusters",
    params(ListClusters),
    responses((status = 200, description = "One page", body = Vec<Cluster>), Problems)
)]
pub async fn list_clusters(
    State(app): State<App>,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListClusters>,
) -> Result<impl IntoResponse, ApiError> {
    let page = Page::parse(query.page, query.per_page, PER_PAGE_DEFAULT)?;
    let listed = app.db().list_clusters(query.name.as_deref(), page).await?;
    Ok((page.link(&uri, listed.total), Json(listed.items)))
}

/// Add a cluster
#[utoipa::path(
    post,
    path = "/api/v1/clusters",
    operation_id = "create_cluster",
    tag = "clusters",
    request_body = CreateClusterRequest,
    responses((status = 200, description = "Made", body = Cluster), Problems)
)]
pub async fn create_cluster(
    State(app): State<App>,
    Json(body): Json<CreateClusterRequest>,
) -> Result<Json<Cluster>, ApiError> {
    Ok(Json(add(&app, &body).await?))
}

/// Get a cluster
#[utoipa::path(
    get,
    path = "/api/v1/clusters/{id}",
    operation_id = "get_cluster",
    tag = "clusters",
    params(("id" = i64, Path, description = "The cluster")),
    responses((status = 200, description = "The cluster", body = Cluster), Problems)
)]
pub async fn get_cluster(State(app): State<App>, Path(id): Path<i64>) -> Result<Json<Cluster>, ApiError> {
    Ok(Json(app.db().cluster(id).await?))
}

/// Change a cluster
///
/// Only what is present changes; scopes and configs are replaced whole. Daemons hear of it within seconds.
#[utoipa::path(
    patch,
    path = "/api/v1/clusters/{id}",
    operation_id = "update_cluster",
    tag = "clusters",
    params(("id" = i64, Path, description = "The cluster")),
    request_body = UpdateClusterRequest,
    responses((status = 200, description = "As it is now", body = Cluster), Problems)
)]
pub async fn update_cluster(
    State(app): State<App>,
    Path(id): Path<i64>,
    Json(body): Json<UpdateClusterRequest>,
) -> Result<Json<Cluster>, ApiError> {
    Ok(Json(change(&app, id, body).await?))
}

/// Delete a cluster
///
/// Refused for the default cluster and while schedulers or seed peers are active in it. Its join tokens go with it.
#[utoipa::path(
    delete,
    path = "/api/v1/clusters/{id}",
    operation_id = "delete_cluster",
    tag = "clusters",
    params(("id" = i64, Path, description = "The cluster")),
    responses((status = 200, description = "Deleted"), Problems)
)]
pub async fn delete_cluster(State(app): State<App>, Path(id): Path<i64>) -> Result<(), ApiError> {
    remove(&app, id).await
}

pub async fn add(app: &App, new: &CreateClusterRequest) -> Result<Cluster, ApiError> {
    check_new_cluster(new)?;
    let cluster = app.db().create_cluster(new, now_ms()).await?;
    app.lookout().changed().await;
    tracing::info!(cluster = cluster.id, name = cluster.name, "a cluster was added");
    Ok(cluster)
}

pub async fn change(app: &App, id: i64, update: UpdateClusterRequest) -> Result<Cluster, ApiError> {
    let cluster = app.db().update_cluster(id, update, now_ms(), check_cluster).await?;
    app.lookout().changed().await;
    tracing::info!(cluster = cluster.id, name = cluster.name, "a cluster was changed");
    Ok(cluster)
}

pub async fn remove(app: &App, id: i64) -> Result<(), ApiError> {
    app.db().delete_cluster(id, now_ms()).await?;
    app.lookout().changed().await;
    tracing::info!(cluster = id, "a cluster was deleted");
    Ok(())
}
