//! What holds for every operation of every program, so that a client written for one knows them all.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::Value;

use crate::document::{Document, Operation, documents};

/// Fails with every operation that breaks `law`, and what it says of it.
fn every_operation_keeps(law: impl Fn(&Operation) -> Option<String>) {
    let operations = documents().iter().flat_map(Document::operations).collect::<Vec<_>>();
    let lines = operations.iter().filter_map(|operation| Some(format!("{}: {}", operation.name, law(operation)?)));
    let broken: Vec<String> = lines.collect();
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn documents_are_openapi_3_1() {
    for document in documents() {
        let version = document.value()["openapi"].as_str().unwrap_or_default().to_owned();
        assert!(version.starts_with("3.1."), "{}: {version}", document.program);
        assert!(!document.operations().is_empty(), "{}: no operation", document.program);
    }
}

#[test]
fn every_operation_is_called_verb_noun_and_by_nothing_else() {
    let shape = Regex::new("^[a-z]+(_[a-z]+)+$").unwrap();
    every_operation_keeps(|operation| {
        (!shape.is_match(operation.id())).then(|| format!("operationId {:?}", operation.id()))
    });
    for document in documents() {
        let mut seen = BTreeSet::new();
        for operation in document.operations() {
            assert!(seen.insert(operation.id().to_owned()), "{}: {} is taken", operation.name, operation.id());
        }
    }
}

#[test]
fn every_operation_has_a_summary_and_one_tag() {
    every_operation_keeps(|operation| {
        let summary = operation.value["summary"].as_str().unwrap_or_default();
        if summary.is_empty() || summary.ends_with('.') {
            return Some(format!("summary {summary:?}: a line without a full stop"));
        }
        let tags = operation.value["tags"].as_array().map_or(0, Vec::len);
        (tags != 1).then(|| format!("{tags} tags"))
    });
}

/// Bytes have two: 206 for a range, 200 for all.
#[test]
fn every_operation_has_one_success() {
    every_operation_keeps(|operation| {
        let responses = operation.value["responses"].as_object()?;
        let good: Vec<&str> = responses.keys().map(String::as_str).filter(|status| status.starts_with('2')).collect();
        let sent_elsewhere = good.is_empty() && responses.contains_key("302");
        let one = good.len() == 1 || sent_elsewhere || good == ["200", "206"] && takes_a_range(operation);
        (!one).then(|| format!("successes {good:?}"))
    });
}

fn takes_a_range(operation: &Operation) -> bool {
    let parameters = operation.value["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    parameters
        .iter()
        .any(|one| one["in"] == "header" && one["name"].as_str().is_some_and(|name| name.eq_ignore_ascii_case("range")))
}

#[test]
fn every_operation_fails_with_the_one_problem() {
    every_operation_keeps(|operation| {
        let schema = &operation.value["responses"]["default"]["content"]["application/problem+json"]["schema"]["$ref"];
        (schema != "#/components/schemas/Problem").then(|| format!("its default response is {schema}"))
    });
    let problems: BTreeMap<String, &str> = documents()
        .iter()
        .map(|one| (one.value()["components"]["schemas"]["Problem"].to_string(), one.program))
        .collect();
    assert_eq!(problems.len(), 1, "programs disagree about Problem: {problems:?}");
}

#[test]
fn every_json_body_has_a_named_type() {
    every_operation_keeps(|operation| {
        let responses = operation.value["responses"].as_object().into_iter().flat_map(|all| all.values());
        let bodies = responses.chain([&operation.value["requestBody"]]);
        let mut contents = bodies.flat_map(|body| body["content"].as_object().into_iter().flatten());
        let (_, nameless) =
            contents.find(|(kind, content)| kind.contains("json") && is_anonymous(&content["schema"]))?;
        Some(format!("a body whose type has no name: {}", nameless["schema"]))
    });
}

/// An object without a name, or something made of one: a client would have to invent a type.
fn is_anonymous(schema: &Value) -> bool {
    if schema.get("$ref").is_some() {
        return false;
    }
    if schema["type"] == "array" {
        return is_anonymous(&schema["items"]);
    }
    let composed = ["oneOf", "anyOf", "allOf"].iter().any(|key| schema.get(key).is_some());
    composed || schema["type"] == "object" || schema.get("type").is_none()
}

#[test]
fn every_reference_leads_somewhere() {
    for document in documents() {
        let value = document.value();
        let mut left = vec![&value];
        while let Some(next) = left.pop() {
            if let Some(Value::String(to)) = next.get("$ref") {
                assert!(
                    value.pointer(to.trim_start_matches('#')).is_some(),
                    "{}: {to} leads nowhere",
                    document.program
                );
            }
            match next {
                Value::Array(values) => left.extend(values),
                Value::Object(fields) => left.extend(fields.values()),
                _ => {}
            }
        }
    }
}
