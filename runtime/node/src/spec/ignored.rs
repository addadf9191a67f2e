//! Fields that ask for something a WebAssembly guest has no use for or this node does not do, and without which a pod runs
//! all the same: they are taken, since charts for containers set them, and told, since somebody meant them.
//!
//! Not here: what only forbids (`runAsNonRoot`, dropped capabilities, `seccompProfile`): a guest has none of that anyway.
//! Nor what a pod cannot do without, which is refused by field where it is read.

use k8s_openapi::api::core::v1 as core;

/// The fields of `pod` that have no effect, each with why.
pub fn ignored(pod: &core::Pod) -> Vec<String> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let mut found = Found::default();
    let asks = |field: Option<bool>| field == Some(true);
    found.push(asks(spec.host_pid), "spec.hostPID", "guests have no processes");
    found.push(asks(spec.host_ipc), "spec.hostIPC", "guests have no shared memory");
    found.push(asks(spec.share_process_namespace), "spec.shareProcessNamespace", "guests have no processes");
    found.push(spec.runtime_class_name.is_some(), "spec.runtimeClassName", "one runtime; the class only schedules");
    found.push(spec.dns_config.is_some(), "spec.dnsConfig", "the node looks names up");
    let policy = spec.dns_policy.as_deref();
    let is_default = policy.is_none_or(|policy| matches!(policy, "ClusterFirst" | "ClusterFirstWithHostNet"));
    found.push(!is_default, "spec.dnsPolicy", "the node looks names up, the cluster's first");
    let sysctls = spec.security_context.as_ref().and_then(|context| context.sysctls.as_ref());
    found.push(sysctls.is_some_and(|all| !all.is_empty()), "spec.securityContext.sysctls", "guests have no kernel");
    found.push(
        spec.resource_claims.as_ref().is_some_and(|all| !all.is_empty()),
        "spec.resourceClaims",
        "nodes have no devices to give",
    );
    for (index, container) in spec.init_containers.iter().flatten().enumerate() {
        found.container(container, &format!("spec.initContainers[{index}]"));
    }
    for (index, container) in spec.containers.iter().enumerate() {
        let field = format!("spec.containers[{index}]");
        found.container(container, &field);
    }
    found.0
}

#[derive(Default)]
struct Found(Vec<String>);

impl Found {
    fn push(&mut self, is_set: bool, field: &str, why: &str) {
        if is_set {
            self.0.push(format!("{field} ({why})"));
        }
    }

    fn container(&mut self, container: &core::Container, field: &str) {
        let at = |rest: &str| format!("{field}.{rest}");
        for (index, port) in container.ports.iter().flatten().enumerate() {
            let is_set = port.host_port.is_some_and(|port| port > 0);
            self.push(is_set, &at(&format!("ports[{index}].hostPort")), "use an Ingress or a Service of type NodePort");
        }
        let context = container.security_context.as_ref();
        let privileged = context.and_then(|context| context.privileged) == Some(true);
        self.push(
            privileged,
            &at("securityContext.privileged"),
            "guests have no more rights than their mounts and egress",
        );
        let added = context.and_then(|context| context.capabilities.as_ref()).and_then(|all| all.add.as_ref());
        let adds = added.is_some_and(|all| !all.is_empty());
        self.push(adds, &at("securityContext.capabilities.add"), "guests make no system calls");
        let devices = container.volume_devices.as_ref().is_some_and(|all| !all.is_empty());
        self.push(devices, &at("volumeDevices"), "guests have no devices");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(spec: serde_json::Value) -> Vec<String> {
        let mut pod = serde_json::json!({"metadata": {}});
        pod["spec"] = spec;
        ignored(&serde_json::from_value(pod).expect("a pod"))
    }

    #[test]
    fn what_asks_for_more_than_guests_have_is_told_by_field() {
        let found = read(serde_json::json!({
            "shareProcessNamespace": true, "runtimeClassName": "gvisor", "dnsPolicy": "None",
            "containers": [
                {"name": "a", "ports": [{"containerPort": 80, "hostPort": 8080}], "terminationMessagePath": "/dev/x",
                 "securityContext": {"privileged": true, "capabilities": {"add": ["NET_ADMIN"]}}},
                {"name": "b", "ports": [{"containerPort": 80}]},
            ],
        }));
        let fields: Vec<_> = found.iter().map(|found| found.split(' ').next().unwrap_or_default()).collect();
        assert_eq!(
            fields,
            [
                "spec.shareProcessNamespace",
                "spec.runtimeClassName",
                "spec.dnsPolicy",
                "spec.containers[0].ports[0].hostPort",
                "spec.containers[0].securityContext.privileged",
                "spec.containers[0].securityContext.capabilities.add",
            ]
        );
    }

    #[test]
    fn what_the_api_fills_in_and_what_only_forbids_is_not_told() {
        let found = read(serde_json::json!({
            "dnsPolicy": "ClusterFirst", "securityContext": {"runAsNonRoot": true},
            "containers": [{"name": "a", "terminationMessagePath": "/dev/termination-log",
                "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}],
                "securityContext": {"privileged": false, "capabilities": {"drop": ["ALL"]}}}],
        }));
        assert_eq!(found, [""; 0]);
    }
}
