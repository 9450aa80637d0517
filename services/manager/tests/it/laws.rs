//! What holds for every operation: it is for whom the document says, and fails in one way. How it is documented, `tests/contract`
//! says of all programs.

use df_api::manager::{CreateApplicationRequest, Scope};
use df_client::http_client;
use df_testkit::TestDatabase;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::running::{Running, new_token, on_every_database};

on_every_database! {
    strangers_are_refused_everywhere_but_where_it_says_so,
    everybody_may_what_the_document_says,
    what_is_not_there_fails_like_everything_else,
}

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
                path: path
                    .replace("{role}", "guest")
                    .replace('{', "")
                    .split('/')
                    .map(|part| part.strip_suffix("id}").map_or(part, |_| "1"))
                    .collect::<Vec<_>>()
                    .join("/"),
                text: text.clone(),
            });
        }
    }
    // What deletes comes after what reads.
    found.sort_by_key(|operation| operation.method != Method::GET);
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
fn who_may_call_is_told_by_schemes_there_are() {
    let document = serde_json::to_value(manager::openapi()).unwrap();
    for operation in operations() {
        let schemes = operation.text["security"].as_array().unwrap();
        for scheme in schemes.iter().flat_map(|one| one.as_object().unwrap().keys()) {
            assert!(document["components"]["securitySchemes"].get(scheme).is_some(), "{scheme}");
        }
    }
}

async fn strangers_are_refused_everywhere_but_where_it_says_so(database: TestDatabase) {
    let manager = Running::start(database).await;
    for operation in operations() {
        let public = operation.text["security"][0] == json!({});
        for bearer in [None, Some("made.up.token"), Some("dfp_made-up"), Some("")] {
            let answer = call(&manager, &operation, bearer).await;
            assert_eq!(answer.status() == 401, !public, "{} {bearer:?}", operation.id);
            if !public {
                assert_eq!(answer.headers()["content-type"], "application/problem+json");
                assert_eq!(answer.headers()["www-authenticate"], "Bearer");
            }
        }
    }
    let public: Vec<String> =
        operations().into_iter().filter(|one| one.text["security"][0] == json!({})).map(|one| one.id).collect();
    assert_eq!(public, ["get_ping", "get_jwks", "sign_in_with", "return_from", "sign_in", "sign_up"]);
}

/// Who calls, and by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Root,
    Guest,
    /// A token of root's that opens nothing.
    TokenWithoutScope,
    /// One of root's that opens everything it can.
    Token,
}

/// What is refused, and nothing of what is not: whether the rest fits is for the operation to say.
fn is_refused(who: Who, operation: &Operation) -> bool {
    let security = operation.text["security"].as_array().unwrap();
    if security[0] == json!({}) {
        return false;
    }
    let wanted = |scheme: &str| security.iter().find_map(|one| one[scheme].as_array());
    let Some(permissions) = wanted("user") else { return true };
    let reads = permissions.iter().all(|one| one.as_str().unwrap().ends_with(":read"));
    match who {
        Who::Root => false,
        Who::Guest => !reads,
        Who::TokenWithoutScope => true,
        Who::Token => wanted("personal_access_token").is_none(),
    }
}

async fn everybody_may_what_the_document_says(database: TestDatabase) {
    let manager = Running::start(database).await;
    manager.add_guest().await;
    let application = CreateApplicationRequest { name: "models".to_owned(), ..CreateApplicationRequest::default() };
    let root = manager.root().await;
    root.create_application(&application).await.unwrap();
    let token = async |name: &str, scopes: Vec<Scope>| {
        let made = root.create_personal_access_token(&new_token(name, scopes)).await;
        made.unwrap().token.unwrap()
    };
    let without = token("without", Vec::new()).await;
    let with = token("with", vec![Scope::Job, Scope::Cluster]).await;
    for who in [Who::TokenWithoutScope, Who::Token, Who::Guest, Who::Root] {
        for operation in operations() {
            let bearer = match who {
                // Each its own: some of the operations end a session.
                Who::Root => manager.token_of("root").await,
                Who::Guest => manager.token_of("guest").await,
                Who::TokenWithoutScope => without.clone(),
                Who::Token => with.clone(),
            };
            let id = &operation.id;
            let status = call(&manager, &operation, Some(&bearer)).await.status().as_u16();
            if is_refused(who, &operation) {
                let component = operation.text["security"][0].get("join_token").is_some();
                assert_eq!(status, if component { 401 } else { 403 }, "{id} for {who:?}");
            } else if operation.text["security"][0] == json!({}) {
                assert!(status < 500 && status != 401, "{id} for {who:?}: {status}");
            } else {
                assert!(![401, 403].contains(&status) && status < 500, "{id} for {who:?}: {status}");
            }
            if operation.method == Method::GET
                && operation.text["security"][0] != json!({})
                && !is_refused(who, &operation)
            {
                // Of some there is none; 1 is no bucket's name, and no task.
                let asks_schedulers = status == 400 && operation.path.contains("/persistent-cache-tasks");
                assert!([200, 404, 422].contains(&status) || asks_schedulers, "{id} for {who:?}: {status}");
            }
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
