//! HorizontalPodAutoscalers: one collection in two versions. Stored as `autoscaling/v2`; `autoscaling/v1`, which
//! `kubectl autoscale` of 1.32 sends, is in `v1`.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/autoscaling/{v1,v2}`.

mod printed;
mod v1;
mod valid;

pub use v1::HORIZONTALPODAUTOSCALER_V1;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use schemars::JsonSchema as _;
use serde_json::{Value, json};

use crate::json;
use crate::kind::{Kind, Rules};

/// Percent of the requested CPU that pods are to use when nothing else is said.
const CPU_PERCENT: i64 = 80;

/// `HorizontalPodAutoscaler` of `autoscaling/v2`.
pub static HORIZONTALPODAUTOSCALER: Kind = Kind {
    group: "autoscaling",
    version: "v2",
    kind: "HorizontalPodAutoscaler",
    plural: "horizontalpodautoscalers",
    singular: "horizontalpodautoscaler",
    short_names: &["hpa"],
    categories: &["all"],
    has_status: true,
    acts: true,
    collection: "autoscaling/horizontalpodautoscalers",
    rules: Rules {
        schema: HorizontalPodAutoscaler::json_schema,
        default,
        prepare_create: |value| json::set(value, "status", json!({"currentMetrics": null, "desiredReplicas": 0})),
        validate: |value, errors| valid::spec(json::get(value, "spec"), errors),
        validate_status: |new, _, errors| {
            super::workload::status(errors, json::get(new, "status"), "currentReplicas", &[], &["desiredReplicas"]);
        },
        columns: &printed::COLUMNS,
        cells: printed::cells,
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn default(value: &mut Value) {
    let spec = json::object_at(value, "spec");
    json::default(spec, "minReplicas", 1);
    if json::items(spec, &["metrics"]).is_empty() {
        json::set(spec, "metrics", json!([cpu(CPU_PERCENT)]));
    }
    if !json::get(spec, "behavior").is_null() {
        let behavior = json::object_at(spec, "behavior");
        let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
        let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
        let up = json::object_at(behavior, "scaleUp");
        json::default(up, "stabilizationWindowSeconds", 0);
        rules(up, json!([pods, percent]));
        rules(json::object_at(behavior, "scaleDown"), json!([percent]));
    }
}

fn rules(rules: &mut Value, policies: Value) {
    json::default(rules, "selectPolicy", "Max");
    json::default(rules, "policies", policies);
}

/// A metric: the use of CPU in percent of what is requested.
fn cpu(percent: i64) -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": percent});
    json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
}
