//! Strategic merge patches: merge patches that know which lists are maps by a key, with directives for what JSON cannot
//! say (`$patch`, `$retainKeys`, `$deleteFromPrimitiveList/…`, `$setElementOrder/…`).
//!
//! Source: `k8s.io/apimachinery/pkg/util/strategicpatch` and the design proposal "preserve order in strategic merge
//! patch". Not here: two- and three-way diffs, which clients make.

mod order;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};
use thiserror::Error;

use crate::schema::{Facts, Node, Schema};
use crate::status::{Reason, Status};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";
const SET_ORDER: &str = "$setElementOrder";

type Members = Map<String, Value>;

/// Why a strategic merge patch cannot be applied, in Kubernetes' words.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum StrategicError {
    /// It is no object.
    #[error("invalid JSON document")]
    NoObject,
    /// A list of lists cannot be merged.
    #[error("lists of lists are not supported")]
    ListOfLists,
    /// `$deleteFromPrimitiveList` names no list.
    #[error("invalid patch format of primitive list")]
    PrimitiveList,
    /// `$retainKeys` is no list, or lacks a key of the patch.
    #[error("invalid patch format of retainKeys")]
    RetainKeys,
    /// `$setElementOrder` is no list, or names none.
    #[error("invalid patch format of setElementOrder list")]
    SetElementOrder,
    /// Something else that Kubernetes answers with 500.
    #[error("{0}")]
    Other(String),
    /// The same, with a part of the patch or of the object in it.
    #[error("{0}")]
    Quoting(String),
}

impl StrategicError {
    /// What may be said when nobody may see what is in the object.
    #[must_use]
    pub fn hidden(self) -> Self {
        match self {
            Self::Quoting(_) => Self::Other("the patch does not fit the object: <hidden>".to_owned()),
            error => error,
        }
    }

    fn no_key(item: &Value, key: &str) -> Self {
        Self::Quoting(format!("map: {} does not contain declared merge key: {key}", go_text(item)))
    }
}

impl From<StrategicError> for Status {
    fn from(error: StrategicError) -> Self {
        match error {
            StrategicError::ListOfLists => super::unprocessable(),
            StrategicError::Other(why) | StrategicError::Quoting(why) => Self::new(500, Reason::Unknown, why),
            error => Self::bad_request(error.to_string()),
        }
    }
}

/// Applies `patch` to `original`, an object of the kind that `schema` describes.
pub fn apply(schema: &Schema, original: Value, patch: Value) -> Result<Value, StrategicError> {
    let (Value::Object(original), Value::Object(patch)) = (original, patch) else {
        return Err(StrategicError::NoObject);
    };
    let shape = schema.root_shape();
    merge_maps(original, patch, Some(schema.node(&shape))).map(Value::Object)
}

/// What is known about a member: how it merges, and what is below.
struct Below<'a> {
    node: Option<Node<'a>>,
    facts: Option<&'a Facts>,
}

impl Below<'_> {
    fn merges(&self) -> bool {
        self.facts.is_some_and(Facts::merges)
    }

    fn replaces(&self) -> bool {
        self.facts.is_some_and(Facts::replaces)
    }

    fn key(&self) -> &str {
        self.facts.map_or("", |facts| facts.patch_merge_key)
    }
}

fn below<'a>(node: Option<Node<'a>>, name: &str) -> Below<'a> {
    let Some(node) = node else { return Below { node: None, facts: None } };
    match node.field(name) {
        Some((field, node)) => Below { node: Some(node), facts: Some(&field.facts) },
        None => Below { node: node.member(name), facts: None },
    }
}

