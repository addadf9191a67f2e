//! Security contexts of pods and containers.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/core/validation`: `ValidatePodSecurityContext`, `ValidateSecurityContext`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::one_of;
use crate::field::Errors;
use crate::json;

/// Highest user or group.
const ID_MAX: i64 = i32::MAX as i64;

/// What a pod and a container have in common.
fn shared(errors: &mut Errors, context: &Value, path: &str, ids: &[&str]) {
    for key in ids {
        id(errors, json::get(context, key), &format!("{path}.{key}"));
    }
    for (key, word, kinds) in [
        ("seccompProfile", "seccomp", ["Localhost", "RuntimeDefault", "Unconfined"]),
        ("appArmorProfile", "AppArmor", ["Localhost", "RuntimeDefault", "Unconfined"]),
    ] {
        let profile = json::get(context, key);
        if profile.is_null() {
            continue;
        }
        let path = format!("{path}.{key}");
        one_of(errors, profile, "type", &path, &kinds);
        let local = json::get(profile, "localhostProfile");
        let field = format!("{path}.localhostProfile");
        match (json::text(profile, &["type"]), local.is_null()) {
            ("Localhost", true) => errors.required(field, &format!("must be set when {word} type is Localhost")),
            ("Localhost", false) | (_, true) => {}
            (_, false) => errors.invalid(field, local, &format!("can only be set when {word} type is Localhost")),
        }
    }
}

fn id(errors: &mut Errors, id: &Value, field: &str) {
    if !id.is_null() && !id.as_i64().is_some_and(|id| (0..=ID_MAX).contains(&id)) {
        errors.invalid(field, id, &format!("must be between 0 and {ID_MAX}, inclusive"));
    }
}

/// `securityContext` of a container.
pub(super) fn container(errors: &mut Errors, context: &Value, path: &str) {
    if context.is_null() {
        return;
    }
    shared(errors, context, path, &["runAsUser", "runAsGroup"]);
    let mount = json::text(context, &["procMount"]);
    if !["", "Default", "Unmasked"].contains(&mount) {
        errors.not_supported(format!("{path}.procMount"), mount, &["Default", "Unmasked"]);
    }
    if json::get(context, "allowPrivilegeEscalation") != &Value::Bool(false) {
        return;
    }
    if json::flag(context, &["privileged"]) {
        let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.invalid(path, context, detail);
    }
    if json::items(context, &["capabilities", "add"]).iter().any(|name| name == "CAP_SYS_ADMIN") {
        let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
        errors.invalid(path, context, detail);
    }
}

/// `securityContext` of a pod, and the flags beside it.
pub(super) fn pod(errors: &mut Errors, spec: &Value, path: &str) {
    if json::flag(spec, &["shareProcessNamespace"]) && json::flag(spec, &["hostPID"]) {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(format!("{path}.shareProcessNamespace"), &Value::Bool(true), detail);
    }
    let context = json::get(spec, "securityContext");
    let path = format!("{path}.securityContext");
    shared(errors, context, &path, &["runAsUser", "runAsGroup", "fsGroup"]);
    for (index, group) in json::items(context, &["supplementalGroups"]).iter().enumerate() {
        id(errors, group, &format!("{path}.supplementalGroups[{index}]"));
    }
    for (key, supported) in
        [("fsGroupChangePolicy", ["Always", "OnRootMismatch"]), ("supplementalGroupsPolicy", ["Merge", "Strict"])]
    {
        let policy = json::text(context, &[key]);
        if !policy.is_empty() && !supported.contains(&policy) {
            errors.not_supported(format!("{path}.{key}"), policy, &supported);
        }
    }
    let mut names = BTreeSet::new();
    for (index, sysctl) in json::items(context, &["sysctls"]).iter().enumerate() {
        let field = format!("{path}.sysctls[{index}].name");
        let name = json::text(sysctl, &["name"]);
        if name.is_empty() {
            errors.required(&field, "");
        } else if !is_sysctl(name) {
            const FORM: &str = "([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
            let detail = format!("must have at most 253 characters and match regex ^{FORM}$");
            errors.invalid_str(&field, name, &detail);
        }
        if !name.is_empty() && !names.insert(name) {
            errors.duplicate(field, &Value::from(name));
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    const LENGTH_MAX: usize = 253;
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let part = |part: &str| {
        let bytes = part.as_bytes();
        edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|byte| edge(Some(byte)) || b"-_".contains(byte))
    };
    name.len() <= LENGTH_MAX && name.split(['.', '/']).all(part)
}
