//! Whether a schema is structural: every place has one type, and the junctors only narrow it down.
//!
//! Wording: `k8s.io/apiextensions-apiserver/pkg/apiserver/schema` and `…/pkg/apis/apiextensions/validation`.

use serde_json::{Value, json};

use super::check;
use super::clean;
use super::schema::{Schema, pattern};
use crate::field::Errors;
use crate::json;

/// What may stand beside a status subresource at the root: everything that is not lost when status is checked alone.
const WITH_STATUS: [&str; 14] = [
    "description",
    "type",
    "format",
    "title",
    "maximum",
    "minimum",
    "example",
    "externalDocs",
    "properties",
    "required",
    "additionalProperties",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
    "$schema",
];

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// Where in a schema.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Checks the schema of a version.
pub(crate) fn validate(schema: &Value, path: &str, with_status: bool, errors: &mut Errors) {
    if with_status {
        let other = json::members(schema, &[]).find(|(key, _)| !WITH_STATUS.contains(&key.as_str()));
        if let Some((key, _)) = other.filter(|_| json::text(schema, &["type"]) == "object") {
            let why =
                format!("field {key} is not allowed at the root of the schema if the status subresource is enabled");
            errors.forbidden(path, &why);
        }
    }
    if json::flag(schema, &["nullable"]) {
        errors.forbidden(format!("{path}.nullable"), "nullable cannot be true at the root");
    }
    let before = errors.len();
    node(schema, path, Level::Root, errors);
    if errors.len() == before {
        let read = Schema::of_object(schema);
        defaults(schema, &read, path, errors);
        super::rules::compile(schema, &read, path, errors);
    }
}

fn node(schema: &Value, path: &str, level: Level, errors: &mut Errors) {
    let kind = json::text(schema, &["type"]);
    let flag = |key: &str| json::flag(schema, &[key]);
    let embedded = flag("x-kubernetes-embedded-resource");
    let preserve = flag("x-kubernetes-preserve-unknown-fields");
    let either = flag("x-kubernetes-int-or-string");
    if embedded && kind != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        wrong_type(kind, &format!("{path}.type"), why, errors);
    } else if kind.is_empty() && !either && !preserve {
        errors.required(
            format!("{path}.type"),
            match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            },
        );
    } else if !kind.is_empty() && !TYPES.contains(&kind) {
        errors.not_supported(format!("{path}.type"), kind, &TYPES);
    } else if level == Level::Root && !kind.is_empty() && kind != "object" {
        errors.invalid_str(format!("{path}.type"), kind, "must be object at the root");
    } else if either && !kind.is_empty() {
        errors.invalid_str(format!("{path}.type"), kind, "must be empty if x-kubernetes-int-or-string is true");
    }
    if either && preserve {
        let field = format!("{path}.x-kubernetes-preserve-unknown-fields");
        errors.invalid(field, &true.into(), "must be false if x-kubernetes-int-or-string is true");
    }
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        let field = format!("{path}.x-kubernetes-preserve-unknown-fields");
        errors.invalid(field, &false.into(), "must be true or undefined");
    }
    forbidden(schema, path, errors);
    children(schema, path, level, errors);
    metadata(schema, path, level == Level::Root, embedded, errors);
    lists(schema, path, errors);
    junctors(schema, path, either, errors);
    values(schema, path, errors);
    super::rules::validate(schema, path, errors);
}

fn wrong_type(kind: &str, field: &str, why: &str, errors: &mut Errors) {
    if kind.is_empty() { errors.required(field, why) } else { errors.invalid_str(field, kind, why) }
}

/// What no schema here may have.
fn forbidden(schema: &Value, path: &str, errors: &mut Errors) {
    if json::flag(schema, &["uniqueItems"]) {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.forbidden(format!("{path}.uniqueItems"), why);
    }
    for (key, why) in [
        ("$ref", "$ref is not supported"),
        ("definitions", "definitions is not supported"),
        ("dependencies", "dependencies is not supported"),
        ("id", "id is not supported"),
        ("patternProperties", "patternProperties is not supported"),
        ("additionalItems", "additionalItems is not supported"),
    ] {
        if schema.get(key).is_some_and(|value| !json::is_empty(value)) {
            errors.forbidden(format!("{path}.{key}"), why);
        }
    }
    if json::get(schema, "items").is_array() {
        errors.forbidden(format!("{path}.items"), "items must be a schema object and not an array");
    }
}