fn merge_maps(mut original: Members, mut patch: Members, node: Option<Node<'_>>) -> Result<Members, StrategicError> {
    match patch.get(PATCH) {
        None => {}
        Some(directive) if directive == "replace" => {
            patch.remove(PATCH);
            return Ok(patch);
        }
        Some(directive) if directive == "delete" => return Ok(Map::new()),
        Some(directive) => return Err(unknown_directive(directive, &Value::Object(patch.clone()))),
    }
    retain_keys(&mut original, &mut patch)?;
    set_orders(&mut original, &mut patch, node)?;
    // In the order of the keys, which has deletions from a list before additions to it.
    for (key, value) in patch {
        let deletes = key.starts_with(DELETE_FROM);
        let key = if deletes { named_list(&key, StrategicError::PrimitiveList)?.to_owned() } else { key };
        if value.is_null() {
            original.remove(&key);
            continue;
        }
        let merged = match (original.remove(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                let below = below(node, &key);
                Some(Value::Object(if below.replaces() { new } else { merge_maps(old, new, below.node)? }))
            }
            (Some(Value::Array(old)), Value::Array(new)) => {
                let below = below(node, &key);
                Some(Value::Array(if deletes || below.merges() {
                    merge_lists(old, new, &below, deletes)?
                } else {
                    new
                }))
            }
            (old, _) if deletes => old,
            (_, value) => without_directives(without_nulls(value)),
        };
        if let Some(merged) = merged {
            original.insert(key, merged);
        }
    }
    Ok(original)
}

fn unknown_directive(directive: &Value, within: &Value) -> StrategicError {
    StrategicError::Quoting(format!("unknown patch type: {} in map: {}", go_text(directive), go_text(within)))
}

/// The list that a directive such as `$setElementOrder/ports` is about.
fn named_list(directive: &str, unfit: StrategicError) -> Result<&str, StrategicError> {
    match directive.split_once('/') {
        Some((DELETE_FROM | SET_ORDER, list)) => Ok(list),
        _ => Err(unfit),
    }
}

/// `$retainKeys`: what it does not name goes, and the patch may set nothing else.
fn retain_keys(original: &mut Members, patch: &mut Members) -> Result<(), StrategicError> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let keys = keys.as_array().ok_or(StrategicError::RetainKeys)?;
    let kept: std::collections::BTreeSet<&str> = keys.iter().filter_map(Value::as_str).collect();
    let is_directive = |key: &str| key.starts_with(DELETE_FROM) || key.starts_with(SET_ORDER);
    if patch.iter().any(|(key, value)| !value.is_null() && !is_directive(key) && !kept.contains(key.as_str())) {
        return Err(StrategicError::RetainKeys);
    }
    original.retain(|key, _| kept.contains(key.as_str()));
    Ok(())
}

/// `$setElementOrder/…`: merges the lists that have one and puts their items into its order.
fn set_orders(original: &mut Members, patch: &mut Members, node: Option<Node<'_>>) -> Result<(), StrategicError> {
    let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(SET_ORDER)).cloned().collect();
    for directive in directives {
        let Some(Value::Array(wanted)) = patch.remove(&directive) else {
            return Err(StrategicError::SetElementOrder);
        };
        let name = named_list(&directive, StrategicError::SetElementOrder)?;
        let below = below(node, name);
        let old = list(original.remove(name))?;
        let new = list(patch.remove(name))?;
        order::check(new.as_deref().unwrap_or_default(), &wanted, below.key())?;
        let merged = match (&old, new) {
            (None, None) => continue,
            (Some(old), None) => old.clone(),
            (None, Some(new)) => new.into_iter().filter_map(without_directives).collect(),
            (Some(old), Some(new)) if below.merges() => merge_lists(old.clone(), new, &below, false)?,
            (Some(_), Some(new)) => new,
        };
        let sorted = order::arrange(merged, &wanted, &old.unwrap_or_default(), below.key())?;
        original.insert(name.to_owned(), Value::Array(sorted));
    }
    Ok(())
}

fn list(value: Option<Value>) -> Result<Option<Vec<Value>>, StrategicError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items)),
        Some(other) => {
            let found = if other.is_object() { "map[string]interface {}" } else { "string" };
            Err(StrategicError::Other(format!("expected a []interface {{}}, but received a {found}")))
        }
    }
}

