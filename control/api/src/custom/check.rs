//! Whether a value is what its schema asks for, all errors at once. What did not change since the last version is let
//! through, so that a stricter schema does not lock objects in ("ratcheting").
//!
//! Wording: `k8s.io/kube-openapi/pkg/validation`, and how `k8s.io/apiextensions-apiserver/pkg/apiserver/validation` turns
//! it into field errors.

use std::collections::HashMap;

use serde_json::Value;

use super::formats;
use super::schema::{ListType, Schema, Type};
use crate::field::{Errors, FieldReason};
use crate::json;

/// Checks `value` against `schema`. `prefix` is where the schema's root is in the object; `old` is what was there.
pub(crate) fn check(value: &Value, old: Option<&Value>, schema: &Schema, prefix: &str, errors: &mut Errors) {
    let mut checking = Checking { prefix, path: String::new(), errors };
    checking.visit(value, old, schema);
}

struct Checking<'a> {
    prefix: &'a str,
    path: String,
    errors: &'a mut Errors,
}

impl Checking<'_> {
    fn field(&self) -> String {
        match (self.prefix, self.path.as_str()) {
            ("", "") => "<nil>".to_owned(),
            ("", path) => path.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, path) if path.starts_with('[') => format!("{prefix}{path}"),
            (prefix, path) => format!("{prefix}.{path}"),
        }
    }

    fn invalid(&mut self, value: &Value, why: &str) {
        let detail = format!("{} in body {why}", self.path);
        self.errors.invalid(self.field(), value, &detail);
    }

    fn wrong_type(&mut self, shown: &str, wanted: &str) {
        let message = format!("Invalid value: {shown:?}: {} in body must be of type {wanted}: {shown:?}", self.path);
        self.errors.push(self.field(), FieldReason::TypeInvalid, message);
    }

    fn below(&mut self, step: &str, visit: impl FnOnce(&mut Self)) {
        let end = self.path.len();
        if end > 0 && !step.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(step);
        visit(self);
        self.path.truncate(end);
    }

    fn visit(&mut self, value: &Value, old: Option<&Value>, schema: &Schema) {
        if !self.path.is_empty() && old == Some(value) {
            return;
        }
        if value.is_null() && schema.nullable {
            return;
        }
        let types = schema.types();
        if !types.is_empty() && !types.iter().any(|wanted| is(value, *wanted)) {
            let wanted: Vec<&str> = types.iter().map(|wanted| wanted.as_str()).collect();
            return self.wrong_type(type_name(value), &wanted.join(","));
        }
        self.choices(value, schema);
        match value {
            Value::String(text) => self.text(text, schema),
            Value::Number(number) => self.number(value, number.as_f64().unwrap_or_default(), schema),
            Value::Array(items) => self.items(items, old, schema),
            Value::Object(members) => self.members(value, members, old, schema),
            Value::Null | Value::Bool(_) => {}
        }
        self.junctors(value, schema);
    }

    fn choices(&mut self, value: &Value, schema: &Schema) {
        let Some(choices) = &schema.choices else { return };
        if choices.iter().any(|choice| same(choice, value)) {
            return;
        }
        let supported: Vec<String> = choices.iter().map(plain).collect();
        let supported: Vec<&str> = supported.iter().map(String::as_str).collect();
        match value {
            Value::String(text) => self.errors.not_supported(self.field(), text, &supported),
            other => {
                let list: Vec<String> = supported.iter().map(|text| format!("{text:?}")).collect();
                let message = format!("Unsupported value: {other}: supported values: {}", list.join(", "));
                self.errors.push(self.field(), FieldReason::NotSupported, message);
            }
        }
    }

    fn text(&mut self, text: &str, schema: &Schema) {
        let checks = &schema.text;
        let length = text.chars().count() as u64;
        if let Some(max) = checks.max.filter(|max| length > *max) {
            self.errors.too_long(self.field(), usize::try_from(max).unwrap_or(usize::MAX));
        }
        if let Some(min) = checks.min.filter(|min| length < *min) {
            self.invalid(&text.into(), &format!("should be at least {min} chars long"));
        }
        if let Some((written, _)) = checks.pattern.as_ref().filter(|(_, pattern)| !pattern.is_match(text)) {
            self.invalid(&text.into(), &format!("should match '{written}'"));
        }
        if !formats::fits(&checks.format, text) {
            self.wrong_type(text, &checks.format);
        }
    }

    fn number(&mut self, value: &Value, number: f64, schema: &Schema) {
        let checks = &schema.number;
        if let Some(max) = checks.max {
            if checks.below_max && number >= max {
                self.invalid(value, &format!("should be less than {max}"));
            } else if number > max {
                self.invalid(value, &format!("should be less than or equal to {max}"));
            }
        }
        if let Some(min) = checks.min {
            if checks.above_min && number <= min {
                self.invalid(value, &format!("should be greater than {min}"));
            } else if number < min {
                self.invalid(value, &format!("should be greater than or equal to {min}"));
            }
        }
        if let Some(factor) = checks.multiple_of.filter(|factor| *factor > 0.0) {
            let times = number / factor;
            if (times - times.round()).abs() > 1e-9 {
                self.invalid(value, &format!("should be a multiple of {factor}"));
            }
        }
        let fits = match schema.text.format.as_str() {
            "int32" => value.as_i64().is_none_or(|number| i32::try_from(number).is_ok()),
            "int64" => !value.is_u64() || value.is_i64(),
            _ => true,
        };
        if !fits {
            self.invalid(value, &format!("must be of type {}", schema.text.format));
        }
    }

    fn items(&mut self, items: &[Value], old: Option<&Value>, schema: &Schema) {
        let count = items.len();
        if let Some(max) = schema.counts.items_max.and_then(|max| usize::try_from(max).ok()).filter(|max| count > *max)
        {
            self.errors.too_many(self.field(), count, max);
        }
        if let Some(min) = schema.counts.items_min.filter(|min| (count as u64) < *min) {
            self.invalid(&count.into(), &format!("should have at least {min} items"));
        }
        let Some(below) = &schema.items else { return };
        let keyed = schema.list_type == Some(ListType::Map);
        let old = old.and_then(Value::as_array).filter(|_| keyed).map(|old| by_key(old, schema, below));
        for (index, item) in items.iter().enumerate() {
            let before = old.as_ref().and_then(|old| old.get(&key_text(item, schema, below)).copied());
            self.below(&format!("[{index}]"), |this| this.visit(item, before, below));
        }
    }

    fn members(
        &mut self,
        value: &Value,
        members: &serde_json::Map<String, Value>,
        old: Option<&Value>,
        schema: &Schema,
    ) {
        let count = members.len();
        if let Some(max) =
            schema.counts.members_max.and_then(|max| usize::try_from(max).ok()).filter(|max| count > *max)
        {
            self.errors.too_many(self.field(), count, max);
        }
        if let Some(min) = schema.counts.members_min.filter(|min| (count as u64) < *min) {
            self.invalid(value, &format!("should have at least {min} properties"));
        }
        for name in schema.required.iter().filter(|name| !members.contains_key(*name)) {
            self.below(name, |this| this.errors.required(this.field(), ""));
        }
        for (name, member) in members {
            if let Some(below) = schema.member(name) {
                let old = old.and_then(|old| old.get(name));
                self.below(name, |this| this.visit(member, old, below));
            }
        }
    }

    fn junctors(&mut self, value: &Value, schema: &Schema) {
        let failures = |schema: &Schema, this: &Self| {
            let mut errors = Errors::new();
            let mut inner = Checking { prefix: this.prefix, path: this.path.clone(), errors: &mut errors };
            inner.visit(value, None, schema);
            errors.into_vec()
        };
        let path = self.path.clone();
        let refuse = |this: &mut Self, why: &str| {
            this.errors.invalid_str("<nil>", "", &format!("{path:?} must {why}"));
        };
        let mut failed = false;
        for part in &schema.all_of {
            let found = failures(part, self);
            failed |= !found.is_empty();
            for error in found {
                self.errors.push(error.field, error.reason, error.message);
            }
        }
        if failed {
            refuse(self, "validate all the schemas (allOf)");
        }
        if !schema.any_of.is_empty() {
            let found: Vec<_> = schema.any_of.iter().map(|part| failures(part, self)).collect();
            if found.iter().all(|errors| !errors.is_empty()) {
                refuse(self, "validate at least one schema (anyOf)");
                // The branch that came closest says why.
                let best = found.into_iter().min_by_key(Vec::len).unwrap_or_default();
                for error in best {
                    self.errors.push(error.field, error.reason, error.message);
                }
            }
        }
        if !schema.one_of.is_empty() {
            let found: Vec<_> = schema.one_of.iter().map(|part| failures(part, self)).collect();
            let valid = found.iter().filter(|errors| errors.is_empty()).count();
            if valid == 0 {
                refuse(self, "validate one and only one schema (oneOf). Found none valid");
                let best = found.into_iter().min_by_key(Vec::len).unwrap_or_default();
                for error in best {
                    self.errors.push(error.field, error.reason, error.message);
                }
            } else if valid > 1 {
                let why = format!("validate one and only one schema (oneOf). Found {valid} valid alternatives");
                refuse(self, &why);
            }
        }
        if let Some(not) = &schema.not
            && failures(not, self).is_empty()
        {
            refuse(self, "not validate the schema (not)");
        }
    }
}

