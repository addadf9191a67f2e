//! One container of a pod.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{one_of, port, probe, resources, text};
use crate::field::Errors;
use crate::json;
use crate::names;

/// Checks a container; `names` are those of the containers before it, `volumes` those of the pod.
pub(crate) fn check(
    errors: &mut Errors,
    container: &Value,
    path: &str,
    names: &mut BTreeSet<String>,
    volumes: &BTreeSet<&str>,
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
    let image = json::text(container, &["image"]);
    if image.is_empty() {
        errors.required(format!("{path}.image"), "");
    } else if image.trim() != image {
        errors.invalid_str(format!("{path}.image"), image, "must not have leading or trailing whitespace");
    }
    ports(errors, json::items(container, &["ports"]), path);
    env(errors, json::items(container, &["env"]), path);
    env_from(errors, json::items(container, &["envFrom"]), path);
    mounts(errors, json::items(container, &["volumeMounts"]), path, volumes);
    one_of(errors, container, "imagePullPolicy", path, &["Always", "IfNotPresent", "Never"]);
    one_of(errors, container, "terminationMessagePolicy", path, &["FallbackToLogsOnError", "File"]);
    resources::requirements(errors, json::get(container, "resources"), &format!("{path}.resources"));
    probe::all(errors, container, path);
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

fn env(errors: &mut Errors, env: &[Value], path: &str) {
    const SOURCES: [&str; 4] = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef"];
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
        let sources: Vec<&&str> = SOURCES.iter().filter(|source| !json::get(from, source).is_null()).collect();
        let shown = if json::is_empty(from) { Value::from("") } else { from.clone() };
        if sources.is_empty() {
            let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
            errors.invalid(&field, &shown, detail);
        } else if !json::text(entry, &["value"]).is_empty() {
            errors.invalid(&field, &Value::from(""), "may not be specified when `value` is not empty");
        } else if sources.len() > 1 {
            errors.invalid(&field, &Value::from(""), "may not have more than one field specified at a time");
        }
        for source in ["configMapKeyRef", "secretKeyRef"] {
            let reference = json::get(from, source);
            if !reference.is_null() && json::text(reference, &["key"]).is_empty() {
                errors.required(format!("{field}.{source}.key"), "");
            }
        }
        let reference = json::get(from, "fieldRef");
        if !reference.is_null() && json::text(reference, &["fieldPath"]).is_empty() {
            errors.required(format!("{field}.fieldRef.fieldPath"), "");
        }
    }
}

fn env_from(errors: &mut Errors, sources: &[Value], path: &str) {
    for (index, source) in sources.iter().enumerate() {
        let path = format!("{path}.envFrom[{index}]");
        let given: Vec<&str> =
            ["configMapRef", "secretRef"].into_iter().filter(|key| !json::get(source, key).is_null()).collect();
        match given.as_slice() {
            [] => errors.invalid_str(path, "", "must specify one of: `configMapRef` or `secretRef`"),
            [key] if json::text(source, &[key, "name"]).is_empty() => errors.required(format!("{path}.{key}.name"), ""),
            [_] => {}
            _ => errors.invalid_str(path, "", "may not have more than one field specified at a time"),
        }
    }
}

fn mounts(errors: &mut Errors, mounts: &[Value], path: &str, volumes: &BTreeSet<&str>) {
    let mut paths = BTreeSet::new();
    for (index, mount) in mounts.iter().enumerate() {
        let path = format!("{path}.volumeMounts[{index}]");
        let name = json::text(mount, &["name"]);
        if name.is_empty() {
            errors.required(format!("{path}.name"), "");
        } else if !volumes.contains(name) {
            errors.not_found(format!("{path}.name"), name);
        }
        let target = json::text(mount, &["mountPath"]);
        if target.is_empty() {
            errors.required(format!("{path}.mountPath"), "");
        } else if !paths.insert(target) {
            errors.invalid_str(format!("{path}.mountPath"), target, "must be unique");
        }
        let within = json::text(mount, &["subPath"]);
        if within.starts_with('/') {
            errors.invalid_str(format!("{path}.subPath"), within, "must be a relative path");
        } else if within.split('/').any(|segment| segment == "..") {
            errors.invalid_str(format!("{path}.subPath"), within, "must not contain '..'");
        }
    }
}
