//! The types of documents: what `k8s-openapi` knows of them, written as Kubernetes writes its documents.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::{authentication, autoscaling, core, policy};
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::{META, definition_name, enums, group_version_kind};
use crate::custom::Custom;
use crate::json;
use crate::kind::{Kind, Serving};
use crate::schema::{Facts, ListType, MapType, facts};

/// Where references point to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `#/definitions/…`.
    V2,
    /// `#/components/schemas/…`.
    V3,
}

/// Every type that these kinds and their options are made of, by name.
pub(super) fn of(kinds: &[&'static Kind], dialect: Dialect) -> BTreeMap<String, Value> {
    let mut generator = SchemaGenerator::default();
    let mut found = BTreeMap::new();
    shared(&mut generator);
    for kind in kinds {
        let name = definition_name(kind.group, kind.version, kind.kind);
        let mut schema = match kind.rules.published {
            Some(published) => custom(published, dialect),
            None => (kind.rules.schema)(&mut generator).to_value(),
        };
        tag(&mut schema, kind, kind.kind);
        if let Some(fields) = kind.custom.map(Custom::selectable).filter(|fields| !fields.is_empty()) {
            let fields = fields.into_iter().map(|field| json!({"fieldPath": field}));
            json::set(&mut schema, "x-kubernetes-selectable-fields", fields.collect::<Vec<_>>());
        }
        // Clients may leave it out: `generateName` and reviews do.
        if let Some(Value::Array(required)) = schema.get_mut("required") {
            required.retain(|field| field != "metadata");
        }
        if kind.serving != Serving::Asked {
            found.insert(format!("{name}List"), list(kind, &name));
        }
        found.insert(name, schema);
    }
    for (name, schema) in generator.take_definitions(true) {
        found.entry(name).or_insert(schema);
    }
    for (name, group, version, kind) in OWN_KINDS {
        if let Some(schema) = found.get_mut(*name) {
            json::set(schema, "x-kubernetes-group-version-kind", json!([group_version_kind(group, version, kind)]));
        }
    }
    let facts = facts();
    for (name, schema) in &mut found {
        declare(name, schema, &facts);
        enums::declare(name, schema);
        *schema = written(name, std::mem::take(schema), dialect);
    }
    found
}

/// Adds what is declared about a struct and its fields besides their types.
fn declare(name: &str, schema: &mut Value, facts: &HashMap<(&'static str, &'static str), Facts>) {
    if let Some(own) = facts.get(&(name, "")) {
        extend(schema, own);
    }
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
    for (field, schema) in properties {
        if let Some(facts) = facts.get(&(name, field.as_str())) {
            extend(schema, facts);
        }
    }
}

fn extend(schema: &mut Value, facts: &Facts) {
    let mut put = |key: &str, value: Value| json::set(schema, key, value);
    match facts.map_type {
        Some(MapType::Atomic) => put("x-kubernetes-map-type", "atomic".into()),
        Some(MapType::Granular) => put("x-kubernetes-map-type", "granular".into()),
        None => {}
    }
    match &facts.list_type {
        Some(ListType::Atomic) => put("x-kubernetes-list-type", "atomic".into()),
        Some(ListType::Set) => put("x-kubernetes-list-type", "set".into()),
        Some(ListType::Map(keys)) => {
            put("x-kubernetes-list-type", "map".into());
            put("x-kubernetes-list-map-keys", keys.clone().into());
        }
        None => {}
    }
    for (key, text) in
        [("x-kubernetes-patch-strategy", facts.patch_strategy), ("x-kubernetes-patch-merge-key", facts.patch_merge_key)]
    {
        if !text.is_empty() {
            put(key, text.into());
        }
    }
    if let Some(default) = &facts.default {
        put("default", default.clone());
    }
}

/// Kinds that are no rows of the table: name, group, version, kind.
const OWN_KINDS: &[(&str, &str, &str, &str)] = &[
    ("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions", "", "v1", "DeleteOptions"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Status", "", "v1", "Status"),
    ("io.k8s.api.autoscaling.v1.Scale", "autoscaling", "v1", "Scale"),
    ("io.k8s.api.policy.v1.Eviction", "policy", "v1", "Eviction"),
    ("io.k8s.api.core.v1.Binding", "", "v1", "Binding"),
    ("io.k8s.api.authentication.v1.TokenRequest", "authentication.k8s.io", "v1", "TokenRequest"),
];

/// Types that operations name though no kind is made of them.
fn shared(generator: &mut SchemaGenerator) {
    fn add<T: JsonSchema>(generator: &mut SchemaGenerator) {
        generator.subschema_for::<T>();
    }
    add::<meta::ObjectMeta>(generator);
    add::<meta::ListMeta>(generator);
    add::<meta::DeleteOptions>(generator);
    add::<meta::Patch>(generator);
    add::<meta::Status>(generator);
    add::<autoscaling::v1::Scale>(generator);
    add::<policy::v1::Eviction>(generator);
    add::<core::v1::Binding>(generator);
    add::<authentication::v1::TokenRequest>(generator);
}

fn tag(schema: &mut Value, kind: &Kind, name: &str) {
    let value = json!([group_version_kind(kind.group, kind.version, name)]);
    json::set(schema, "x-kubernetes-group-version-kind", value);
}

/// The schema of a custom kind: that of its definition, with what all objects have.
fn custom(published: &Value, dialect: Dialect) -> Value {
    if dialect == Dialect::V2 && keeps_unknown(published) {
        // Whoever reads of any field would refuse all others.
        return json!({"type": "object"});
    }
    let mut schema = published.clone();
    if dialect == Dialect::V2 {
        plainer(&mut schema);
    }
    let mut properties = Map::new();
    properties.insert("apiVersion".to_owned(), text(API_VERSION));
    properties.insert("kind".to_owned(), text(KIND));
    let metadata = json!({"$ref": format!("#/$defs/{META}.ObjectMeta"), "description": "Standard object's metadata."});
    properties.insert("metadata".to_owned(), metadata);
    json::as_object(json::object_at(&mut schema, "properties")).extend(properties);
    schema
}

/// Whether objects of this schema may have any field.
fn keeps_unknown(schema: &Value) -> bool {
    json::flag(schema, &["x-kubernetes-preserve-unknown-fields"])
}

/// Leaves out what version 2 cannot say.
fn plainer(schema: &mut Value) {
    for key in ["allOf", "anyOf", "oneOf", "not", "nullable"] {
        json::remove(schema, key);
    }
    below(schema, plainer);
}

/// Does something to each schema right within this one. What else is there are words and values, whatever their names.
fn below(schema: &mut Value, mut act: impl FnMut(&mut Value)) {
    let Value::Object(members) = schema else { return };
    for (key, value) in members {
        match (key.as_str(), value) {
            ("properties" | "patternProperties", Value::Object(members)) => members.values_mut().for_each(&mut act),
            ("allOf" | "anyOf" | "oneOf", Value::Array(items)) => items.iter_mut().for_each(&mut act),
            ("items" | "additionalProperties" | "not", value) => act(value),
            _ => {}
        }
    }
}

const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object.";
const KIND: &str = "Kind is a string value representing the REST resource this object represents.";

fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

/// The list of a kind.
fn list(kind: &Kind, name: &str) -> Value {
    let reference = |name: &str| format!("#/$defs/{name}");
    let mut schema = json!({
        "description": format!("{0}List is a list of {0}.", kind.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": text(API_VERSION),
            "kind": text(KIND),
            "metadata": {"$ref": reference(&format!("{META}.ListMeta")), "description": "Standard list metadata."},
            "items": {
                "type": "array",
                "description": format!("Items is the list of {}.", kind.plural),
                "items": {"$ref": reference(name)},
            },
        },
    });
    tag(&mut schema, kind, &format!("{}List", kind.kind));
    schema
}

/// A schema as documents of a dialect have it.
fn written(name: &str, mut schema: Value, dialect: Dialect) -> Value {
    if let Some(own) = scalar(name, &schema, dialect) {
        return own;
    }
    rewrite(&mut schema, dialect);
    schema
}

/// Types that are one value and not a struct.
fn scalar(name: &str, schema: &Value, dialect: Dialect) -> Option<Value> {
    let description = json::get(schema, "description");
    let last = name.rsplit('.').next().unwrap_or_default();
    Some(match (last, dialect) {
        ("IntOrString", Dialect::V2) => {
            json!({"description": description, "type": "string", "format": "int-or-string"})
        }
        ("IntOrString", Dialect::V3) => json!({
            "description": description, "format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}],
        }),
        ("Quantity", Dialect::V2) => json!({"description": description, "type": "string"}),
        ("Quantity", Dialect::V3) => {
            json!({"description": description, "oneOf": [{"type": "string"}, {"type": "number"}]})
        }
        _ => return None,
    })
}

fn rewrite(schema: &mut Value, dialect: Dialect) {
    match schema {
        Value::Object(members) if members.contains_key("$ref") => {
            let reference = members.get("$ref").and_then(Value::as_str).unwrap_or_default().to_owned();
            refer(&reference, members, dialect);
        }
        _ => below(schema, |schema| rewrite(schema, dialect)),
    }
}

/// Points a reference to where the document has its types. Version 3 knows no reference with siblings.
fn refer(reference: &str, members: &mut Map<String, Value>, dialect: Dialect) {
    let name = reference.rsplit('/').next().unwrap_or_default();
    match dialect {
        Dialect::V2 => {
            members.insert("$ref".to_owned(), format!("#/definitions/{name}").into());
        }
        Dialect::V3 if members.len() == 1 => {
            members.insert("$ref".to_owned(), component(name).into());
        }
        Dialect::V3 => {
            members.remove("$ref");
            members.insert("allOf".to_owned(), json!([{"$ref": component(name)}]));
        }
    }
}

pub(super) fn component(name: &str) -> String {
    format!("#/components/schemas/{name}")
}
