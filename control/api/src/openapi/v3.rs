//! OpenAPI 3.0: one document a group and version.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::operations::{self, Operation, Parameter};
use super::schemas::{self, Dialect, component};
use crate::discovery;
use crate::kind::Kind;

/// In which forms objects are answered.
const ANSWERS: [&str; 2] = ["application/json", "application/yaml"];

/// The document of `kinds`, which are of one group and version.
pub fn document(kinds: &[&'static Kind]) -> Value {
    let components = schemas::of(kinds, Dialect::V3);
    let mut paths = Map::new();
    for path in kinds.iter().flat_map(|kind| operations::of(kind)) {
        let mut entry = Map::new();
        for operation in &path.operations {
            entry.insert(operation.method.to_owned(), written(operation, &components));
        }
        entry.insert("parameters".to_owned(), path.parameters.iter().map(parameter).collect());
        paths.insert(path.address, entry.into());
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": discovery::git_version()},
        "paths": paths,
        "components": {"schemas": components},
    })
}

fn written(operation: &Operation, components: &BTreeMap<String, Value>) -> Value {
    let mut entry = json!({
        "description": operation.description,
        "operationId": operation.id,
        "tags": [operation.tag],
        "parameters": operation.parameters.iter().map(parameter).collect::<Vec<_>>(),
        "responses": responses(operation, components),
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": operation.group_version_kind,
    });
    if let Some(body) = operation.body.as_ref().filter(|body| components.contains_key(&body.schema)) {
        let content: Map<String, Value> =
            body.types.iter().map(|media| ((*media).to_owned(), reference(&body.schema))).collect();
        entry["requestBody"] = json!({"content": content, "required": body.required});
    }
    entry
}

fn responses(operation: &Operation, components: &BTreeMap<String, Value>) -> Value {
    let content: Map<String, Value> = match operation.answer.as_ref().filter(|name| components.contains_key(*name)) {
        Some(name) => ANSWERS.iter().map(|media| ((*media).to_owned(), reference(name))).collect(),
        None => [("*/*".to_owned(), json!({"schema": {"type": "string"}}))].into_iter().collect(),
    };
    let mut found = json!({
        "200": {"description": "OK", "content": content},
        "401": {"description": "Unauthorized"},
    });
    if matches!(operation.action, "post" | "put" | "patch") {
        found["201"] = json!({"description": "Created", "content": content});
    }
    found
}

fn reference(name: &str) -> Value {
    json!({"schema": {"$ref": component(name)}})
}

fn parameter(parameter: &Parameter) -> Value {
    let mut entry = json!({
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "schema": {"type": parameter.kind, "uniqueItems": true},
    });
    if parameter.place == "path" {
        entry["required"] = true.into();
    }
    entry
}
