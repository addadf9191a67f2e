//! What a Pod object means on this node: parsed once, when the pod arrives, so that later code cannot meet a field it
//! does not know.
//!
//! Not here: running anything. A field that this node cannot honour is an error by name, or told ([`ignored`]), never
//! ignored in silence.

mod config;
mod container;
mod cpu;
pub mod downward;
pub mod env;
mod ignored;
mod instances;
mod isolation;
mod limits;
mod mounts;
mod network;
mod probes;
mod projected;
mod roles;
mod shared;
mod volumes;

pub use config::{CA_CERTIFICATES, CONFIG};
pub use ignored::ignored;
pub use instances::{INSTANCE_AGE, INSTANCE_REQUESTS, INSTANCES};
pub use isolation::{ISOLATION, Isolation, Standard, isolation};
pub use limits::{MEMORY_DEFAULT, REQUEST_TIMEOUT};
pub use mounts::{MountSpec, SubPath};
pub use network::{EGRESS, NetworkSpec};
pub use probes::{Action, Check, Hook, Hooks, HttpGet, PORT_UNKNOWN, Probe, ProbeKind, Probes};
pub use projected::{DownwardFile, DownwardValue, FromObject, Item, Projection, TokenFile};
pub use roles::Role;
pub use volumes::{EMPTY_DIR_DEFAULT, EMPTY_DIR_MEMORY_DEFAULT, HostPathType, Source as VolumeSource, VolumeSpec};

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use wk_api::Object;
use wk_engine::Instances;

use crate::container::RestartPolicy;
use crate::place::worker::Class;
use crate::sources::Source;

use config::read_sources;
use env::EnvSpec;
use limits::request_timeout;

/// `terminationGracePeriodSeconds` of a pod that does not say. Kubernetes' figure.
const GRACE_DEFAULT: Duration = Duration::from_secs(30);
/// The longest time that is taken at its word. The API takes any number of seconds, and the end of what is added to now
/// has to lie within the calendar: an agent that panics there takes care of no pod any more.
const TIME_MAX: Duration = Duration::from_hours(100 * 365 * 24);

/// A pod as this node runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSpec {
    /// `metadata.uid`. Whoever keeps something by it keeps this one: a node has thousands of pods.
    pub uid: Arc<str>,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// Its containers, in order: init containers and sidecars, the others, those for debugging.
    pub containers: Vec<Arc<ContainerSpec>>,
    /// Whether ended containers start again.
    pub restart: RestartPolicy,
    /// `activeDeadlineSeconds`.
    pub deadline: Option<Duration>,
    /// `terminationGracePeriodSeconds`.
    pub grace: Duration,
    /// `readinessGates`: conditions that others write.
    pub gates: Vec<String>,
    /// Its volumes.
    pub volumes: Arc<[VolumeSpec]>,
    /// With whom it shares a process.
    pub isolation: Isolation,
}

impl PodSpec {
    /// Whose worker it runs in; none: in the node's process. What others of its namespace must not open is opened by a
    /// worker of its own.
    pub fn class(&self) -> Option<Class> {
        let apart =
            |volume: &VolumeSpec| matches!(volume.source, VolumeSource::HostPath { .. } | VolumeSource::Image { .. });
        match self.isolation {
            Isolation::Shared => None,
            Isolation::Namespace if !self.volumes.iter().any(apart) => Some(Class::Namespace(self.namespace.clone())),
            Isolation::Namespace | Isolation::Pod => Some(Class::Pod {
                uid: self.uid.to_string(),
                name: format!("{}/{}", self.namespace, self.name),
                directories: Vec::new(),
            }),
        }
    }
}

/// A container as this node runs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerSpec {
    /// Name in the pod.
    pub name: Arc<str>,
    /// What it is for.
    pub role: Role,
    /// What it is asked while it runs.
    pub probes: Probes,
    /// What is called when it begins and before it ends.
    pub hooks: Hooks,
    /// The image as written.
    pub image: String,
    /// `argv`, the program's name first; `$(NAME)` in it stands for a variable.
    pub args: Vec<String>,
    /// What its environment is made of.
    pub env: EnvSpec,
    /// What it finds with `wasi:config`.
    pub config: Vec<Source>,
    /// Bytes of memory one of its instances may use.
    pub memory_max: u64,
    /// Bytes of memory all of its instances may use together, if it says so.
    pub memory_total: Option<u64>,
    /// Bytes of memory that are kept for it.
    pub memory_request: u64,
    /// Thousandths of a core that it asks for: its weight where cores are short.
    pub cpu_request: u64,
    /// Thousandths of a core that it never gets more of.
    pub cpu_limit: Option<u64>,
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
    /// How its requests share instances.
    pub instances: Instances,
    /// Where it sees the pod's volumes.
    pub mounts: Vec<MountSpec>,
    /// `workingDir`: where its relative paths begin, if not at `/`.
    pub workdir: Option<String>,
    /// The pod's network.
    pub network: Arc<NetworkSpec>,
    /// `terminationMessagePolicy: FallbackToLogsOnError`: whether the end of its log says how it failed.
    pub message_from_log: bool,
    /// `terminationMessagePath`, if it is another than Kubernetes' default.
    pub message_path: Option<Box<str>>,
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

