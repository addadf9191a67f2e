//! Deployments.

use k8s_openapi::api::apps::v1::Deployment;
use schemars::JsonSchema as _;
use serde_json::{Value, json};
use wk_base::time::Timestamp;

use super::workload::{self, CONTAINERS, IMAGES, SELECTOR};
use crate::field::Errors;
use crate::json;
use crate::kind::{Generation, Kind, Rules};
use crate::object::Object;
use crate::table::{self, AGE, NAME, text};
use crate::validate::{self, immutable, labels, not_negative, share};

/// `Deployment`.
pub static DEPLOYMENT: Kind = Kind {
    group: "apps",
    version: "v1",
    kind: "Deployment",
    plural: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    categories: &["all"],
    has_status: true,
    has_scale: true,
    acts: true,
    collection: "apps/deployments",
    rules: Rules {
        schema: Deployment::json_schema,
        generation: Generation::SpecAndAnnotations,
        default,
        prepare_create: |value| json::set(value, "status", json!({})),
        validate,
        validate_update: |new, old, errors| immutable(errors, new, old, &["spec", "selector"]),
        validate_status: |new, _, errors| {
            let parts = ["updatedReplicas", "readyReplicas", "availableReplicas"];
            let others = ["unavailableReplicas", "observedGeneration"];
            workload::status(errors, json::get(new, "status"), "replicas", &parts, &others);
        },
        status_keeps_labels: true,
        columns: &[
            NAME,
            text("Ready", "Ready pods of those wanted."),
            integer_text("Up-to-date", "Pods of the present template."),
            integer_text("Available", "Pods that have been ready for minReadySeconds."),
            AGE,
            CONTAINERS,
            IMAGES,
            SELECTOR,
        ],
        cells,
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

/// Kubernetes declares these two columns as text and fills them with numbers.
const fn integer_text(name: &'static str, description: &'static str) -> crate::kind::Column {
    text(name, description)
}

fn default(value: &mut Value) {
    let spec = json::object_at(value, "spec");
    json::default(spec, "replicas", 1);
    json::default(spec, "revisionHistoryLimit", 10);
    json::default(spec, "progressDeadlineSeconds", 600);
    let strategy = json::object_at(spec, "strategy");
    json::default(strategy, "type", "RollingUpdate");
    if json::text(strategy, &["type"]) == "RollingUpdate" {
        let rolling = json::object_at(strategy, "rollingUpdate");
        json::default(rolling, "maxUnavailable", "25%");
        json::default(rolling, "maxSurge", "25%");
    }
    workload::default_template(spec);
}

fn validate(value: &Value, errors: &mut Errors) {
    let spec = json::get(value, "spec");
    for key in ["replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
        not_negative(errors, spec, key, "spec");
    }
    labels::workload(errors, spec, "deployment");
    workload::always_restarted(errors, spec, "Deployment");
    strategy(errors, json::get(spec, "strategy"));
    let deadline = json::int(spec, &["progressDeadlineSeconds"]).unwrap_or_default();
    if deadline >= 0 && deadline <= json::int(spec, &["minReadySeconds"]).unwrap_or_default() {
        errors.invalid("spec.progressDeadlineSeconds", &Value::from(deadline), "must be greater than minReadySeconds");
    }
}

fn strategy(errors: &mut Errors, strategy: &Value) {
    let path = "spec.strategy.rollingUpdate";
    let rolling = json::get(strategy, "rollingUpdate");
    match json::text(strategy, &["type"]) {
        "Recreate" if !rolling.is_null() => {
            errors.forbidden(path, "may not be specified when strategy `type` is 'Recreate'");
        }
        "Recreate" => {}
        "RollingUpdate" => {
            let unavailable = share::check(errors, rolling, "maxUnavailable", path);
            let surge = share::check(errors, rolling, "maxSurge", path);
            if unavailable == Some(0) && surge == Some(0) {
                errors.invalid(
                    format!("{path}.maxUnavailable"),
                    json::get(rolling, "maxUnavailable"),
                    "may not be 0 when `maxSurge` is 0",
                );
            }
            share::at_most_all(errors, rolling, "maxUnavailable", path);
        }
        _ => validate::one_of(errors, strategy, "type", "spec.strategy", &["Recreate", "RollingUpdate"]),
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let count = |key: &str| object.int(&format!("/status/{key}")).unwrap_or_default();
    let [names, images] = workload::container_cells(object, "/spec/template/spec");
    vec![
        object.name().into(),
        format!("{}/{}", count("readyReplicas"), object.int("/spec/replicas").unwrap_or_default()).into(),
        count("updatedReplicas").into(),
        count("availableReplicas").into(),
        table::age(object, now).into(),
        names,
        images,
        table::selector(object.at("/spec/selector").unwrap_or(&Value::Null)).into(),
    ]
}
