//! The level `restricted`: what hardened pods look like, where that is more than `baseline` asks.
//!
//! Source: `k8s.io/pod-security-admission/policy` and the page "Pod Security Standards".

use std::collections::BTreeSet;

use serde_json::Value;

use super::baseline::{setters, undue};
use super::{Container, Pod, Violation, counted, quoted};

/// Kinds of volumes that show a pod nothing of its node.
const VOLUMES: [&str; 8] =
    ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"];

fn violation(what: &str, how: String) -> Violation {
    Violation { what: what.to_owned(), how }
}

pub(super) fn escalation(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_for_windows() {
        return None;
    }
    let bad = pod.bad(|container| container.context("/allowPrivilegeEscalation") != Some(&Value::Bool(false)));
    let how = || format!("{} must set securityContext.allowPrivilegeEscalation=false", counted("container", &bad));
    (!bad.is_empty()).then(|| violation("allowPrivilegeEscalation != false", how()))
}

pub(super) fn capabilities(pod: &Pod<'_>) -> Option<Violation> {
    const DUE: [&str; 1] = ["NET_BIND_SERVICE"];
    if pod.is_for_windows() {
        return None;
    }
    let drops_all = |container: Container<'_>| {
        let dropped = container.context("/capabilities/drop").and_then(Value::as_array);
        dropped.is_some_and(|dropped| dropped.iter().any(|name| name == "ALL"))
    };
    let keeping = pod.bad(|container| !drops_all(container));
    let adding = pod.bad(|container| !undue(container, &DUE).is_empty());
    let mut how = Vec::new();
    if !keeping.is_empty() {
        how.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", counted("container", &keeping)));
    }
    if !adding.is_empty() {
        let added: BTreeSet<&str> = pod.containers().flat_map(|container| undue(container, &DUE)).collect();
        let added: Vec<&str> = added.into_iter().collect();
        how.push(format!(
            "{} must not include {} in securityContext.capabilities.add",
            counted("container", &adding),
            quoted(&added)
        ));
    }
    (!how.is_empty()).then(|| violation("unrestricted capabilities", how.join("; ")))
}

pub(super) fn volumes(pod: &Pod<'_>) -> Option<Violation> {
    let source = |volume: &Value| {
        let members = volume.as_object().into_iter().flatten();
        members.filter(|(key, value)| *key != "name" && !value.is_null()).map(|(key, _)| key.clone()).next()
    };
    let is_bad = |source: &String| !VOLUMES.contains(&source.as_str());
    let mut bad = Vec::new();
    let mut sources = BTreeSet::new();
    for volume in pod.volumes() {
        if let Some(source) = source(volume).filter(is_bad) {
            bad.push(volume.get("name").and_then(Value::as_str).unwrap_or_default());
            sources.insert(source);
        }
    }
    (!bad.is_empty()).then(|| {
        let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
        let verb = if bad.len() == 1 { "uses" } else { "use" };
        let how = format!("{} {verb} {}", counted("volume", &bad), counted("restricted volume type", &sources));
        violation("restricted volume types", how)
    })
}

pub(super) fn run_as_non_root(pod: &Pod<'_>) -> Option<Violation> {
    const WHAT: &str = "runAsNonRoot != true";
    let field = "/runAsNonRoot";
    let of_pod = pod.context(field).and_then(Value::as_bool);
    let silent = pod.bad(|container| container.context(field).is_none());
    let explicit = pod.bad(|container| container.context(field) == Some(&Value::Bool(false)));
    let mut refusing = Vec::new();
    if of_pod == Some(false) {
        refusing.push("pod".to_owned());
    }
    if !explicit.is_empty() {
        refusing.push(counted("container", &explicit));
    }
    if !refusing.is_empty() {
        let how = format!("{} must not set securityContext.runAsNonRoot=false", refusing.join(" and "));
        return Some(violation(WHAT, how));
    }
    (of_pod.is_none() && !silent.is_empty()).then(|| {
        let how = format!("pod or {} must set securityContext.runAsNonRoot=true", counted("container", &silent));
        violation(WHAT, how)
    })
}

pub(super) fn run_as_user(pod: &Pod<'_>) -> Option<Violation> {
    let setters = setters(pod, "/runAsUser", |user| user.as_i64() == Some(0))?;
    Some(violation("runAsUser=0", format!("{setters} must not set runAsUser=0")))
}

pub(super) fn seccomp(pod: &Pod<'_>) -> Option<Violation> {
    const WHAT: &str = "seccompProfile";
    if pod.is_for_windows() {
        return None;
    }
    let field = "/seccompProfile/type";
    let good = |kind: &Value| kind == "RuntimeDefault" || kind == "Localhost";
    let of_pod = pod.context(field);
    let silent = pod.bad(|container| container.context(field).is_none());
    let bad = |kind: &Value| !good(kind);
    if let Some(setters) = setters(pod, field, bad) {
        let contexts = pod.containers().filter_map(|container| container.context(field));
        let kinds = of_pod.into_iter().chain(contexts).filter(|kind| bad(kind)).filter_map(Value::as_str);
        let kinds: BTreeSet<&str> = kinds.collect();
        let kinds: Vec<&str> = kinds.into_iter().collect();
        let how = format!("{setters} must not set securityContext.seccompProfile.type to {}", quoted(&kinds));
        return Some(violation(WHAT, how));
    }
    (of_pod.is_none() && !silent.is_empty()).then(|| {
        let how = format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
            counted("container", &silent)
        );
        violation(WHAT, how)
    })
}