/// What tells an item of a list apart, by its keys; the schema's defaults count.
pub(crate) fn key_of(item: &Value, keys: &[String], schema: Option<&Schema>) -> Vec<Value> {
    let default = |key: &String| schema.and_then(|schema| schema.properties.get(key)?.default.clone());
    keys.iter().map(|key| item.get(key).cloned().or_else(|| default(key)).unwrap_or(Value::Null)).collect()
}

/// The same as one text, to look it up by.
pub(crate) fn key_text(item: &Value, list: &Schema, below: &Schema) -> String {
    Value::from(key_of(item, &list.list_keys, Some(below))).to_string()
}

/// The items of a list that is a map, by their keys; of two with one key the first.
pub(crate) fn by_key<'a>(items: &'a [Value], list: &Schema, below: &Schema) -> HashMap<String, &'a Value> {
    items.iter().rev().map(|item| (key_text(item, list, below), item)).collect()
}

/// Sets have no item twice, and lists that are maps no key.
pub(crate) fn lists(value: &Value, schema: &Schema, path: &str, errors: &mut Errors) {
    match value {
        Value::Array(items) => {
            match schema.list_type {
                Some(ListType::Set) => twice(items.iter().cloned(), path, errors),
                Some(ListType::Map) => {
                    let keys = items.iter().map(|item| {
                        let values = key_of(item, &schema.list_keys, schema.items.as_deref());
                        schema.list_keys.iter().cloned().zip(values).filter(|(_, value)| !value.is_null()).collect()
                    });
                    twice(keys, path, errors);
                }
                Some(ListType::Atomic) | None => {}
            }
            if let Some(below) = &schema.items {
                for (index, item) in items.iter().enumerate() {
                    lists(item, below, &format!("{path}[{index}]"), errors);
                }
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                if let Some(below) = schema.member(name) {
                    lists(member, below, &child(path, name), errors);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn twice(items: impl Iterator<Item = Value>, path: &str, errors: &mut Errors) {
    let mut seen = std::collections::BTreeMap::new();
    for (index, item) in items.enumerate() {
        let times = seen.entry(item.to_string()).or_insert(0_u32);
        *times += 1;
        if *times == 2 {
            errors.duplicate(format!("{path}[{index}]"), &item);
        }
    }
}

/// Embedded objects say what they are, and have sound metadata.
pub(crate) fn embedded(value: &Value, schema: &Schema, path: &str, errors: &mut Errors) {
    match value {
        Value::Object(members) => {
            if schema.embedded {
                for key in ["apiVersion", "kind"] {
                    match value.get(key) {
                        None => errors.required(child(path, key), ""),
                        Some(Value::String(text)) if !text.is_empty() => {}
                        Some(Value::String(_)) => errors.invalid_str(child(path, key), "", "must not be empty"),
                        Some(other) => errors.invalid(child(path, key), other, "must be a string"),
                    }
                }
                let labels = json::dig(value, &["metadata", "labels"]);
                crate::validate::labels::map(errors, labels, &child(path, "metadata.labels"));
            }
            for (name, member) in members {
                if let Some(below) = schema.member(name) {
                    embedded(member, below, &child(path, name), errors);
                }
            }
        }
        Value::Array(items) => {
            if let Some(below) = &schema.items {
                for (index, item) in items.iter().enumerate() {
                    embedded(item, below, &format!("{path}[{index}]"), errors);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn child(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn is(value: &Value, wanted: Type) -> bool {
    match wanted {
        Type::Object => value.is_object(),
        Type::Array => value.is_array(),
        Type::String => value.is_string(),
        Type::Boolean => value.is_boolean(),
        Type::Number => value.is_number(),
        Type::Integer => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Numbers are equal by what they say, everything else as it is.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (a, b) => a == b,
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
