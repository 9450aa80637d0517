//! A daemon asks where it belongs; everybody asks for the public keys.
//! **Invariant:** the answer explains itself, and a credential is only ever given for a cluster the caller may join.

use axum::extract::State;
use df_api::cluster::{Jwks, Role};
use df_api::manager::{Cluster, DiscoveryRequest, DiscoveryResponse, InstanceState};
use df_http::extract::Json;
use df_http::{ApiError, Problems};

use crate::access::Joiner;
use crate::app::App;
use crate::check_place::check_place;
use crate::db::instances::{InstanceFilter, Kind};
use crate::db::{Page, now_ms};
use crate::match_clusters::match_clusters;
use crate::paging::PER_PAGE_WHOLE;

/// How soon a change of scopes or schedulers is noticed.
const REFRESH_AFTER_MS: u64 = 60_000;
/// While there is no scheduler to talk to.
const REFRESH_SOON_MS: u64 = 5_000;

/// Find the cluster of a place
///
/// CIDRs beat hostnames beat IDC beat location; else the default cluster. The reason is in the answer.
#[utoipa::path(
    post,
    path = "/api/v1/discovery",
    operation_id = "discover_cluster",
    tag = "components",
    security(("join_token" = []), ("credential" = [])),
    request_body = DiscoveryRequest,
    responses((status = 200, description = "The cluster, why, and who is there", body = DiscoveryResponse), Problems)
)]
pub async fn discover_cluster(
    State(app): State<App>,
    joiner: Joiner,
    Json(body): Json<DiscoveryRequest>,
) -> Result<Json<DiscoveryResponse>, ApiError> {
    check_place(&body.place)?;
    let (cluster, reason) = find(&app, &joiner, &body).await?;
    let now = now_ms();
    let active = InstanceFilter {
        state: Some(InstanceState::Active),
        cluster_id: Some(cluster.id),
        ..InstanceFilter::default()
    };
    let page = Page { page: 1, per_page: PER_PAGE_WHOLE };
    let schedulers = app.db().list_instances(Kind::Scheduler, &active, page, now).await?.items;
    let seed_peers = app.db().list_instances(Kind::SeedPeer, &active, page, now).await?.items;
    Ok(Json(DiscoveryResponse {
        membership: app.membership(&cluster, &body.place.hostname, Role::Peer).map_err(ApiError::internal)?,
        reason,
        refresh_after_ms: if schedulers.is_empty() { REFRESH_SOON_MS } else { REFRESH_AFTER_MS },
        schedulers: schedulers.into_iter().map(|row| row.into_scheduler(now)).collect(),
        seed_peers: seed_peers.into_iter().map(|row| row.into_seed_peer(now)).collect(),
    }))
}

/// Public keys of the manager
///
/// To check cluster credentials with (RFC 7517).
#[utoipa::path(
    get,
    path = "/api/v1/jwks",
    operation_id = "get_jwks",
    tag = "components",
    security(()),
    responses((status = 200, description = "All keys whose signatures are still in use", body = Jwks), Problems)
)]
pub async fn get_jwks(State(app): State<App>) -> Json<Jwks> {
    Json(app.jwks().clone())
}

async fn find(app: &App, joiner: &Joiner, asked: &DiscoveryRequest) -> Result<(Cluster, String), ApiError> {
    if let Some(id) = asked.scheduler_cluster_id {
        joiner.may_join(id, Role::Peer)?;
        return Ok((app.db().cluster(id).await?, format!("scheduler cluster id {id} is configured")));
    }
    let candidates = app.candidates().await?;
    let matched = match_clusters(&asked.place, &candidates).ok_or_else(|| {
        let place = &asked.place;
        ApiError::not_found(format!(
            "no cluster takes {} ({}): no scope claims it and the default cluster is strict",
            place.hostname, place.ip
        ))
    })?;
    joiner.may_join(matched.cluster.id, Role::Peer)?;
    Ok((matched.cluster.clone(), matched.reason))
}
