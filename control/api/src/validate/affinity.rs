//! Which nodes and which other pods a pod wants to be near.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/core/validation`: `validateAffinity`.

use serde_json::Value;

use super::{labels, text};
use crate::field::Errors;
use crate::json;
use crate::names;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// `affinity`.
pub(super) fn check(errors: &mut Errors, affinity: &Value, path: &str) {
    let node = json::get(affinity, "nodeAffinity");
    let path_of_node = format!("{path}.nodeAffinity");
    let required = json::get(node, REQUIRED);
    if !required.is_null() {
        let path = format!("{path_of_node}.{REQUIRED}.nodeSelectorTerms");
        let terms = json::items(required, &["nodeSelectorTerms"]);
        if terms.is_empty() {
            errors.required(&path, "must have at least one node selector term");
        }
        for (index, term) in terms.iter().enumerate() {
            node_term(errors, term, &format!("{path}[{index}]"));
        }
    }
    for (index, entry) in json::items(node, &[PREFERRED]).iter().enumerate() {
        let path = format!("{path_of_node}.{PREFERRED}[{index}]");
        weight(errors, entry, &path);
        node_term(errors, json::get(entry, "preference"), &format!("{path}.preference"));
    }
    for key in ["podAffinity", "podAntiAffinity"] {
        let pods = json::get(affinity, key);
        for (index, term) in json::items(pods, &[REQUIRED]).iter().enumerate() {
            pod_term(errors, term, &format!("{path}.{key}.{REQUIRED}[{index}]"));
        }
        for (index, entry) in json::items(pods, &[PREFERRED]).iter().enumerate() {
            let path = format!("{path}.{key}.{PREFERRED}[{index}]");
            weight(errors, entry, &path);
            pod_term(errors, json::get(entry, "podAffinityTerm"), &format!("{path}.podAffinityTerm"));
        }
    }
}

fn weight(errors: &mut Errors, entry: &Value, path: &str) {
    let weight = json::int(entry, &["weight"]).unwrap_or_default();
    if !(1..=100).contains(&weight) {
        errors.invalid(format!("{path}.weight"), &weight.into(), "must be in the range 1-100");
    }
}

fn node_term(errors: &mut Errors, term: &Value, path: &str) {
    for (index, expression) in json::items(term, &["matchExpressions"]).iter().enumerate() {
        let path = format!("{path}.matchExpressions[{index}]");
        let values = json::items(expression, &["values"]);
        let field = format!("{path}.values");
        match json::text(expression, &["operator"]) {
            "In" | "NotIn" if values.is_empty() => {
                errors.required(field, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                errors.forbidden(field, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
            "Gt" | "Lt" if values.len() != 1 => {
                errors.required(field, "must be specified single value when `operator` is 'Lt' or 'Gt'");
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => errors.invalid_str(format!("{path}.operator"), other, "not a valid selector operator"),
        }
        text(errors, &format!("{path}.key"), json::text(expression, &["key"]), names::qualified_name);
    }
    for (index, expression) in json::items(term, &["matchFields"]).iter().enumerate() {
        let path = format!("{path}.matchFields[{index}]");
        match json::text(expression, &["operator"]) {
            "In" | "NotIn" if json::items(expression, &["values"]).len() != 1 => {
                let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                errors.required(format!("{path}.values"), detail);
            }
            "In" | "NotIn" => {}
            other => errors.invalid_str(format!("{path}.operator"), other, "not a valid selector operator"),
        }
        let key = json::text(expression, &["key"]);
        if key != "metadata.name" {
            errors.invalid_str(format!("{path}.key"), key, "not a valid field selector key");
        }
    }
}

fn pod_term(errors: &mut Errors, term: &Value, path: &str) {
    for key in ["labelSelector", "namespaceSelector"] {
        labels::selector(errors, json::get(term, key), &format!("{path}.{key}"));
    }
    for (index, name) in json::items(term, &["namespaces"]).iter().enumerate() {
        let name = name.as_str().unwrap_or_default();
        text(errors, &format!("{path}.namespaces[{index}]"), name, names::dns_label);
    }
    label_keys(errors, term, path);
    topology_key(errors, term, path);
}

/// `matchLabelKeys` and `mismatchLabelKeys`, which refine a label selector.
pub(super) fn label_keys(errors: &mut Errors, term: &Value, path: &str) {
    for list in ["matchLabelKeys", "mismatchLabelKeys"] {
        let keys = json::items(term, &[list]);
        if !keys.is_empty() && json::get(term, "labelSelector").is_null() {
            errors.forbidden(format!("{path}.{list}"), "must not be specified when labelSelector is not set");
        }
        for (index, key) in keys.iter().enumerate() {
            let key = key.as_str().unwrap_or_default();
            text(errors, &format!("{path}.{list}[{index}]"), key, names::qualified_name);
        }
    }
}

/// `topologyKey`: a label of nodes.
pub(super) fn topology_key(errors: &mut Errors, term: &Value, path: &str) {
    let key = json::text(term, &["topologyKey"]);
    let field = format!("{path}.topologyKey");
    if key.is_empty() {
        errors.required(field, "can not be empty");
    } else {
        text(errors, &field, key, names::qualified_name);
    }
}
