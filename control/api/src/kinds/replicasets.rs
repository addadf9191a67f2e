//! ReplicaSets.

use k8s_openapi::api::apps::v1::ReplicaSet;
use schemars::JsonSchema as _;
use serde_json::{Value, json};

use super::workload;
use crate::field::Errors;
use crate::json;
use crate::kind::{FieldLabel, Generation, Kind, Rules};
use crate::table;
use crate::validate::{immutable, labels, not_negative};

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
    acts: true,
    collection: "apps/replicasets",
    rules: Rules {
        schema: ReplicaSet::json_schema,
        generation: Generation::Spec,
        default,
        prepare_create: |value| json::set(value, "status", json!({"replicas": 0})),
        validate,
        validate_update: |new, old, errors| immutable(errors, new, old, &["spec", "selector"]),
        validate_status: |new, _, errors| {
            let parts = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
            workload::status(errors, json::get(new, "status"), "replicas", &parts, &["observedGeneration"]);
        },
        status_keeps_labels: true,
        fields: &[FieldLabel {
            label: "status.replicas",
            read: |object| object.int("/status/replicas").unwrap_or_default().to_string(),
        }],
        columns: &workload::REPLICAS,
        cells: |object, now| {
            let selector = table::selector(object.at("/spec/selector").unwrap_or(&Value::Null));
            workload::replica_cells(object, now, selector)
        },
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn default(value: &mut Value) {
    let spec = json::object_at(value, "spec");
    json::default(spec, "replicas", 1);
    if spec.get("template").is_some() {
        workload::default_template(spec);
    }
}

fn validate(value: &Value, errors: &mut Errors) {
    let spec = json::get(value, "spec");
    not_negative(errors, spec, "replicas", "spec");
    not_negative(errors, spec, "minReadySeconds", "spec");
    labels::workload(errors, spec, "deployment");
    workload::always_restarted(errors, spec, "ReplicaSet");
}
