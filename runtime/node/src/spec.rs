//! What a Pod object means on this node: parsed once, when the pod arrives, so that later code cannot meet a field it
//! does not know.
//!
//! Not here: running anything. A field that this node cannot honour is an error by name, never ignored in silence.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use wk_api::Object;
use wk_api::quantity::Quantity;

use crate::container::RestartPolicy;

/// Memory a container may use when its spec sets no limit: enough for JavaScript and Python guests (20 to 80 MiB each),
/// small enough that a runaway one cannot take a small machine with it.
pub const MEMORY_DEFAULT: u64 = 256 * 1024 * 1024;
/// A WebAssembly memory with 32-bit addresses cannot grow past this.
const MEMORY_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// How long a request may take when the pod does not say: the usual default of reverse proxies lies between 15 and 60 s.
const REQUEST_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// No request may hold an instance longer, whatever the pod says.
const REQUEST_TIMEOUT_MAX: Duration = Duration::from_hours(1);
/// The annotation that sets the deadline of one request, for instance `wk.dev/request-timeout: 5s`.
pub const REQUEST_TIMEOUT: &str = "wk.dev/request-timeout";

/// A pod as this node runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSpec {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// Its containers, in order.
    pub containers: Vec<ContainerSpec>,
    /// Whether ended containers start again.
    pub restart: RestartPolicy,
    /// `activeDeadlineSeconds`.
    pub deadline: Option<Duration>,
}

/// A container as this node runs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerSpec {
    /// Name in the pod.
    pub name: String,
    /// The image as written.
    pub image: String,
    /// `argv`, the program's name first.
    pub args: Vec<String>,
    /// Environment, in order.
    pub env: Vec<(String, String)>,
    /// Bytes of memory it may use.
    pub memory_max: u64,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// TCP ports it serves; the first HTTP container without any serves all of the pod's.
    pub ports: Vec<u16>,
    /// `stdin`: whether it reads what clients attach.
    pub stdin: bool,
    /// `stdinOnce`: whether the first client's end of input is the container's.
    pub stdin_once: bool,
    /// `tty`: whether its input and output are a terminal.
    pub tty: bool,
}

/// Something in the spec that this node cannot do, by field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct SpecError {
    /// Path in the Pod object.
    pub field: String,
    /// What is wrong with it and what to do.
    pub why: String,
}

fn refuse<T>(field: impl Into<String>, why: impl Into<String>) -> Result<T, SpecError> {
    Err(SpecError { field: field.into(), why: why.into() })
}

/// What a pod is called, and nothing to run: for a pod that is refused.
pub fn bare(pod: &Object) -> PodSpec {
    PodSpec {
        uid: pod.uid().to_owned(),
        namespace: pod.namespace().to_owned(),
        name: pod.name().to_owned(),
        containers: Vec::new(),
        restart: RestartPolicy::Never,
        deadline: None,
    }
}

/// Reads a Pod that is bound to the node `node` and has the address `ip`.
pub fn read(pod: &core::Pod, node: &str, ip: IpAddr) -> Result<PodSpec, SpecError> {
    let Some(spec) = &pod.spec else { return refuse("spec", "missing") };
    if spec.init_containers.as_ref().is_some_and(|containers| !containers.is_empty()) {
        return refuse("spec.initContainers", "init containers are not supported yet");
    }
    if spec.volumes.as_ref().is_some_and(|volumes| !volumes.is_empty()) {
        return refuse("spec.volumes", "volumes are not supported yet");
    }
    if spec.host_network == Some(true) {
        return refuse("spec.hostNetwork", "a guest has no network of its own to share with the host");
    }
    let facts = Facts { pod, node, ip };
    let timeout = request_timeout(pod)?;
    let containers = spec
        .containers
        .iter()
        .enumerate()
        .map(|(index, container)| read_container(container, index, timeout, &facts))
        .collect::<Result<_, _>>()?;
    Ok(PodSpec {
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: pod.metadata.name.clone().unwrap_or_default(),
        containers,
        restart: match spec.restart_policy.as_deref() {
            Some("Never") => RestartPolicy::Never,
            Some("OnFailure") => RestartPolicy::OnFailure,
            _ => RestartPolicy::Always,
        },
        deadline: spec.active_deadline_seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs),
    })
}

