//! The one list of operations: the router and the OpenAPI document are both made from it.
//! **Invariant:** handler = operationId = client method; every operation has a summary, one 2xx and [`df_http::Problems`].

mod applications;
mod audits;
mod buckets;
mod clusters;
mod configs;
mod discovery;
mod job_leases;
mod jobs;
mod join_tokens;
mod leases;
mod oauth;
mod peers;
mod persistent_cache_tasks;
mod personal_access_tokens;
mod preheats;
mod roles;
mod scheduler_clusters;
mod schedulers;
mod seed_peer_clusters;
mod seed_peers;
mod sessions;
mod sign_in_with;
mod users;

use std::sync::Arc;

use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Router};
use df_api::manager::Permission;
use df_api::{Problem, TaskId};
use df_http::{ApiError, base, layers};
use http::header::{CACHE_CONTROL, HeaderValue};
use tower_http::csrf::{CsrfLayer, ProtectionError};
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi as _};
use utoipa_axum::routes;

use crate::access::{Guard, SESSION_COOKIE, authorize};
use crate::app::App;
use crate::console;
use crate::headers::add_headers;
use crate::operations::Operations;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Dragonfly manager",
        description = "One manager for all clusters. Errors are problem+json (RFC 9457) everywhere.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(Problem, TaskId)),
    modifiers(&Schemes),
    tags(
        (name = "accounts", description = "Signing in, users, roles, personal access tokens, the audit log"),
        (name = "clusters", description = "Clusters, the scopes by which they take peers, and their two parts"),
        (name = "fleet", description = "Schedulers, seed peers and peers, as people see them"),
        (name = "jobs", description = "What is asked of whole clusters: preheating, finding and deleting tasks"),
        (name = "settings", description = "How applications rank, and named values"),
        (name = "storage", description = "Buckets and objects of the configured storage"),
        (name = "components", description = "The components' own calls: leases, discovery, keys; and join tokens"),
        (name = "open", description = "The same for scripts that expect it under /oapi/v1"),
    )
)]
struct Document;

struct Schemes;

/// The document, as `manager openapi` prints it.
pub fn openapi() -> OpenApi {
    operations().finish().1
}

/// Everything the manager answers.
pub fn router(app: &App) -> Router {
    let (api, document, rules) = operations().finish();
    let no_store = HeaderValue::from_static("no-store");
    let permissions: Arc<[Permission]> = rules.permissions().into();
    let guard = Arc::new(Guard::new(app.clone(), rules));
    let api = api
        .with_state(app.clone())
        .layer(Extension(permissions))
        .route_layer(from_fn_with_state(guard, authorize))
        .layer(SetResponseHeaderLayer::if_not_present(CACHE_CONTROL, no_store))
        // Holders of a cookie only: programs send neither Sec-Fetch-Site nor Origin and pass.
        .layer(CsrfLayer::new().with_rejection_response(refuse_foreign_page));
    let all = api.merge(base::routes(document, ready(app))).merge(console::routes());
    layers::apply(all.layer(from_fn_with_state(app.config().https, add_headers)), "manager")
}

fn operations() -> Operations {
    let all = add_accounts(Operations::new(Document::openapi()));
    add_components(add_jobs(add_settings_and_storage(add_clusters_and_fleet(all))))
}

fn add_accounts(all: Operations) -> Operations {
    all.anyone(routes!(sessions::sign_in))
        .anyone(routes!(sign_in_with::sign_in_with))
        .returning(routes!(sign_in_with::return_from))
        .signed_in(routes!(sessions::sign_out))
        .signed_in(routes!(sessions::refresh_token))
        .signed_in(routes!(sessions::get_session))
        .maybe_signed_in(routes!(users::sign_up))
        .resource(routes!(users::list_users))
        .own(routes!(users::get_user, users::update_user))
        .own(routes!(users::reset_password))
        .own(routes!(users::list_user_roles))
        .resource(routes!(users::add_user_role, users::delete_user_role))
        .resource(routes!(roles::list_permissions))
        .resource(routes!(roles::list_roles, roles::create_role))
        .resource(routes!(roles::get_role, roles::delete_role))
        .resource(routes!(roles::add_permission, roles::delete_permission))
        .resource(routes!(
            personal_access_tokens::list_personal_access_tokens,
            personal_access_tokens::create_personal_access_token
        ))
        .resource(routes!(
            personal_access_tokens::get_personal_access_token,
            personal_access_tokens::update_personal_access_token,
            personal_access_tokens::delete_personal_access_token
        ))
        .resource(routes!(oauth::list_oauth, oauth::create_oauth))
        .resource(routes!(oauth::get_oauth, oauth::update_oauth, oauth::delete_oauth))
        .resource(routes!(audits::list_audits))
}

