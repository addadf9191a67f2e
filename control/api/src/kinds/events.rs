//! Events (core/v1).

use k8s_openapi::api::core::v1::Event;
use schemars::JsonSchema as _;
use serde_json::{Value, json};
use wk_base::time::Timestamp;

use crate::field::Errors;
use crate::json;
use crate::kind::{FieldLabel, Kind, Rules};
use crate::object::{Object, timestamp};
use crate::table::{duration, text, wide};

/// `Event`.
pub static EVENT: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    acts: true,
    collection: "core/events",
    rules: Rules {
        schema: Event::json_schema,
        default,
        validate,
        fields: &FIELDS,
        columns: &[
            text("Last Seen", "Time since it was last seen."),
            text("Type", "Normal or Warning."),
            text("Reason", "Why, in one word."),
            text("Object", "What it is about."),
            wide(text("Subobject", "Which part of it.")),
            wide(text("Source", "Who says so.")),
            text("Message", "What happened."),
            wide(text("First Seen", "Time since it was first seen.")),
            wide(text("Count", "How often it was seen.")),
            wide(crate::table::NAME),
        ],
        cells,
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

/// Fields of `involvedObject` and a few more.
static FIELDS: [FieldLabel; 12] = [
    FieldLabel { label: "involvedObject.kind", read: |object| object.text("/involvedObject/kind").to_owned() },
    FieldLabel {
        label: "involvedObject.namespace",
        read: |object| object.text("/involvedObject/namespace").to_owned(),
    },
    FieldLabel { label: "involvedObject.name", read: |object| object.text("/involvedObject/name").to_owned() },
    FieldLabel { label: "involvedObject.uid", read: |object| object.text("/involvedObject/uid").to_owned() },
    FieldLabel {
        label: "involvedObject.apiVersion",
        read: |object| object.text("/involvedObject/apiVersion").to_owned(),
    },
    FieldLabel {
        label: "involvedObject.resourceVersion",
        read: |object| object.text("/involvedObject/resourceVersion").to_owned(),
    },
    FieldLabel {
        label: "involvedObject.fieldPath",
        read: |object| object.text("/involvedObject/fieldPath").to_owned(),
    },
    FieldLabel { label: "reason", read: |object| object.text("/reason").to_owned() },
    FieldLabel { label: "reportingComponent", read: |object| object.text("/reportingComponent").to_owned() },
    FieldLabel { label: "source", read: |object| component(object).to_owned() },
    FieldLabel { label: "type", read: |object| object.text("/type").to_owned() },
    FieldLabel { label: "metadata.name", read: |object| object.name().to_owned() },
];

fn default(value: &mut Value) {
    json::default(value, "source", json!({}));
    for key in ["reportingComponent", "reportingInstance"] {
        json::default(value, key, "");
    }
}

fn validate(value: &Value, errors: &mut Errors) {
    let namespace = json::text(value, &["metadata", "namespace"]);
    let involved = json::text(value, &["involvedObject", "namespace"]);
    // Events about objects without a namespace live in one of two.
    let fits =
        if involved.is_empty() { namespace == "default" || namespace == "kube-system" } else { involved == namespace };
    if !fits {
        errors.invalid_str("involvedObject.namespace", involved, "does not match event.namespace");
    }
}

fn component(object: &Object) -> &str {
    match object.text("/source/component") {
        "" => object.text("/reportingComponent"),
        component => component,
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let time = |pointer: &str| object.at(pointer).and_then(timestamp);
    let first = duration::since(time("/firstTimestamp").or_else(|| time("/eventTime")), now);
    let last = time("/lastTimestamp").map_or_else(|| first.clone(), |last| duration::since(Some(last), now));
    let count = object.int("/count").filter(|count| *count != 0).unwrap_or(1);
    let (last, count) = match object.at("/series") {
        Some(series) => {
            (duration::since(time("/series/lastObservedTime"), now), json::int(series, &["count"]).unwrap_or_default())
        }
        None => (last, count),
    };
    let kind = object.text("/involvedObject/kind").to_lowercase();
    let about = match object.text("/involvedObject/name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    let host = match object.text("/source/host") {
        "" => object.text("/reportingInstance"),
        host => host,
    };
    let source = if host.is_empty() { component(object).to_owned() } else { format!("{}, {host}", component(object)) };
    vec![
        last.into(),
        object.text("/type").into(),
        object.text("/reason").into(),
        about.into(),
        object.text("/involvedObject/fieldPath").into(),
        source.into(),
        object.text("/message").trim().into(),
        first.into(),
        count.into(),
        object.name().into(),
    ]
}