fn merge_lists(
    original: Vec<Value>,
    patch: Vec<Value>,
    below: &Below<'_>,
    deletes: bool,
) -> Result<Vec<Value>, StrategicError> {
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    let key = below.key();
    if !order::holds_maps(&original, &patch)? {
        if deletes {
            let gone = order::Index::of(&patch, "");
            return Ok(original.into_iter().filter(|item| gone.get(item).is_none()).collect());
        }
        let merged = order::deduplicated(original.iter().chain(&patch));
        return order::arrange(merged, &patch, &original, "");
    }
    if key.is_empty() {
        let name = below.node.and_then(Node::items).and_then(Node::of).map_or("", |of| of.go_name.as_str());
        return Err(StrategicError::Other(format!("cannot merge lists without merge key for {name}")));
    }
    let (original, patch) = take_directives(original, patch, key)?;
    let mut merged = original.clone();
    let mut index = order::Index::of(&merged, key);
    let items = below.node.and_then(Node::items);
    for item in &patch {
        if item.get(key).is_none() {
            return Err(StrategicError::no_key(item, key));
        }
        let Some(at) = index.get(item) else {
            index.insert(item, merged.len());
            merged.push(item.clone());
            continue;
        };
        if let (Value::Object(old), Value::Object(new)) = (std::mem::take(&mut merged[at]), item.clone()) {
            merged[at] = Value::Object(merge_maps(old, new, items)?);
        }
    }
    order::arrange(merged, &patch, &original, key)
}

/// Carries out the directives among the items of `patch`; answers what is left of both lists.
fn take_directives(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), StrategicError> {
    let mut plain = Vec::with_capacity(patch.len());
    let mut gone = Vec::new();
    let mut replaces = false;
    for item in patch {
        match item.get(PATCH) {
            None => plain.push(item),
            Some(directive) if directive == "delete" => {
                if item.get(key).is_none() {
                    return Err(StrategicError::no_key(&item, key));
                }
                gone.push(item);
            }
            Some(directive) if directive == "replace" => replaces = true,
            Some(directive) if directive == "merge" => {
                return Err(StrategicError::Other("merging lists cannot yet be specified in the patch".to_owned()));
            }
            Some(directive) => return Err(unknown_directive(directive, &item)),
        }
    }
    if replaces {
        return Ok((plain, Vec::new()));
    }
    let gone = order::Index::of(&gone, key);
    original.retain(|item| gone.get(item).is_none());
    Ok((original, plain))
}

/// A value that was not there before, without its nulls.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_nulls(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

/// A value that was not there before: what has a directive is left out, as there is nothing to carry it out on.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(members) if members.contains_key(PATCH) => None,
        Value::Object(members) => {
            Some(members.into_iter().filter_map(|(key, value)| Some((key, without_directives(value)?))).collect())
        }
        Value::Array(items) => Some(items.into_iter().filter_map(without_directives).collect()),
        other => Some(other),
    }
}

/// A value as Go prints it, cut when it is long.
pub(crate) fn go_text(value: &Value) -> String {
    const SHOWN_BYTES_MAX: usize = 1024;
    let mut text = String::new();
    write_go(value, &mut text, SHOWN_BYTES_MAX);
    text.truncate(text.floor_char_boundary(SHOWN_BYTES_MAX));
    text
}

fn write_go(value: &Value, text: &mut String, limit: usize) {
    if text.len() > limit {
        return;
    }
    match value {
        Value::Null => text.push_str("<nil>"),
        Value::String(own) => text.push_str(&own[..own.floor_char_boundary(limit)]),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate().take(limit) {
                text.push_str(if index > 0 { " " } else { "" });
                write_go(item, text, limit);
            }
            text.push(']');
        }
        Value::Object(members) => {
            text.push_str("map[");
            for (index, (key, value)) in members.iter().enumerate().take(limit) {
                text.push_str(if index > 0 { " " } else { "" });
                text.push_str(&key[..key.floor_char_boundary(limit)]);
                text.push(':');
                write_go(value, text, limit);
            }
            text.push(']');
        }
        other => text.push_str(&other.to_string()),
    }
}
