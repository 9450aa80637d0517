//! The span a layer is looked up by in Jaeger: `http.url` exactly as received, exported over OTLP/HTTP.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use df_testkit::process::Program;
use df_testkit::registry::RegistryAccess;
use df_testkit::{FakeRegistry, Image, Layer, free_port, until};
use parking_lot::Mutex;
use tokio::net::TcpListener;

const BOUND: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_mirrors_span_has_the_url_as_received_and_joins_the_callers_trace() {
    let exported: Arc<Mutex<Vec<u8>>> = Arc::default();
    let seen = exported.clone();
    let collector = Router::new().route(
        "/v1/traces",
        post(move |body: Bytes| {
            seen.lock().extend_from_slice(&body);
            async {}
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, collector).await });

    let registry = FakeRegistry::start(RegistryAccess::Open).await.unwrap();
    let image = Image::build(9, &[Layer::tar(1000)]).unwrap();
    registry.add("a/b", "v1", &image);
    let dir = tempfile::tempdir().unwrap();
    let port = free_port().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dfdaemon"));
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .env("DF_DFDAEMON__PROXY__LISTEN", format!("127.0.0.1:{port}"))
        .env("DF_DFDAEMON__UPLOAD__LISTEN", "127.0.0.1:0")
        .env("DF_DFDAEMON__STORAGE__DIR", dir.path().join("store"))
        .env("DF_DFDAEMON__UPSTREAM__ALLOW", format!("[\"{}\"]", registry.base_url()));
    let mut daemon = Program::start("dfdaemon", &mut command, &dir.path().join("log")).unwrap();
    daemon.wait_for_url(&format!("http://127.0.0.1:{port}/healthz"), BOUND).await.unwrap();

    let target = format!("/v2/a/b/blobs/{}?ns={}", image.layers[0].digest, registry.address());
    let trace_id = [0x4bu8, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36];
    let traceparent = format!("00-{}-00f067aa0ba902b7-01", trace_id.map(|b| format!("{b:02x}")).concat());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let pulled = http.get(format!("http://127.0.0.1:{port}{target}")).header("traceparent", &traceparent).send().await;
    assert_eq!(pulled.unwrap().status(), 200);

    let contains = |needle: &[u8]| exported.lock().windows(needle.len()).any(|window| window == needle);
    until("the span is exported", BOUND, async || {
        Ok((contains(target.as_bytes()) && contains(&trace_id)).then_some(()))
    })
    .await
    .unwrap();
    assert!(contains(b"http.url") && contains(b"dragonfly.task_id"));
    // The next hop is a child of the same trace.
    let blob = registry.blob_stats("a/b", &image.layers[0].digest);
    let carried = blob.headers.iter().filter_map(|headers| headers.get("traceparent")).next().unwrap();
    assert!(carried.to_str().unwrap().contains("4bf92f3577b34da6a3ce929d0e0e4736"));
}
