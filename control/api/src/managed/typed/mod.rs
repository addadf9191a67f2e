//! Values beside their schema: what is wrong with them, which fields they have, how two of them differ, and how they
//! merge. The rules are those of `sigs.k8s.io/structured-merge-diff/typed`.

mod compare;
mod lists;
mod merge;
mod remove;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::set::{self, Entry, Set};
use crate::schema::{ListType, MapType, Node, Shape};

pub(super) use compare::{Comparison, compare};
pub(super) use merge::merge;
pub(super) use remove::remove;

/// Mistakes told at most.
const MISTAKES_MAX: usize = 20;

/// How a value is looked at here: by the schema, and where that leaves it open by the value.
pub(super) enum Form<'a> {
    /// One value without parts.
    Leaf,
    Map(MapType),
    List(&'a ListType),
}

/// How the schema wants the value at `node` to be looked at.
pub(super) fn form<'a>(node: Node<'a>, value: Option<&Value>) -> Form<'a> {
    match node.shape() {
        Shape::Struct(_, of) | Shape::Map(_, of) => Form::Map(*of),
        Shape::List(_, of) => Form::List(of),
        Shape::Any => match value {
            Some(Value::Object(_)) => Form::Map(MapType::Atomic),
            Some(Value::Array(_)) => Form::List(&ListType::Atomic),
            _ => Form::Leaf,
        },
        Shape::Deduced => match value {
            Some(Value::Object(_)) => Form::Map(MapType::Granular),
            Some(Value::Array(_)) => Form::List(&ListType::Atomic),
            _ => Form::Leaf,
        },
        _ => Form::Leaf,
    }
}

/// What is wrong with `value`, each mistake with its path; lists whose items are told apart must not repeat one.
pub(super) fn mistakes(node: Node<'_>, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(node, value, &mut found);
    found.into_iter().map(|(path, what)| if path.is_empty() { what } else { format!("{path}: {what}") }).collect()
}

/// Path and text of mistakes. The path grows from its end, and only when there is a mistake to tell.
type Mistakes = Vec<(String, String)>;

fn check(node: Node<'_>, value: &Value, found: &mut Mistakes) {
    if value.is_null() || found.len() >= MISTAKES_MAX {
        return;
    }
    if let Some(expected) = expected(node.shape(), value) {
        return found.push((String::new(), expected));
    }
    match (form(node, Some(value)), value) {
        (Form::Map(_), Value::Object(members)) => {
            for (key, member) in members {
                let Some(below) = node.member(key) else {
                    let path = set::shown_step(&set::field(key));
                    return found.push((path, "field not declared in schema".to_owned()));
                };
                below_step(below, member, || set::field(key), found);
            }
        }
        (Form::List(ListType::Atomic), Value::Array(items)) => {
            let Some(below) = node.items() else { return };
            for (index, item) in items.iter().enumerate() {
                below_step(below, item, || format!("i:{index}"), found);
            }
        }
        (Form::List(of), Value::Array(items)) => {
            let Some(below) = node.items() else { return };
            let steps = match lists::steps(below, of, items) {
                Ok(steps) => steps,
                Err(why) => return found.push((String::new(), why)),
            };
            let mut seen = BTreeSet::new();
            for step in steps.iter().filter(|step| !seen.insert(step.as_str())).take(MISTAKES_MAX) {
                found.push((String::new(), format!("duplicate entries for key {}", set::shown_step(step))));
            }
            for (step, item) in steps.iter().zip(items) {
                below_step(below, item, || step.clone(), found);
            }
        }
        _ => {}
    }
}

fn below_step(node: Node<'_>, value: &Value, step: impl FnOnce() -> String, found: &mut Mistakes) {
    let before = found.len();
    check(node, value, found);
    if found.len() > before {
        let step = set::shown_step(&step());
        for (path, _) in &mut found[before..] {
            path.insert_str(0, &step);
        }
    }
}

/// What the schema expects instead of `value`; None when it fits.
fn expected(shape: &Shape, value: &Value) -> Option<String> {
    let is_scalar = !(value.is_object() || value.is_array());
    let fits = match shape {
        Shape::Struct(..) | Shape::Map(..) => value.is_object(),
        Shape::List(..) => value.is_array(),
        Shape::Text(_) | Shape::Bytes => value.is_string(),
        Shape::Int32 | Shape::Int64 | Shape::Float => value.is_number(),
        Shape::Bool => value.is_boolean(),
        Shape::Time | Shape::MicroTime | Shape::Quantity | Shape::IntOrString => is_scalar,
        Shape::Any | Shape::Deduced => true,
    };
    if fits {
        return None;
    }
    let shown = crate::patch::strategic::go_text(value);
    Some(match shape {
        Shape::Struct(..) | Shape::Map(..) => format!("expected map, got &{{{shown}}}"),
        Shape::List(..) => format!("expected list, got &{{{shown}}}"),
        Shape::Text(_) | Shape::Bytes => {
            format!("expected string, got &value.valueUnstructured{{Value:{}}}", go_syntax(value))
        }
        Shape::Int32 | Shape::Int64 | Shape::Float => {
            format!("expected numeric (int or float), got {}", go_type(value))
        }
        Shape::Bool => format!("expected boolean, got &{{{shown}}}"),
        _ => format!("expected any scalar, got &{{{shown}}}"),
    })
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// A value in the syntax of Go, as far as one fits into a message.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Array(_) | Value::Object(_) => format!("{}{{...}}", go_type(value)),
        other => other.to_string(),
    }
}

/// The fields that `value` has: its leaves, and the items and members of lists and maps.
pub(super) fn field_set(node: Node<'_>, value: &Value) -> Set {
    entry(node, value).below
}

fn entry(node: Node<'_>, value: &Value) -> Entry {
    match (form(node, Some(value)), value) {
        (Form::Map(MapType::Granular), Value::Object(members)) => {
            Entry { member: false, below: members_of(node, members) }
        }
        (Form::List(of), Value::Array(items)) if *of != ListType::Atomic => {
            Entry { member: false, below: items_of(node, of, items) }
        }
        (Form::Map(MapType::Granular), _) => Entry::default(),
        (Form::List(of), _) if *of != ListType::Atomic => Entry::default(),
        _ => Entry::leaf(),
    }
}

fn members_of(node: Node<'_>, members: &Map<String, Value>) -> Set {
    let mut fields = Set::default();
    for (key, value) in members {
        let mut found = node.member(key).map_or_else(Entry::leaf, |below| entry(below, value));
        let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
        found.member |= empty || node.field(key).is_none();
        fields.put(set::field(key), found);
    }
    fields
}

fn items_of(node: Node<'_>, of: &ListType, items: &[Value]) -> Set {
    let mut fields = Set::default();
    let Some(below) = node.items() else { return fields };
    for (step, items) in lists::grouped(below, of, items) {
        // What a repeated item has below is nobody's.
        let found = match items.as_slice() {
            [item] => entry(below, item).below,
            _ => Set::default(),
        };
        fields.put(step, Entry { member: true, below: found });
    }
    fields
}
