//! What type an expression has, as far as that can be said before there are values: literals, operators, schemas.
//!
//! Only what can never be right is told. Where a type is not known (custom functions, optionals, fields without a
//! schema) anything goes, and the evaluation judges.

use super::check::Known;
use crate::custom::schema::{Schema, Type};
use crate::schema::{FORMATTED, Shape};

/// The name of a value's type; None when it may be any.
pub(super) fn name(of: Known<'_>) -> Option<&'static str> {
    match of {
        Known::Anything => None,
        Known::Plain(name) => Some(name),
        Known::Schema(schema) => of_schema(schema),
        Known::Node(node) => of_shape(node.shape()),
    }
}

fn of_shape(shape: &Shape) -> Option<&'static str> {
    match shape {
        Shape::Struct(..) | Shape::Map(..) => Some("map"),
        Shape::List(..) => Some("list"),
        // Some formats are types of their own.
        Shape::Text(text) if *text != FORMATTED => Some("string"),
        Shape::Int32 | Shape::Int64 => Some("int"),
        Shape::Float => Some("double"),
        Shape::Bool => Some("bool"),
        // Of more than one type, or of one that only functions make.
        Shape::Text(_)
        | Shape::Bytes
        | Shape::Time
        | Shape::MicroTime
        | Shape::Quantity
        | Shape::IntOrString
        | Shape::Any
        | Shape::Deduced => None,
    }
}

fn of_schema(schema: &Schema) -> Option<&'static str> {
    if schema.int_or_string || schema.nullable || schema.preserve {
        return None;
    }
    match schema.kind? {
        Type::String if schema.text.format.is_empty() => Some("string"),
        // Some formats are types of their own.
        Type::String => None,
        Type::Integer => Some("int"),
        Type::Number => Some("double"),
        Type::Boolean => Some("bool"),
        Type::Array => Some("list"),
        Type::Object => Some("map"),
    }
}

/// Of a condition, or of what is negated or joined with another.
pub(super) fn is_bool(of: Known<'_>, operator: &str) -> Result<(), String> {
    match name(of) {
        None | Some("bool") => Ok(()),
        Some(other) => Err(format!("found no matching overload for '{operator}' applied to '({other})'")),
    }
}

/// The type of `-a`.
pub(super) fn negated(of: Known<'_>) -> Result<Known<'static>, String> {
    match name(of) {
        None => Ok(Known::Anything),
        Some(known @ ("int" | "double")) => Ok(Known::Plain(known)),
        Some(other) => Err(format!("found no matching overload for '-_' applied to '({other})'")),
    }
}

/// The type of `a operator b`.
pub(super) fn binary(operator: &str, a: Known<'_>, b: Known<'_>) -> Result<Known<'static>, String> {
    let compares = matches!(operator, "==" | "!=" | "<" | "<=" | ">" | ">=" | "in");
    let (Some(left), Some(right)) = (name(a), name(b)) else {
        return Ok(if compares { Known::Plain("bool") } else { Known::Anything });
    };
    let is_number = |name: &str| matches!(name, "int" | "uint" | "double");
    let numbers = is_number(left) && is_number(right);
    let scalar = |name: &str| is_number(name) || matches!(name, "string" | "bool" | "bytes");
    let found = match operator {
        // Null may stand for what is not there, and numbers compare across their types.
        "==" | "!=" => (left == right || numbers || !scalar(left) || !scalar(right)).then_some("bool"),
        "<" | "<=" | ">" | ">=" => (numbers || left == right && scalar(left)).then_some("bool"),
        "in" => matches!(right, "list" | "map").then_some("bool"),
        "+" => (left == right && (is_number(left) || matches!(left, "string" | "bytes" | "list"))).then_some(left),
        "-" | "*" | "/" => (left == right && is_number(left)).then_some(left),
        "%" => (left == right && matches!(left, "int" | "uint")).then_some(left),
        _ => return Ok(Known::Anything),
    };
    let shown = if operator == "in" { "@in".to_owned() } else { format!("_{operator}_") };
    found
        .map(Known::Plain)
        .ok_or_else(|| format!("found no matching overload for '{shown}' applied to '({left}, {right})'"))
}

/// The type of `target.method(…)` or `function(…)`; `first` is the target or the first argument.
pub(super) fn call(method: &str, first: Option<Known<'_>>) -> Result<Known<'static>, String> {
    let first = first.and_then(name);
    let wanted: &[&str] = match method {
        "startsWith" | "endsWith" | "matches" | "lowerAscii" | "upperAscii" | "trim" | "split" => &["string"],
        "size" => &["string", "bytes", "list", "map"],
        _ => &[],
    };
    if let Some(found) = first.filter(|found| !wanted.is_empty() && !wanted.contains(found)) {
        return Err(format!("found no matching overload for '{method}' applied to '{found}.()'"));
    }
    Ok(match method {
        "startsWith" | "endsWith" | "matches" => Known::Plain("bool"),
        "size" => Known::Plain("int"),
        "lowerAscii" | "upperAscii" | "trim" | "string" => Known::Plain("string"),
        _ => Known::Anything,
    })
}
