//! Laws of the OpenAPI document.

use std::collections::BTreeSet;

use serde_json::Value;

fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let methods = ["get", "put", "post", "patch", "delete"];
    let all = paths.iter().flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, operation)| (format!("{method} {path}"), method, operation))
    });
    all.filter(|(_, method, _)| methods.contains(&method.as_str())).map(|(name, _, op)| (name, op)).collect()
}

#[test]
fn every_operation_has_a_name_a_summary_and_the_one_error_body() {
    let document = serde_json::to_value(scheduler::openapi()).unwrap();
    let mut ids = BTreeSet::new();
    for (name, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{name} has no operationId"));
        assert!(ids.insert(id), "{id} twice");
        let summary = operation["summary"].as_str().unwrap_or_default();
        assert!(!summary.is_empty() && !summary.ends_with('.'), "{name}: summary {summary:?}");
        assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{name}");
        let problem = &operation["responses"]["default"]["content"]["application/problem+json"]["schema"]["$ref"];
        assert_eq!(problem, "#/components/schemas/Problem", "{name}");
    }
    let expected = [
        "delete_host",
        "delete_peer",
        "get_task",
        "list_hosts",
        "report_duty",
        "report_host",
        "report_peer",
        "report_peers",
    ];
    assert_eq!(ids.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn every_reference_leads_somewhere() {
    let document = serde_json::to_value(scheduler::openapi()).unwrap();
    let mut next = vec![&document];
    while let Some(value) = next.pop() {
        match value {
            Value::Array(values) => next.extend(values),
            Value::Object(fields) => {
                if let Some(Value::String(to)) = fields.get("$ref") {
                    assert!(document.pointer(to.trim_start_matches('#')).is_some(), "{to} leads nowhere");
                }
                next.extend(fields.values());
            }
            _ => {}
        }
    }
}