fn children(schema: &Value, path: &str, level: Level, errors: &mut Errors) {
    let additional = json::get(schema, "additionalProperties");
    if !additional.is_null() {
        let field = format!("{path}.additionalProperties");
        if level == Level::Root {
            errors.forbidden(&field, "must not be used at the root");
        }
        if *additional == Value::Bool(false) {
            errors.forbidden(&field, "additionalProperties cannot be set to false");
        } else if json::members(schema, &["properties"]).next().is_some() {
            errors.forbidden(&field, "additionalProperties and properties are mutual exclusive");
        }
        if json::flag(schema, &["x-kubernetes-embedded-resource"]) {
            errors.forbidden(&field, "must not be used if x-kubernetes-embedded-resource is set");
        }
        if additional.is_object() {
            node(additional, &field, Level::Field, errors);
        }
    }
    let items = json::get(schema, "items");
    if json::text(schema, &["type"]) == "array" && items.is_null() {
        errors.required(format!("{path}.items"), "must be specified");
    }
    if items.is_object() {
        node(items, &format!("{path}.items"), Level::Item, errors);
    }
    for (name, property) in json::members(schema, &["properties"]) {
        // What is said of the root's metadata is checked by itself: it need not be whole.
        let of_root = level == Level::Root && name == "metadata";
        if !of_root {
            node(property, &format!("{path}.properties[{name}]"), Level::Field, errors);
        }
    }
}

fn metadata(schema: &Value, path: &str, root: bool, embedded: bool, errors: &mut Errors) {
    if !(root || embedded) {
        return;
    }
    let property = |name: &str| json::dig(schema, &["properties", name]);
    for name in ["kind", "apiVersion"] {
        let kind = json::text(property(name), &["type"]);
        if !property(name).is_null() && kind != "string" {
            errors.invalid_str(format!("{path}.properties[{name}].type"), kind, "must be string");
        }
    }
    let metadata = property("metadata");
    let field = format!("{path}.properties[metadata]");
    if !metadata.is_null() && json::text(metadata, &["type"]) != "object" {
        errors.invalid_str(format!("{field}.type"), json::text(metadata, &["type"]), "must be object");
    }
    if root && !metadata.is_null() {
        let plain = ["type", "description", "properties"];
        let extra = json::members(metadata, &[]).any(|(key, _)| !plain.contains(&key.as_str()));
        let other = json::members(metadata, &["properties"]).any(|(key, _)| key != "name" && key != "generateName");
        if extra || other {
            errors.forbidden(
                field,
                "must not specify anything other than name and generateName, but metadata is implicitly specified",
            );
        }
    }
    let without = json::members(schema, &["properties"]).next().is_none();
    if embedded && without && !json::flag(schema, &["x-kubernetes-preserve-unknown-fields"]) {
        errors.required(
            format!("{path}.properties"),
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        );
    }
}

