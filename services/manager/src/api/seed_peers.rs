//! Seed peers, as people see them: who holds a lease, and who is expected to.
//! **Invariant:** active is who renews a lease, whatever is written here.

use axum::extract::{OriginalUri, State};
use axum::response::IntoResponse;
use df_api::cluster::Place;
use df_api::manager::{CreateSeedPeerRequest, InstanceState, SeedPeer, UpdateSeedPeerRequest};
use df_http::extract::{Json, Path, Query};
use df_http::{ApiError, Problems};
use serde::Deserialize;

use crate::app::App;
use crate::check_cluster::{ensure, quoted};
use crate::check_place::{check_daemon, check_download_port, check_place, expected_url};
use crate::db::instances::{Expected, InstanceChange, InstanceFilter, Kind};
use crate::db::{Page, now_ms};
use crate::paging::PER_PAGE_WHOLE;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListSeedPeers {
    /// 1 is the first.
    #[param(minimum = 1)]
    page: Option<i64>,
    /// 1 to 1000; 1000 when left out.
    #[param(minimum = 1, maximum = 1000)]
    per_page: Option<i64>,
    state: Option<InstanceState>,
    host_name: Option<String>,
    ip: Option<String>,
    port: Option<u16>,
    idc: Option<String>,
    location: Option<String>,
    seed_peer_cluster_id: Option<i64>,
}

/// List seed peers
///
/// By id. Those gone for more than half an hour are forgotten.
#[utoipa::path(
    get,
    path = "/api/v1/seed-peers",
    operation_id = "list_seed_peers",
    tag = "fleet",
    params(ListSeedPeers),
    responses((status = 200, description = "One page", body = Vec<SeedPeer>), Problems)
)]
pub async fn list_seed_peers(
    State(app): State<App>,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListSeedPeers>,
) -> Result<impl IntoResponse, ApiError> {
    let page = Page::parse(query.page, query.per_page, PER_PAGE_WHOLE)?;
    let ListSeedPeers { state, host_name, ip, port, idc, location, seed_peer_cluster_id: cluster_id, .. } = query;
    let filter = InstanceFilter { state, host_name, ip, port, idc, location, cluster_id };
    let now = now_ms();
    let listed = app.db().list_instances(Kind::SeedPeer, &filter, page, now).await?;
    let seed_peers: Vec<SeedPeer> = listed.items.into_iter().map(|row| row.into_seed_peer(now)).collect();
    Ok((page.link(&uri, listed.total), Json(seed_peers)))
}

/// Expect a seed peer
///
/// It is inactive until it renews a lease itself, and forgotten when it does not within half an hour.
#[utoipa::path(
    post,
    path = "/api/v1/seed-peers",
    operation_id = "create_seed_peer",
    tag = "fleet",
    request_body = CreateSeedPeerRequest,
    responses((status = 200, description = "Expected", body = SeedPeer), Problems)
)]
pub async fn create_seed_peer(
    State(app): State<App>,
    Json(body): Json<CreateSeedPeerRequest>,
) -> Result<Json<SeedPeer>, ApiError> {
    let CreateSeedPeerRequest { host_name, kind, ip, port, download_port, seed_peer_cluster_id, idc, location } = body;
    ensure(kind == "super", "type", quoted(&kind), || "super: there are no others".to_owned())?;
    check_download_port(port, download_port)?;
    let place = Place { hostname: host_name, ip, idc, location };
    check_place(&place)?;
    check_daemon(&place, port)?;
    let cluster_id = app.db().cluster(seed_peer_cluster_id).await?.id;
    let (url, now) = (expected_url(&place.ip, port)?, now_ms());
    let expected = Expected { kind: Kind::SeedPeer, place: &place, url: &url, port, cluster_id, features: &[], now };
    let seed_peer = app.db().create_instance(&expected).await?.into_seed_peer(now);
    tracing::info!(seed_peer = seed_peer.id, host_name = seed_peer.host_name, "a seed peer is expected");
    Ok(Json(seed_peer))
}

/// Get a seed peer
#[utoipa::path(
    get,
    path = "/api/v1/seed-peers/{id}",
    operation_id = "get_seed_peer",
    tag = "fleet",
    params(("id" = i64, Path, description = "The seed peer")),
    responses((status = 200, description = "The seed peer", body = SeedPeer), Problems)
)]
pub async fn get_seed_peer(State(app): State<App>, Path(id): Path<i64>) -> Result<Json<SeedPeer>, ApiError> {
    Ok(Json(app.db().instance(Kind::SeedPeer, id).await?.into_seed_peer(now_ms())))
}

/// Change a seed peer
///
/// Only what is present changes.
#[utoipa::path(
    patch,
    path = "/api/v1/seed-peers/{id}",
    operation_id = "update_seed_peer",
    tag = "fleet",
    params(("id" = i64, Path, description = "The seed peer")),
    request_body = UpdateSeedPeerRequest,
    responses((status = 200, description = "As it is now", body = SeedPeer), Problems)
)]
pub async fn update_seed_peer(
    State(app): State<App>,
    Path(id): Path<i64>,
    Json(body): Json<UpdateSeedPeerRequest>,
) -> Result<Json<SeedPeer>, ApiError> {
    let change = InstanceChange { idc: body.idc, location: body.location, features: None };
    let now = now_ms();
    let seed_peer = app.db().update_instance(Kind::SeedPeer, id, change, now, check_place).await?;
    app.lookout().changed().await;
    tracing::info!(seed_peer = id, "a seed peer was changed");
    Ok(Json(seed_peer.into_seed_peer(now)))
}

/// Delete a seed peer
///
/// One that is active is to be stopped first.
#[utoipa::path(
    delete,
    path = "/api/v1/seed-peers/{id}",
    operation_id = "delete_seed_peer",
    tag = "fleet",
    params(("id" = i64, Path, description = "The seed peer")),
    responses((status = 200, description = "Deleted"), Problems)
)]
pub async fn delete_seed_peer(State(app): State<App>, Path(id): Path<i64>) -> Result<(), ApiError> {
    app.db().delete_instance(Kind::SeedPeer, id, now_ms()).await?;
    tracing::info!(seed_peer = id, "a seed peer was deleted");
    Ok(())
}
