//! This node's Node object: who it is and what it has.
//!
//! Not here: whether it is alive. The leader judges that by heartbeats (`wk-controllers`).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use wk_api::{Object, Status, kinds};
use wk_base::time::Timestamp;
use wk_cluster::{Cluster, Manager, Subresource};

use crate::status::rfc3339;

/// Annotation that says where the node answers for the API (`wk_plan::apiservice::NODE_API`).
pub const API_ANNOTATION: &str = "wk.dev/api";

/// Pods a node takes: what the runtime is built to hold when they idle, and well within a node's address range.
const PODS_MAX: u32 = 10_000;

/// Who writes the Node, as its `managedFields` tell.
const MANAGER: &str = "kubelet";

/// `nodeStatusReportFrequency` of kubelets.
const SAY_EVERY: Duration = Duration::from_mins(5);

/// Conditions that a node says of itself.
const OWN_CONDITIONS: [&str; 4] = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"];

/// What the Node object says.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Its name.
    pub name: String,
    /// Its address.
    pub ip: IpAddr,
    /// Where its volumes lie.
    pub disk: PathBuf,
    /// Its zone, if it was given one: else the label is left as it is.
    pub zone: Option<String>,
    /// Annotations of ours, for instance where its ingress listens.
    pub annotations: BTreeMap<String, String>,
    /// Our version, and the engine's.
    pub version: String,
    /// `wasmtime://48.0.8`.
    pub runtime: String,
}

/// Creates the Node object or brings it up to date, with `Ready` true: the process that calls this is alive. As in Kubernetes,
/// who owns which of its fields is recorded from the first.
pub async fn register(cluster: &Cluster, facts: &Facts) -> Result<(), Status> {
    let cluster = &cluster.as_manager(Manager::client(MANAGER));
    let machine = machine(&facts.disk);
    let change = |old: &Object| {
        let mut new = old.0.clone();
        for (name, value) in &facts.annotations {
            new["metadata"]["annotations"][name] = json!(value);
        }
        for (name, value) in labels(facts) {
            new["metadata"]["labels"][name] = json!(value);
        }
        Ok(new)
    };
    match cluster.modify(&kinds::NODE, None, &facts.name, Subresource::None, change).await {
        Ok(_) => {}
        Err(status) if status.code == 404 => {
            let node = json!({
                "metadata": {"name": facts.name, "labels": labels(facts), "annotations": facts.annotations},
                "spec": {},
            });
            cluster.create(&kinds::NODE, None, node).await?;
        }
        Err(status) => return Err(status),
    }
    let now = cluster.clock().now();
    let change = |old: &Object| {
        let mut new = old.0.clone();
        new["status"] = status(old.at("/status"), facts, &machine, now);
        Ok(new)
    };
    cluster.modify(&kinds::NODE, None, &facts.name, Subresource::Status, change).await.map(|_| ())
}

/// Says anew, for as long as it is polled, that what the node's conditions say is still so. As seldom as a kubelet whose
/// node has a Lease: for silence there are heartbeats, which do not go through the log.
pub async fn keep_saying(cluster: &Cluster, name: &str) {
    loop {
        tokio::time::sleep(SAY_EVERY).await;
        let now = cluster.clock().now();
        let said = cluster.modify(&kinds::NODE, None, name, Subresource::Status, |old| Ok(said_at(old, now))).await;
        if let Err(error) = said {
            tracing::debug!(%error, "the node's conditions are not said anew");
        }
    }
}

/// The Node with the conditions that are its own to say as of `now`.
fn said_at(old: &Object, now: Timestamp) -> Value {
    let mut new = old.0.clone();
    for condition in new["status"]["conditions"].as_array_mut().into_iter().flatten() {
        if OWN_CONDITIONS.iter().any(|own| condition["type"] == *own) {
            condition["lastHeartbeatTime"] = json!(rfc3339(now));
        }
    }
    new
}

