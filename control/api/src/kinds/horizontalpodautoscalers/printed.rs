//! An autoscaler's row in a table.
//!
//! Source: `k8s.io/kubernetes/pkg/printers/internalversion`, `formatHPAMetrics`.

use serde_json::Value;
use wk_base::time::Timestamp;

use crate::json;
use crate::kind::Column;
use crate::object::Object;
use crate::table::{self, AGE, NAME, NONE, text};

/// Metrics told before the rest is only counted.
const SHOWN: usize = 2;

pub(super) static COLUMNS: [Column; 7] = [
    NAME,
    text("Reference", "What it scales."),
    text("Targets", "Metrics as they are and as they should be."),
    text("MinPods", "Pods at least."),
    text("MaxPods", "Pods at most."),
    text("Replicas", "Pods there are."),
    AGE,
];

pub(super) fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let target = object.at("/spec/scaleTargetRef").unwrap_or(&Value::Null);
    let min = object.int("/spec/minReplicas").map_or_else(|| "<unset>".to_owned(), |min| min.to_string());
    vec![
        object.name().into(),
        format!("{}/{}", json::text(target, &["kind"]), json::text(target, &["name"])).into(),
        targets(object).into(),
        min.into(),
        object.int("/spec/maxReplicas").unwrap_or_default().into(),
        object.int("/status/currentReplicas").unwrap_or_default().into(),
        table::age(object, now).into(),
    ]
}

fn targets(object: &Object) -> String {
    let wanted = object.items("/spec/metrics");
    if wanted.is_empty() {
        return NONE.to_owned();
    }
    let found = object.items("/status/currentMetrics");
    let texts: Vec<String> = wanted
        .iter()
        .enumerate()
        .map(|(index, metric)| one(metric, found.get(index).unwrap_or(&Value::Null)))
        .collect();
    let shown = texts[..texts.len().min(SHOWN)].join(", ");
    if texts.len() > SHOWN { format!("{shown} + {} more...", texts.len() - SHOWN) } else { shown }
}

fn one(metric: &Value, found: &Value) -> String {
    let member = match json::text(metric, &["type"]) {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".to_owned(),
    };
    let target = json::dig(metric, &[member, "target"]);
    let current = json::dig(found, &[member, "current"]);
    let shown = |side: &Value, key: &str, unit: &str| match json::get(side, key) {
        Value::String(text) => format!("{text}{unit}"),
        Value::Number(number) => format!("{number}{unit}"),
        _ => "<unknown>".to_owned(),
    };
    let pair = |key: &str, unit: &str| format!("{}/{}", shown(current, key, unit), shown(target, key, unit));
    let averaged = !json::get(target, "averageValue").is_null();
    match member {
        "resource" | "containerResource" => {
            let name = json::text(metric, &[member, "name"]);
            let values = if averaged { pair("averageValue", "") } else { pair("averageUtilization", "%") };
            format!("{name}: {values}")
        }
        "pods" => pair("averageValue", ""),
        _ if averaged => format!("{} (avg)", pair("averageValue", "")),
        _ => pair("value", ""),
    }
}
