//! ReplicaSets.

use k8s_openapi::api::apps::v1::ReplicaSet;
use schemars::JsonSchema as _;
use serde_json::{Value, json};
use wk_base::time::Timestamp;

use crate::defaults;
use crate::field::Errors;
use crate::json;
use crate::kind::{FieldLabel, Generation, Kind, Rules};
use crate::object::Object;
use crate::table::{self, AGE, NAME, integer, text, wide};
use crate::validate::{immutable, labels, not_negative, pod};

/// `ReplicaSet`.
pub static REPLICASET: Kind = Kind {
    group: "apps",
    version: "v1",
    kind: "ReplicaSet",
    plural: "replicasets",
    singular: "replicaset",
    short_names: &["rs"],
    categories: &["all"],
    has_status: true,
    has_scale: true,
    collection: "apps/replicasets",
    rules: Rules {
        schema: ReplicaSet::json_schema,
        generation: Generation::Spec,
        default,
        prepare_create: |value| json::set(value, "status", json!({"replicas": 0})),
        validate,
        validate_update: |new, old, errors| immutable(errors, new, old, &["spec", "selector"]),
        status_keeps_labels: true,
        fields: &[FieldLabel {
            label: "status.replicas",
            read: |object| object.int("/status/replicas").unwrap_or_default().to_string(),
        }],
        columns: &[
            NAME,
            integer("Desired", "Pods wanted."),
            integer("Current", "Pods there are."),
            integer("Ready", "Pods that are ready."),
            AGE,
            wide(text("Containers", "Names of the containers in the template.")),
            wide(text("Images", "Images of the containers in the template.")),
            wide(text("Selector", "Which pods belong to it.")),
        ],
        cells,
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn default(value: &mut Value) {
    let spec = json::object_at(value, "spec");
    json::default(spec, "replicas", 1);
    if spec.get("template").is_some() {
        defaults::pod::spec(json::object_at(json::object_at(spec, "template"), "spec"));
    }
}

fn validate(value: &Value, errors: &mut Errors) {
    let spec = json::get(value, "spec");
    not_negative(errors, spec, "replicas", "spec");
    not_negative(errors, spec, "minReadySeconds", "spec");
    labels::workload(errors, spec);
    if json::get(spec, "template").is_null() {
        errors.required("spec.template", "");
    } else {
        pod::template(errors, json::get(spec, "template"), "spec.template");
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let count = |pointer| object.int(pointer).unwrap_or_default();
    let (names, images) = table::containers(object.at("/spec/template/spec").unwrap_or(&Value::Null));
    vec![
        object.name().into(),
        count("/spec/replicas").into(),
        count("/status/replicas").into(),
        count("/status/readyReplicas").into(),
        table::age(object, now).into(),
        names.into(),
        images.into(),
        table::selector(object.at("/spec/selector").unwrap_or(&Value::Null)).into(),
    ]
}
