//! The containers of a pod: those that serve, those before them, and those for debugging.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/core/validation`: `validateContainers`, `validateInitContainers`,
//! `validateEphemeralContainers`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{env, mounts, one_of, port, probe, resources, security, text};
use crate::field::Errors;
use crate::json;
use crate::names;

/// What only some containers may have.
const HANDLERS: [&str; 4] = ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"];

/// All containers of a pod's spec; `grace` is the time they have to end.
pub(super) fn all(errors: &mut Errors, spec: &Value, path: &str, volumes: &BTreeMap<&str, &Value>, grace: i64) {
    let list = |key| json::items(spec, &[key]);
    if list("containers").is_empty() {
        errors.required(format!("{path}.containers"), "");
    }
    let mut names = BTreeSet::new();
    let mut ports = BTreeSet::new();
    for (index, container) in list("containers").iter().enumerate() {
        let path = format!("{path}.containers[{index}]");
        one(errors, container, &path, &mut names, volumes);
        probe::all(errors, container, &path, grace);
        host_ports(errors, container, &path, &mut ports);
        if !json::get(container, "restartPolicy").is_null() {
            errors.forbidden(format!("{path}.restartPolicy"), "may not be set for non-init containers");
        }
    }
    for (index, container) in list("initContainers").iter().enumerate() {
        let path = format!("{path}.initContainers[{index}]");
        one(errors, container, &path, &mut names, volumes);
        let restart = json::get(container, "restartPolicy");
        if restart == "Always" {
            probe::all(errors, container, &path, grace);
            host_ports(errors, container, &path, &mut ports);
        } else {
            // They follow each other, so that their ports do not meet.
            host_ports(errors, container, &path, &mut BTreeSet::new());
            for key in HANDLERS.iter().filter(|key| !json::get(container, key).is_null()) {
                let detail = "may not be set for init containers without restartPolicy=Always";
                errors.forbidden(format!("{path}.{key}"), detail);
            }
            if !restart.is_null() {
                errors.not_supported(
                    format!("{path}.restartPolicy"),
                    restart.as_str().unwrap_or_default(),
                    &["Always"],
                );
            }
        }
    }
    let targets: BTreeSet<String> = names.clone();
    for (index, container) in list("ephemeralContainers").iter().enumerate() {
        let path = format!("{path}.ephemeralContainers[{index}]");
        one(errors, container, &path, &mut names, volumes);
        ephemeral(errors, container, &path, &targets);
    }
}

/// Checks a container; `names` are those of the containers before it, `volumes` those of the pod.
fn one(
    errors: &mut Errors,
    container: &Value,
    path: &str,
    names: &mut BTreeSet<String>,
    volumes: &BTreeMap<&str, &Value>,
) {
    let name = json::text(container, &["name"]);
    if name.is_empty() {
        errors.required(format!("{path}.name"), "");
    } else {
        text(errors, &format!("{path}.name"), name, names::dns_label);
        if !names.insert(name.to_owned()) {
            errors.duplicate(format!("{path}.name"), &Value::from(name));
        }
    }
    image(errors, container, path);
    ports(errors, json::items(container, &["ports"]), path);
    env::variables(errors, json::items(container, &["env"]), path);
    env::sources(errors, json::items(container, &["envFrom"]), path);
    mounts::check(errors, container, path, volumes);
    one_of(errors, container, "imagePullPolicy", path, &["Always", "IfNotPresent", "Never"]);
    one_of(errors, container, "terminationMessagePolicy", path, &["FallbackToLogsOnError", "File"]);
    resources::requirements(errors, json::get(container, "resources"), &format!("{path}.resources"));
    resize_policy(errors, json::items(container, &["resizePolicy"]), path);
    security::container(errors, json::get(container, "securityContext"), &format!("{path}.securityContext"));
}

/// `image`: there, and without blanks around it.
pub(crate) fn image(errors: &mut Errors, container: &Value, path: &str) {
    let image = json::text(container, &["image"]);
    if image.is_empty() {
        errors.required(format!("{path}.image"), "");
    } else if image.trim() != image {
        errors.invalid_str(format!("{path}.image"), image, "must not have leading or trailing whitespace");
    }
}

fn ports(errors: &mut Errors, ports: &[Value], path: &str) {
    let mut named = BTreeSet::new();
    for (index, entry) in ports.iter().enumerate() {
        let path = format!("{path}.ports[{index}]");
        let name = json::text(entry, &["name"]);
        if !name.is_empty() {
            let field = format!("{path}.name");
            text(errors, &field, name, names::port_name);
            if !named.insert(name) {
                errors.duplicate(field, &Value::from(name));
            }
        }
        let field = format!("{path}.containerPort");
        match json::int(entry, &["containerPort"]).unwrap_or_default() {
            0 => errors.required(field, ""),
            number => port(errors, &Value::from(number), &field),
        }
        if json::int(entry, &["hostPort"]).unwrap_or_default() != 0 {
            port(errors, json::get(entry, "hostPort"), &format!("{path}.hostPort"));
        }
        one_of(errors, entry, "protocol", &path, &["SCTP", "TCP", "UDP"]);
    }
}

/// Two containers of one pod cannot have the same port of the host.
fn host_ports(errors: &mut Errors, container: &Value, path: &str, taken: &mut BTreeSet<String>) {
    for (index, entry) in json::items(container, &["ports"]).iter().enumerate() {
        let port = json::int(entry, &["hostPort"]).unwrap_or_default();
        let text = format!("{}/{}/{port}", json::text(entry, &["protocol"]), json::text(entry, &["hostIP"]));
        if port != 0 && !taken.insert(text.clone()) {
            errors.duplicate(format!("{path}.ports[{index}].hostPort"), &text.into());
        }
    }
}

fn resize_policy(errors: &mut Errors, policies: &[Value], path: &str) {
    let mut seen = BTreeSet::new();
    for policy in policies {
        // As in Kubernetes, without the index.
        let path = format!("{path}.resizePolicy");
        let resource = json::text(policy, &["resourceName"]);
        if !["cpu", "memory"].contains(&resource) {
            errors.not_supported(&path, resource, &["cpu", "memory"]);
        }
        if !seen.insert(resource) {
            errors.duplicate(&path, &Value::from(resource));
        }
        let restart = json::text(policy, &["restartPolicy"]);
        match restart {
            "" => errors.required(path, ""),
            "NotRequired" | "RestartContainer" => {}
            _ => errors.not_supported(path, restart, &["NotRequired", "RestartContainer"]),
        }
    }
}

fn ephemeral(errors: &mut Errors, container: &Value, path: &str, names: &BTreeSet<String>) {
    const NOT_THERE: &str = "cannot be set for an Ephemeral Container";
    let target = json::text(container, &["targetContainerName"]);
    if !target.is_empty() && !names.contains(target) {
        errors.not_found(format!("{path}.targetContainerName"), target);
    }
    for key in HANDLERS.iter().chain(&["ports", "resizePolicy", "restartPolicy", "resources"]) {
        if !json::is_empty(json::get(container, key)) {
            errors.forbidden(format!("{path}.{key}"), NOT_THERE);
        }
    }
    for (index, mount) in json::items(container, &["volumeMounts"]).iter().enumerate() {
        for key in ["subPath", "subPathExpr"] {
            if !json::text(mount, &[key]).is_empty() {
                errors.forbidden(format!("{path}.volumeMounts[{index}].{key}"), NOT_THERE);
            }
        }
    }
}
