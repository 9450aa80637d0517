//! A server that does nothing, on the stack of all our servers: what a scheduler's answers are measured against. A
//! program of its own, so that it can be kept to one core as the scheduler is.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::Router;
use df_http::{layers, serve, telemetry};

/// Until it is ended.
pub(crate) async fn serve_nothing(listen: SocketAddr) -> anyhow::Result<()> {
    let _telemetry = telemetry::init("nothing", false)?;
    let listener = serve::bind(listen).await.with_context(|| format!("cannot listen at {listen}"))?;
    let router = layers::wear(Router::new().fallback(async || "{}"), "nothing");
    serve::serve(listener, router, serve::stop_on_signal()).await;
    Ok(())
}
