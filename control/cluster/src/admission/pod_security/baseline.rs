//! The level `baseline`: no known way to more privileges.
//!
//! Source: `k8s.io/pod-security-admission/policy` and the page "Pod Security Standards".

use std::collections::BTreeSet;

use serde_json::Value;

use super::checks::{SAFE_SYSCTLS, SELINUX_TYPES, has};
use super::{Container, Pod, Violation, counted, quoted};

/// What every container may have without asking.
const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

fn violation(what: &str, how: String) -> Violation {
    Violation { what: what.to_owned(), how }
}

/// Who has set what must not be set: the pod, containers, or both.
pub(super) fn setters(pod: &Pod<'_>, pointer: &str, bad: impl Fn(&Value) -> bool) -> Option<String> {
    let mut setters = Vec::new();
    if pod.context(pointer).is_some_and(&bad) {
        setters.push("pod".to_owned());
    }
    let containers = pod.bad(|container| container.context(pointer).is_some_and(&bad));
    if !containers.is_empty() {
        setters.push(counted("container", &containers));
    }
    (!setters.is_empty()).then(|| setters.join(" and "))
}

pub(super) fn app_armor(pod: &Pod<'_>) -> Option<Violation> {
    let unconfined = |value: &Value| value == "Unconfined";
    let mut who: Vec<String> = setters(pod, "/appArmorProfile/type", unconfined).into_iter().collect();
    let mut what: Vec<String> = who.iter().map(|_| "Unconfined".to_owned()).collect();
    let fine = |value: &str| value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
    let annotations = annotations(pod, |key| key.starts_with("container.apparmor.security.beta.kubernetes.io/"), fine);
    if !annotations.is_empty() {
        who.push(if annotations.len() == 1 { "annotation" } else { "annotations" }.to_owned());
        what.extend(annotations);
    }
    let plural = if what.len() == 1 { "" } else { "s" };
    let what: Vec<&str> = what.iter().map(String::as_str).collect();
    let how = || format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(&what));
    (!what.is_empty()).then(|| violation(&format!("forbidden AppArmor profile{plural}"), how()))
}

/// `key="value"` of the annotations that are asked about and not fine.
fn annotations(pod: &Pod<'_>, asked: impl Fn(&str) -> bool, fine: impl Fn(&str) -> bool) -> Vec<String> {
    let all = pod.annotations.as_object().into_iter().flatten();
    all.filter(|(key, _)| asked(key))
        .filter_map(|(key, value)| Some((key, value.as_str()?)))
        .filter(|(_, value)| !fine(value))
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect()
}

pub(super) fn capabilities(pod: &Pod<'_>) -> Option<Violation> {
    let mut added = BTreeSet::new();
    let bad = pod.bad(|container| !undue(container, &DEFAULT_CAPABILITIES).is_empty());
    for container in pod.containers() {
        added.extend(undue(container, &DEFAULT_CAPABILITIES));
    }
    (!bad.is_empty()).then(|| {
        let added: Vec<&str> = added.into_iter().collect();
        let how = format!(
            "{} must not include {} in securityContext.capabilities.add",
            counted("container", &bad),
            quoted(&added)
        );
        violation("non-default capabilities", how)
    })
}

/// Capabilities that a container adds and that are not in `due`.
pub(super) fn undue<'a>(container: Container<'a>, due: &[&str]) -> Vec<&'a str> {
    let added = container.context("/capabilities/add").and_then(Value::as_array).into_iter().flatten();
    added.filter_map(Value::as_str).filter(|name| !due.contains(name)).collect()
}

pub(super) fn host_namespaces(pod: &Pod<'_>) -> Option<Violation> {
    let shared: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .iter()
        .filter(|key| pod.spec.get(**key) == Some(&Value::Bool(true)))
        .map(|key| format!("{key}=true"))
        .collect();
    (!shared.is_empty()).then(|| violation("host namespaces", shared.join(", ")))
}

pub(super) fn host_path(pod: &Pod<'_>) -> Option<Violation> {
    let volumes: Vec<&str> = pod
        .volumes()
        .iter()
        .filter(|volume| volume.get("hostPath").is_some_and(|path| !path.is_null()))
        .map(|volume| volume.get("name").and_then(Value::as_str).unwrap_or_default())
        .collect();
    (!volumes.is_empty()).then(|| violation("hostPath volumes", counted("volume", &volumes)))
}

