//! Who may call, what is refused, and how that is said.

use df_api::cluster::Role;
use df_api::{Code, Problem};
use reqwest::{Method, Response};
use scheduler::config::Join;
use tokio::time::timeout;

use crate::fake_manager::{FakeManager, JOIN_TOKEN};
use crate::{Running, SOON, client, host_report, peer_report, task};

pub async fn start_under(manager: &FakeManager, join: Join) -> Running {
    let scheduler = Running::start(|config| {
        config.manager.addr = Some(manager.url.clone());
        config.manager.scheduler_cluster_id = 2;
        config.manager.join_token = Some(JOIN_TOKEN.to_owned());
        config.join = join;
    })
    .await;
    timeout(SOON, async {
        // No pause: each round is a request that the server answers at its own pace.
        while !get(&scheduler, "/readyz").await.status().is_success() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it registers");
    scheduler
}

async fn get(scheduler: &Running, path: &str) -> Response {
    reqwest::get(format!("{}{path}", scheduler.url)).await.unwrap()
}

async fn put(scheduler: &Running, path: &str, body: &serde_json::Value) -> (u16, Problem) {
    let request = reqwest::Client::new().request(Method::PUT, format!("{}{path}", scheduler.url)).json(body);
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn only_holders_of_a_credential_of_the_cluster_may_call() {
    let manager = FakeManager::start().await;
    let scheduler = start_under(&manager, Join::Token).await;
    let status = async |bearer: Option<&str>| match client(&scheduler.url, bearer).list_hosts().await {
        Ok(_) => 200,
        Err(error) => error.status().unwrap(),
    };
    assert_eq!(status(None).await, 401);
    assert_eq!(status(Some("nonsense")).await, 401);
    assert_eq!(status(Some(&manager.credential(1, Role::Peer))).await, 403, "of another cluster");
    let forged = FakeManager::start().await.credential(2, Role::Peer);
    assert_eq!(status(Some(&forged)).await, 401, "signed by somebody else");
    assert_eq!(status(Some(&manager.credential(2, Role::Peer))).await, 200);
    assert_eq!(get(&scheduler, "/healthz").await.status(), 200, "probes need no credential");
}

#[tokio::test]
async fn a_closed_network_asks_nobody_for_a_credential() {
    let manager = FakeManager::start().await;
    let scheduler = start_under(&manager, Join::Open).await;
    assert_eq!(scheduler.client.list_hosts().await.unwrap(), []);
}

#[tokio::test]
async fn it_registers_with_the_port_it_listens_on_and_says_goodbye() {
    let manager = FakeManager::start().await;
    let mut scheduler = start_under(&manager, Join::Token).await;
    let request = manager.leases.lock()[0].clone();
    assert_eq!((request.url.as_str(), request.scheduler_cluster_id), (scheduler.url.as_str(), 2));
    scheduler.stop().await;
    assert_eq!(*manager.ended.lock(), [7]);
}

#[tokio::test]
async fn without_its_manager_it_is_not_ready_and_nobody_is_a_member() {
    let scheduler = Running::start(|config| config.manager.addr = Some("127.0.0.1:1".to_owned())).await;
    assert_eq!(get(&scheduler, "/readyz").await.status(), 503);
    assert_eq!(scheduler.client.list_hosts().await.unwrap_err().status(), Some(503));
    let alone = Running::start(|_| {}).await;
    assert_eq!(get(&alone, "/readyz").await.status(), 200);
}

#[tokio::test]
async fn a_malformed_id_is_named() {
    let scheduler = Running::start(|_| {}).await;
    let host = serde_json::to_value(host_report("a")).unwrap();
    let (status, problem) = put(&scheduler, "/v1/hosts/a%20b", &host).await;
    assert_eq!((status, problem.code), (400, Code::InvalidRequest));
    assert!(problem.detail.contains("a b"), "{}", problem.detail);
    let peer = serde_json::to_value(peer_report("a")).unwrap();
    let (status, problem) = put(&scheduler, "/v1/tasks/XYZ/peers/a", &peer).await;
    assert_eq!(status, 400);
    assert!(problem.detail.contains("XYZ"), "{}", problem.detail);
    assert_eq!(get(&scheduler, "/v1/tasks/XYZ").await.status(), 400);
    assert_eq!(get(&scheduler, &format!("/v1/tasks/{}", task())).await.status(), 404);
}

#[tokio::test]
async fn a_wrong_field_is_named() {
    let scheduler = Running::start(|_| {}).await;
    let peer = serde_json::to_value(peer_report("a")).unwrap();
    let host = serde_json::to_value(host_report("a")).unwrap();
    let peers = format!("/v1/tasks/{}/peers", task());
    let with = |value: &serde_json::Value, field: &str, new: serde_json::Value| {
        let mut value = value.clone();
        *value.pointer_mut(field).unwrap() = new;
        value
    };
    let complaint = serde_json::json!({"peer_id": "b", "reason": "silent"});
    let cases = [
        (format!("{peers}/b"), peer.clone(), "host_id"),
        (format!("{peers}/a"), with(&peer, "/origin/url", "ftp://x".into()), "origin.url"),
        (format!("{peers}/a"), with(&peer, "/origin/url", "http://me:secret@x/".into()), "origin.url"),
        (
            format!("{peers}/a"),
            with(&peer, "/origin", serde_json::json!({"url": "http://x", "authorization": "Basic eDp5"})),
            "origin.authorization",
        ),
        (format!("{peers}/a"), with(&peer, "/state", "asleep".into()), "asleep"),
        ("/v1/hosts/a".to_owned(), with(&host, "/url", "a:4001".into()), "url"),
        (format!("{peers}/a"), with(&peer, "/complaints", serde_json::json!(vec![complaint; 1_001])), "complaints"),
    ];
    for (path, body, named) in cases {
        let (status, problem) = put(&scheduler, &path, &body).await;
        assert_eq!(status, 422, "{named}");
        assert!(problem.detail.contains(named), "{}", problem.detail);
        assert!(!problem.detail.contains("secret"), "{}", problem.detail);
    }
}
