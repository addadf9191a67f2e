//! `autoscaling/v1`, which knows one metric: CPU in percent. The others, the conditions and the behaviour travel in
//! annotations, so that writing back what was read loses nothing.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/autoscaling/v1/conversion.go`.

use k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler;
use schemars::JsonSchema as _;
use serde_json::{Map, Value, json};

use super::{CPU_PERCENT, HORIZONTALPODAUTOSCALER, cpu, printed};
use crate::json;
use crate::kind::{Kind, Rules};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// `HorizontalPodAutoscaler` of `autoscaling/v1`.
pub static HORIZONTALPODAUTOSCALER_V1: Kind = Kind {
    group: "autoscaling",
    version: "v1",
    kind: "HorizontalPodAutoscaler",
    plural: "horizontalpodautoscalers",
    singular: "horizontalpodautoscaler",
    short_names: &["hpa"],
    categories: &["all"],
    has_status: true,
    acts: true,
    collection: "autoscaling/horizontalpodautoscalers",
    storage: Some(&HORIZONTALPODAUTOSCALER),
    rules: Rules {
        schema: HorizontalPodAutoscaler::json_schema,
        default: |value| json::default(json::object_at(value, "spec"), "minReplicas", 1),
        from_stored: Some(|_, value| from_stored(value)),
        to_stored: Some(|_, value| to_stored(value)),
        columns: &printed::COLUMNS,
        cells: |object, now| {
            let mut stored = object.clone();
            to_stored(&mut stored.0);
            printed::cells(&stored, now)
        },
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn take(from: &mut Value, key: &str) -> Value {
    from.as_object_mut().and_then(|members| members.remove(key)).unwrap_or_default()
}

fn from_stored(value: &mut Value) {
    let spec = json::object_at(value, "spec");
    let metrics = take(spec, "metrics");
    let behavior = take(spec, "behavior");
    let metrics = metrics.as_array().map(Vec::as_slice).unwrap_or_default();
    let is_cpu = |metric: &&Value| {
        json::text(metric, &["type"]) == "Resource" && json::text(metric, &["resource", "name"]) == "cpu"
    };
    let percent = |metric: &Value| json::int(metric, &["resource", "target", "averageUtilization"]);
    if let Some(percent) = metrics.iter().find(is_cpu).and_then(percent) {
        json::set(spec, "targetCPUUtilizationPercentage", percent);
    }
    let others: Vec<Value> = metrics
        .iter()
        .filter(|metric| !is_cpu(metric) || percent(metric).is_none())
        .map(|metric| flat(metric, "target"))
        .collect();
    let status = json::object_at(value, "status");
    let current = take(status, "currentMetrics");
    let current = current.as_array().map(Vec::as_slice).unwrap_or_default();
    let conditions = take(status, "conditions");
    for metric in current.iter().filter(is_cpu) {
        if let Some(percent) = json::int(metric, &["resource", "current", "averageUtilization"]) {
            json::set(status, "currentCPUUtilizationPercentage", percent);
        }
    }
    json::default(status, "currentReplicas", 0);
    let current: Vec<Value> = current.iter().map(|metric| flat(metric, "current")).collect();
    for (key, content) in [
        (METRICS, Value::from(others)),
        (CURRENT_METRICS, Value::from(current)),
        (CONDITIONS, conditions),
        (BEHAVIOR, recased(&behavior, char::to_ascii_uppercase)),
    ] {
        let annotations = json::object_at(json::object_at(value, "metadata"), "annotations");
        if json::is_empty(&content) {
            json::remove(annotations, key);
        } else {
            json::set(annotations, key, content.to_string());
        }
    }
    drop_empty_annotations(value);
}

fn to_stored(value: &mut Value) {
    let annotations = json::object_at(json::object_at(value, "metadata"), "annotations");
    let mut read = |key: &str| -> Value {
        let text = take(annotations, key);
        // What cannot be read was written by a client that means nothing by it.
        text.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    };
    let (others, current) = (read(METRICS), read(CURRENT_METRICS));
    let (conditions, behavior) = (read(CONDITIONS), recased(&read(BEHAVIOR), char::to_ascii_lowercase));
    let spec = json::object_at(value, "spec");
    let percent = take(spec, "targetCPUUtilizationPercentage").as_i64();
    let mut metrics: Vec<Value> = percent.map(cpu).into_iter().collect();
    metrics.extend(others.as_array().into_iter().flatten().map(|metric| deep(metric, "target")));
    if metrics.is_empty() {
        metrics.push(cpu(CPU_PERCENT));
    }
    json::set(spec, "metrics", metrics);
    if behavior.is_object() {
        json::set(spec, "behavior", behavior);
    }
    let status = json::object_at(value, "status");
    let percent = take(status, "currentCPUUtilizationPercentage").as_i64();
    let mut now: Vec<Value> = current.as_array().into_iter().flatten().map(|metric| deep(metric, "current")).collect();
    if now.is_empty()
        && let Some(percent) = percent
    {
        let current = json!({"averageUtilization": percent});
        now.push(json!({"type": "Resource", "resource": {"name": "cpu", "current": current}}));
    }
    json::set(status, "currentMetrics", if now.is_empty() { Value::Null } else { now.into() });
    if conditions.is_array() {
        json::set(status, "conditions", conditions);
    }
    drop_empty_annotations(value);
}

fn drop_empty_annotations(value: &mut Value) {
    let metadata = json::object_at(value, "metadata");
    if json::is_empty(json::get(metadata, "annotations")) {
        json::remove(metadata, "annotations");
    }
}

/// Keys with their first letter changed, at every depth: the annotation has the names of Go's fields.
fn recased(value: &Value, case: fn(&char) -> char) -> Value {
    match value {
        Value::Object(members) => {
            let rename = |key: &String| {
                let mut letters = key.chars();
                letters.next().map(|first| case(&first)).into_iter().chain(letters).collect::<String>()
            };
            members.iter().map(|(key, value)| (rename(key), recased(value, case))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.iter().map(|item| recased(item, case)).collect(),
        other => other.clone(),
    }
}

/// The member of a metric that its type names, and that member's own name.
fn source(metric: &Value) -> (&'static str, &Value) {
    let name = match json::text(metric, &["type"]) {
        "Object" => "object",
        "Pods" => "pods",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => "external",
    };
    (name, json::get(metric, name))
}

/// Names of amounts in v2 within `target` or `current`, and what v1 puts after that word: `targetAverageValue`.
const AMOUNTS: [(&str, &str); 3] =
    [("value", "Value"), ("averageValue", "AverageValue"), ("averageUtilization", "AverageUtilization")];

/// A metric as it stands in the annotations of v1: amounts and identifier beside each other.
fn flat(metric: &Value, side: &str) -> Value {
    let (name, content) = source(metric);
    let mut flat = json!({});
    for key in ["name", "container"] {
        json::copy(&mut flat, content, key);
    }
    let identifier = json::get(content, "metric");
    json::copy_as(&mut flat, "metricName", identifier, "name");
    json::copy_as(&mut flat, if name == "external" { "metricSelector" } else { "selector" }, identifier, "selector");
    json::copy_as(&mut flat, "target", content, "describedObject");
    for (from, to) in AMOUNTS {
        json::copy_as(&mut flat, &amount(name, side, to), json::get(content, side), from);
    }
    json!({"type": json::get(metric, "type"), name: flat})
}

/// As v1 names an amount. The average of an object has no side in its name.
fn amount(source: &str, side: &str, word: &str) -> String {
    if source == "object" && word == "AverageValue" { "averageValue".to_owned() } else { format!("{side}{word}") }
}

/// The reverse of [`flat`].
fn deep(metric: &Value, side: &str) -> Value {
    let (name, flat) = source(metric);
    let mut amounts = json!({});
    for (to, from) in AMOUNTS {
        json::copy_as(&mut amounts, to, flat, &amount(name, side, from));
    }
    if side == "target" {
        let given = |key: &str| !json::get(&amounts, key).is_null();
        let kind = if given("averageUtilization") {
            "Utilization"
        } else if given("averageValue") {
            "AverageValue"
        } else {
            "Value"
        };
        json::set(&mut amounts, "type", kind);
    }
    let mut deep = json!({side: amounts});
    for key in ["name", "container"] {
        json::copy(&mut deep, flat, key);
    }
    let mut identifier = json!({});
    json::copy_as(&mut identifier, "name", flat, "metricName");
    json::copy_as(&mut identifier, "selector", flat, if name == "external" { "metricSelector" } else { "selector" });
    if !json::is_empty(&identifier) {
        json::set(&mut deep, "metric", identifier);
    }
    json::copy_as(&mut deep, "describedObject", flat, "target");
    json!({"type": json::get(metric, "type"), name: deep})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_v1_does_not_know_survives_the_way_through_it() {
        let selector = json!({"matchLabels": {"a": "b"}});
        let object = json!({"kind": "Ingress", "name": "i", "apiVersion": "networking.k8s.io/v1"});
        let stored = json!({
            "metadata": {"name": "h", "annotations": {"mine": "x"}},
            "spec": {"minReplicas": 1, "maxReplicas": 3, "metrics": [
                cpu(50),
                {"type": "Pods", "pods": {"metric": {"name": "p", "selector": selector}, "target": {"type": "AverageValue", "averageValue": "1k"}}},
                {"type": "Object", "object": {"metric": {"name": "o"}, "describedObject": object, "target": {"type": "Value", "value": "10"}}},
                {"type": "Object", "object": {"metric": {"name": "o"}, "describedObject": object, "target": {"type": "AverageValue", "averageValue": "10"}}},
                {"type": "External", "external": {"metric": {"name": "e", "selector": selector}, "target": {"type": "Value", "value": "2"}}},
                {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c", "target": {"type": "Utilization", "averageUtilization": 3}}},
            ], "behavior": {"scaleDown": {"policies": [{"type": "Percent", "value": 1, "periodSeconds": 2}]}}},
            "status": {"currentReplicas": 2, "desiredReplicas": 2, "conditions": [{"type": "AbleToScale", "status": "True"}], "currentMetrics": [
                {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 7, "averageValue": "7m"}}},
            ]},
        });
        let mut value = stored.clone();
        from_stored(&mut value);
        assert_eq!(value["spec"]["targetCPUUtilizationPercentage"], 50);
        assert_eq!(value["status"]["currentCPUUtilizationPercentage"], 7);
        let behavior = value["metadata"]["annotations"][BEHAVIOR].as_str().unwrap();
        assert!(behavior.starts_with("{\"ScaleDown\":{\"Policies\":[{\"PeriodSeconds\":2"), "{behavior}");
        let metrics = value["metadata"]["annotations"][METRICS].as_str().unwrap();
        assert!(metrics.contains("\"targetAverageValue\":\"1k\""), "{metrics}");
        assert!(value["spec"].get("metrics").is_none());
        to_stored(&mut value);
        assert_eq!(value, stored);
    }

    #[test]
    fn without_a_metric_it_is_cpu_at_eighty_percent() {
        let mut value = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3}});
        to_stored(&mut value);
        assert_eq!(value["spec"]["metrics"], json!([cpu(80)]));
        for broken in ["", "1", "{", "[1]"] {
            to_stored(
                &mut json!({"metadata": {"annotations": {METRICS: broken, CONDITIONS: broken, BEHAVIOR: broken}}}),
            );
        }
    }
}
