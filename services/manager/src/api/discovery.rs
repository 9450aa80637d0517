//! A daemon asks where it belongs, again and again; everybody asks for the public keys.
//! **Invariant:** the answer explains itself, and a credential is only ever given for a cluster the caller may join. An
//! answer that is held back is given at once when it changes, also by an instance whose lease runs out.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use df_api::cluster::{Jwks, Role};
use df_api::manager::{Cluster, ConsideredCluster, DaemonInfo, DiscoveryRequest, DiscoveryResponse};
use df_http::extract::{Json, Wait};
use df_http::{ApiError, Problems};
use http::header::{ETAG, HeaderValue, IF_NONE_MATCH};
use http::{HeaderMap, StatusCode};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout_at};

use crate::app::App;
use crate::check_place::{check_daemon_info, check_place};
use crate::db::peers::Seen;
use crate::db::unavailable;
use crate::joiner::Joiner;
use crate::lookout::Fleet;
use crate::match_clusters::{Asker, match_clusters};

/// For those whose questions are not held back: how soon a change is noticed.
const REFRESH_AFTER_MS: u64 = 60_000;
/// While there is no scheduler to talk to.
const REFRESH_SOON_MS: u64 = 5_000;
/// Of a hash, as hex digits: nobody looks for a collision with himself.
const VERSION_CHARS: usize = 32;

/// Where a place belongs, as of one look at the fleet.
struct Found {
    cluster: Cluster,
    reason: String,
    considered: Vec<ConsideredCluster>,
    version: String,
}

/// Find the cluster of a place
///
/// CIDRs beat hostnames beat IDC beat location; else the default cluster. Newcomers are passed on by clusters without a
/// live scheduler unless those are strict; members stay. The answer has the reasons, and an `ETag`. With `If-None-Match`
/// and `Prefer: wait=N` it is held back until it differs, at most for 25 seconds; then it is 304.
#[utoipa::path(
    post,
    path = "/api/v1/discovery",
    operation_id = "discover_cluster",
    tag = "components",
    params(
        ("if-none-match" = Option<String>, Header, description = "`version` or `ETag` of an earlier answer"),
        ("prefer" = Option<String>, Header, description = "`wait=N`: hold the answer back up to N seconds (RFC 7240)"),
    ),
    request_body = DiscoveryRequest,
    responses(
        (status = 200, description = "The cluster, why, and who is there", body = DiscoveryResponse),
        (status = 304, description = "Nothing has changed since the version that the caller has"),
        Problems,
    )
)]
pub async fn discover_cluster(
    State(app): State<App>,
    joiner: Joiner,
    Wait(wait): Wait,
    headers: HeaderMap,
    Json(body): Json<DiscoveryRequest>,
) -> Result<Response, ApiError> {
    check_place(&body.place)?;
    check_daemon_info(body.daemon.as_ref().unwrap_or(&DaemonInfo::default()))?;
    let until = Instant::now() + wait;
    let waits = !wait.is_zero() && headers.contains_key(IF_NONE_MATCH);
    let mut fleet = if waits { app.lookout().look_lately().await? } else { app.lookout().look().await? };
    loop {
        let found = find(&app, &joiner, &body, &fleet)?;
        note(&app, &body, found.cluster.id).await;
        if !is_known(&headers, &found.version) {
            let answer = answer(&app, &body, found, &fleet).await?;
            return Ok(([(ETAG, etag(&answer.version)?)], Json(answer)).into_response());
        }
        let etag = [(ETAG, etag(&found.version)?)];
        tracing::trace!(hostname = body.place.hostname, "nothing has changed: the answer is held back");
        let next = app.closing().run_until_cancelled(app.lookout().other_than(&fleet));
        match timeout_at(until, next).await {
            Ok(Some(Some(other))) => fleet = other,
            // The time is over, too many wait, or this manager stops.
            Ok(_) | Err(_) => return Ok((StatusCode::NOT_MODIFIED, etag).into_response()),
        }
    }
}

/// Public keys of the manager
///
/// To check cluster credentials with (RFC 7517).
#[utoipa::path(
    get,
    path = "/api/v1/jwks",
    operation_id = "get_jwks",
    tag = "components",
    responses((status = 200, description = "All keys whose signatures are still in use", body = Jwks), Problems)
)]
pub async fn get_jwks(State(app): State<App>) -> Json<Jwks> {
    Json(app.jwks())
}