/// Says that this node is stopping: nothing new is placed here, and whoever watches knows before its heartbeats stop.
pub async fn leave(cluster: &Cluster, name: &str) -> Result<(), Status> {
    let now = cluster.clock().now();
    let change = |old: &Object| {
        let mut new = old.0.clone();
        for condition in new["status"]["conditions"].as_array_mut().into_iter().flatten() {
            if condition["type"] == "Ready" {
                condition["status"] = json!("False");
                condition["reason"] = json!("KubeletNotReady");
                condition["message"] = json!("the node is shutting down");
                condition["lastTransitionTime"] = json!(rfc3339(now));
            }
        }
        Ok(new)
    };
    cluster.modify(&kinds::NODE, None, name, Subresource::Status, change).await.map(|_| ())
}

fn labels(facts: &Facts) -> BTreeMap<&'static str, String> {
    let zone = facts.zone.iter().map(|zone| ("topology.kubernetes.io/zone", zone.clone()));
    let own = [
        ("kubernetes.io/hostname", facts.name.clone()),
        ("kubernetes.io/os", std::env::consts::OS.to_owned()),
        ("kubernetes.io/arch", architecture().to_owned()),
    ];
    own.into_iter().chain(zone).collect()
}

fn status(before: Option<&Value>, facts: &Facts, machine: &Machine, now: Timestamp) -> Value {
    let kib = |amount: u64| format!("{amount}Ki");
    let (cpu, memory, pods) = (machine.cpus.to_string(), kib(machine.memory_kib), PODS_MAX.to_string());
    let resources = |disk| json!({"cpu": cpu, "memory": memory, "ephemeral-storage": kib(disk), "pods": pods});
    let (disk, disk_of_guests) = machine.disk_kib;
    let conditions: Vec<Value> = [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID"),
        ("Ready", "True", "KubeletReady"),
    ]
    .into_iter()
    .map(|(kind, holds, reason)| {
        let old = before.and_then(|it| it.get("conditions")?.as_array()?.iter().find(|it| it["type"] == kind));
        let same = old.filter(|old| old["status"] == holds);
        let since = same.map_or_else(|| json!(rfc3339(now)), |old| old["lastTransitionTime"].clone());
        json!({"type": kind, "status": holds, "reason": reason, "message": "wk node agent is running",
               "lastHeartbeatTime": rfc3339(now), "lastTransitionTime": since})
    })
    .collect();
    json!({
        "addresses": [
            {"type": "InternalIP", "address": facts.ip.to_string()},
            {"type": "Hostname", "address": facts.name},
        ],
        "capacity": resources(disk),
        "allocatable": resources(disk_of_guests),
        "conditions": conditions,
        "nodeInfo": {
            "architecture": architecture(), "operatingSystem": "linux",
            "kubeletVersion": facts.version, "kubeProxyVersion": "",
            "containerRuntimeVersion": facts.runtime,
            "kernelVersion": machine.kernel, "osImage": machine.os,
            "machineID": machine.id, "systemUUID": "", "bootID": machine.boot,
        },
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
    })
}

/// Kubernetes uses Go's names.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

struct Machine {
    cpus: usize,
    memory_kib: u64,
    /// All of the disk, and what guests may have of it.
    disk_kib: (u64, u64),
    kernel: String,
    os: String,
    id: String,
    boot: String,
}

fn machine(disk: &Path) -> Machine {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let os = read("/etc/os-release");
    let os = os.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown").trim_matches('"');
    let memory = read("/proc/meminfo");
    let memory =
        memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok());
    let (all, of_guests) = wk_engine::disk_size(disk).unwrap_or_default();
    Machine {
        disk_kib: (all >> 10, of_guests >> 10),
        cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        memory_kib: memory.unwrap_or(1024 * 1024),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        os: os.to_owned(),
        id: read("/etc/machine-id").trim().to_owned(),
        boot: read("/proc/sys/kernel/random/boot_id").trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeat_of_the_nodes_own_conditions_moves_and_nothing_else_does() {
        let condition = |kind: &str| json!({"type": kind, "status": "Unknown", "lastHeartbeatTime": "1970-01-01T00:00:01Z", "lastTransitionTime": "t"});
        let old = Object::new(json!({"status": {"conditions": [condition("Ready"), condition("StoreHealthy")]}}));
        let new = said_at(&old, Timestamp::from_second(60).expect("a time"));
        let mut expected = condition("Ready");
        expected["lastHeartbeatTime"] = json!("1970-01-01T00:01:00Z");
        assert_eq!(new["status"]["conditions"], json!([expected, condition("StoreHealthy")]));
    }
}
