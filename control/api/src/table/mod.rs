//! Tables as kubectl prints them. Which columns a kind has, and what stands in them, is in the kind's file.

pub(crate) mod duration;

pub use duration::human;

use serde_json::{Value, json};
use wk_base::time::Timestamp;

use crate::json;
use crate::kind::{Column, Kind};
use crate::object::{LAST_APPLIED, Object};
use crate::pick::pick;
use crate::selector::Labels;

/// What a row carries besides its cells (`includeObject`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    None,
    /// The object's metadata.
    #[default]
    Metadata,
    /// The whole object.
    Object,
}

impl Include {
    /// Reads the query parameter; `None` for a word that is none of the three.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "None" => Some(Self::None),
            "" | "Metadata" => Some(Self::Metadata),
            "Object" => Some(Self::Object),
            _ => None,
        }
    }
}

/// Shown where there is nothing to show.
pub(crate) const NONE: &str = "<none>";

/// A column of text.
pub(crate) const fn text(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", format: "", priority: 0, description }
}

/// A column of whole numbers.
pub(crate) const fn integer(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "integer", format: "", priority: 0, description }
}

/// The same column, for `-o wide` only.
pub(crate) const fn wide(column: Column) -> Column {
    Column { priority: 1, ..column }
}

pub(crate) const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    priority: 0,
    description: "Name of the object, unique among its kind within a namespace.",
};
pub(crate) const AGE: Column = text("Age", "Time since the object was created.");

/// How long ago the object was created.
pub(crate) fn age(object: &Object, now: Timestamp) -> String {
    duration::since(object.creation_timestamp(), now)
}

/// `text`, or `<none>`.
pub(crate) fn or_none(text: &str) -> String {
    if text.is_empty() { NONE.to_owned() } else { text.to_owned() }
}

/// Names and images of the containers of a pod's spec.
pub(crate) fn containers(spec: &Value) -> (String, String) {
    let join = |key| {
        let texts: Vec<&str> =
            json::items(spec, &["containers"]).iter().map(|entry| json::text(entry, &[key])).collect();
        texts.join(",")
    };
    (join("name"), join("image"))
}

/// A `LabelSelector` as text.
pub(crate) fn selector(selector: &Value) -> String {
    or_none(&Labels::from_label_selector(selector).map(|labels| labels.to_string()).unwrap_or_default())
}

/// A plain map of labels as text.
pub(crate) fn labels(map: &Value) -> String {
    or_none(&Labels::from_map(map).to_string())
}

/// The first three of a list, and how many more there are.
pub(crate) fn first_three(texts: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = texts.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(",");
    if texts.len() > SHOWN { format!("{shown} + {} more...", texts.len() - SHOWN) } else { shown }
}

/// The `meta.k8s.io/v1` Table of `items`. Watches send the columns with the first event only.
pub fn table(
    kind: &Kind,
    items: &[&Object],
    now: Timestamp,
    include: Include,
    list_metadata: Value,
    with_columns: bool,
) -> Value {
    let rows: Vec<Value> = items.iter().map(|object| row(kind, object, now, include)).collect();
    let columns = if with_columns { kind.rules.columns.iter().map(definition).collect() } else { Value::Null };
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": if list_metadata.is_object() { list_metadata } else { json!({}) },
        "columnDefinitions": columns,
        "rows": rows,
    })
}

/// The row of one object.
pub fn row(kind: &Kind, object: &Object, now: Timestamp, include: Include) -> Value {
    let object_shown = match include {
        Include::None => Value::Null,
        Include::Metadata => metadata(kind, object),
        Include::Object => object.0.clone(),
    };
    json!({"cells": cells(kind, object, now), "object": object_shown})
}

/// A `PartialObjectMetadata`. That of a sealed object leaves out what `kubectl apply` keeps in an annotation: all of it.
pub fn metadata(kind: &Kind, object: &Object) -> Value {
    let mut metadata = object.metadata().clone();
    if kind.sealed
        && let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut)
    {
        annotations.remove(LAST_APPLIED);
    }
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

/// What stands in the columns for one object.
pub fn cells(kind: &Kind, object: &Object, now: Timestamp) -> Vec<Value> {
    match kind.custom {
        Some(custom) => custom.cells(kind.rules.columns, object, now),
        None => (kind.rules.cells)(object, now),
    }
}

/// As [`cells`], of an object that is stored as `text`, and the text of its metadata: for thousands that nobody looks at again.
/// None of a custom kind, whose columns may show anything, and of an object without metadata.
pub fn cells_of_text<'a>(kind: &Kind, text: &'a [u8], now: Timestamp) -> Option<(Vec<Value>, &'a [u8])> {
    if kind.custom.is_some() {
        return None;
    }
    let (object, metadata) = pick(text, &kind.rules.shown, "metadata")?;
    Some(((kind.rules.cells)(&Object(object), now), metadata))
}

fn definition(column: &Column) -> Value {
    json!({
        "name": column.name,
        "type": column.kind,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    })
}

#[cfg(test)]
mod tests;