fn find(app: &App, joiner: &Joiner, asked: &DiscoveryRequest, fleet: &Arc<Fleet>) -> Result<Found, ApiError> {
    let place = &asked.place;
    // Who may join one cluster only has nowhere else to go.
    let member_of = joiner.only_cluster().or(asked.member_of);
    let asker = Asker { place, member_of, configured: asked.scheduler_cluster_id };
    let found =
        match_clusters(asker, &fleet.clusters, &fleet.live()).ok_or_else(|| match asked.scheduler_cluster_id {
            Some(id) => ApiError::not_found(format!("there is no cluster {id}")),
            None => ApiError::not_found(format!(
                "no cluster takes {} ({}): no scope claims it and the default cluster is strict",
                place.hostname, place.ip
            )),
        })?;
    let cluster = found.cluster;
    joiner.may_join(cluster.id, role(asked), &place.hostname).map_err(|refusal| {
        ApiError::forbidden(format!(
            "{} belongs to {} ({}): {}",
            place.hostname,
            cluster.name,
            found.reason,
            refusal.detail()
        ))
    })?;
    let version = version(app.keys().jwks(), cluster, &found.reason, fleet.instances(cluster.id));
    Ok(Found { cluster: cluster.clone(), reason: found.reason, considered: found.considered, version })
}

/// For people to see; programs that only ask where they would belong tell nothing of themselves.
async fn note(app: &App, asked: &DiscoveryRequest, cluster_id: i64) {
    if let Some(daemon) = asked.daemon.clone() {
        app.roll().note(Seen { place: asked.place.clone(), cluster_id, seed: asked.seed_peer, daemon }).await;
    }
}

fn role(asked: &DiscoveryRequest) -> Role {
    if asked.seed_peer { Role::SeedPeer } else { Role::Peer }
}

/// The same at every manager; other clusters do not matter to it.
fn version(jwks: &Jwks, cluster: &Cluster, reason: &str, instances: impl Iterator<Item = String>) -> String {
    let mut hash = Sha256::new();
    let own = [cluster.id.to_string(), cluster.name.clone(), reason.to_owned()];
    let keys = jwks.keys.iter().map(|key| key.kid.clone());
    for part in own.into_iter().chain(keys).chain(instances) {
        hash.update(part);
        hash.update([0]);
    }
    hex::encode(hash.finalize())[..VERSION_CHARS].to_owned()
}

async fn answer(
    app: &App,
    asked: &DiscoveryRequest,
    found: Found,
    fleet: &Fleet,
) -> Result<DiscoveryResponse, ApiError> {
    let Found { cluster, reason, considered, version } = found;
    let roster = app.lookout().roster(cluster.id, &version, fleet).await.map_err(unavailable)?;
    // Of what is told: somebody may have come or gone since the look.
    let version = self::version(app.keys().jwks(), &cluster, &reason, roster.instances());
    Ok(DiscoveryResponse {
        membership: app.membership(&cluster, &asked.place.hostname, role(asked)).map_err(ApiError::internal)?,
        reason,
        considered,
        version,
        refresh_after_ms: if roster.schedulers.is_empty() { REFRESH_SOON_MS } else { REFRESH_AFTER_MS },
        schedulers: roster.schedulers.clone(),
        seed_peers: roster.seed_peers.clone(),
    })
}

/// Weak (RFC 9110 §8.8.1): two answers of one version differ in their credential.
fn etag(version: &str) -> Result<HeaderValue, ApiError> {
    HeaderValue::try_from(format!("W/\"{version}\"")).map_err(ApiError::internal)
}

/// A list of entity tags, or the bare version (RFC 9110 §13.1.2).
fn is_known(headers: &HeaderMap, version: &str) -> bool {
    let lists = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = lists.flat_map(|list| list.split(','));
    tags.any(|tag| tag.trim().trim_start_matches("W/").trim_matches('"') == version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_version_is_found_in_any_spelling() {
        let known = |text: &'static str| {
            is_known(&HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static(text))]), "ab12")
        };
        assert!(known("W/\"ab12\"") && known("\"ab12\"") && known("ab12") && known("\"x\", W/\"ab12\""));
        assert!(!known("\"ab1\"") && !known("") && !is_known(&HeaderMap::new(), "ab12"));
        assert_eq!(etag("ab12").unwrap(), "W/\"ab12\"");
    }
}
