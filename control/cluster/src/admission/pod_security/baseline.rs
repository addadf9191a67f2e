//! The level `baseline`: no known way to more privileges. In the order of Kubernetes' names of the checks.
//!
//! Source: `k8s.io/pod-security-admission/policy` and the page "Pod Security Standards".

use std::collections::BTreeSet;

use serde_json::Value;

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

const SELINUX_TYPES: [&str; 5] = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

const SAFE_SYSCTLS: [&str; 10] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
];

/// Everything in which the pod breaks the level.
pub(super) fn all(pod: &Pod<'_>) -> Vec<Violation> {
    let checks = [
        app_armor(pod),
        capabilities(pod),
        host_namespaces(pod),
        host_path(pod),
        host_ports(pod),
        privileged(pod),
        proc_mount(pod),
        se_linux(pod),
        seccomp(pod),
        sysctls(pod),
        host_process(pod),
    ];
    checks.into_iter().flatten().collect()
}

/// Those that `restricted` asks, too; the others it asks more strictly itself.
pub(super) fn also_restricted(pod: &Pod<'_>) -> Vec<Violation> {
    let checks = [
        app_armor(pod),
        host_namespaces(pod),
        host_ports(pod),
        privileged(pod),
        proc_mount(pod),
        se_linux(pod),
        sysctls(pod),
        host_process(pod),
    ];
    checks.into_iter().flatten().collect()
}

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

fn app_armor(pod: &Pod<'_>) -> Option<Violation> {
    let bad = |value: &Value| value == "Unconfined";
    let mut how = Vec::new();
    if let Some(setters) = setters(pod, "/appArmorProfile/type", bad) {
        how.push(format!("{setters} must not set AppArmor profile type to \"Unconfined\""));
    }
    let annotations: Vec<String> = pod
        .annotations
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| key.starts_with("container.apparmor.security.beta.kubernetes.io/"))
        .filter_map(|(key, value)| Some((key, value.as_str()?)))
        .filter(|(_, value)| !(value.is_empty() || *value == "runtime/default" || value.starts_with("localhost/")))
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    if !annotations.is_empty() {
        let plural = if annotations.len() == 1 { "annotation" } else { "annotations" };
        how.push(format!("{plural} {}", annotations.join(", ")));
    }
    let what = if how.len() + annotations.len().saturating_sub(1) > 1 { "profiles" } else { "profile" };
    (!how.is_empty()).then(|| violation(&format!("forbidden AppArmor {what}"), how.join(", ")))
}

fn capabilities(pod: &Pod<'_>) -> Option<Violation> {
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

fn host_namespaces(pod: &Pod<'_>) -> Option<Violation> {
    let shared: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .iter()
        .filter(|key| pod.spec.get(**key) == Some(&Value::Bool(true)))
        .map(|key| format!("{key}=true"))
        .collect();
    (!shared.is_empty()).then(|| violation("host namespaces", shared.join(", ")))
}

fn host_path(pod: &Pod<'_>) -> Option<Violation> {
    let volumes: Vec<&str> = pod
        .volumes()
        .iter()
        .filter(|volume| volume.get("hostPath").is_some_and(|path| !path.is_null()))
        .map(|volume| volume.get("name").and_then(Value::as_str).unwrap_or_default())
        .collect();
    (!volumes.is_empty()).then(|| violation("hostPath volumes", counted("volume", &volumes)))
}

fn host_ports(pod: &Pod<'_>) -> Option<Violation> {
    let ports = |container: Container<'_>| -> Vec<i64> {
        let ports = container.0.get("ports").and_then(Value::as_array).into_iter().flatten();
        ports.filter_map(|port| port.get("hostPort")?.as_i64()).filter(|port| *port != 0).collect()
    };
    let bad = pod.bad(|container| !ports(container).is_empty());
    let used: BTreeSet<i64> = pod.containers().flat_map(ports).collect();
    let word = if used.len() == 1 { "hostPort" } else { "hostPorts" };
    let verb = if bad.len() == 1 { "uses" } else { "use" };
    let shown = used.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    (!bad.is_empty()).then(|| violation(word, format!("{} {verb} {word} {shown}", counted("container", &bad))))
}

fn privileged(pod: &Pod<'_>) -> Option<Violation> {
    let bad = pod.bad(|container| container.context("/privileged") == Some(&Value::Bool(true)));
    let how = || format!("{} must not set securityContext.privileged=true", counted("container", &bad));
    (!bad.is_empty()).then(|| violation("privileged", how()))
}

fn proc_mount(pod: &Pod<'_>) -> Option<Violation> {
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

fn se_linux(pod: &Pod<'_>) -> Option<Violation> {
    let bad = |options: &Value| {
        let part = |key: &str| options.get(key).and_then(Value::as_str).unwrap_or_default();
        !SELINUX_TYPES.contains(&part("type")) || !part("user").is_empty() || !part("role").is_empty()
    };
    let setters = setters(pod, "/seLinuxOptions", bad)?;
    let contexts = pod.containers().filter_map(|container| container.context("/seLinuxOptions"));
    let contexts: Vec<&Value> = pod.context("/seLinuxOptions").into_iter().chain(contexts).collect();
    let given = |key: &str| -> BTreeSet<&str> {
        contexts.iter().filter_map(|options| options.get(key)?.as_str()).filter(|text| !text.is_empty()).collect()
    };
    let mut how = Vec::new();
    let types: Vec<&str> = given("type").into_iter().filter(|kind| !SELINUX_TYPES.contains(kind)).collect();
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

fn seccomp(pod: &Pod<'_>) -> Option<Violation> {
    let setters = setters(pod, "/seccompProfile/type", |kind| kind == "Unconfined")?;
    let how = format!("{setters} must not set securityContext.seccompProfile.type to \"Unconfined\"");
    Some(violation("seccompProfile", how))
}

fn sysctls(pod: &Pod<'_>) -> Option<Violation> {
    let given = pod.context("/sysctls").and_then(Value::as_array).into_iter().flatten();
    let names = given.filter_map(|sysctl| sysctl.get("name")?.as_str());
    let bad: Vec<&str> = names.filter(|name| !SAFE_SYSCTLS.contains(name)).collect();
    (!bad.is_empty()).then(|| violation("forbidden sysctls", bad.join(", ")))
}

fn host_process(pod: &Pod<'_>) -> Option<Violation> {
    let setters = setters(pod, "/windowsOptions/hostProcess", |value| *value == Value::Bool(true))?;
    Some(violation("hostProcess", format!("{setters} must not set securityContext.windowsOptions.hostProcess=true")))
}
