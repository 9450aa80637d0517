//! What holds for every operation: documented, refused to strangers, failing in one way.

use std::collections::BTreeSet;

use df_api::manager::CreateApplicationRequest;
use df_client::http_client;
use df_testkit::TestDatabase;
use reqwest::{Method, Response};
use serde_json::Value;

use crate::running::{Running, on_every_database};

on_every_database! {
    strangers_are_refused_everywhere_but_where_it_says_so,
    guests_only_read,
    what_is_not_there_fails_like_everything_else,
}

const PUBLIC: [&str; 2] = ["get_jwks", "sign_in"];

/// Guests may do these; the rest takes root.
const READING: [&str; 8] = [
    "sign_out",
    "get_session",
    "list_applications",
    "get_application",
    "list_clusters",
    "get_cluster",
    "list_schedulers",
    "list_seed_peers",
];

struct Operation {
    id: String,
    method: Method,
    path: String,
    text: Value,
}

fn operations() -> Vec<Operation> {
    let document = serde_json::to_value(manager::openapi()).unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, text) in item.as_object().unwrap() {
            found.push(Operation {
                id: text["operationId"].as_str().unwrap_or_default().to_owned(),
                method: method.to_uppercase().parse().unwrap(),
                path: path.replace("{id}", "1"),
                text: text.clone(),
            });
        }
    }
    found
}

async fn call(manager: &Running, operation: &Operation, bearer: Option<&str>) -> Response {
    let mut request = http_client().request(operation.method.clone(), format!("{}{}", manager.url, operation.path));
    if let Some(token) = bearer {
        request = request.bearer_auth(token);
    }
    request.header("content-type", "application/json").body("{}").send().await.unwrap()
}

#[test]
fn every_operation_is_documented_in_one_way() {
    let all = operations();
    let ids: BTreeSet<&str> = all.iter().map(|operation| operation.id.as_str()).collect();
    assert_eq!(ids.len(), all.len(), "ids are unique");
    for Operation { id, text, .. } in &all {
        assert!(id.contains('_') && id.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{id}");
        assert!(text["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{id} has no summary");
        assert_eq!(text["tags"].as_array().map(Vec::len), Some(1), "{id}");
        let responses = text["responses"].as_object().unwrap();
        let good = responses.keys().filter(|status| status.starts_with('2')).count();
        // Who may have the latest already is told so by 304.
        let unchanged = usize::from(responses.contains_key("304"));
        assert_eq!((good, responses.len()), (1, 2 + unchanged), "{id}");
        let problem = &responses["default"]["content"]["application/problem+json"]["schema"]["$ref"];
        assert_eq!(problem, "#/components/schemas/Problem", "{id}");
    }
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    let document = serde_json::to_value(manager::openapi()).unwrap();
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
    for operation in operations() {
        for scheme in
            operation.text["security"].as_array().unwrap().iter().flat_map(|one| one.as_object().unwrap().keys())
        {
            assert!(document["components"]["securitySchemes"].get(scheme).is_some(), "{scheme}");
        }
    }
}

async fn strangers_are_refused_everywhere_but_where_it_says_so(database: TestDatabase) {
    let manager = Running::start(database).await;
    for operation in operations() {
        let public = PUBLIC.contains(&operation.id.as_str());
        let documented = operation.text["security"] == serde_json::json!([{}]);
        assert_eq!(public, documented, "{}", operation.id);
        for bearer in [None, Some("made.up.token"), Some("")] {
            let answer = call(&manager, &operation, bearer).await;
            assert_eq!(answer.status() == 401, !public, "{} {bearer:?}", operation.id);
            if !public {
                assert_eq!(answer.headers()["content-type"], "application/problem+json");
                assert_eq!(answer.headers()["www-authenticate"], "Bearer");
            }
        }
    }
}

async fn guests_only_read(database: TestDatabase) {
    let manager = Running::start(database).await;
    manager.add_guest().await;
    let application = CreateApplicationRequest { name: "models".to_owned(), ..CreateApplicationRequest::default() };
    manager.root().await.create_application(&application).await.unwrap();
    for operation in operations().iter().filter(|operation| !PUBLIC.contains(&operation.id.as_str())) {
        let token = manager.token_of("guest").await;
        let status = call(&manager, operation, Some(&token)).await.status().as_u16();
        let for_users = operation.text["security"][0].get("user").is_some();
        match (for_users, READING.contains(&operation.id.as_str())) {
            (true, true) => assert!((200..300).contains(&status), "{} {status}", operation.id),
            (true, false) => assert_eq!(status, 403, "{}", operation.id),
            (false, _) => assert_eq!(status, 401, "{}", operation.id),
        }
    }
}

async fn what_is_not_there_fails_like_everything_else(database: TestDatabase) {
    let manager = Running::start(database).await;
    for (method, path, status) in [
        (Method::GET, "/api/v1/nothing", 404),
        (Method::POST, "/nothing", 404),
        (Method::PUT, "/api/v1/clusters", 405),
        (Method::GET, "/api/v1/discovery", 405),
    ] {
        let answer = http_client().request(method, format!("{}{path}", manager.url)).send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{path}");
        let problem: df_api::Problem = answer.json().await.unwrap();
        assert_eq!((problem.status, problem.request_id.is_some()), (status, true));
    }
}
