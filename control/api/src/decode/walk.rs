//! One pass over a body, its schema beside it. The first type error ends in the answer; unknown fields are collected.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use wk_base::time::Timestamp;

use super::{PROBLEMS_MAX, unknown_field};
use crate::object::{micro_time_text, time_text};
use crate::quantity::Quantity;
use crate::schema::{Schema, Shape, Struct};

/// Whose words refuse a value of a wrong type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    /// Those of Go's `encoding/json`, for what came as text.
    Json,
    /// Those of Kubernetes' converter from maps to structs, for what a strategic merge patch made.
    Converter,
}

/// The state of a pass.
pub(super) struct Walk<'a> {
    schema: &'a Schema,
    words: Words,
    /// Names of the fields above, without indices: what Go's type errors show.
    fields: Vec<&'a str>,
    /// The innermost struct.
    owner: &'a str,
    /// Where we are, with indices and map keys: what strict errors show.
    path: String,
    unknown: Vec<String>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(schema: &'a Schema, words: Words) -> Self {
        Self { schema, words, fields: Vec::new(), owner: "", path: String::new(), unknown: Vec::new() }
    }

    /// Cleans a whole object.
    pub(super) fn root(mut self, value: Value) -> Result<(Value, Vec<String>), String> {
        let root = self.schema.root();
        let Value::Object(members) = value else {
            return Err(format!("json: cannot unmarshal {} into Go value of type {}", go_name(&value), root.go_type));
        };
        let value = self.members(root, members)?;
        Ok((value, self.unknown))
    }

    fn members(&mut self, of: &'a Struct, members: Map<String, Value>) -> Result<Value, String> {
        let outer = std::mem::replace(&mut self.owner, &of.go_name);
        let mut kept = Map::new();
        for (key, value) in members {
            let end = self.path.len();
            if end > 0 {
                self.path.push('.');
            }
            self.path.push_str(&key);
            match of.fields.get_key_value(&key) {
                None if of.preserves => drop(kept.insert(key, value)),
                None => self.note_unknown(),
                // A null says nothing: as if the field were not there.
                Some(_) if value.is_null() => {}
                Some((name, field)) => {
                    self.fields.push(name);
                    self.owner = &of.go_name;
                    let value = self.value(&field.shape, value)?;
                    self.fields.pop();
                    kept.insert(key, value);
                }
            }
            self.path.truncate(end);
        }
        self.owner = outer;
        Ok(Value::Object(kept))
    }

    fn note_unknown(&mut self) {
        if self.unknown.len() < PROBLEMS_MAX {
            self.unknown.push(unknown_field(&self.path));
        }
    }

    fn value(&mut self, shape: &'a Shape, value: Value) -> Result<Value, String> {
        match (shape, value) {
            // A null within a list or a map is Go's zero value.
            (_, Value::Null) => Ok(shape.zero()),
            (Shape::Any | Shape::Deduced, value)
            | (Shape::Text(_) | Shape::IntOrString, value @ Value::String(_))
            | (Shape::Bool, value @ Value::Bool(_))
            | (Shape::Float, value @ Value::Number(_)) => Ok(value),
            (Shape::Struct(id, _), Value::Object(members)) => self.members(self.schema.get(*id), members),
            (Shape::Map(of, _), Value::Object(members)) => self.map(of, members),
            (Shape::List(of, _), Value::Array(items)) => self.list(of, items),
            (Shape::Int32 | Shape::IntOrString, Value::Number(number))
                if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) =>
            {
                Ok(Value::Number(number))
            }
            (Shape::Int64, Value::Number(number)) if number.is_i64() => Ok(Value::Number(number)),
            (Shape::Bytes, Value::String(text)) => base64_text(text),
            (Shape::Time, Value::String(text)) => time(&text).map(|time| Value::from(time_text(time))),
            (Shape::MicroTime, Value::String(text)) => time(&text).map(|time| Value::from(micro_time_text(time))),
            (Shape::Quantity, value) => match Quantity::from_value(&value) {
                Ok(quantity) => Ok(Value::from(quantity.to_string())),
                Err(error) => Err(error.to_string()),
            },
            (Shape::IntOrString, Value::Number(number)) => Err(without_field(&format!("number {number}"), "int32")),
            (Shape::IntOrString, other) => Err(without_field(go_name(&other), "int32")),
            (Shape::Time | Shape::MicroTime, other) => Err(without_field(go_name(&other), "string")),
            (shape, other) => Err(self.mismatch(&other, shape)),
        }
    }

    fn map(&mut self, of: &'a Shape, members: Map<String, Value>) -> Result<Value, String> {
        let mut kept = Map::new();
        for (key, value) in members {
            let end = self.path.len();
            self.path.push('.');
            self.path.push_str(&key);
            let value = self.value(of, value)?;
            self.path.truncate(end);
            kept.insert(key, value);
        }
        Ok(Value::Object(kept))
    }

    fn list(&mut self, of: &'a Shape, items: Vec<Value>) -> Result<Value, String> {
        let mut kept = Vec::with_capacity(items.len());
        for (index, value) in items.into_iter().enumerate() {
            let end = self.path.len();
            self.path.push('[');
            self.path.push_str(&index.to_string());
            self.path.push(']');
            kept.push(self.value(of, value)?);
            self.path.truncate(end);
        }
        Ok(Value::Array(kept))
    }

    fn mismatch(&self, value: &Value, shape: &Shape) -> String {
        if self.words == Words::Converter {
            return unconvertible(value, shape, &shape.go_type(self.schema));
        }
        let what = match (shape, value) {
            (Shape::Int32 | Shape::Int64, Value::Number(number)) => format!("number {number}"),
            _ => go_name(value).to_owned(),
        };
        format!(
            "json: cannot unmarshal {what} into Go struct field {}.{} of type {}",
            self.owner,
            self.fields.join("."),
            shape.go_type(self.schema)
        )
    }
}

/// What Kubernetes' converter says of a value that does not fit.
fn unconvertible(value: &Value, shape: &Shape, go_type: &str) -> String {
    let found = go_kind(value);
    match (shape, value) {
        (Shape::Struct(..), _) => format!("cannot restore struct from: {found}"),
        (Shape::Map(..), _) => format!("cannot restore map from {found}"),
        (Shape::List(..) | Shape::Bytes, _) => format!("cannot restore slice from {found}"),
        (Shape::Text(_) | Shape::Int32 | Shape::Int64, Value::Number(_)) => {
            format!("cannot convert {found} to {go_type}")
        }
        (Shape::Text(_), _) => "unrecognized type: string".to_owned(),
        _ => format!("unrecognized type: {go_type}"),
    }
}

/// What Go calls the kind of a value that was JSON.
fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

fn without_field(what: &str, go_type: &str) -> String {
    format!("json: cannot unmarshal {what} into Go value of type {go_type}")
}

/// What Go's decoder calls a JSON value.
fn go_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn base64_text(text: String) -> Result<Value, String> {
    // Go skips line breaks within base64, and writes it without.
    let plain = if text.contains(['\n', '\r']) { text.replace(['\n', '\r'], "") } else { text };
    match STANDARD.decode(&plain) {
        Ok(_) => Ok(Value::from(plain)),
        Err(base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _)) => {
            Err(format!("illegal base64 data at input byte {at}"))
        }
        Err(base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding) => {
            Err(format!("illegal base64 data at input byte {}", plain.len()))
        }
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| {
        format!(r#"parsing time {text:?} as "2006-01-02T15:04:05Z07:00": cannot parse {text:?} as "2006""#)
    })
}
