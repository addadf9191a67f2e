//! Where a container has its volumes.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/core/validation`: `ValidateVolumeMounts`, `ValidateVolumeDevices`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::volumes::local_path;
use crate::field::Errors;
use crate::json;

/// `volumeMounts` and `volumeDevices` of a container; `volumes` are those of the pod.
pub(super) fn check(errors: &mut Errors, container: &Value, path: &str, volumes: &BTreeMap<&str, &Value>) {
    let devices = json::items(container, &["volumeDevices"]);
    let mut paths = BTreeSet::new();
    for (index, mount) in json::items(container, &["volumeMounts"]).iter().enumerate() {
        let path = format!("{path}.volumeMounts[{index}]");
        let name = json::text(mount, &["name"]);
        if name.is_empty() {
            errors.required(format!("{path}.name"), "");
        } else if !volumes.contains_key(name) {
            errors.not_found(format!("{path}.name"), name);
        }
        let target = json::text(mount, &["mountPath"]);
        if target.is_empty() {
            errors.required(format!("{path}.mountPath"), "");
        } else if !paths.insert(target) {
            errors.invalid_str(format!("{path}.mountPath"), target, "must be unique");
        }
        if devices.iter().any(|device| json::text(device, &["name"]) == name && !name.is_empty()) {
            errors.invalid_str(format!("{path}.name"), name, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|device| json::text(device, &["devicePath"]) == target && !target.is_empty()) {
            errors.invalid_str(
                format!("{path}.mountPath"),
                target,
                "must not already exist as a path in volumeDevices",
            );
        }
        sub_path(errors, mount, &path);
        propagation(errors, container, mount, &path);
    }
    for (index, device) in devices.iter().enumerate() {
        self::device(errors, device, &format!("{path}.volumeDevices[{index}]"), volumes, &devices[..index]);
    }
}

fn sub_path(errors: &mut Errors, mount: &Value, path: &str) {
    let (plain, expression) = (json::text(mount, &["subPath"]), json::text(mount, &["subPathExpr"]));
    local_path(errors, plain, &format!("{path}.subPath"));
    if !plain.is_empty() && !expression.is_empty() {
        let detail = "subPathExpr and subPath are mutually exclusive";
        errors.invalid_str(format!("{path}.subPathExpr"), expression, detail);
    }
    local_path(errors, expression, &format!("{path}.subPathExpr"));
}

fn propagation(errors: &mut Errors, container: &Value, mount: &Value, path: &str) {
    let field = format!("{path}.mountPropagation");
    let privileged = json::flag(container, &["securityContext", "privileged"]);
    match json::text(mount, &["mountPropagation"]) {
        "" | "HostToContainer" | "None" => {}
        "Bidirectional" if privileged => {}
        "Bidirectional" => {
            errors.forbidden(&field, "Bidirectional mount propagation is available only to privileged containers");
        }
        other => errors.not_supported(&field, other, &["Bidirectional", "HostToContainer", "None"]),
    }
    let recursive = json::text(mount, &["recursiveReadOnly"]);
    let field = format!("{path}.recursiveReadOnly");
    match recursive {
        "" | "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !json::flag(mount, &["readOnly"]) {
                errors.forbidden(&field, "may only be specified when readOnly is true");
            }
            if !["", "None"].contains(&json::text(mount, &["mountPropagation"])) {
                errors.forbidden(field, "may only be specified when mountPropagation is None or not specified");
            }
        }
        other => errors.not_supported(field, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}

fn device(errors: &mut Errors, device: &Value, path: &str, volumes: &BTreeMap<&str, &Value>, before: &[Value]) {
    let name = json::text(device, &["name"]);
    let field = format!("{path}.name");
    match volumes.get(name) {
        _ if name.is_empty() => errors.required(&field, ""),
        None => errors.not_found(&field, name),
        Some(volume) => {
            let fits = ["persistentVolumeClaim", "ephemeral"].iter().any(|key| !json::get(volume, key).is_null());
            if !fits {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.invalid_str(&field, name, detail);
            }
        }
    }
    let same = |key: &str| before.iter().any(|other| json::get(other, key) == json::get(device, key));
    if !name.is_empty() && same("name") {
        errors.invalid_str(&field, name, "must be unique");
    }
    let target = json::text(device, &["devicePath"]);
    let field = format!("{path}.devicePath");
    if target.is_empty() {
        errors.required(field, "");
    } else if same("devicePath") {
        errors.invalid_str(field, target, "must be unique");
    } else if target.split('/').any(|segment| segment == "..") {
        errors.invalid_str(field, target, "must not contain '..'");
    }
}
