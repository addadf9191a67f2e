//! Events: what happened to an object. Stored as `v1`, also shown as `events.k8s.io/v1`, which names the same fields
//! differently.

use k8s_openapi::api::core::v1::Event;
use k8s_openapi::api::events::v1::Event as NewEvent;
use schemars::JsonSchema as _;
use serde_json::{Value, json};
use wk_base::time::Timestamp;

use crate::field::Errors;
use crate::json;
use crate::kind::{Column, FieldLabel, Kind, Rules};
use crate::names;
use crate::object::{Object, timestamp};
use crate::table::{duration, text, wide};
use crate::validate;

/// Longest message of an event of the newer form: Kubernetes' limit.
const MESSAGE_BYTES_MAX: usize = 1024;

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
        columns: &COLUMNS,
        cells,
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

/// `Event` of `events.k8s.io`.
pub static NEW_EVENT: Kind = Kind {
    group: "events.k8s.io",
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    acts: true,
    collection: "core/events",
    storage: Some(&EVENT),
    rules: Rules {
        schema: NewEvent::json_schema,
        fields: &NEW_FIELDS,
        columns: &COLUMNS,
        validate_create: strict_create,
        validate_update: strict_update,
        cells: |object, now| {
            let mut value = object.0.clone();
            to_stored(&NEW_EVENT, &mut value);
            cells(&Object(value), now)
        },
        from_stored: Some(|_, value| rename(value, |(new, old)| (old, new))),
        to_stored: Some(to_stored),
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

/// Fields that are named differently: in `events.k8s.io/v1` and in `v1`.
const RENAMED: [(&str, &str); 7] = [
    ("deprecatedCount", "count"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedSource", "source"),
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
];

fn to_stored(_: &Kind, value: &mut Value) {
    rename(value, |names| names);
}

fn rename(value: &mut Value, direction: fn((&'static str, &'static str)) -> (&'static str, &'static str)) {
    let members = json::as_object(value);
    for (from, to) in RENAMED.map(direction) {
        if let Some(moved) = members.remove(from) {
            members.insert(to.to_owned(), moved);
        }
    }
}

const COLUMNS: [Column; 10] = [
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
];

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

/// The same under their newer names. They are read of what is stored, and of what is shown.
static NEW_FIELDS: [FieldLabel; 10] = [
    FieldLabel { label: "regarding.kind", read: |object| about(object, "kind") },
    FieldLabel { label: "regarding.namespace", read: |object| about(object, "namespace") },
    FieldLabel { label: "regarding.name", read: |object| about(object, "name") },
    FieldLabel { label: "regarding.uid", read: |object| about(object, "uid") },
    FieldLabel { label: "regarding.apiVersion", read: |object| about(object, "apiVersion") },
    FieldLabel { label: "regarding.resourceVersion", read: |object| about(object, "resourceVersion") },
    FieldLabel { label: "regarding.fieldPath", read: |object| about(object, "fieldPath") },
    FieldLabel { label: "reason", read: |object| object.text("/reason").to_owned() },
    FieldLabel { label: "type", read: |object| object.text("/type").to_owned() },
    FieldLabel {
        label: "reportingController",
        read: |object| [object.text("/reportingController"), object.text("/reportingComponent")].concat(),
    },
];

fn about(object: &Object, key: &str) -> String {
    [object.text(&format!("/regarding/{key}")), object.text(&format!("/involvedObject/{key}"))].concat()
}

fn default(value: &mut Value) {
    json::default(value, "source", json!({}));
    for key in ["reportingComponent", "reportingInstance"] {
        json::default(value, key, "");
    }
}

/// Both forms. Source: `k8s.io/kubernetes/pkg/apis/core/validation/events.go`.
fn validate(value: &Value, errors: &mut Errors) {
    let namespace = json::text(value, &["metadata", "namespace"]);
    let involved = json::text(value, &["involvedObject", "namespace"]);
    // What is written the newer way says more, and has a time.
    let is_new = !json::text(value, &["eventTime"]).is_empty();
    // Events about objects without a namespace live in one of two.
    let fits = match involved {
        "" => namespace == "default" || is_new && namespace == "kube-system",
        involved => is_new || involved == namespace,
    };
    if !fits {
        errors.invalid_str("involvedObject.namespace", involved, "does not match event.namespace");
    }
    if is_new {
        let controller = json::text(value, &["reportingComponent"]);
        if controller.is_empty() {
            errors.required("reportingController", "");
        }
        validate::text(errors, "reportingController", controller, names::qualified_name);
        for (key, max) in [("reportingInstance", 128), ("action", 128), ("reason", 128)] {
            let text = json::text(value, &[key]);
            if text.is_empty() {
                errors.required(key, "");
            } else if text.len() > max {
                errors.invalid_str(key, "", &format!("can have at most {max} characters"));
            }
        }
        if json::text(value, &["message"]).len() > MESSAGE_BYTES_MAX {
            errors.invalid_str("message", "", &format!("can have at most {MESSAGE_BYTES_MAX} characters"));
        }
    }
}

/// What is asked of events that are made the newer way, as they are stored.
fn strict_create(value: &Value, errors: &mut Errors) {
    series(value, errors);
    if json::text(value, &["eventTime"]).is_empty() {
        errors.required("eventTime", "");
    }
    let kind = json::text(value, &["type"]);
    if !["Normal", "Warning"].contains(&kind) {
        errors.invalid_str("type", "", &format!("has invalid value: {kind}"));
    }
    for key in ["firstTimestamp", "lastTimestamp", "count"] {
        if !matches!(json::get(value, key), Value::Null) && json::int(value, &[key]) != Some(0) {
            errors.invalid_str(key, "", "needs to be unset");
        }
    }
    if ["component", "host"].iter().any(|key| !json::text(value, &["source", key]).is_empty()) {
        errors.invalid_str("source", "", "needs to be unset");
    }
}

/// Of an event that is changed the newer way only its series may be.
fn strict_update(new: &Value, old: &Value, errors: &mut Errors) {
    const FIXED: [&str; 13] = [
        "involvedObject",
        "reason",
        "message",
        "source",
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "type",
        "eventTime",
        "action",
        "related",
        "reportingComponent",
        "reportingInstance",
    ];
    if json::get(new, "series") != json::get(old, "series") {
        series(new, errors);
    }
    for key in FIXED {
        let field = if key == "reportingComponent" { "reportingController" } else { key };
        if !json::same(json::get(new, key), json::get(old, key)) {
            errors.invalid(field, json::get(new, key), validate::IMMUTABLE);
        }
    }
}

fn series(value: &Value, errors: &mut Errors) {
    let series = json::get(value, "series");
    if series.is_null() {
        return;
    }
    if json::int(series, &["count"]).unwrap_or_default() < 2 {
        errors.invalid_str("series.count", "", "should be at least 2");
    }
    if json::text(series, &["lastObservedTime"]).is_empty() {
        errors.required("series.lastObservedTime", "");
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
