//! Peers: the daemons of nodes, which are written down as they ask where they belong.
//! **Invariant:** active is who asks, whatever is written here.

use axum::extract::{OriginalUri, State};
use axum::response::IntoResponse;
use df_api::cluster::Place;
use df_api::manager::{CreatePeerRequest, DaemonInfo, InstanceState, Peer, PeerType};
use df_http::extract::{Json, Path, Query};
use df_http::{ApiError, Problems};
use serde::Deserialize;

use crate::app::App;
use crate::check_place::{check_daemon, check_daemon_info, check_download_port, check_place};
use crate::db::peers::{PeerFilter, Seen};
use crate::db::{Page, now_ms};
use crate::paging::PER_PAGE_DEFAULT;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListPeers {
    /// 1 is the first.
    #[param(minimum = 1)]
    page: Option<i64>,
    /// 1 to 1000; 10 when left out.
    #[param(minimum = 1, maximum = 1000)]
    per_page: Option<i64>,
    state: Option<InstanceState>,
    #[serde(rename = "type")]
    kind: Option<PeerType>,
    host_name: Option<String>,
    ip: Option<String>,
    port: Option<u16>,
    idc: Option<String>,
    location: Option<String>,
    os: Option<String>,
    platform: Option<String>,
    platform_family: Option<String>,
    platform_version: Option<String>,
    kernel_version: Option<String>,
    git_version: Option<String>,
    scheduler_cluster_id: Option<i64>,
}

/// List peers
///
/// By id. Who has not asked for three minutes is inactive; for a day, forgotten.
#[utoipa::path(
    get,
    path = "/api/v1/peers",
    operation_id = "list_peers",
    tag = "fleet",
    params(ListPeers),
    responses((status = 200, description = "One page", body = Vec<Peer>), Problems)
)]
pub async fn list_peers(
    State(app): State<App>,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListPeers>,
) -> Result<impl IntoResponse, ApiError> {
    let page = Page::parse(query.page, query.per_page, PER_PAGE_DEFAULT)?;
    let texts = [
        ("host_name", query.host_name),
        ("ip", query.ip),
        ("idc", query.idc),
        ("location", query.location),
        ("os", query.os),
        ("platform", query.platform),
        ("platform_family", query.platform_family),
        ("platform_version", query.platform_version),
        ("kernel_version", query.kernel_version),
        ("git_version", query.git_version),
    ];
    let filter = PeerFilter {
        state: query.state,
        kind: query.kind,
        port: query.port,
        cluster_id: query.scheduler_cluster_id,
        texts: texts.into_iter().filter_map(|(column, text)| Some((column, text?))).collect(),
    };
    let listed = app.db().list_peers(&filter, page, now_ms()).await?;
    Ok((page.link(&uri, listed.total), Json(listed.items)))
}

/// Expect a peer
///
/// It is inactive until its daemon asks where it belongs, and forgotten when it does not within a day.
#[utoipa::path(
    post,
    path = "/api/v1/peers",
    operation_id = "create_peer",
    tag = "fleet",
    request_body = CreatePeerRequest,
    responses((status = 200, description = "Expected", body = Peer), Problems)
)]
pub async fn create_peer(State(app): State<App>, Json(body): Json<CreatePeerRequest>) -> Result<Json<Peer>, ApiError> {
    let (port, cluster_id) = (body.port, body.scheduler_cluster_id);
    check_download_port(port, body.download_port)?;
    let place = Place { hostname: body.host_name, ip: body.ip, idc: body.idc, location: body.location };
    let daemon = DaemonInfo {
        port,
        os: body.os,
        platform: body.platform,
        platform_family: body.platform_family,
        platform_version: body.platform_version,
        kernel_version: body.kernel_version,
        git_version: body.git_version,
    };
    check_place(&place)?;
    check_daemon(&place, port)?;
    check_daemon_info(&daemon)?;
    app.db().cluster(cluster_id).await?;
    let seen = Seen { place, cluster_id, seed: body.kind == PeerType::Super, daemon };
    let peer = app.db().create_peer(&seen, now_ms()).await?;
    tracing::info!(peer = peer.id, host_name = peer.host_name, "a peer is expected");
    Ok(Json(peer))
}

/// Get a peer
#[utoipa::path(
    get,
    path = "/api/v1/peers/{id}",
    operation_id = "get_peer",
    tag = "fleet",
    params(("id" = i64, Path, description = "The peer")),
    responses((status = 200, description = "The peer", body = Peer), Problems)
)]
pub async fn get_peer(State(app): State<App>, Path(id): Path<i64>) -> Result<Json<Peer>, ApiError> {
    Ok(Json(app.db().peer(id, now_ms()).await?))
}

/// Delete a peer
///
/// One that is active is to be stopped first.
#[utoipa::path(
    delete,
    path = "/api/v1/peers/{id}",
    operation_id = "delete_peer",
    tag = "fleet",
    params(("id" = i64, Path, description = "The peer")),
    responses((status = 200, description = "Deleted"), Problems)
)]
pub async fn delete_peer(State(app): State<App>, Path(id): Path<i64>) -> Result<(), ApiError> {
    app.db().delete_peer(id, now_ms()).await?;
    tracing::info!(peer = id, "a peer was deleted");
    Ok(())
}
