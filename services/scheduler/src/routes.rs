//! Every operation of the scheduler, in one list.

use axum::Router;
use axum::middleware::from_fn_with_state;
use df_api::Problem;
use df_http::credential::{CredentialScheme, require_member};
use df_http::{base, layers};
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::api::{hosts, tasks};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Dragonfly scheduler",
        description = "Who holds what in one cluster, and the right parents at once. Every operation takes the whole \
                       state and may be repeated.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "hosts", description = "Machines that run dfdaemon"),
        (name = "tasks", description = "Contents, and who takes part in getting them")
    ),
    components(schemas(Problem)),
    security(("credential" = [])),
    modifiers(&CredentialScheme)
)]
struct Document;

fn operations() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(hosts::list_hosts))
        .routes(routes!(hosts::report_host, hosts::delete_host))
        .routes(routes!(hosts::report_duty))
        .routes(routes!(tasks::report_peers))
        .routes(routes!(tasks::get_task))
        .routes(routes!(tasks::report_peer, tasks::delete_peer))
}

pub fn openapi() -> utoipa::openapi::OpenApi {
    operations().split_for_parts().1
}

pub fn router(app: App) -> Router {
    let (operations, document) = operations().split_for_parts();
    let members_only = operations.route_layer(from_fn_with_state(app.gate().clone(), require_member));
    let ready = app.ready();
    layers::apply(members_only.with_state(app).merge(base::routes(document, ready)), "scheduler")
}