fn request_timeout(pod: &core::Pod) -> Result<Duration, SpecError> {
    let Some(text) = pod.metadata.annotations.as_ref().and_then(|all| all.get(REQUEST_TIMEOUT)) else {
        return Ok(REQUEST_TIMEOUT_DEFAULT);
    };
    let field = format!("metadata.annotations[{REQUEST_TIMEOUT}]");
    match text.parse::<jiff::SignedDuration>().ok().and_then(|timeout| Duration::try_from(timeout).ok()) {
        Some(timeout) if !timeout.is_zero() && timeout <= REQUEST_TIMEOUT_MAX => Ok(timeout),
        _ => refuse(field, format!("{text:?} is not a duration between 1ms and 1h, such as 5s or 2m")),
    }
}

fn read_container(
    container: &core::Container,
    index: usize,
    request_timeout: Duration,
    facts: &Facts<'_>,
) -> Result<ContainerSpec, SpecError> {
    let field = format!("spec.containers[{index}]");
    for (name, is_set) in [
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
        ("lifecycle", container.lifecycle.is_some()),
        ("workingDir", container.working_dir.as_ref().is_some_and(|dir| !dir.is_empty())),
    ] {
        if is_set {
            return refuse(format!("{field}.{name}"), "not supported yet; leave it out");
        }
    }
    if container.env_from.as_ref().is_some_and(|sources| !sources.is_empty()) {
        return refuse(format!("{field}.envFrom"), "environment from ConfigMaps and Secrets is not supported yet");
    }
    if container.volume_mounts.as_ref().is_some_and(|mounts| !mounts.is_empty()) {
        return refuse(format!("{field}.volumeMounts"), "volumes are not supported yet");
    }
    let mut args = container.command.clone().unwrap_or_default();
    if args.is_empty() {
        args.push(container.name.clone());
    }
    args.extend(container.args.iter().flatten().cloned());

    let mut env = vec![("HOSTNAME".to_owned(), facts.pod.metadata.name.clone().unwrap_or_default())];
    for variable in container.env.iter().flatten() {
        let value = expand(&env_value(variable, &field, facts)?, &env);
        env.retain(|(name, _)| *name != variable.name);
        env.push((variable.name.clone(), value));
    }
    // `$(NAME)` in arguments stands for a variable of the container, as in Kubernetes.
    for argument in &mut args {
        *argument = expand(argument, &env);
    }
    let tcp = |port: &&core::ContainerPort| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
    let ports = container.ports.iter().flatten().filter(tcp);
    Ok(ContainerSpec {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        args,
        env,
        memory_max: memory_max(container, &field)?,
        request_timeout,
        ports: ports.filter_map(|port| u16::try_from(port.container_port).ok()).collect(),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
    })
}

/// Replaces each `$(NAME)` by the variable's value; `$$` is a dollar sign, and an unknown name stays as it is written
/// (Kubernetes: *Define Dependent Environment Variables*).
fn expand(text: &str, env: &[(String, String)]) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let named = after.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        let known = named.and_then(|(name, behind)| Some((env.iter().rfind(|(known, _)| known == name)?, behind)));
        rest = if let Some(((_, value), behind)) = known {
            result.push_str(value);
            behind
        } else {
            result.push('$');
            after.strip_prefix('$').unwrap_or(after)
        };
    }
    result.push_str(rest);
    result
}

fn memory_max(container: &core::Container, field: &str) -> Result<u64, SpecError> {
    let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
    let Some(limit) = limits.and_then(|limits| limits.get("memory")) else { return Ok(MEMORY_DEFAULT) };
    match Quantity::parse(&limit.0).ok().and_then(|quantity| u64::try_from(quantity.value()).ok()) {
        Some(bytes) if bytes > 0 => Ok(bytes.min(MEMORY_MAX)),
        _ => refuse(format!("{field}.resources.limits.memory"), format!("{:?} is not an amount of memory", limit.0)),
    }
}

