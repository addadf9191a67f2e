//! What a HorizontalPodAutoscaler aims at, and how far it is.

use serde_json::Value;

use super::page::{Page, list, number, text};
use crate::render::jsonpath::shown;

/// What stands where nothing was measured.
const UNKNOWN: &str = "<unknown>";

/// An autoscaler, as `autoscaling/v2` writes it.
pub(super) fn describe(page: &mut Page, object: &Value) {
    let kind = text(object, "/spec/scaleTargetRef/kind");
    page.line("Reference", &format!("{kind}/{}", text(object, "/spec/scaleTargetRef/name")));
    page.line("Metrics", "( current / target )");
    for metric in list(object, "/spec/metrics") {
        let current = list(object, "/status/currentMetrics").find(|current| source(current) == source(metric));
        page.line(&format!("  {}", title(metric)), &format!("{} / {}", now(metric, current), aim(metric)));
    }
    let min = object.pointer("/spec/minReplicas").map_or_else(|| "1".to_owned(), shown);
    page.line("Min replicas", &min);
    page.field("Max replicas", object, "/spec/maxReplicas");
    for (name, direction) in [("Scale Up", "scaleUp"), ("Scale Down", "scaleDown")] {
        if let Some(rules) = object.pointer("/spec/behavior").and_then(|behavior| behavior.get(direction)) {
            behaviour(page, name, rules);
        }
    }
    let count = |key: &str| number(object, &format!("/status/{key}"));
    let pods = format!("{} current / {} desired", count("currentReplicas"), count("desiredReplicas"));
    page.line(&format!("{kind} pods"), &pods);
    page.conditions(object);
}

fn behaviour(page: &mut Page, name: &str, rules: &Value) {
    page.section(name, |page| {
        page.field("Stabilization Window Seconds", rules, "/stabilizationWindowSeconds");
        page.field("Select Policy", rules, "/selectPolicy");
        for policy in list(rules, "/policies") {
            let (value, seconds) = (number(policy, "/value"), number(policy, "/periodSeconds"));
            page.line("Policy", &format!("{} {value} in {seconds} s", text(policy, "/type")));
        }
    });
}

/// Type and name of what is measured: by it a target finds its measurement.
fn source(metric: &Value) -> (&str, String) {
    let of = body(metric);
    let at = |pointer: &str| text(of, pointer).to_owned();
    (text(metric, "/type"), [at("/container"), at("/name"), at("/metric/name"), at("/describedObject/name")].join("/"))
}

/// The part of a metric that belongs to its type.
fn body(metric: &Value) -> &Value {
    let kind = text(metric, "/type");
    let mut letters = kind.chars();
    let field: String = letters.next().into_iter().flat_map(char::to_lowercase).chain(letters).collect();
    metric.get(&field).unwrap_or(&Value::Null)
}

fn title(metric: &Value) -> String {
    let of = body(metric);
    let target = text(of, "/target/type");
    let share = if target == "Utilization" { "  (as a percentage of request)" } else { "" };
    let metric_name = text(of, "/metric/name");
    match text(metric, "/type") {
        "Resource" => format!("resource {} on pods{share}", text(of, "/name")),
        "ContainerResource" => {
            format!("resource {} of container {:?} on pods{share}", text(of, "/name"), text(of, "/container"))
        }
        "Pods" => format!("{metric_name:?} on pods"),
        "Object" => {
            let (kind, name) = (text(of, "/describedObject/kind"), text(of, "/describedObject/name"));
            format!(
                "{metric_name:?} on {kind}/{name} (target {})",
                if target == "Value" { "value" } else { "average value" }
            )
        }
        "External" => {
            format!("{metric_name:?} (target {})", if target == "Value" { "value" } else { "average value" })
        }
        other => other.to_owned(),
    }
}

fn aim(metric: &Value) -> String {
    let target = &body(metric)["target"];
    match (target.get("averageUtilization"), target.get("averageValue"), target.get("value")) {
        (Some(share), ..) => format!("{}%", shown(share)),
        (_, Some(amount), _) | (_, _, Some(amount)) => shown(amount),
        _ => UNKNOWN.to_owned(),
    }
}

/// What was measured, in the unit of the target; a share with the amount it is.
fn now(metric: &Value, current: Option<&Value>) -> String {
    let Some(current) = current.map(|current| &body(current)["current"]) else { return UNKNOWN.to_owned() };
    let field = |key: &str| current.get(key).map(shown).filter(|text| !text.is_empty());
    let amount = field("averageValue").or_else(|| field("value"));
    if body(metric).pointer("/target/averageUtilization").is_some() {
        return match (field("averageUtilization"), amount) {
            (Some(share), Some(amount)) => format!("{share}% ({amount})"),
            (Some(share), None) => format!("{share}%"),
            (None, _) => UNKNOWN.to_owned(),
        };
    }
    amount.unwrap_or_else(|| UNKNOWN.to_owned())
}
