//! What an autoscaler may look like.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/autoscaling/validation`.

use serde_json::Value;

use crate::field::Errors;
use crate::json;
use crate::quantity::Quantity;
use crate::validate::{self, labels};

/// Longest period of a policy, in seconds.
const PERIOD_MAX: i64 = 1800;
/// Longest window, in seconds.
const WINDOW_MAX: i64 = 3600;
/// The types of metrics, and their members.
const SOURCES: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

pub(super) fn spec(spec: &Value, errors: &mut Errors) {
    let min = json::int(spec, &["minReplicas"]);
    let max = json::int(spec, &["maxReplicas"]).unwrap_or_default();
    if min.is_some_and(|min| min < 1) {
        errors.invalid("spec.minReplicas", json::get(spec, "minReplicas"), "must be greater than or equal to 1");
    }
    if max < 1 {
        errors.invalid("spec.maxReplicas", &max.into(), "must be greater than 0");
    }
    if min.is_some_and(|min| max < min) {
        errors.invalid("spec.maxReplicas", &max.into(), "must be greater than or equal to `minReplicas`");
    }
    reference(errors, json::get(spec, "scaleTargetRef"), "spec.scaleTargetRef");
    for (index, given) in json::items(spec, &["metrics"]).iter().enumerate() {
        metric(errors, given, &format!("spec.metrics[{index}]"));
    }
    for side in ["scaleUp", "scaleDown"] {
        let rules = json::dig(spec, &["behavior", side]);
        if !rules.is_null() {
            scaling(errors, rules, &format!("spec.behavior.{side}"));
        }
    }
}

fn reference(errors: &mut Errors, reference: &Value, path: &str) {
    for key in ["kind", "name"] {
        let text = json::text(reference, &[key]);
        if text.is_empty() {
            errors.required(format!("{path}.{key}"), "");
        } else {
            validate::text(errors, &format!("{path}.{key}"), text, crate::names::path_segment);
        }
    }
}

fn scaling(errors: &mut Errors, rules: &Value, path: &str) {
    if let Some(window) = json::int(rules, &["stabilizationWindowSeconds"]) {
        let field = format!("{path}.stabilizationWindowSeconds");
        if window < 0 {
            errors.invalid(&field, &window.into(), "must be greater than or equal to zero");
        }
        if window > WINDOW_MAX {
            errors.invalid(field, &window.into(), &format!("must be less than or equal to {WINDOW_MAX}"));
        }
    }
    validate::one_of(errors, rules, "selectPolicy", path, &["Disabled", "Max", "Min"]);
    let policies = json::items(rules, &["policies"]);
    if policies.is_empty() {
        errors.required(format!("{path}.policies"), "must specify at least one Policy");
    }
    for (index, policy) in policies.iter().enumerate() {
        let path = format!("{path}.policies[{index}]");
        let kind = json::text(policy, &["type"]);
        if !["Percent", "Pods"].contains(&kind) {
            errors.not_supported(format!("{path}.type"), kind, &["Percent", "Pods"]);
        }
        for key in ["value", "periodSeconds"] {
            let number = json::int(policy, &[key]).unwrap_or_default();
            if number <= 0 {
                errors.invalid(format!("{path}.{key}"), &number.into(), "must be greater than zero");
            }
        }
        let period = json::int(policy, &["periodSeconds"]).unwrap_or_default();
        if period > PERIOD_MAX {
            let detail = format!("must be less than or equal to {PERIOD_MAX}");
            errors.invalid(format!("{path}.periodSeconds"), &period.into(), &detail);
        }
    }
}

