//! A value made to fit its schema: what the schema does not know is dropped and told, nulls that mean nothing go, what
//! is missing is filled in.
//!
//! Source: `k8s.io/apiextensions-apiserver/pkg/apiserver/schema/{pruning,defaulting}`.

use serde_json::Value;

use super::schema::Schema;

/// What every object and every embedded one has, whatever its schema says.
const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Drops what `schema` does not know below the root of an object; answers the paths of it.
pub(crate) fn prune(value: &mut Value, schema: &Schema) -> Vec<String> {
    let mut pruning = Pruning { path: String::new(), found: Vec::new() };
    pruning.visit(value, Some(schema), true);
    pruning.found.sort();
    pruning.found
}

struct Pruning {
    path: String,
    found: Vec<String>,
}

impl Pruning {
    fn visit(&mut self, value: &mut Value, schema: Option<&Schema>, root: bool) {
        let preserve = schema.is_some_and(|schema| schema.preserve);
        match value {
            Value::Object(members) => {
                members.retain(|key, member| {
                    if META.contains(&key.as_str()) && (root || schema.is_some_and(|schema| schema.embedded)) {
                        // That of the object itself is the decoder's.
                        if !root && key == "metadata" {
                            self.metadata(member);
                        }
                        return true;
                    }
                    let known = schema.and_then(|schema| {
                        schema
                            .properties
                            .get(key)
                            .map(Some)
                            .or_else(|| schema.additional.as_ref().map(|of| of.as_deref()))
                    });
                    let end = self.path.len();
                    if end > 0 {
                        self.path.push('.');
                    }
                    self.path.push_str(key);
                    match known {
                        Some(Some(below)) => self.visit(member, Some(below), false),
                        // `additionalProperties: true` says nothing of what is below: it is dropped there.
                        Some(None) if !preserve => self.visit(member, None, false),
                        None if !preserve && self.found.len() < crate::decode::PROBLEMS_MAX => {
                            self.found.push(self.path.clone());
                        }
                        Some(None) | None => {}
                    }
                    self.path.truncate(end);
                    known.is_some() || preserve
                });
            }
            Value::Array(items) => {
                let below = schema.and_then(|schema| schema.items.as_deref());
                if preserve && below.is_none() {
                    return;
                }
                for (index, item) in items.iter_mut().enumerate() {
                    let end = self.path.len();
                    let step = format!("[{index}]");
                    self.path.push_str(&step);
                    self.visit(item, below, false);
                    self.path.truncate(end);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

impl Pruning {
    /// The metadata of an embedded object: what no object has goes.
    fn metadata(&mut self, value: &mut Value) {
        let Value::Object(members) = value else { return };
        let (known, path, found) = (crate::schema::metadata_fields(), &self.path, &mut self.found);
        members.retain(|key, _| {
            let is_known = known.contains_key(key);
            if !is_known && found.len() < crate::decode::PROBLEMS_MAX {
                found.push(if path.is_empty() { format!("metadata.{key}") } else { format!("{path}.metadata.{key}") });
            }
            is_known
        });
    }
}

/// Drops nulls where none may be and none is filled in.
pub(crate) fn drop_nulls(value: &mut Value, schema: &Schema) {
    match value {
        Value::Object(members) => {
            members.retain(|key, member| {
                let Some(below) = schema.member(key) else { return true };
                if member.is_null() && !below.nullable && below.default.is_none() {
                    return false;
                }
                drop_nulls(member, below);
                true
            });
        }
        Value::Array(items) => {
            if let Some(below) = &schema.items {
                for item in items.iter_mut() {
                    drop_nulls(item, below);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Fills in what is missing.
pub(crate) fn default(value: &mut Value, schema: &Schema) {
    match value {
        Value::Object(members) => {
            for (key, below) in &schema.properties {
                if let Some(default) = &below.default
                    && members.get(key).is_none_or(|member| member.is_null() && !below.nullable)
                {
                    members.insert(key.clone(), default.clone());
                }
            }
            for (key, member) in members.iter_mut() {
                if let Some(below) = schema.member(key) {
                    fill(member, below);
                }
            }
        }
        Value::Array(items) => {
            if let Some(below) = &schema.items {
                for item in items.iter_mut() {
                    fill(item, below);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn fill(value: &mut Value, schema: &Schema) {
    if value.is_null()
        && !schema.nullable
        && let Some(filled) = &schema.default
    {
        *value = filled.clone();
    }
    default(value, schema);
}
