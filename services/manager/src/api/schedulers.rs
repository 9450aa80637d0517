//! Schedulers, as people see them: who holds a lease, and who is expected to.
//! **Invariant:** active is who renews a lease, whatever is written here.

use axum::extract::{OriginalUri, State};
use axum::response::IntoResponse;
use df_api::cluster::Place;
use df_api::manager::{CreateSchedulerRequest, Feature, InstanceState, Scheduler, UpdateSchedulerRequest};
use df_http::extract::{Json, Path, Query};
use df_http::{ApiError, Problems};
use serde::Deserialize;

use crate::app::App;
use crate::check_cluster::Refused;
use crate::check_place::{check_place, expected_url};
use crate::db::instances::{Expected, InstanceChange, InstanceFilter, Kind};
use crate::db::{Page, now_ms};
use crate::paging::PER_PAGE_WHOLE;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListSchedulers {
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
    scheduler_cluster_id: Option<i64>,
}

/// List schedulers
///
/// By id. Those gone for more than half an hour are forgotten.
#[utoipa::path(
    get,
    path = "/api/v1/schedulers",
    operation_id = "list_schedulers",
    tag = "fleet",
    params(ListSchedulers),
    responses((status = 200, description = "One page", body = Vec<Scheduler>), Problems)
)]
pub async fn list_schedulers(
    State(app): State<App>,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListSchedulers>,
) -> Result<impl IntoResponse, ApiError> {
    let page = Page::parse(query.page, query.per_page, PER_PAGE_WHOLE)?;
    let ListSchedulers { state, host_name, ip, port, idc, location, scheduler_cluster_id: cluster_id, .. } = query;
    let filter = InstanceFilter { state, host_name, ip, port, idc, location, cluster_id };
    let now = now_ms();
    let listed = app.db().list_instances(Kind::Scheduler, &filter, page, now).await?;
    let schedulers: Vec<Scheduler> = listed.items.into_iter().map(|row| row.into_scheduler(now)).collect();
    Ok((page.link(&uri, listed.total), Json(schedulers)))
}

/// Expect a scheduler
///
/// It is inactive until it renews a lease itself, and forgotten when it does not within half an hour.
#[utoipa::path(
    post,
    path = "/api/v1/schedulers",
    operation_id = "create_scheduler",
    tag = "fleet",
    request_body = CreateSchedulerRequest,
    responses((status = 200, description = "Expected", body = Scheduler), Problems)
)]
pub async fn create_scheduler(
    State(app): State<App>,
    Json(body): Json<CreateSchedulerRequest>,
) -> Result<Json<Scheduler>, ApiError> {
    let CreateSchedulerRequest { host_name, ip, port, scheduler_cluster_id, idc, location, features } = body;
    let place = Place { hostname: host_name, ip, idc, location };
    check_place(&place)?;
    let features = features.unwrap_or_else(|| Feature::ALL.to_vec());
    check_features(&features)?;
    let cluster_id = app.db().cluster(scheduler_cluster_id).await?.id;
    let (url, now) = (expected_url(&place.ip, port)?, now_ms());
    let expected =
        Expected { kind: Kind::Scheduler, place: &place, url: &url, port, cluster_id, features: &features, now };
    let scheduler = app.db().create_instance(&expected).await?.into_scheduler(now);
    tracing::info!(scheduler = scheduler.id, host_name = scheduler.host_name, "a scheduler is expected");
    Ok(Json(scheduler))
}

/// Get a scheduler
#[utoipa::path(
    get,
    path = "/api/v1/schedulers/{id}",
    operation_id = "get_scheduler",
    tag = "fleet",
    params(("id" = i64, Path, description = "The scheduler")),
    responses((status = 200, description = "The scheduler", body = Scheduler), Problems)
)]
pub async fn get_scheduler(State(app): State<App>, Path(id): Path<i64>) -> Result<Json<Scheduler>, ApiError> {
    Ok(Json(app.db().instance(Kind::Scheduler, id).await?.into_scheduler(now_ms())))
}

/// Change a scheduler
///
/// Only what is present changes. Without the feature `schedule` peers are not sent to it.
#[utoipa::path(
    patch,
    path = "/api/v1/schedulers/{id}",
    operation_id = "update_scheduler",
    tag = "fleet",
    params(("id" = i64, Path, description = "The scheduler")),
    request_body = UpdateSchedulerRequest,
    responses((status = 200, description = "As it is now", body = Scheduler), Problems)
)]
pub async fn update_scheduler(
    State(app): State<App>,
    Path(id): Path<i64>,
    Json(body): Json<UpdateSchedulerRequest>,
) -> Result<Json<Scheduler>, ApiError> {
    let UpdateSchedulerRequest { idc, location, features } = body;
    check_features(features.as_deref().unwrap_or_default())?;
    let change = InstanceChange { idc, location, features };
    let now = now_ms();
    let scheduler = app.db().update_instance(Kind::Scheduler, id, change, now, check_place).await?;
    app.lookout().changed().await;
    tracing::info!(scheduler = id, "a scheduler was changed");
    Ok(Json(scheduler.into_scheduler(now)))
}

/// Delete a scheduler
///
/// One that is active is to be stopped first.
#[utoipa::path(
    delete,
    path = "/api/v1/schedulers/{id}",
    operation_id = "delete_scheduler",
    tag = "fleet",
    params(("id" = i64, Path, description = "The scheduler")),
    responses((status = 200, description = "Deleted"), Problems)
)]
pub async fn delete_scheduler(State(app): State<App>, Path(id): Path<i64>) -> Result<(), ApiError> {
    app.db().delete_instance(Kind::Scheduler, id, now_ms()).await?;
    tracing::info!(scheduler = id, "a scheduler was deleted");
    Ok(())
}

/// List what schedulers can be used for
#[utoipa::path(
    get,
    path = "/api/v1/scheduler-features",
    operation_id = "list_scheduler_features",
    tag = "fleet",
    responses((status = 200, description = "All there are", body = Vec<Feature>), Problems)
)]
pub async fn list_scheduler_features() -> Json<[Feature; 2]> {
    Json(Feature::ALL)
}

fn check_features(features: &[Feature]) -> Result<(), Refused> {
    let twice = |feature: &Feature| features.iter().filter(|other| *other == feature).count() > 1;
    match features.iter().find(|feature| twice(feature)) {
        Some(feature) => Err(Refused::new("features", format!("{feature:?}"), "is listed twice".to_owned())),
        None => Ok(()),
    }
}
