//! Servers that do next to nothing, on the stack of ours: what our answers are measured against. A scheduler's takes the
//! same requests, and does not look into them; a manager's reads one row of SQLite. Programs of their own, so that they
//! can be kept to one core as ours are.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::{get, put};
use df_api::{PeerId, TaskId};
use df_http::extract::{Json, Path};
use df_http::{ApiError, layers, serve, telemetry};
use serde_json::json;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};

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

/// Until it is ended.
pub(crate) async fn serve_one_row(listen: SocketAddr) -> anyhow::Result<()> {
    let _telemetry = telemetry::init("nothing", false)?;
    let folder = tempfile::tempdir()?;
    let file = SqliteConnectOptions::new().filename(folder.path().join("rows.db")).create_if_missing(true);
    let pool =
        SqlitePoolOptions::new().max_connections(4).connect_with(file.journal_mode(SqliteJournalMode::Wal)).await?;
    sqlx::query("CREATE TABLE rows (id INTEGER PRIMARY KEY, name TEXT NOT NULL, bio TEXT NOT NULL)")
        .execute(&pool)
        .await?;
    for id in 1..=64 {
        sqlx::query("INSERT INTO rows VALUES (?, 'cluster', 'a row like others')").bind(id).execute(&pool).await?;
    }
    let listener = serve::bind(listen).await.with_context(|| format!("cannot listen at {listen}"))?;
    let router = Router::new().route("/rows/{id}", get(read_row)).fallback(async || "{}").with_state(pool);
    let router = layers::wear(router, "nothing");
    serve::serve(listener, router, serve::stop_on_signal()).await;
    Ok(())
}

async fn read_row(State(pool): State<SqlitePool>, Path(id): Path<i64>) -> Result<Json<serde_json::Value>, ApiError> {
    let row = sqlx::query_as("SELECT id, name, bio FROM rows WHERE id = ?").bind(id).fetch_one(&pool).await;
    let (id, name, bio): (i64, String, String) = row.map_err(ApiError::internal)?;
    Ok(Json(json!({ "id": id, "name": name, "bio": bio })))
}
