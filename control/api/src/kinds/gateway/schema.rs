//! The schemas of the Gateway API, from the table beside this file: as bodies are decoded against, and as objects are
//! checked and filled in. `k8s-openapi` does not have them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use super::rules;
use crate::custom::{check, clean, rules as judged, schema::Schema};
use crate::field::Errors;
use crate::json;

const PREFIX: &str = "io.k8s.networking.gateway.v1.";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// Its form is told at its top.
const TABLE: &str = include_str!("fields.txt");

const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const PATH: &str = r"\/[A-Za-z0-9\/\-._~%!$&'()*+,;=:]+";

/// A form that texts have: its name, shortest, longest, and what it matches.
fn form(name: &str) -> Option<(u64, u64, String)> {
    Some(match name {
        "name" => (1, 253, String::new()),
        "group" => (0, 253, format!("^$|^{SUBDOMAIN}$")),
        "kind" => (1, 63, "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$".to_owned()),
        "namespace" => (1, 63, "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$".to_owned()),
        "subdomain" => (1, 253, format!("^{SUBDOMAIN}$")),
        "host" => (1, 253, format!(r"^(\*\.)?{SUBDOMAIN}$")),
        "controller" => (1, 253, format!("^{SUBDOMAIN}{PATH}$")),
        "address" => (1, 253, format!("^Hostname|IPAddress|NamedAddress|{SUBDOMAIN}{PATH}$")),
        "protocol" => (1, 255, format!(r"^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$|{SUBDOMAIN}\/[A-Za-z0-9]+$")),
        "header" => (1, 256, r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$".to_owned()),
        "label" => (0, 63, "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$".to_owned()),
        "duration" => (0, 24, "^([0-9]{1,5}(h|m|s|ms)){1,4}$".to_owned()),
        _ => return None,
    })
}

/// The schema of the kind `name` to decode against; what it is made of is added to the definitions of `generator`.
pub(super) fn of(generator: &mut SchemaGenerator, name: &str) -> schemars::Schema {
    // These three are referred to from the table and have to be there.
    generator.subschema_for::<k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta>();
    generator.subschema_for::<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition>();
    generator.subschema_for::<k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector>();
    let mut root = Value::Null;
    for block in blocks() {
        let mut schema = block.schema(&reference_to);
        if block.name == name {
            schema["properties"]["apiVersion"] = json!({"type": "string"});
            schema["properties"]["kind"] = json!({"type": "string"});
            schema["properties"]["metadata"] = reference(META, "ObjectMeta");
            root = schema;
        } else if block.fields.iter().all(|field| field.name != "spec") {
            generator.definitions_mut().insert(format!("{PREFIX}{}", block.name), schema);
        }
    }
    schemars::Schema::try_from(root).unwrap_or_default()
}

/// By kind: the schema as that of a custom kind, whole.
static WHOLE: LazyLock<BTreeMap<&'static str, Schema>> = LazyLock::new(|| {
    let blocks = blocks();
    let kinds = blocks.iter().filter(|block| block.fields.iter().any(|field| field.name == "spec"));
    kinds.map(|block| (block.name, Schema::of_object(&whole(&blocks, block.name)))).collect()
});

/// The schema of a struct with those of all that it is made of, with defaults and rules.
fn whole(blocks: &[Block], name: &str) -> Value {
    let Some(block) = blocks.iter().find(|block| block.name == name) else {
        // A struct of Kubernetes' own, or anything: its decoder has seen to it.
        return json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    };
    let mut schema = block.schema(&|name| whole(blocks, name.trim_start_matches("meta:")));
    for field in &block.fields {
        let of = &mut schema["properties"][field.name];
        if let Some(default) = &field.default {
            json::set(of, "default", default.clone());
        }
        put_rules(of, &rules::of(&format!("{name}.{}", field.name)));
    }
    put_rules(&mut schema, &rules::of(name));
    schema
}

fn put_rules(schema: &mut Value, rules: &[(String, String)]) {
    if !rules.is_empty() {
        let rules: Vec<Value> = rules.iter().map(|(rule, message)| json!({"rule": rule, "message": message})).collect();
        json::set(schema, "x-kubernetes-validations", rules);
    }
}

/// Fills in what the kind `name` has when it says nothing.
pub(super) fn default(name: &str, value: &mut Value) {
    clean::default(value, &WHOLE[name]);
}

/// What is wrong with an object of the kind `name`, in the words of custom kinds.
pub(super) fn check(name: &str, value: &Value, errors: &mut Errors) {
    let (schema, before) = (&WHOLE[name], errors.len());
    check::check(value, None, schema, "", errors);
    check::lists(value, schema, "", errors);
    judged::check_sound(value, None, schema, before, errors);
}

/// What is wrong with its status.
pub(super) fn check_status(name: &str, value: &Value, errors: &mut Errors) {
    if let (Some(status), Some(schema)) = (value.get("status"), WHOLE[name].properties.get("status")) {
        check::check(status, None, schema, "status", errors);
    }
}

struct Block {
    name: &'static str,
    fields: Vec<Field>,
}

struct Field {
    name: &'static str,
    kind: &'static str,
    required: bool,
    default: Option<Value>,
    /// The other words.
    limits: Vec<&'static str>,
}

fn blocks() -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for line in TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match (line.strip_prefix("  "), blocks.last_mut()) {
            (Some(field), Some(block)) => block.fields.extend(Field::read(field)),
            _ => blocks.push(Block { name: line, fields: Vec::new() }),
        }
    }
    blocks
}

