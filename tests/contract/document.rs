//! The documents as values: who has one, and its operations.

use std::path::PathBuf;

use serde_json::Value;

const METHODS: [&str; 7] = ["get", "put", "post", "patch", "delete", "head", "options"];

/// A document of a program, made from its handlers.
pub(crate) struct Document {
    pub(crate) program: &'static str,
    /// As it is committed: pretty JSON and a newline.
    pub(crate) text: String,
}

/// One operation of a document.
pub(crate) struct Operation {
    /// `GET /v1/hosts`, to name it in an error.
    pub(crate) name: String,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) value: Value,
}

/// Every document there is.
pub(crate) fn documents() -> [Document; 3] {
    let documents = [
        ("manager", manager::openapi().to_pretty_json()),
        ("scheduler", scheduler::openapi().to_pretty_json()),
        ("dfdaemon", dfdaemon::openapi().to_pretty_json()),
    ];
    documents.map(|(program, text)| Document { program, text: text.unwrap() + "\n" })
}

// === impl Document ===

impl Document {
    pub(crate) fn path(&self) -> PathBuf {
        tests::root().join("openapi").join(format!("{}.json", self.program))
    }

    pub(crate) fn value(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    pub(crate) fn operations(&self) -> Vec<Operation> {
        let document = self.value();
        let paths = document["paths"].as_object().unwrap();
        let all = paths.iter().flat_map(|(path, item)| {
            let methods = METHODS.iter().filter_map(|method| Some((*method, item.get(method)?)));
            methods.map(move |(method, value)| Operation {
                name: format!("{}: {} {path}", self.program, method.to_uppercase()),
                method: method.to_uppercase(),
                path: path.clone(),
                value: value.clone(),
            })
        });
        all.collect()
    }
}

// === impl Operation ===

impl Operation {
    pub(crate) fn id(&self) -> &str {
        self.value["operationId"].as_str().unwrap_or_default()
    }
}