fn metric(errors: &mut Errors, metric: &Value, path: &str) {
    let kind = json::text(metric, &["type"]);
    if kind.is_empty() {
        errors.required(format!("{path}.type"), "must specify a metric source type");
    }
    let expected = SOURCES.iter().find(|(name, _)| *name == kind).map(|(_, member)| *member);
    if expected.is_none() {
        errors.not_supported(format!("{path}.type"), kind, &SOURCES.map(|(name, _)| name));
    }
    let given: Vec<&str> =
        SOURCES.iter().map(|(_, member)| *member).filter(|member| !json::get(metric, member).is_null()).collect();
    if let Some(first) = given.first() {
        source(errors, first, json::get(metric, first), &format!("{path}.{first}"));
    }
    let Some(expected) = expected else { return };
    if !given.contains(&expected) {
        errors.required(format!("{path}.{expected}"), "must populate information for the given metric source");
    }
    for other in given.iter().filter(|member| **member != expected) {
        errors.forbidden(format!("{path}.{other}"), "must populate the given metric source only");
    }
}

fn source(errors: &mut Errors, kind: &str, source: &Value, path: &str) {
    let target = json::get(source, "target");
    let given = |key: &str| !json::get(target, key).is_null();
    match kind {
        "resource" | "containerResource" => {
            if json::text(source, &["name"]).is_empty() {
                errors.required(format!("{path}.name"), "must specify a resource name");
            }
            if kind == "containerResource" && json::text(source, &["container"]).is_empty() {
                errors.required(format!("{path}.container"), "must specify a container");
            }
        }
        _ => identifier(errors, json::get(source, "metric"), &format!("{path}.metric")),
    }
    if kind == "object" {
        reference(errors, json::get(source, "describedObject"), &format!("{path}.describedObject"));
    }
    amounts(errors, target, &format!("{path}.target"));
    let missing = match kind {
        "object" if !given("value") && !given("averageValue") => {
            Some(("averageValue", "must set either a target value or averageValue"))
        }
        "external" if !given("value") && !given("averageValue") => {
            Some(("averageValue", "must set either a target value for metric or a per-pod target"))
        }
        "pods" if !given("averageValue") => Some(("averageValue", "must specify a positive target averageValue")),
        "resource" | "containerResource" if !given("averageUtilization") && !given("averageValue") => {
            Some(("averageUtilization", "must set either a target raw value or a target utilization"))
        }
        _ => None,
    };
    if let Some((key, detail)) = missing {
        errors.required(format!("{path}.target.{key}"), detail);
    }
    if kind == "external" && given("value") && given("averageValue") {
        let detail = "may not set both a target value for metric and a per-pod target";
        errors.forbidden(format!("{path}.target.value"), detail);
    }
    if kind.to_lowercase().ends_with("resource") && given("averageUtilization") && given("averageValue") {
        let detail = "may not set both a target raw value and a target utilization";
        errors.forbidden(format!("{path}.target.averageValue"), detail);
    }
}

fn identifier(errors: &mut Errors, metric: &Value, path: &str) {
    let name = json::text(metric, &["name"]);
    if name.is_empty() {
        errors.required(format!("{path}.name"), "must specify a metric name");
    } else {
        validate::text(errors, &format!("{path}.name"), name, crate::names::path_segment);
    }
    if !json::get(metric, "selector").is_null() {
        labels::selector(errors, json::get(metric, "selector"), &format!("{path}.selector"));
    }
}

fn amounts(errors: &mut Errors, target: &Value, path: &str) {
    let kind = json::text(target, &["type"]);
    let supported = ["Utilization", "Value", "AverageValue"];
    if kind.is_empty() {
        errors.required(format!("{path}.type"), "must specify a metric target type");
    } else if !supported.contains(&kind) {
        errors.invalid_str(format!("{path}.type"), kind, "must be either Utilization, Value, or AverageValue");
    }
    for key in ["value", "averageValue"] {
        let amount = json::get(target, key);
        if !amount.is_null() && Quantity::from_value(amount).is_ok_and(|amount| amount <= Quantity::ZERO) {
            errors.invalid(format!("{path}.{key}"), amount, "must be positive");
        }
    }
    if let Some(percent) = json::int(target, &["averageUtilization"])
        && percent < 1
    {
        errors.invalid(format!("{path}.averageUtilization"), &percent.into(), "must be greater than 0");
    }
}
