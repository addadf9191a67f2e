//! The spec of a pod, in a pod or in a template.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    affinity, annotations, container, dns, labels, meta, one_of, placement, resources, security, text, volumes,
};
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
    let given = json::dig(template, &["metadata", "annotations"]);
    annotations::check(errors, given, &format!("{path}.metadata.annotations"));
    spec(errors, json::get(template, "spec"), &format!("{path}.spec"));
}

/// A pod's spec.
pub(crate) fn spec(errors: &mut Errors, spec: &Value, path: &str) {
    let volumes = volumes::check(errors, json::items(spec, &["volumes"]), &format!("{path}.volumes"));
    let grace = json::int(spec, &["terminationGracePeriodSeconds"]).unwrap_or_default();
    container::all(errors, spec, path, &volumes, grace);
    one_of(errors, spec, "restartPolicy", path, &["Always", "OnFailure", "Never"]);
    one_of(errors, spec, "dnsPolicy", path, &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]);
    labels::map(errors, json::get(spec, "nodeSelector"), &format!("{path}.nodeSelector"));
    host_network(errors, spec, path);
    security::pod(errors, spec, path);
    for (index, secret) in json::items(spec, &["imagePullSecrets"]).iter().enumerate() {
        if json::text(secret, &["name"]).is_empty() {
            errors.required(format!("{path}.imagePullSecrets[{index}].name"), "");
        }
    }
    affinity::check(errors, json::get(spec, "affinity"), &format!("{path}.affinity"));
    dns::config(errors, spec, path);
    placement::gates(errors, spec, path);
    placement::spread(errors, json::items(spec, &["topologySpreadConstraints"]), path);
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
    placement::tolerations(errors, json::items(spec, &["tolerations"]), path);
    dns::host_aliases(errors, json::items(spec, &["hostAliases"]), path);
    optional(errors, spec, "preemptionPolicy", path, &["PreemptLowerPriority", "Never"]);
    resources::list(errors, spec, "overhead", path);
    if !json::get(spec, "os").is_null() {
        one_of(errors, json::get(spec, "os"), "name", &format!("{path}.os"), &["linux", "windows"]);
    }
    systems(errors, spec, path);
    resource_claims(errors, json::items(spec, &["resourceClaims"]), path);
}

/// What a pod of its own user namespace, and one of another system, cannot have.
fn systems(errors: &mut Errors, spec: &Value, path: &str) {
    const HOSTS: [&str; 3] = ["hostNetwork", "hostPID", "hostIPC"];
    let refuse = |errors: &mut Errors, of: &Value, path: &str, keys: &[&str], why: &str| {
        for key in keys.iter().filter(|key| !matches!(json::get(of, key), Value::Null | Value::Bool(false))) {
            errors.forbidden(format!("{path}.{key}"), why);
        }
    };
    if json::get(spec, "hostUsers") == &Value::Bool(false) {
        refuse(errors, spec, path, &HOSTS, "when `hostUsers` is false");
    }
    if json::text(spec, &["os", "name"]) != "windows" {
        return;
    }
    let why = "cannot be set for a windows pod";
    refuse(errors, spec, path, &["hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"], why);
    let keys = [
        "appArmorProfile",
        "seLinuxOptions",
        "seccompProfile",
        "fsGroup",
        "fsGroupChangePolicy",
        "sysctls",
        "runAsUser",
        "runAsGroup",
        "supplementalGroups",
        "supplementalGroupsPolicy",
    ];
    refuse(errors, json::get(spec, "securityContext"), &format!("{path}.securityContext"), &keys, why);
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for (index, entry) in json::items(spec, &[list]).iter().enumerate() {
            let keys = [
                "appArmorProfile",
                "seLinuxOptions",
                "seccompProfile",
                "capabilities",
                "readOnlyRootFilesystem",
                "privileged",
                "allowPrivilegeEscalation",
                "procMount",
                "runAsUser",
                "runAsGroup",
            ];
            let path = format!("{path}.{list}[{index}].securityContext");
            refuse(errors, json::get(entry, "securityContext"), &path, &keys, why);
        }
    }
}

/// The string `key`, if it is there, must be one of `supported`.
fn optional(errors: &mut Errors, spec: &Value, key: &str, path: &str, supported: &[&str]) {
    if !json::get(spec, key).is_null() {
        one_of(errors, spec, key, path, supported);
    }
}

fn resource_claims(errors: &mut Errors, claims: &[Value], path: &str) {
    let mut seen = BTreeSet::new();
    for (index, claim) in claims.iter().enumerate() {
        let path = format!("{path}.resourceClaims[{index}]");
        let name = json::text(claim, &["name"]);
        if name.is_empty() {
            errors.required(format!("{path}.name"), "");
        } else if seen.insert(name) {
            text(errors, &format!("{path}.name"), name, names::dns_label);
        } else {
            errors.duplicate(format!("{path}.name"), &Value::from(name));
        }
        let given = |key| !json::get(claim, key).is_null();
        match (given("resourceClaimName"), given("resourceClaimTemplateName")) {
            (true, true) => {
                let detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                errors.invalid(path, claim, detail);
            }
            (false, false) => {
                let detail = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                errors.invalid(path, claim, detail);
            }
            _ => {}
        }
    }
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
