//! OpenAPI 2.0: one document for everything, which older clients read.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::operations::{self, Operation, Parameter};
use super::schemas::{self, Dialect};
use crate::discovery;
use crate::kind::Kind;

/// In which forms objects are answered.
const ANSWERS: [&str; 2] = ["application/json", "application/yaml"];

/// The document of these kinds.
pub fn document(kinds: &[&'static Kind]) -> Value {
    let definitions = schemas::of(kinds, Dialect::V2);
    let mut paths = Map::new();
    for path in kinds.iter().flat_map(|kind| operations::of(kind)) {
        let mut entry = Map::new();
        for operation in &path.operations {
            entry.insert(operation.method.to_owned(), written(operation, &definitions));
        }
        entry.insert("parameters".to_owned(), path.parameters.iter().map(parameter).collect());
        paths.insert(path.address, entry.into());
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": discovery::git_version()},
        "paths": paths,
        "definitions": definitions,
    })
}

fn written(operation: &Operation, definitions: &BTreeMap<String, Value>) -> Value {
    let mut parameters: Vec<Value> = operation.parameters.iter().map(parameter).collect();
    let mut consumes = vec!["*/*"];
    if let Some(body) = operation.body.as_ref().filter(|body| definitions.contains_key(&body.schema)) {
        consumes.clone_from(&body.types);
        let mut entry = json!({"name": "body", "in": "body", "schema": reference(&body.schema)});
        if body.required {
            entry["required"] = true.into();
        }
        parameters.insert(0, entry);
    }
    let answer = match operation.answer.as_ref().filter(|name| definitions.contains_key(*name)) {
        Some(name) => json!({"description": "OK", "schema": reference(name)}),
        None => json!({"description": "OK", "schema": {"type": "string"}}),
    };
    json!({
        "description": operation.description,
        "operationId": operation.id,
        "tags": [operation.tag],
        "schemes": ["https"],
        "consumes": consumes,
        "produces": ANSWERS,
        "parameters": parameters,
        "responses": {"200": answer, "401": {"description": "Unauthorized"}},
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": operation.group_version_kind,
    })
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/definitions/{name}")})
}

fn parameter(parameter: &Parameter) -> Value {
    let mut entry = json!({
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "type": parameter.kind,
        "uniqueItems": true,
    });
    if parameter.place == "path" {
        entry["required"] = true.into();
    }
    entry
}
