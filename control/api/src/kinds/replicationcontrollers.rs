//! ReplicationControllers: ReplicaSets before there were any. Their selector is a plain map of labels.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/core/{v1,validation}`.

use k8s_openapi::api::core::v1::ReplicationController;
use schemars::JsonSchema as _;
use serde_json::{Value, json};

use super::workload;
use crate::field::Errors;
use crate::json;
use crate::kind::{FieldLabel, Generation, Kind, Rules};
use crate::selector::Labels;
use crate::table;
use crate::validate::{labels, not_negative};

/// `ReplicationController`.
pub static REPLICATIONCONTROLLER: Kind = Kind {
    kind: "ReplicationController",
    plural: "replicationcontrollers",
    singular: "replicationcontroller",
    short_names: &["rc"],
    categories: &["all"],
    has_status: true,
    has_scale: true,
    acts: true,
    collection: "core/replicationcontrollers",
    rules: Rules {
        schema: ReplicationController::json_schema,
        generation: Generation::Spec,
        default,
        prepare_create: |value| json::set(value, "status", json!({"replicas": 0})),
        validate,
        validate_status: |new, _, errors| {
            let parts = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
            workload::status(errors, json::get(new, "status"), "replicas", &parts, &["observedGeneration"]);
        },
        orphans: true,
        fields: &[FieldLabel {
            label: "status.replicas",
            read: |object| workload::count(object, "/status/replicas").to_string(),
        }],
        columns: &workload::REPLICAS,
        cells: |object, now| {
            let selector = table::labels(object.at("/spec/selector").unwrap_or(&Value::Null));
            workload::replica_cells(object, now, selector)
        },
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

/// Labels and selector are those of the template, unless others are given.
fn default(value: &mut Value) {
    let labels = json::dig(value, &["spec", "template", "metadata", "labels"]).clone();
    if !json::is_empty(&labels) {
        if json::is_empty(json::dig(value, &["metadata", "labels"])) {
            json::set(json::object_at(value, "metadata"), "labels", labels.clone());
        }
        if json::is_empty(json::dig(value, &["spec", "selector"])) {
            json::set(json::object_at(value, "spec"), "selector", labels);
        }
    }
    let spec = json::object_at(value, "spec");
    json::default(spec, "replicas", 1);
    if spec.get("template").is_some() {
        workload::default_template(spec);
    }
}

fn validate(value: &Value, errors: &mut Errors) {
    let spec = json::get(value, "spec");
    not_negative(errors, spec, "minReadySeconds", "spec");
    let given = json::get(spec, "selector");
    if json::is_empty(given) {
        errors.required("spec.selector", "");
    }
    not_negative(errors, spec, "replicas", "spec");
    if !json::is_empty(given) && !json::is_empty(json::get(spec, "template")) {
        labels::template(errors, spec, &Labels::from_map(given));
    }
    workload::always_restarted(errors, spec, "ReplicationController");
}