impl Field {
    fn read(line: &'static str) -> Option<Self> {
        let (name, rest) = line.split_once(' ')?;
        // Two words are one type: `map string`.
        let of_map = rest.strip_prefix("map ");
        let end = of_map.map_or_else(|| rest.find(' '), |of| of.find(' ').map(|at| rest.len() - of.len() + at));
        let (kind, words) = rest.split_at(end.unwrap_or(rest.len()));
        let (mut required, mut default, mut limits) = (false, None, Vec::new());
        for word in words.split_whitespace() {
            match word.strip_prefix("default=") {
                Some(text) => {
                    default = Some(serde_json::from_str(text).expect("the table holds JSON; a test reads it"));
                }
                None if word == "required" => required = true,
                None => limits.push(word),
            }
        }
        Some(Self { name, kind, required, default, limits })
    }

    fn schema(&self, refer: &dyn Fn(&str) -> Value) -> Value {
        let mut schema = shape(self.kind, refer);
        for word in &self.limits {
            match word.strip_prefix("each=") {
                None => limit(&mut schema, word),
                Some(word) => {
                    let below = if self.kind.starts_with("[]") { "items" } else { "additionalProperties" };
                    limit(&mut schema[below], word);
                }
            }
        }
        schema
    }
}

impl Block {
    fn schema(&self, refer: &dyn Fn(&str) -> Value) -> Value {
        let fields: Map<String, Value> =
            self.fields.iter().map(|field| (field.name.to_owned(), field.schema(refer))).collect();
        let required: Vec<&str> = self.fields.iter().filter(|field| field.required).map(|field| field.name).collect();
        let mut schema = json!({"type": "object", "properties": fields});
        if !required.is_empty() {
            schema["required"] = required.into();
        }
        schema
    }
}

/// What a word of the table means.
fn limit(schema: &mut Value, word: &str) {
    let (what, value) = word.split_once('=').unwrap_or((word, ""));
    let range = || {
        let (from, to) = value.split_once("..").unwrap_or_default();
        (from.parse::<u64>().unwrap_or_default(), to.parse::<u64>().unwrap_or_default())
    };
    let mut bounds = |keys: [&str; 2], (from, to): (u64, u64)| {
        if from > 0 || keys[0] == "minimum" {
            json::set(schema, keys[0], from);
        }
        json::set(schema, keys[1], to);
    };
    match what {
        "length" => bounds(["minLength", "maxLength"], range()),
        "number" => bounds(["minimum", "maximum"], range()),
        "port" => bounds(["minimum", "maximum"], (1, 65_535)),
        "items" => bounds(["minItems", "maxItems"], range()),
        "members" => bounds(["minProperties", "maxProperties"], range()),
        "one-of" => {
            let number = |text: &str| text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from);
            json::set(schema, "enum", value.split(',').map(number).collect::<Vec<_>>());
        }
        "set" => json::set(schema, "x-kubernetes-list-type", "set"),
        "keys" => {
            json::set(schema, "x-kubernetes-list-type", "map");
            json::set(schema, "x-kubernetes-list-map-keys", vec![value]);
        }
        _ => {
            let (from, to, pattern) = form(what).expect("the table names forms that there are; a test reads it");
            bounds(["minLength", "maxLength"], (from, to));
            if !pattern.is_empty() {
                json::set(schema, "pattern", pattern);
            }
        }
    }
}

fn reference(prefix: &str, name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{prefix}{name}")})
}

fn reference_to(name: &str) -> Value {
    match name.strip_prefix("meta:") {
        Some(name) => reference(META, name),
        None => reference(PREFIX, name),
    }
}

fn shape(kind: &str, refer: &dyn Fn(&str) -> Value) -> Value {
    if let Some(of) = kind.strip_prefix("[]") {
        return json!({"type": "array", "items": shape(of, refer)});
    }
    if let Some(of) = kind.strip_prefix("map ") {
        return json!({"type": "object", "additionalProperties": shape(of, refer)});
    }
    match kind {
        "string" => json!({"type": "string"}),
        "int32" => json!({"type": "integer", "format": "int32"}),
        // Without members it is anything; without a type kubectl could not explain it.
        "any" => json!({"type": "object"}),
        name => refer(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_and_word_of_the_table_is_known_and_every_rule_is_sound() {
        let blocks = blocks();
        for (field, kind) in blocks.iter().flat_map(|block| &block.fields).map(|field| (field.name, field.kind)) {
            let word = kind.trim_start_matches("[]").trim_start_matches("map ");
            let known = ["string", "int32", "any"].contains(&word)
                || word.starts_with("meta:")
                || blocks.iter().any(|block| block.name == word);
            assert!(known, "{field} {kind}");
        }
        assert_eq!(WHOLE.len(), 5);
        for name in WHOLE.keys() {
            let mut errors = Errors::new();
            judged::compile(&Value::Null, &WHOLE[name], name, &mut errors);
            assert_eq!(errors.into_vec(), [], "{name}");
        }
    }

    #[test]
    fn the_keys_of_lists_are_those_of_the_table_of_facts() {
        let facts = crate::schema::facts();
        for block in blocks() {
            for field in block.fields {
                let listed = field.limits.iter().any(|word| *word == "set" || word.starts_with("keys="));
                let owner = format!("{PREFIX}{}", block.name);
                let known = facts
                    .iter()
                    .any(|((of, name), facts)| *of == owner && *name == field.name && facts.list_type.is_some());
                assert_eq!(listed, known, "{owner} {}", field.name);
            }
        }
    }
}
