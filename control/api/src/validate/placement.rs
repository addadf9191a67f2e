//! When and how a pod is placed: tolerations, spreading over topologies, gates.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/core/validation`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{affinity, labels, text};
use crate::field::Errors;
use crate::json;
use crate::names;

/// `readinessGates` and `schedulingGates`.
pub(super) fn gates(errors: &mut Errors, spec: &Value, path: &str) {
    for (index, gate) in json::items(spec, &["readinessGates"]).iter().enumerate() {
        let field = format!("{path}.readinessGates[{index}].conditionType");
        text(errors, &field, json::text(gate, &["conditionType"]), names::qualified_name);
    }
    let mut seen = BTreeSet::new();
    for (index, gate) in json::items(spec, &["schedulingGates"]).iter().enumerate() {
        let field = format!("{path}.schedulingGates[{index}]");
        let name = json::text(gate, &["name"]);
        text(errors, &field, name, names::qualified_name);
        if !seen.insert(name) {
            errors.duplicate(field, &Value::from(name));
        }
    }
}

/// `topologySpreadConstraints`.
pub(super) fn spread(errors: &mut Errors, constraints: &[Value], path: &str) {
    let mut seen = BTreeSet::new();
    for (index, constraint) in constraints.iter().enumerate() {
        let path = format!("{path}.topologySpreadConstraints[{index}]");
        let skew = json::int(constraint, &["maxSkew"]).unwrap_or_default();
        if skew <= 0 {
            errors.invalid(format!("{path}.maxSkew"), &skew.into(), "must be greater than zero");
        }
        affinity::topology_key(errors, constraint, &path);
        let action = json::text(constraint, &["whenUnsatisfiable"]);
        if !["DoNotSchedule", "ScheduleAnyway"].contains(&action) {
            let supported = ["DoNotSchedule", "ScheduleAnyway"];
            errors.not_supported(format!("{path}.whenUnsatisfiable"), action, &supported);
        }
        let pair = format!("{{{}, {action}}}", json::text(constraint, &["topologyKey"]));
        if !seen.insert(pair.clone()) {
            errors.duplicate(format!("{path}.{{topologyKey, whenUnsatisfiable}}"), &pair.into());
        }
        if let Some(domains) = json::int(constraint, &["minDomains"]) {
            let field = format!("{path}.minDomains");
            if domains <= 0 {
                errors.invalid(&field, &domains.into(), "must be greater than zero");
            }
            if action != "DoNotSchedule" {
                let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                errors.invalid(field, &domains.into(), &detail);
            }
        }
        for key in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            let policy = json::text(constraint, &[key]);
            if !["", "Honor", "Ignore"].contains(&policy) {
                errors.not_supported(format!("{path}.{key}"), policy, &["Honor", "Ignore"]);
            }
        }
        affinity::label_keys(errors, constraint, &path);
        labels::selector(errors, json::get(constraint, "labelSelector"), &format!("{path}.labelSelector"));
    }
}

/// `tolerations`.
pub(crate) fn tolerations(errors: &mut Errors, tolerations: &[Value], path: &str) {
    for (index, toleration) in tolerations.iter().enumerate() {
        let path = format!("{path}.tolerations[{index}]");
        let key = json::text(toleration, &["key"]);
        let value = json::text(toleration, &["value"]);
        let operator = json::text(toleration, &["operator"]);
        let effect = json::text(toleration, &["effect"]);
        if !key.is_empty() {
            text(errors, &format!("{path}.key"), key, names::qualified_name);
        } else if operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.invalid_str(format!("{path}.operator"), operator, detail);
        }
        if !json::get(toleration, "tolerationSeconds").is_null() && effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.invalid_str(format!("{path}.effect"), effect, detail);
        }
        match operator {
            "" | "Equal" => text(errors, &format!("{path}.operator"), value, names::label_value),
            "Exists" if !value.is_empty() => {
                errors.invalid(
                    format!("{path}.operator"),
                    toleration,
                    "value must be empty when `operator` is 'Exists'",
                );
            }
            "Exists" => {}
            other => errors.not_supported(format!("{path}.operator"), other, &["Equal", "Exists"]),
        }
        if !effect.is_empty() && !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
            errors.not_supported(format!("{path}.effect"), effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        }
    }
}
