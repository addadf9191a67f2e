//! PodDisruptionBudgets: how many pods evictions may take away at once.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/policy/validation`.

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use schemars::JsonSchema as _;
use serde_json::{Value, json};
use wk_base::time::Timestamp;

use super::workload::{self, count};
use crate::field::Errors;
use crate::json;
use crate::kind::{Generation, Kind, Rules};
use crate::object::Object;
use crate::table::{self, AGE, NAME, integer, text};
use crate::validate::{labels, share};

/// `PodDisruptionBudget`.
pub static PODDISRUPTIONBUDGET: Kind = Kind {
    group: "policy",
    version: "v1",
    kind: "PodDisruptionBudget",
    plural: "poddisruptionbudgets",
    singular: "poddisruptionbudget",
    short_names: &["pdb"],
    has_status: true,
    acts: true,
    collection: "policy/poddisruptionbudgets",
    rules: Rules {
        schema: PodDisruptionBudget::json_schema,
        generation: Generation::Spec,
        prepare_create: |value| {
            let status = json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0});
            json::set(value, "status", status);
        },
        validate,
        validate_status: |new, _, errors| {
            let numbers = ["currentHealthy", "desiredHealthy", "expectedPods"];
            workload::status(errors, json::get(new, "status"), "disruptionsAllowed", &[], &numbers);
        },
        columns: &[
            NAME,
            text("Min Available", "Pods that must stay available."),
            text("Max Unavailable", "Pods that may be unavailable."),
            integer("Allowed Disruptions", "Pods that may be evicted now."),
            AGE,
        ],
        cells,
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn validate(value: &Value, errors: &mut Errors) {
    let spec = json::get(value, "spec");
    let is_set = |key| !json::get(spec, key).is_null();
    if is_set("minAvailable") && is_set("maxUnavailable") {
        errors.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set");
    }
    for key in ["minAvailable", "maxUnavailable"] {
        share::check(errors, spec, key, "spec");
        share::at_most_all(errors, spec, key, "spec");
    }
    labels::selector(errors, json::get(spec, "selector"), "spec.selector");
    let policy = json::get(spec, "unhealthyPodEvictionPolicy");
    let supported = ["AlwaysAllow", "IfHealthyBudget"];
    if !policy.is_null() && !policy.as_str().is_some_and(|policy| supported.contains(&policy)) {
        errors.not_supported("spec.unhealthyPodEvictionPolicy", policy.as_str().unwrap_or_default(), &supported);
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let shown = |pointer| match object.at(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => "N/A".to_owned(),
    };
    vec![
        object.name().into(),
        shown("/spec/minAvailable").into(),
        shown("/spec/maxUnavailable").into(),
        count(object, "/status/disruptionsAllowed").into(),
        table::age(object, now).into(),
    ]
}
