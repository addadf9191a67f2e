//! DaemonSets.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/apps/{v1,validation}`, `pkg/registry/apps/daemonset`.

use k8s_openapi::api::apps::v1::DaemonSet;
use schemars::JsonSchema as _;
use serde_json::{Value, json};
use wk_base::time::Timestamp;

use super::workload::{self, CONTAINERS, IMAGES, SELECTOR, count};
use crate::field::Errors;
use crate::json;
use crate::kind::{Generation, Kind, Rules};
use crate::object::Object;
use crate::selector::Labels;
use crate::table::{self, AGE, NAME, integer, text};
use crate::validate::{immutable, labels, not_negative, share};

/// How often the template was changed; a field of an earlier version that lives on as an annotation.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// `DaemonSet`.
pub static DAEMONSET: Kind = Kind {
    group: "apps",
    version: "v1",
    kind: "DaemonSet",
    plural: "daemonsets",
    singular: "daemonset",
    short_names: &["ds"],
    categories: &["all"],
    has_status: true,
    acts: true,
    collection: "apps/daemonsets",
    rules: Rules {
        schema: DaemonSet::json_schema,
        generation: Generation::Spec,
        default,
        prepare_create: |value| {
            set_template_generation(value, 1);
            let status = json!({
                "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0,
            });
            json::set(value, "status", status);
        },
        prepare_update: |new, old| {
            let before = json::text(old, &["metadata", "annotations", TEMPLATE_GENERATION]).parse().unwrap_or(1);
            let template = ["spec", "template"];
            let changed = !json::same(json::dig(new, &template), json::dig(old, &template));
            set_template_generation(new, before + i64::from(changed));
        },
        validate,
        validate_update: |new, old, errors| immutable(errors, new, old, &["spec", "selector"]),
        validate_status: |new, _, errors| {
            let numbers = [
                "desiredNumberScheduled",
                "numberMisscheduled",
                "numberReady",
                "observedGeneration",
                "updatedNumberScheduled",
                "numberAvailable",
                "numberUnavailable",
            ];
            workload::status(errors, json::get(new, "status"), "currentNumberScheduled", &[], &numbers);
        },
        status_keeps_labels: true,
        columns: &[
            NAME,
            integer("Desired", "Nodes that should run a pod."),
            integer("Current", "Nodes that have one."),
            integer("Ready", "Nodes where it is ready."),
            integer("Up-to-date", "Nodes where it is of the present template."),
            integer("Available", "Nodes where it has been ready for minReadySeconds."),
            text("Node Selector", "Labels of the nodes that are meant."),
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

fn set_template_generation(value: &mut Value, generation: i64) {
    let annotations = json::object_at(json::object_at(value, "metadata"), "annotations");
    json::set(annotations, TEMPLATE_GENERATION, generation.to_string());
}

fn default(value: &mut Value) {
    let spec = json::object_at(value, "spec");
    let strategy = json::object_at(spec, "updateStrategy");
    json::default(strategy, "type", "RollingUpdate");
    if json::text(strategy, &["type"]) == "RollingUpdate" {
        let rolling = json::object_at(strategy, "rollingUpdate");
        json::default(rolling, "maxUnavailable", 1);
        json::default(rolling, "maxSurge", 0);
    }
    json::default(spec, "revisionHistoryLimit", 10);
    workload::default_template(spec);
}

fn validate(value: &Value, errors: &mut Errors) {
    let spec = json::get(value, "spec");
    let given = json::get(spec, "selector");
    labels::selector(errors, given, "spec.selector");
    if let Ok(selector) = Labels::from_label_selector(given) {
        labels::template(errors, spec, &selector);
        if selector.is_empty() {
            errors.invalid("spec.selector", given, "empty selector is invalid for daemonset");
        }
    }
    workload::always_restarted(errors, spec, "DaemonSet");
    not_negative(errors, spec, "minReadySeconds", "spec");
    strategy(errors, json::get(spec, "updateStrategy"));
    not_negative(errors, spec, "revisionHistoryLimit", "spec");
}

fn strategy(errors: &mut Errors, strategy: &Value) {
    let path = "spec.updateStrategy.rollingUpdate";
    match json::text(strategy, &["type"]) {
        "OnDelete" => {}
        "RollingUpdate" => {
            let rolling = json::get(strategy, "rollingUpdate");
            let unavailable = share::check(errors, rolling, "maxUnavailable", path);
            let surge = share::check(errors, rolling, "maxSurge", path);
            share::at_most_all(errors, rolling, "maxUnavailable", path);
            share::at_most_all(errors, rolling, "maxSurge", path);
            match (unavailable, surge) {
                (Some(0), Some(0)) => {
                    errors.required(format!("{path}.maxUnavailable"), "cannot be 0 when maxSurge is 0");
                }
                (Some(1..), Some(1..)) => {
                    let detail = "may not be set when maxUnavailable is non-zero";
                    errors.invalid(format!("{path}.maxSurge"), json::get(rolling, "maxSurge"), detail);
                }
                _ => {}
            }
        }
        other => errors.not_supported("spec.updateStrategy", other, &["RollingUpdate", "OnDelete"]),
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let numbers = [
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    ];
    let mut cells = vec![Value::from(object.name())];
    cells.extend(numbers.map(|key| Value::from(count(object, &format!("/status/{key}")))));
    let nodes = object.at("/spec/template/spec/nodeSelector").unwrap_or(&Value::Null);
    cells.push(table::labels(nodes).into());
    cells.push(table::age(object, now).into());
    cells.extend(workload::container_cells(object, "/spec/template/spec"));
    cells.push(table::selector(object.at("/spec/selector").unwrap_or(&Value::Null)).into());
    cells
}
