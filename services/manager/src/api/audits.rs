//! The audit log: who did what when.
//! **Invariant:** it can be read and not be changed.

use axum::extract::{OriginalUri, State};
use axum::response::IntoResponse;
use df_api::manager::{ActorType, Audit, AuditState, EventType};
use df_http::extract::{Json, Query};
use df_http::{ApiError, Problems};
use serde::Deserialize;

use crate::app::App;
use crate::db::Page;
use crate::db::audits::AuditFilter;
use crate::paging::PER_PAGE_DEFAULT;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListAudits {
    /// 1 is the first.
    #[param(minimum = 1)]
    page: Option<i64>,
    /// 1 to 1000; 10 when left out.
    #[param(minimum = 1, maximum = 1000)]
    per_page: Option<i64>,
    actor_type: Option<ActorType>,
    actor_name: Option<String>,
    /// There is one type so far.
    event_type: Option<EventType>,
    /// The HTTP method.
    operation: Option<String>,
    state: Option<AuditState>,
    path: Option<String>,
    status_code: Option<u16>,
}

/// List audits
///
/// The newest first, as long as the config `gc` keeps them, seven days unless changed; the `Link` header leads to the other pages.
#[utoipa::path(
    get,
    path = "/api/v1/audits",
    operation_id = "list_audits",
    tag = "accounts",
    params(ListAudits),
    responses((status = 200, description = "One page", body = Vec<Audit>), Problems)
)]
pub async fn list_audits(
    State(app): State<App>,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListAudits>,
) -> Result<impl IntoResponse, ApiError> {
    let page = Page::parse(query.page, query.per_page, PER_PAGE_DEFAULT)?;
    let ListAudits { actor_type, actor_name, event_type, operation, state, path, status_code, .. } = query;
    let _every = event_type;
    let filter = AuditFilter { actor_type, actor_name, operation, path, state, status_code };
    let listed = app.db().list_audits(&filter, page).await?;
    Ok((page.link(&uri, listed.total), Json(listed.items)))
}