fn lists(schema: &Value, path: &str, errors: &mut Errors) {
    let kind = json::text(schema, &["type"]);
    let (list, map) = (schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-map-type"));
    if let Some(map) = map.and_then(Value::as_str) {
        if kind != "object" {
            let why = "must be object if x-kubernetes-map-type is specified";
            wrong_type(kind, &format!("{path}.type"), why, errors);
        }
        if !matches!(map, "atomic" | "granular") {
            errors.not_supported(format!("{path}.x-kubernetes-map-type"), map, &["atomic", "granular"]);
        }
    }
    let list = list.and_then(Value::as_str);
    if let Some(list) = list {
        if kind != "array" {
            let why = "must be array if x-kubernetes-list-type is specified";
            wrong_type(kind, &format!("{path}.type"), why, errors);
        }
        if !matches!(list, "atomic" | "set" | "map") {
            errors.not_supported(format!("{path}.x-kubernetes-list-type"), list, &["atomic", "set", "map"]);
        }
    }
    let keys = json::items(schema, &["x-kubernetes-list-map-keys"]);
    let keys_field = format!("{path}.x-kubernetes-list-map-keys");
    if !keys.is_empty() && list != Some("map") {
        let field = format!("{path}.x-kubernetes-list-type");
        wrong_type(list.unwrap_or_default(), &field, "must be map if x-kubernetes-list-map-keys is non-empty", errors);
    }
    if list == Some("map") {
        if keys.is_empty() {
            errors.required(&keys_field, "must not be empty if x-kubernetes-list-type is map");
        }
        let items = json::get(schema, "items");
        if items.is_object() && json::text(items, &["type"]) != "object" {
            let why = "must be object if parent array's x-kubernetes-list-type is map";
            errors.invalid_str(format!("{path}.items.type"), json::text(items, &["type"]), why);
        }
        let required = json::items(items, &["required"]);
        for key in keys {
            let name = key.as_str().unwrap_or_default();
            let property = json::dig(items, &["properties", name]);
            let field = format!("{path}.items.properties[{name}]");
            if property.is_null() {
                errors.invalid(&keys_field, &keys.to_vec().into(), "entries must all be names of item properties");
            } else if matches!(json::text(property, &["type"]), "array" | "object") {
                let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                errors.invalid_str(format!("{field}.type"), json::text(property, &["type"]), why);
            } else if !required.contains(key) && property.get("default").is_none() {
                let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                errors.required(format!("{field}.default"), why);
            }
        }
        if json::flag(items, &["nullable"]) {
            errors.forbidden(format!("{path}.items.nullable"), "cannot be nullable when x-kubernetes-list-type is map");
        }
    }
    if list == Some("set") {
        let items = json::get(schema, "items");
        let atomic = match json::text(items, &["type"]) {
            "object" => json::text(items, &["x-kubernetes-map-type"]) == "atomic",
            "array" => matches!(json::text(items, &["x-kubernetes-list-type"]), "" | "atomic"),
            _ => true,
        };
        if !atomic {
            let word = if json::text(items, &["type"]) == "object" { "map" } else { "list" };
            let field = format!("{path}.items.x-kubernetes-{word}-type");
            errors.invalid(field, &Value::Null, "must be atomic as item of a list with x-kubernetes-list-type=set");
        }
        if json::flag(items, &["nullable"]) {
            errors.forbidden(format!("{path}.items.nullable"), "cannot be nullable when x-kubernetes-list-type is set");
        }
    }
}

fn junctors(schema: &Value, path: &str, either: bool, errors: &mut Errors) {
    let int_or_string = json!([{"type": "integer"}, {"type": "string"}]);
    for key in ["allOf", "anyOf", "oneOf"] {
        for (index, part) in json::items(schema, &[key]).iter().enumerate() {
            let first = key == "allOf" && index == 0 && json::get(part, "anyOf") == &int_or_string;
            let whole = key == "anyOf" && json::get(schema, key) == &int_or_string;
            if !(either && (first || whole)) {
                nested(part, schema, &format!("{path}.{key}[{index}]"), errors);
            }
        }
    }
    if let Some(part) = schema.get("not") {
        nested(part, schema, &format!("{path}.not"), errors);
    }
}

/// A schema below a junctor: it narrows down what stands outside, and says nothing new.
fn nested(part: &Value, outside: &Value, path: &str, errors: &mut Errors) {
    for key in [
        "type",
        "additionalProperties",
        "default",
        "title",
        "description",
        "nullable",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-embedded-resource",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-map-type",
        "x-kubernetes-validations",
    ] {
        if part.get(key).is_some_and(|value| !json::is_empty(value) && *value != Value::Bool(false)) {
            let word = if matches!(key, "additionalProperties" | "default") { "undefined" } else { "empty" };
            errors.forbidden(format!("{path}.{key}"), &format!("must be {word} to be structural"));
        }
    }
    values(part, path, errors);
    for (name, property) in json::members(part, &["properties"]) {
        let own = json::dig(outside, &["properties", name]);
        if own.is_null() {
            let at = format!("{path}.properties[{name}]");
            let whole = at.split(".allOf").next().unwrap_or_default().split(".anyOf").next().unwrap_or_default();
            let whole = whole.split(".oneOf").next().unwrap_or_default().split(".not").next().unwrap_or_default();
            let why = format!("because it is defined in {}", &at[whole.len() + 1..].to_owned());
            errors.required(format!("{whole}.properties[{name}]"), &why);
            continue;
        }
        nested(property, own, &format!("{path}.properties[{name}]"), errors);
    }
    if let Some(items) = part.get("items").filter(|items| items.is_object()) {
        nested(items, json::get(outside, "items"), &format!("{path}.items"), errors);
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        for (index, part) in json::items(part, &[key]).iter().enumerate() {
            nested(part, outside, &format!("{path}.{key}[{index}]"), errors);
        }
    }
    if let Some(part) = part.get("not") {
        nested(part, outside, &format!("{path}.not"), errors);
    }
}

fn values(schema: &Value, path: &str, errors: &mut Errors) {
    let text = json::text(schema, &["pattern"]);
    if let Err(why) = pattern(text) {
        let why = why.to_string();
        let why = why.lines().last().unwrap_or_default();
        errors.invalid_str(
            format!("{path}.pattern"),
            text,
            &format!("must be a valid regular expression, but isn't: {why}"),
        );
    }
}

/// Defaults must be what their schema asks for.
fn defaults(value: &Value, schema: &Schema, path: &str, errors: &mut Errors) {
    if let Some(default) = &schema.default {
        let mut pruned = default.clone();
        let inner = Schema { properties: [("x".to_owned(), Schema::read(value))].into(), ..Schema::default() };
        let mut wrapped = json!({ "x": default });
        clean::prune(&mut wrapped, &inner);
        clean::default(&mut wrapped["x"], schema);
        std::mem::swap(&mut pruned, &mut wrapped["x"]);
        let mut unfilled = json!({ "x": default });
        if !clean::prune(&mut unfilled, &inner).is_empty() {
            errors.invalid(format!("{path}.default"), default, "must not have unknown fields");
        }
        check::check(&pruned, None, schema, &format!("{path}.default"), errors);
    }
    for (name, below) in &schema.properties {
        let part = json::dig(value, &["properties", name]);
        defaults(part, below, &format!("{path}.properties[{name}]"), errors);
    }
    if let Some(below) = &schema.items {
        defaults(json::get(value, "items"), below, &format!("{path}.items"), errors);
    }
    if let Some(Some(below)) = &schema.additional {
        defaults(json::get(value, "additionalProperties"), below, &format!("{path}.additionalProperties"), errors);
    }
}