/// What `fieldRef` may name.
struct Facts<'a> {
    pod: &'a core::Pod,
    node: &'a str,
    ip: IpAddr,
}

fn env_value(variable: &core::EnvVar, field: &str, facts: &Facts<'_>) -> Result<String, SpecError> {
    let field = || format!("{field}.env[{}].valueFrom", variable.name);
    let Some(source) = &variable.value_from else { return Ok(variable.value.clone().unwrap_or_default()) };
    let Some(reference) = &source.field_ref else {
        return refuse(field(), "only fieldRef is supported yet");
    };
    match facts.resolve(&reference.field_path) {
        Some(value) => Ok(value),
        None => refuse(field(), format!("unknown fieldPath {:?}", reference.field_path)),
    }
}

impl Facts<'_> {
    /// The fields that Kubernetes' downward API offers as environment variables.
    fn resolve(&self, path: &str) -> Option<String> {
        let meta = &self.pod.metadata;
        let spec = self.pod.spec.as_ref();
        Some(match path {
            "metadata.name" => meta.name.clone()?,
            "metadata.namespace" => meta.namespace.clone()?,
            "metadata.uid" => meta.uid.clone()?,
            "spec.nodeName" => self.node.to_owned(),
            "spec.serviceAccountName" => spec?.service_account_name.clone().unwrap_or_default(),
            "status.podIP" | "status.podIPs" => self.ip.to_string(),
            _ => {
                let (map, key) = path
                    .strip_prefix("metadata.labels['")
                    .map(|key| (&meta.labels, key))
                    .or_else(|| path.strip_prefix("metadata.annotations['").map(|key| (&meta.annotations, key)))?;
                map.as_ref()?.get(key.strip_suffix("']")?).cloned().unwrap_or_default()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(container: &serde_json::Value) -> core::Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web-1", "namespace": "default", "uid": "u", "labels": {"app": "web"}},
            "spec": {"containers": [container]},
        }))
        .unwrap()
    }

    fn read_one(container: &serde_json::Value) -> Result<ContainerSpec, SpecError> {
        read(&pod(container), "n1", IpAddr::from([10, 128, 0, 5])).map(|mut spec| spec.containers.remove(0))
    }

    #[test]
    fn arguments_environment_and_memory_come_from_the_spec() {
        let container = read_one(&json!({
            "name": "app", "image": "i", "args": ["-v"],
            "env": [
                {"name": "A", "value": "1"},
                {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            ],
            "resources": {"limits": {"memory": "64Mi"}},
        }))
        .unwrap();
        assert_eq!(container.args, ["app", "-v"]);
        let env: Vec<_> = container.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(env, ["HOSTNAME=web-1", "A=1", "POD=web-1", "APP=web", "IP=10.128.0.5"]);
        assert_eq!(container.memory_max, 64 * 1024 * 1024);
    }

    #[test]
    fn variables_are_expanded_in_arguments_and_later_variables() {
        let container = read_one(&json!({
            "name": "app", "args": ["$(A)/$(B)/$(NONE)/$$(A)/$"],
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)2"}],
        }))
        .unwrap();
        assert_eq!(container.args[1], "1/12/$(NONE)/$(A)/$");
    }

    #[test]
    fn what_this_node_cannot_do_is_refused_by_field() {
        for (container, field) in [
            (json!({"name": "a", "envFrom": [{"configMapRef": {"name": "c"}}]}), "spec.containers[0].envFrom"),
            (
                json!({"name": "a", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}),
                "spec.containers[0].volumeMounts",
            ),
            (
                json!({"name": "a", "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}),
                "spec.containers[0].env[X].valueFrom",
            ),
            (
                json!({"name": "a", "env": [{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "spec.nope"}}}]}),
                "spec.containers[0].env[X].valueFrom",
            ),
            (json!({"name": "a", "readinessProbe": {"httpGet": {"port": 80}}}), "spec.containers[0].readinessProbe"),
            (json!({"name": "a", "workingDir": "/tmp"}), "spec.containers[0].workingDir"),
        ] {
            assert_eq!(read_one(&container).unwrap_err().field, field);
        }
    }
}
