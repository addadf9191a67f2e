//! The spec of a pod, in a pod or in a template.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{container, labels, meta, one_of, text};
use crate::field::Errors;
use crate::json;
use crate::names;

/// The template of a pod.
pub(crate) fn template(errors: &mut Errors, template: &Value, path: &str) {
    labels::map(errors, json::dig(template, &["metadata", "labels"]), &format!("{path}.metadata.labels"));
    meta::annotations(
        errors,
        json::dig(template, &["metadata", "annotations"]),
        &format!("{path}.metadata.annotations"),
    );
    spec(errors, json::get(template, "spec"), &format!("{path}.spec"));
}

/// A pod's spec.
pub(crate) fn spec(errors: &mut Errors, spec: &Value, path: &str) {
    let volumes = volumes(errors, json::items(spec, &["volumes"]), path);
    let containers = json::items(spec, &["containers"]);
    if containers.is_empty() {
        errors.required(format!("{path}.containers"), "");
    }
    let mut names = BTreeSet::new();
    for key in ["containers", "initContainers"] {
        for (index, entry) in json::items(spec, &[key]).iter().enumerate() {
            container::check(errors, entry, &format!("{path}.{key}[{index}]"), &mut names, &volumes);
        }
    }
    one_of(errors, spec, "restartPolicy", path, &["Always", "OnFailure", "Never"]);
    one_of(errors, spec, "dnsPolicy", path, &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]);
    labels::map(errors, json::get(spec, "nodeSelector"), &format!("{path}.nodeSelector"));
    for (key, check) in [
        ("serviceAccountName", names::dns_subdomain as fn(&str) -> Vec<String>),
        ("nodeName", names::dns_subdomain),
        ("hostname", names::dns_label),
        ("subdomain", names::dns_label),
        ("runtimeClassName", names::dns_subdomain),
        ("priorityClassName", names::dns_subdomain),
    ] {
        let name = json::text(spec, &[key]);
        if !name.is_empty() {
            text(errors, &format!("{path}.{key}"), name, check);
        }
    }
    if let Some(seconds) = json::int(spec, &["activeDeadlineSeconds"])
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let detail = format!("must be between 1 and {}, inclusive", i32::MAX);
        errors.invalid(format!("{path}.activeDeadlineSeconds"), &Value::from(seconds), &detail);
    }
    super::not_negative(errors, spec, "terminationGracePeriodSeconds", path);
    host_network(errors, spec, path);
    tolerations(errors, json::items(spec, &["tolerations"]), path);
}

/// Ports of pods on the host's network are the host's.
fn host_network(errors: &mut Errors, spec: &Value, path: &str) {
    if !json::flag(spec, &["hostNetwork"]) {
        return;
    }
    for (index, entry) in json::items(spec, &["containers"]).iter().enumerate() {
        for (at, port) in json::items(entry, &["ports"]).iter().enumerate() {
            if json::int(port, &["hostPort"]) != json::int(port, &["containerPort"]) {
                errors.invalid(
                    format!("{path}.containers[{index}].ports[{at}].containerPort"),
                    json::get(port, "containerPort"),
                    "must match `hostPort` when `hostNetwork` is true",
                );
            }
        }
    }
}

fn volumes<'a>(errors: &mut Errors, volumes: &'a [Value], path: &str) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (index, volume) in volumes.iter().enumerate() {
        let path = format!("{path}.volumes[{index}]");
        let name = json::text(volume, &["name"]);
        if name.is_empty() {
            errors.required(format!("{path}.name"), "");
        } else {
            text(errors, &format!("{path}.name"), name, names::dns_label);
            if !names.insert(name) {
                errors.duplicate(format!("{path}.name"), &Value::from(name));
            }
        }
        let types: Vec<&String> = json::members(volume, &[]).map(|(key, _)| key).filter(|key| *key != "name").collect();
        match types.as_slice() {
            [] => errors.required(&path, "must specify a volume type"),
            [_] => {}
            [_, others @ ..] => {
                for other in others {
                    errors.forbidden(format!("{path}.{other}"), "may not specify more than 1 volume type");
                }
            }
        }
        for (key, source) in [("configMap", "name"), ("secret", "secretName"), ("persistentVolumeClaim", "claimName")] {
            let given = json::get(volume, key);
            if !given.is_null() && json::text(given, &[source]).is_empty() {
                errors.required(format!("{path}.{key}.{source}"), "");
            }
        }
    }
    names
}

fn tolerations(errors: &mut Errors, tolerations: &[Value], path: &str) {
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
