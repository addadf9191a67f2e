//! An object without some of its fields.

use serde_json::{Map, Value};

use super::{Form, form, lists};
use crate::managed::set::{self, Set};
use crate::schema::{ListType, MapType, Node};

/// `value` without the fields of `gone`. None when nothing is left of a map or list that had something.
pub(in crate::managed) fn remove(node: Node<'_>, value: Value, gone: &Set) -> Option<Value> {
    if gone.is_empty() {
        return Some(value);
    }
    match (form(node, Some(&value)), value) {
        (Form::Map(MapType::Granular), Value::Object(members)) => {
            let mut kept = Map::new();
            for (key, value) in members {
                let step = set::field(&key);
                let value = match (gone.0.get(&step), node.member(&key)) {
                    (Some(entry), _) if entry.member => continue,
                    // What is left empty stays, as a field without a value.
                    (Some(entry), Some(below)) => remove(below, value, &entry.below).unwrap_or(Value::Null),
                    _ => value,
                };
                kept.insert(key, value);
            }
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        (Form::List(of), Value::Array(items)) if *of != ListType::Atomic => {
            let below = node.items()?;
            let mut kept = Vec::with_capacity(items.len());
            for item in items {
                let step = lists::step(below, of, &item).unwrap_or_default();
                match gone.0.get(&step) {
                    Some(entry) if entry.member => {}
                    Some(entry) => kept.push(remove(below, item, &entry.below).unwrap_or(Value::Null)),
                    None => kept.push(item),
                }
            }
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        // An atomic value is removed with all that is in it.
        (Form::Map(MapType::Atomic) | Form::List(_), _) => None,
        (_, value) => Some(value),
    }
}
