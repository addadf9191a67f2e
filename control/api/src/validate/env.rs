//! Environment variables of a container, and what they and volumes may read of the pod.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/core/validation`: `ValidateEnv`, `validateObjectFieldSelector`.

use serde_json::Value;

use super::text;
use crate::field::Errors;
use crate::json;
use crate::names;

/// Fields of a pod that a variable may have.
const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Fields of a pod that a file may have.
pub(super) const VOLUME_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// Fields that can be named at all, whether or not they can be had here.
const KNOWN_FIELDS: [&str; 4] = ["metadata.annotations", "metadata.labels", "spec.restartPolicy", "status.phase"];

/// Resources of a container that can be told.
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

const SOURCES: [&str; 4] = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef"];

const NOT_BOTH: &str = "may not have more than one field specified at a time";

/// `env`.
pub(super) fn variables(errors: &mut Errors, env: &[Value], path: &str) {
    for (index, entry) in env.iter().enumerate() {
        let path = format!("{path}.env[{index}]");
        let name = json::text(entry, &["name"]);
        if name.is_empty() {
            errors.required(format!("{path}.name"), "");
        } else {
            text(errors, &format!("{path}.name"), name, names::env_name);
        }
        let from = json::get(entry, "valueFrom");
        if from.is_null() {
            continue;
        }
        let field = format!("{path}.valueFrom");
        let given: Vec<&str> = SOURCES.into_iter().filter(|source| !json::get(from, source).is_null()).collect();
        if given.is_empty() {
            let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
            errors.invalid_str(&field, "", detail);
        } else if !json::text(entry, &["value"]).is_empty() {
            errors.invalid_str(&field, "", "may not be specified when `value` is not empty");
        } else if given.len() > 1 {
            errors.invalid_str(&field, "", NOT_BOTH);
        }
        for source in given {
            let (reference, path) = (json::get(from, source), format!("{field}.{source}"));
            match source {
                "fieldRef" => field_ref(errors, reference, &path, &ENV_FIELDS),
                "resourceFieldRef" => resource_ref(errors, reference, &path, false),
                _ => {
                    let key = json::text(reference, &["key"]);
                    if key.is_empty() {
                        errors.required(format!("{path}.key"), "");
                    } else {
                        text(errors, &format!("{path}.key"), key, names::config_key);
                    }
                }
            }
        }
    }
}

/// `envFrom`.
pub(super) fn sources(errors: &mut Errors, sources: &[Value], path: &str) {
    for (index, source) in sources.iter().enumerate() {
        let path = format!("{path}.envFrom[{index}]");
        let prefix = json::text(source, &["prefix"]);
        if !prefix.is_empty() {
            text(errors, &format!("{path}.prefix"), prefix, names::env_name);
        }
        let given: Vec<&str> =
            ["configMapRef", "secretRef"].into_iter().filter(|key| !json::get(source, key).is_null()).collect();
        match given.as_slice() {
            [] => errors.invalid_str(path, "", "must specify one of: `configMapRef` or `secretRef`"),
            [key] if json::text(source, &[key, "name"]).is_empty() => errors.required(format!("{path}.{key}.name"), ""),
            [_] => {}
            _ => errors.invalid_str(path, "", NOT_BOTH),
        }
    }
}

/// A field of the pod; `allowed` are those that can be had here. Single labels and annotations always can.
pub(super) fn field_ref(errors: &mut Errors, reference: &Value, path: &str, allowed: &[&str]) {
    if json::text(reference, &["apiVersion"]).is_empty() {
        errors.required(format!("{path}.apiVersion"), "");
    }
    let field = format!("{path}.fieldPath");
    let wanted = json::text(reference, &["fieldPath"]);
    if wanted.is_empty() {
        errors.required(field, "");
        return;
    }
    let subscript = wanted.strip_suffix("']").and_then(|start| start.split_once("['"));
    if let Some((map, key)) = subscript {
        match map {
            "metadata.annotations" => text(errors, &field, &key.to_lowercase(), names::qualified_name),
            "metadata.labels" => text(errors, &field, key, names::qualified_name),
            _ => errors.invalid_str(field, map, "does not support subscript"),
        }
    } else if ![&ENV_FIELDS[..], &KNOWN_FIELDS, &["spec.schedulerName"]].concat().contains(&wanted) {
        let detail = format!("error converting fieldPath: field label not supported: {wanted}");
        errors.invalid_str(field, wanted, &detail);
    } else if !allowed.contains(&wanted) {
        errors.not_supported(field, wanted, allowed);
    }
}

/// A resource of a container, which volumes have to name.
pub(super) fn resource_ref(errors: &mut Errors, reference: &Value, path: &str, of_volume: bool) {
    if of_volume && json::text(reference, &["containerName"]).is_empty() {
        errors.required(format!("{path}.containerName"), "");
    }
    let resource = json::text(reference, &["resource"]);
    let huge = ["limits.hugepages-", "requests.hugepages-"].iter().any(|start| resource.starts_with(start));
    let field = format!("{path}.resource");
    if resource.is_empty() {
        errors.required(field, "");
    } else if !RESOURCES.contains(&resource) && !huge {
        errors.not_supported(field, resource, &RESOURCES);
    }
    divisor(errors, resource, json::get(reference, "divisor"), path);
}

fn divisor(errors: &mut Errors, resource: &str, divisor: &Value, path: &str) {
    let text = divisor.as_str().unwrap_or_default();
    let (name, allowed): (&str, &[&str]) = match resource.split_once('.').map(|(_, name)| name) {
        Some("cpu") => ("cpu", &["1", "1m"]),
        Some("memory") => {
            ("memory", &["1", "1E", "1Ei", "1G", "1Gi", "1k", "1Ki", "1M", "1Mi", "1P", "1Pi", "1T", "1Ti"])
        }
        _ => return,
    };
    if !text.is_empty() && text != "0" && !allowed.contains(&text) {
        let shown = if name == "cpu" {
            "only divisor's values 1m and 1 are supported with the cpu resource"
        } else {
            "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the memory resource"
        };
        errors.invalid(format!("{path}.divisor"), divisor, shown);
    }
}
