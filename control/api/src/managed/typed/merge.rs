//! An object with what a configuration says merged into it. Nothing is taken away by that.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::{Map, Value};

use super::{Form, form, lists};
use crate::schema::{ListType, MapType, Node};

/// `live` with `config` merged into it: its leaves win, maps and lists whose items are told apart are merged.
pub(in crate::managed) fn merge(node: Node<'_>, live: Value, config: &Value) -> Value {
    match (form(node, Some(config)), live, config) {
        (Form::Map(MapType::Granular), Value::Object(live), Value::Object(config)) if !config.is_empty() => {
            members(node, live, config)
        }
        (Form::List(of), Value::Array(live), Value::Array(config))
            if *of != ListType::Atomic && !config.is_empty() && !live.is_empty() =>
        {
            items(node, of, &live, config)
        }
        // Neither an empty map or list nor a null takes anything from one that is not empty.
        (_, Value::Object(live), config) if !live.is_empty() && is_empty(config) && is_granular(node, config) => {
            Value::Object(live)
        }
        (_, Value::Array(live), config) if !live.is_empty() && is_empty(config) && is_granular(node, config) => {
            Value::Array(live)
        }
        (_, _, config) => config.clone(),
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

fn is_granular(node: Node<'_>, value: &Value) -> bool {
    match form(node, Some(value)) {
        Form::Leaf => false,
        Form::Map(of) => of == MapType::Granular,
        Form::List(of) => *of != ListType::Atomic,
    }
}

fn members(node: Node<'_>, mut live: Map<String, Value>, config: &Map<String, Value>) -> Value {
    for (key, value) in config {
        let merged = match (live.remove(key), node.member(key)) {
            (Some(old), Some(below)) => merge(below, old, value),
            _ => value.clone(),
        };
        live.insert(key.clone(), merged);
    }
    Value::Object(live)
}

/// In the order of the configuration where that has both items, in that of the live list otherwise.
fn items(node: Node<'_>, of: &ListType, live: &[Value], config: &[Value]) -> Value {
    let Some(below) = node.items() else { return Value::Array(config.to_vec()) };
    let step = |value: &Value| lists::step(below, of, value).unwrap_or_default();
    let left: Vec<String> = live.iter().map(step).collect();
    let right: Vec<String> = config.iter().map(step).collect();
    let mut first: HashMap<&str, Option<usize>> = HashMap::new();
    for (index, step) in left.iter().enumerate() {
        // Repeated items are not merged with a new one.
        first.entry(step).and_modify(|at| *at = None).or_insert(Some(index));
    }
    let wanted: HashSet<&str> = right.iter().map(String::as_str).collect();
    let mut shared: VecDeque<&str> = right.iter().map(String::as_str).filter(|step| first.contains_key(step)).collect();
    let mut done: HashSet<&str> = HashSet::new();
    let mut out = Vec::with_capacity(left.len().max(right.len()));
    let merged = |at: usize| match first.get(right[at].as_str()).copied().flatten() {
        Some(old) => merge(below, live[old].clone(), &config[at]),
        None => config[at].clone(),
    };
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if l < left.len() {
            if r < right.len() {
                if left[l] == right[r] {
                    done.insert(&left[l]);
                    out.push(merged(r));
                    (l, r) = (l + 1, r + 1);
                    shared.pop_front();
                    continue;
                }
                if wanted.contains(left[l].as_str()) && shared.front().is_some_and(|next| *next != left[l]) {
                    // One of both, but not the one whose turn it is.
                    l += 1;
                    continue;
                }
            }
            if !wanted.contains(left[l].as_str()) {
                out.push(live[l].clone());
                l += 1;
                continue;
            }
            if done.contains(left[l].as_str()) {
                l += 1;
            }
        }
        if r < right.len() {
            done.insert(&right[r]);
            out.push(merged(r));
            if shared.front().is_some_and(|next| *next == right[r]) {
                shared.pop_front();
            }
            r += 1;
        }
    }
    Value::Array(out)
}