fn add_clusters_and_fleet(all: Operations) -> Operations {
    all.open(routes!(clusters::list_clusters, clusters::create_cluster))
        .open(routes!(clusters::get_cluster, clusters::update_cluster, clusters::delete_cluster))
        .resource(routes!(scheduler_clusters::list_scheduler_clusters, scheduler_clusters::create_scheduler_cluster))
        .resource(routes!(
            scheduler_clusters::get_scheduler_cluster,
            scheduler_clusters::update_scheduler_cluster,
            scheduler_clusters::delete_scheduler_cluster
        ))
        .resource(routes!(scheduler_clusters::add_scheduler))
        .resource(routes!(seed_peer_clusters::list_seed_peer_clusters, seed_peer_clusters::create_seed_peer_cluster))
        .resource(routes!(
            seed_peer_clusters::get_seed_peer_cluster,
            seed_peer_clusters::update_seed_peer_cluster,
            seed_peer_clusters::delete_seed_peer_cluster
        ))
        .resource(routes!(seed_peer_clusters::add_seed_peer))
        .resource(routes!(seed_peer_clusters::add_scheduler_cluster))
        .resource(routes!(schedulers::list_schedulers, schedulers::create_scheduler))
        .resource(routes!(schedulers::get_scheduler, schedulers::update_scheduler, schedulers::delete_scheduler))
        .resource(routes!(schedulers::list_scheduler_features))
        .resource(routes!(seed_peers::list_seed_peers, seed_peers::create_seed_peer))
        .resource(routes!(seed_peers::get_seed_peer, seed_peers::update_seed_peer, seed_peers::delete_seed_peer))
        .resource(routes!(peers::list_peers, peers::create_peer))
        .resource(routes!(peers::get_peer, peers::delete_peer))
}

fn add_settings_and_storage(all: Operations) -> Operations {
    all.resource(routes!(buckets::list_buckets, buckets::create_bucket))
        .resource(routes!(buckets::get_bucket, buckets::delete_bucket))
        .resource(routes!(buckets::list_objects))
        .resource(routes!(buckets::get_object, buckets::stat_object, buckets::put_object, buckets::delete_object))
        .resource(routes!(configs::list_configs, configs::create_config))
        .resource(routes!(configs::get_config, configs::update_config, configs::delete_config))
        .resource(routes!(applications::list_applications, applications::create_application))
        .resource(routes!(
            applications::get_application,
            applications::update_application,
            applications::delete_application
        ))
}

fn add_jobs(all: Operations) -> Operations {
    all.open(routes!(jobs::list_jobs, jobs::create_job))
        .open(routes!(jobs::get_job, jobs::update_job, jobs::delete_job))
        .open(routes!(jobs::cancel_job))
        .open(routes!(jobs::retry_job))
        .anyone(routes!(preheats::get_ping))
        .hook("jobs", routes!(preheats::create_preheat))
        .hook("jobs", routes!(preheats::get_preheat))
        .resource(routes!(persistent_cache_tasks::list_persistent_cache_tasks))
        .resource(routes!(
            persistent_cache_tasks::get_persistent_cache_task,
            persistent_cache_tasks::delete_persistent_cache_task
        ))
}

fn add_components(all: Operations) -> Operations {
    all.component(routes!(leases::renew_scheduler_lease))
        .component(routes!(leases::end_scheduler_lease))
        .component(routes!(leases::renew_seed_peer_lease))
        .component(routes!(leases::end_seed_peer_lease))
        .component(routes!(job_leases::sync_jobs))
        .component(routes!(job_leases::get_job_secrets))
        .component(routes!(discovery::discover_cluster))
        .anyone(routes!(discovery::get_jwks))
        .resource(routes!(join_tokens::list_join_tokens, join_tokens::create_join_token))
        .resource(routes!(join_tokens::delete_join_token))
}

fn refuse_foreign_page(_: ProtectionError) -> Response {
    ApiError::forbidden(
        "a page of another origin may not do this; when it was the console, the proxy before the manager must keep Host",
    )
    .into_response()
}

fn ready(app: &App) -> base::Ready {
    let db = app.db().clone();
    Arc::new(move || {
        let db = db.clone();
        Box::pin(async move {
            db.check().await.map_err(|error| {
                tracing::warn!(error = df_http::error::chain(&error), "not ready");
                error.to_string()
            })
        })
    })
}

impl Modify for Schemes {
    fn modify(&self, document: &mut OpenApi) {
        let bearer = |what: &str| {
            SecurityScheme::Http(Http::builder().scheme(HttpAuthScheme::Bearer).description(Some(what)).build())
        };
        let session = ApiKeyValue::with_description(SESSION_COOKIE, "Set by signing in; for browsers");
        let schemes = [
            ("user", bearer("The token that signing in answers; lists what a role of the user must permit")),
            ("personal_access_token", bearer("Made by a user, for the resources of its scopes")),
            ("session", SecurityScheme::ApiKey(ApiKey::Cookie(session))),
            ("join_token", bearer("Made by root; for the platform or for one cluster")),
            ("credential", bearer("A cluster credential that is still valid, for its own cluster")),
        ];
        let components = document.components.get_or_insert_default();
        for (name, scheme) in schemes {
            components.add_security_scheme(name, scheme);
        }
    }
}
