//! Leases: how schedulers and seed peers say that they are there.
//! **Invariant:** a renewal is idempotent and carries everything, so a lost answer or a restart of either side heals.

use axum::extract::State;
use df_api::cluster::{Place, Role};
use df_api::manager::{
    Application, Cluster, SchedulerLease, SchedulerLeaseRequest, SeedPeerLease, SeedPeerLeaseRequest,
};
use df_api::rules::ApplicationRule;
use df_http::extract::{Json, Path};
use df_http::{ApiError, Problems};

use crate::app::App;
use crate::check_place::{check_daemon, check_place, check_url};
use crate::db::instances::{Kind, Lease};
use crate::db::now_ms;
use crate::joiner::Joiner;

/// Renewals per lease: two may get lost.
const RENEWALS: u64 = 3;

/// Register a scheduler, or renew its lease
#[utoipa::path(
    put,
    path = "/api/v1/leases/schedulers",
    operation_id = "renew_scheduler_lease",
    tag = "components",
    request_body = SchedulerLeaseRequest,
    responses((status = 200, description = "The lease runs", body = SchedulerLease), Problems)
)]
pub async fn renew_scheduler_lease(
    State(app): State<App>,
    joiner: Joiner,
    Json(body): Json<SchedulerLeaseRequest>,
) -> Result<Json<SchedulerLease>, ApiError> {
    joiner.may_join(body.scheduler_cluster_id, Role::Scheduler, &body.place.hostname)?;
    let applications = app.db().all_applications().await?;
    let rule = |application: Application| ApplicationRule { name: application.name, priority: application.priority };
    let (id, cluster) = renew(&app, Kind::Scheduler, &body.place, &body.url, body.scheduler_cluster_id).await?;
    Ok(Json(SchedulerLease {
        id,
        lease_ms: app.config().lease_ms,
        refresh_after_ms: app.config().lease_ms / RENEWALS,
        membership: app.membership(&cluster, &body.place.hostname, Role::Scheduler).map_err(ApiError::internal)?,
        config: cluster.scheduler_cluster_config,
        seed_peer_config: cluster.seed_peer_cluster_config,
        peer_config: cluster.peer_cluster_config,
        applications: applications.into_iter().map(rule).collect(),
    }))
}

/// Register a seed peer, or renew its lease
#[utoipa::path(
    put,
    path = "/api/v1/leases/seed-peers",
    operation_id = "renew_seed_peer_lease",
    tag = "components",
    request_body = SeedPeerLeaseRequest,
    responses((status = 200, description = "The lease runs", body = SeedPeerLease), Problems)
)]
pub async fn renew_seed_peer_lease(
    State(app): State<App>,
    joiner: Joiner,
    Json(body): Json<SeedPeerLeaseRequest>,
) -> Result<Json<SeedPeerLease>, ApiError> {
    joiner.may_join(body.seed_peer_cluster_id, Role::SeedPeer, &body.place.hostname)?;
    let (id, _) = renew(&app, Kind::SeedPeer, &body.place, &body.url, body.seed_peer_cluster_id).await?;
    Ok(Json(SeedPeerLease { id, lease_ms: app.config().lease_ms, refresh_after_ms: app.config().lease_ms / RENEWALS }))
}

/// A scheduler leaves
#[utoipa::path(
    delete,
    path = "/api/v1/leases/schedulers/{id}",
    operation_id = "end_scheduler_lease",
    tag = "components",
    params(("id" = i64, Path, description = "The scheduler")),
    responses((status = 200, description = "Inactive from now on"), Problems)
)]
pub async fn end_scheduler_lease(State(app): State<App>, joiner: Joiner, Path(id): Path<i64>) -> Result<(), ApiError> {
    end(&app, &joiner, Kind::Scheduler, Role::Scheduler, id).await
}

/// A seed peer leaves
#[utoipa::path(
    delete,
    path = "/api/v1/leases/seed-peers/{id}",
    operation_id = "end_seed_peer_lease",
    tag = "components",
    params(("id" = i64, Path, description = "The seed peer")),
    responses((status = 200, description = "Inactive from now on"), Problems)
)]
pub async fn end_seed_peer_lease(State(app): State<App>, joiner: Joiner, Path(id): Path<i64>) -> Result<(), ApiError> {
    end(&app, &joiner, Kind::SeedPeer, Role::SeedPeer, id).await
}

async fn renew(app: &App, kind: Kind, place: &Place, url: &str, cluster_id: i64) -> Result<(i64, Cluster), ApiError> {
    check_place(place)?;
    let port = check_url(url)?;
    if kind == Kind::SeedPeer {
        check_daemon(place, port)?;
    }
    let cluster = app.db().cluster(cluster_id).await?;
    let now = now_ms();
    let until = now + app.config().lease().as_millis() as i64;
    let lease = Lease { kind, place, url: url.trim_end_matches('/'), port, cluster_id, now, until };
    let id = app.db().renew_lease(&lease).await?;
    app.lookout().changed().await;
    Ok((id, cluster))
}

async fn end(app: &App, joiner: &Joiner, kind: Kind, role: Role, id: i64) -> Result<(), ApiError> {
    let instance = app.db().instance(kind, id).await?;
    joiner.may_join(instance.cluster_id, role, instance.host_name())?;
    app.db().end_lease(kind, id).await?;
    app.lookout().changed().await;
    Ok(())
}
