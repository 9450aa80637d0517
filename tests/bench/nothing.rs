//! A server that does nothing, on the stack of a scheduler: it takes the same requests, and does not look into them. What a
//! scheduler's answers are measured against. A program of its own, so that it can be kept to one core as the scheduler is.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::routing::put;
use df_api::{PeerId, TaskId};
use df_http::extract::Path;
use df_http::{layers, serve, telemetry};

/// A scheduler's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Until it is ended.
pub(crate) async fn serve_nothing(listen: SocketAddr) -> anyhow::Result<()> {
    let _telemetry = telemetry::init("nothing", false)?;
    let listener = serve::bind(listen).await.with_context(|| format!("cannot listen at {listen}"))?;
    let report_peer = put(async |_: Path<(TaskId, PeerId)>, _: Bytes| "{}");
    let router = Router::new().route("/v1/tasks/{task_id}/peers/{peer_id}", report_peer).fallback(async || "{}");
    let router = layers::wear(router, "nothing");
    serve::serve(listener, router, serve::stop_on_signal()).await;
    Ok(())
}
