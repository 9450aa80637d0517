//! What a browser and a probe get.

use df_client::http_client;
use reqwest::Response;
use reqwest::header::ACCEPT;

use crate::running::{Running, SQLITE};

async fn get(manager: &Running, path: &str, accept: &str) -> Response {
    http_client().get(format!("{}{path}", manager.url)).header(ACCEPT, accept).send().await.unwrap()
}

#[tokio::test]
async fn the_front_page_is_the_console_or_says_how_to_get_it() {
    let manager = Running::start(SQLITE).await;
    for path in ["/", "/clusters/1"] {
        let page = get(&manager, path, "text/html").await;
        assert_eq!((page.status().as_u16(), &page.headers()["cache-control"]), (200, &"no-cache".parse().unwrap()));
        let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.contains("script-src 'self' 'wasm-unsafe-eval'") && policy.contains("frame-ancestors 'none'"));
        assert_eq!(page.headers()["x-content-type-options"], "nosniff");
        assert!(page.text().await.unwrap().contains("Dragonfly"));
    }
    assert_eq!(get(&manager, "/nothing.js", "*/*").await.status(), 404);
    assert_eq!(get(&manager, "/api/v1/nothing", "text/html").await.status(), 404);
}

#[tokio::test]
async fn probes_documents_and_metrics_answer() {
    let manager = Running::start(SQLITE).await;
    for path in ["/healthz", "/healthy", "/readyz", "/metrics", "/openapi.json", "/docs/"] {
        let answer = get(&manager, path, "*/*").await;
        assert_eq!(answer.status(), 200, "{path}");
    }
    let document: serde_json::Value = get(&manager, "/openapi.json", "*/*").await.json().await.unwrap();
    assert_eq!(document, serde_json::to_value(manager::openapi()).unwrap());
    // What people fetch is not kept by proxies in between.
    assert_eq!(get(&manager, "/api/v1/jwks", "*/*").await.headers()["cache-control"], "no-store");
}

#[tokio::test]
async fn a_manager_without_its_database_is_not_ready() {
    let manager = Running::start(SQLITE).await;
    let listener = df_http::serve::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let url = format!("http://{}/readyz", listener.local_addr().unwrap());
    let stop = tokio_util::sync::CancellationToken::new();
    let router = manager::router(&manager.app);
    // The first server closes the database when it stops; the second still listens.
    let manager = manager.restart(|_| ()).await;
    tokio::spawn(df_http::serve::serve(listener, router, stop.clone()));
    assert_eq!(http_client().get(&url).send().await.unwrap().status(), 503);
    assert_eq!(get(&manager, "/readyz", "*/*").await.status(), 200);
    stop.cancel();
}