pub(super) fn host_ports(pod: &Pod<'_>) -> Option<Violation> {
    let ports = |container: Container<'_>| -> Vec<i64> {
        let ports = container.0.get("ports").and_then(Value::as_array).into_iter().flatten();
        ports.filter_map(|port| port.get("hostPort")?.as_i64()).filter(|port| *port != 0).collect()
    };
    let bad = pod.bad(|container| !ports(container).is_empty());
    let used: BTreeSet<String> = pod.containers().flat_map(ports).map(|port| port.to_string()).collect();
    let word = if used.len() == 1 { "hostPort" } else { "hostPorts" };
    let verb = if bad.len() == 1 { "uses" } else { "use" };
    let shown = used.into_iter().collect::<Vec<_>>().join(", ");
    (!bad.is_empty()).then(|| violation("hostPort", format!("{} {verb} {word} {shown}", counted("container", &bad))))
}

pub(super) fn privileged(pod: &Pod<'_>) -> Option<Violation> {
    let bad = pod.bad(|container| container.context("/privileged") == Some(&Value::Bool(true)));
    let how = || format!("{} must not set securityContext.privileged=true", counted("container", &bad));
    (!bad.is_empty()).then(|| violation("privileged", how()))
}

pub(super) fn proc_mount(pod: &Pod<'_>) -> Option<Violation> {
    let mount = |container: Container<'_>| {
        container.context("/procMount").and_then(Value::as_str).filter(|mount| *mount != "Default").map(str::to_owned)
    };
    let bad = pod.bad(|container| mount(container).is_some());
    let mounts: BTreeSet<String> = pod.containers().filter_map(mount).collect();
    (!bad.is_empty()).then(|| {
        let mounts: Vec<&str> = mounts.iter().map(String::as_str).collect();
        let how =
            format!("{} must not set securityContext.procMount to {}", counted("container", &bad), quoted(&mounts));
        violation("procMount", how)
    })
}

pub(super) fn se_linux(pod: &Pod<'_>) -> Option<Violation> {
    let known = |kind: &str| has(&SELINUX_TYPES, pod.version, kind);
    let bad = |options: &Value| {
        let part = |key: &str| options.get(key).and_then(Value::as_str).unwrap_or_default();
        !known(part("type")) || !part("user").is_empty() || !part("role").is_empty()
    };
    let setters = setters(pod, "/seLinuxOptions", bad)?;
    let contexts = pod.containers().filter_map(|container| container.context("/seLinuxOptions"));
    let contexts: Vec<&Value> = pod.context("/seLinuxOptions").into_iter().chain(contexts).collect();
    let given = |key: &str| -> BTreeSet<&str> {
        contexts.iter().filter_map(|options| options.get(key)?.as_str()).filter(|text| !text.is_empty()).collect()
    };
    let mut how = Vec::new();
    let types: Vec<&str> = given("type").into_iter().filter(|kind| !known(kind)).collect();
    if !types.is_empty() {
        let plural = if types.len() == 1 { "type" } else { "types" };
        how.push(format!("{plural} {}", quoted(&types)));
    }
    for key in ["user", "role"] {
        if !given(key).is_empty() {
            how.push(format!("{key} may not be set"));
        }
    }
    Some(violation(
        "seLinuxOptions",
        format!("{setters} set forbidden securityContext.seLinuxOptions: {}", how.join("; ")),
    ))
}

pub(super) fn seccomp(pod: &Pod<'_>) -> Option<Violation> {
    let setters = setters(pod, "/seccompProfile/type", |kind| kind == "Unconfined")?;
    let how = format!("{setters} must not set securityContext.seccompProfile.type to \"Unconfined\"");
    Some(violation("seccompProfile", how))
}

/// Profiles of seccomp as they were given before there were fields.
pub(super) fn seccomp_annotations(pod: &Pod<'_>) -> Option<Violation> {
    const OF_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
    let of_container = |key: &str| {
        let name = key.strip_prefix("container.seccomp.security.alpha.kubernetes.io/");
        name.is_some_and(|name| pod.containers().any(|container| container.name() == name))
    };
    let fine = |value: &str| matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/");
    let bad = annotations(pod, |key| key == OF_POD || of_container(key), fine);
    let plural = if bad.len() == 1 { "" } else { "s" };
    let how = || format!("forbidden annotation{plural} {}", bad.join(", "));
    (!bad.is_empty()).then(|| violation("seccompProfile", how()))
}

pub(super) fn sysctls(pod: &Pod<'_>) -> Option<Violation> {
    let given = pod.context("/sysctls").and_then(Value::as_array).into_iter().flatten();
    let names = given.filter_map(|sysctl| sysctl.get("name")?.as_str());
    let bad: Vec<&str> = names.filter(|name| !has(&SAFE_SYSCTLS, pod.version, name)).collect();
    (!bad.is_empty()).then(|| violation("forbidden sysctls", bad.join(", ")))
}

pub(super) fn host_process(pod: &Pod<'_>) -> Option<Violation> {
    let setters = setters(pod, "/windowsOptions/hostProcess", |value| *value == Value::Bool(true))?;
    Some(violation("hostProcess", format!("{setters} must not set securityContext.windowsOptions.hostProcess=true")))
}
