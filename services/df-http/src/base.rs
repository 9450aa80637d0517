//! What every server answers besides its own operations: health, metrics, and its own document.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::SwaggerUi;

use crate::ApiError;
use crate::telemetry::render_metrics;

/// Says why the server is not ready, or `Ok`.
pub type Ready = Arc<dyn Fn() -> futures_util::future::BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// `/healthz` (alive), `/healthy` (the incumbent's spelling), `/readyz`, `/metrics`, `/openapi.json`, and `/docs`: a page
/// that needs no network.
pub fn routes(document: OpenApi, ready: Ready) -> Router {
    Router::new()
        .route("/healthz", get(async || "OK"))
        .route("/healthy", get(async || "OK"))
        .route("/readyz", get(move || check(ready.clone())))
        .route("/metrics", get(async || ([(CONTENT_TYPE, "text/plain; version=0.0.4")], render_metrics())))
        .merge(SwaggerUi::new("/docs").url("/openapi.json", document))
}

/// For servers that are ready as soon as they listen.
pub fn always_ready() -> Ready {
    Arc::new(|| Box::pin(async { Ok(()) }))
}

async fn check(ready: Ready) -> Result<(StatusCode, &'static str), ApiError> {
    match ready().await {
        Ok(()) => Ok((StatusCode::OK, "OK")),
        Err(why) => Err(ApiError::new(df_api::Code::Unavailable, why)),
    }
}