/// So many seconds, as far as time goes.
fn seconds(count: u64) -> Duration {
    Duration::from_secs(count).min(TIME_MAX)
}

fn refuse<T>(field: impl Into<String>, why: impl Into<String>) -> Result<T, SpecError> {
    Err(SpecError { field: field.into(), why: why.into() })
}

/// What a pod is called, and nothing to run: for a pod that is refused.
pub fn bare(pod: &Object) -> PodSpec {
    PodSpec {
        uid: pod.uid().into(),
        namespace: pod.namespace().to_owned(),
        name: pod.name().to_owned(),
        containers: Vec::new(),
        restart: RestartPolicy::Never,
        deadline: None,
        grace: GRACE_DEFAULT,
        gates: Vec::new(),
        volumes: Arc::default(),
        isolation: Isolation::Shared,
    }
}

/// Reads a Pod: all but its [`isolation`], which its namespace has a say in. What it has in common with others is held once.
pub fn read(pod: &core::Pod) -> Result<PodSpec, SpecError> {
    let Some(spec) = &pod.spec else { return refuse("spec", "missing") };
    if spec.host_network == Some(true) {
        return refuse("spec.hostNetwork", "a guest has no network of its own to share with the host");
    }
    let timeout = request_timeout(pod)?;
    let instances = instances::instances(pod)?;
    let volumes = volumes::read_volumes(spec, pod.metadata.name.as_deref().unwrap_or_default())?;
    let config = read_sources(pod, CONFIG)?;
    let network = Arc::new(network::network(pod, timeout)?);
    let mut containers = roles::read_containers(spec, timeout, &network, &volumes)?;
    let volumes = volumes::within_memory(volumes, &containers);
    let volumes = volumes::within_storage(volumes, spec);
    for container in &mut containers {
        container.config.clone_from(&config);
        container.instances = instances;
    }
    let mut containers: Vec<Arc<ContainerSpec>> = containers.into_iter().map(shared::container).collect();
    // It was collected into the place of the containers themselves, of four at least.
    containers.shrink_to_fit();
    Ok(PodSpec {
        uid: pod.metadata.uid.as_deref().unwrap_or_default().into(),
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: pod.metadata.name.clone().unwrap_or_default(),
        containers,
        restart: match spec.restart_policy.as_deref() {
            Some("Never") => RestartPolicy::Never,
            Some("OnFailure") => RestartPolicy::OnFailure,
            _ => RestartPolicy::Always,
        },
        deadline: spec.active_deadline_seconds.and_then(|count| u64::try_from(count).ok()).map(seconds),
        // A negative one means a second, as in Kubernetes.
        grace: spec
            .termination_grace_period_seconds
            .map_or(GRACE_DEFAULT, |count| seconds(u64::try_from(count).unwrap_or(1))),
        gates: spec.readiness_gates.iter().flatten().map(|gate| gate.condition_type.clone()).collect(),
        volumes: shared::volumes(volumes),
        isolation: Isolation::default(),
    })
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
        let read = read(&pod(container));
        read.map(|mut spec| Arc::unwrap_or_clone(spec.containers.remove(0)))
    }

    #[test]
    fn arguments_and_memory_come_from_the_spec() {
        let container = read_one(&json!({
            "name": "app", "image": "i", "args": ["-v"],
            "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "64Mi", "cpu": "1.5"}},
        }))
        .unwrap();
        assert_eq!(container.args, ["app", "-v"]);
        assert_eq!(container.memory_max, 64 * 1024 * 1024);
        assert_eq!((container.memory_total, container.memory_request), (Some(64 << 20), 64 << 20));
        assert_eq!((container.cpu_request, container.cpu_limit), (100, Some(1500)));
    }

    #[test]
    fn volume_in_memory_holds_no_more_than_its_containers_may() {
        let mut pod = pod(&json!({"name": "a", "resources": {"limits": {"memory": "64Mi"}}}));
        let volume =
            |name: &str, medium: &str| json!({"name": name, "emptyDir": {"medium": medium, "sizeLimit": "1Ti"}});
        let volumes = json!([volume("memory", "Memory"), volume("disk", "")]);
        pod.spec.as_mut().unwrap().volumes = serde_json::from_value(volumes).unwrap();
        let read = read(&pod).unwrap();
        let limits: Vec<_> = read.volumes.iter().map(VolumeSpec::limit).collect();
        assert_eq!(limits, [Some(64 << 20), Some(1 << 40)]);
    }

    #[test]
    fn volume_on_disk_holds_no_more_than_its_containers_limits_of_storage() {
        let container = |limit: &str| json!({"name": "a", "resources": {"limits": {"ephemeral-storage": limit}}});
        let mut pod = pod(&container("1Gi"));
        let spec = pod.spec.as_mut().unwrap();
        spec.containers.push(serde_json::from_value(container("2Gi")).unwrap());
        spec.containers.push(serde_json::from_value(json!({"name": "without"})).unwrap());
        let sidecar =
            json!({"name": "s", "restartPolicy": "Always", "resources": {"limits": {"ephemeral-storage": "1Gi"}}});
        spec.init_containers = serde_json::from_value(json!([container("2Gi"), sidecar])).unwrap();
        let volumes = json!([
            {"name": "large", "emptyDir": {"sizeLimit": "1Ti"}}, {"name": "small", "emptyDir": {"sizeLimit": "1Gi"}},
            {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        ]);
        spec.volumes = serde_json::from_value(volumes).unwrap();
        let limits: Vec<_> = read(&pod).unwrap().volumes.iter().map(VolumeSpec::limit).collect();
        assert_eq!(limits, [Some(4 << 30), Some(1 << 30), Some(1 << 20)]);
        pod.spec.as_mut().unwrap().init_containers = serde_json::from_value(json!([container("5Gi")])).unwrap();
        assert_eq!(read(&pod).unwrap().volumes[0].limit(), Some(5 << 30));
    }

    #[test]
    fn times_that_go_past_the_calendar_are_cut() {
        let mut pod = pod(&json!({
            "name": "a", "livenessProbe": {"tcpSocket": {"port": 1}, "terminationGracePeriodSeconds": i64::MAX},
            "lifecycle": {"preStop": {"sleep": {"seconds": i64::MAX}}},
        }));
        let spec = pod.spec.as_mut().unwrap();
        (spec.termination_grace_period_seconds, spec.active_deadline_seconds) = (Some(i64::MAX), Some(i64::MAX));
        let read = read(&pod).unwrap();
        let probe = read.containers[0].probes.liveness.as_ref().and_then(|probe| probe.grace);
        let Some(Action::Sleep(sleep)) = read.containers[0].hooks.pre_stop else { panic!("a hook") };
        for time in [read.grace, read.deadline.unwrap(), probe.unwrap(), sleep] {
            assert!(wk_base::time::Timestamp::now().checked_add(time).is_ok(), "{time:?}");
        }
    }

    #[test]
    fn what_this_node_cannot_do_is_refused_by_field() {
        for (container, field) in [
            (json!({"name": "a", "envFrom": [{"prefix": "P"}]}), "spec.containers[0].envFrom[0]"),
            (
                json!({"name": "a", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}),
                "spec.containers[0].volumeMounts[0].name",
            ),
            (json!({"name": "a", "workingDir": "/data/../.."}), "spec.containers[0].workingDir"),
            (
                json!({"name": "a", "env": [{"name": "X", "valueFrom": {"resourceFieldRef": {"resource": "limits.gpu"}}}]}),
                "spec.containers[0].env[X].valueFrom",
            ),
            (
                json!({"name": "a", "env": [{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "spec.nope"}}}]}),
                "spec.containers[0].env[X].valueFrom",
            ),
            (
                json!({"name": "a", "readinessProbe": {"httpGet": {"port": 0}}}),
                "spec.containers[0].readinessProbe.httpGet.port",
            ),
            (
                json!({"name": "a", "livenessProbe": {"tcpSocket": {"port": 80, "host": "10.0.0.1"}}}),
                "spec.containers[0].livenessProbe.tcpSocket.host",
            ),
        ] {
            assert_eq!(read_one(&container).unwrap_err().field, field);
        }
    }
}
