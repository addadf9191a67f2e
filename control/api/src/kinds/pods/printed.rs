//! A pod's row in a table: how READY, STATUS and RESTARTS come out of its status.
//!
//! Source of the rules: `k8s.io/kubernetes/pkg/printers/internalversion`.

use serde_json::Value;
use wk_base::time::Timestamp;

use super::{is_finished, is_ready};
use crate::json;
use crate::kind::Column;
use crate::object::{Object, timestamp};
use crate::pick::Pick;
use crate::table::{self, AGE, NAME, NONE, duration, or_none, text, wide};

pub(super) static COLUMNS: [Column; 9] = [
    NAME,
    text("Ready", "Ready containers of all."),
    text("Status", "What state the pod is in."),
    text("Restarts", "How often its containers were restarted, and when last."),
    AGE,
    wide(text("IP", "Address of the pod.")),
    wide(text("Node", "Where it runs.")),
    wide(text("Nominated Node", "Where it will run once there is room.")),
    wide(text("Readiness Gates", "Met gates of all.")),
];

/// What [`cells`] reads.
pub(super) const SHOWN: Pick = Pick::Of(&[
    ("metadata", Pick::Of(&[("name", Pick::All), ("creationTimestamp", Pick::All), ("deletionTimestamp", Pick::All)])),
    (
        "spec",
        Pick::Of(&[
            ("containers", Pick::Of(&[])),
            ("initContainers", Pick::Of(&[("name", Pick::All), ("restartPolicy", Pick::All)])),
            ("nodeName", Pick::All),
            ("readinessGates", Pick::All),
        ]),
    ),
    (
        "status",
        Pick::Of(&[
            ("conditions", Pick::Of(&[("type", Pick::All), ("status", Pick::All), ("reason", Pick::All)])),
            ("containerStatuses", STATUSES),
            ("initContainerStatuses", STATUSES),
            ("nominatedNodeName", Pick::All),
            ("phase", Pick::All),
            ("podIP", Pick::All),
            ("podIPs", Pick::All),
            ("reason", Pick::All),
        ]),
    ),
]);

const STATUSES: Pick = Pick::Of(&[
    ("lastState", Pick::All),
    ("name", Pick::All),
    ("ready", Pick::All),
    ("restartCount", Pick::All),
    ("started", Pick::All),
    ("state", Pick::All),
]);

pub(super) fn cells(pod: &Object, now: Timestamp) -> Vec<Value> {
    let summary = summary(pod);
    let restarts = match summary.last_restart {
        Some(last) if summary.restarts != 0 => {
            format!("{} ({} ago)", summary.restarts, duration::since(Some(last), now))
        }
        _ => summary.restarts.to_string(),
    };
    let ip = match pod.items("/status/podIPs").first() {
        Some(first) => json::text(first, &["ip"]),
        None => pod.text("/status/podIP"),
    };
    vec![
        pod.name().into(),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        restarts.into(),
        table::age(pod, now).into(),
        or_none(ip).into(),
        or_none(pod.text("/spec/nodeName")).into(),
        or_none(pod.text("/status/nominatedNodeName")).into(),
        gates(pod).into(),
    ]
}

#[derive(Default)]
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

impl Summary {
    fn count_restarts(&mut self, status: &Value) {
        self.restarts += json::int(status, &["restartCount"]).unwrap_or_default();
        let finished = timestamp(json::dig(status, &["lastState", "terminated", "finishedAt"]));
        self.last_restart = self.last_restart.max(finished);
    }
}

fn summary(pod: &Object) -> Summary {
    let mut summary = Summary {
        reason: match pod.text("/status/reason") {
            "" => pod.text("/status/phase").to_owned(),
            reason => reason.to_owned(),
        },
        total: pod.items("/spec/containers").len()
            + pod.items("/spec/initContainers").iter().filter(|c| is_sidecar(c)).count(),
        ..Summary::default()
    };
    let condition =
        |kind: &str| pod.items("/status/conditions").iter().find(|entry| json::text(entry, &["type"]) == kind);
    if condition("PodScheduled").is_some_and(|entry| json::text(entry, &["reason"]) == "SchedulingGated") {
        "SchedulingGated".clone_into(&mut summary.reason);
    }
    let initialized = condition("Initialized").is_some_and(|entry| json::text(entry, &["status"]) == "True");
    let (initializing, sidecars) = init_containers(pod, &mut summary);
    if !initializing || initialized {
        summary.restarts = sidecars.restarts;
        summary.last_restart = sidecars.last_restart;
        containers(pod, &mut summary);
    }
    if pod.is_deleting() {
        if pod.text("/status/reason") == "NodeLost" {
            "Unknown".clone_into(&mut summary.reason);
        } else if !is_finished(pod) {
            "Terminating".clone_into(&mut summary.reason);
        }
    }
    summary
}

/// Whether initialization is going on, and the restarts of the init containers that stay.
fn init_containers(pod: &Object, summary: &mut Summary) -> (bool, Summary) {
    let specs = pod.items("/spec/initContainers");
    let mut sidecars = Summary::default();
    for (index, status) in pod.items("/status/initContainerStatuses").iter().enumerate() {
        summary.count_restarts(status);
        let name = json::text(status, &["name"]);
        let stays = specs.iter().any(|spec| json::text(spec, &["name"]) == name && is_sidecar(spec));
        if stays {
            sidecars.count_restarts(status);
        }
        let terminated = json::dig(status, &["state", "terminated"]);
        let waiting = json::text(status, &["state", "waiting", "reason"]);
        if !terminated.is_null() && json::int(terminated, &["exitCode"]).unwrap_or_default() == 0 {
            continue;
        }
        if stays && json::flag(status, &["started"]) {
            summary.ready += usize::from(json::flag(status, &["ready"]));
            continue;
        }
        summary.reason = if !terminated.is_null() {
            format!("Init:{}", ended(terminated))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{index}/{}", specs.len())
        };
        return (true, sidecars);
    }
    (false, sidecars)
}

fn containers(pod: &Object, summary: &mut Summary) {
    let mut has_running = false;
    for status in pod.items("/status/containerStatuses").iter().rev() {
        summary.count_restarts(status);
        let waiting = json::text(status, &["state", "waiting", "reason"]);
        let terminated = json::dig(status, &["state", "terminated"]);
        if !waiting.is_empty() {
            waiting.clone_into(&mut summary.reason);
        } else if !terminated.is_null() {
            summary.reason = ended(terminated);
        } else if json::flag(status, &["ready"]) && !json::dig(status, &["state", "running"]).is_null() {
            has_running = true;
            summary.ready += 1;
        }
    }
    if summary.reason == "Completed" && has_running {
        let reason = if is_ready(pod) { "Running" } else { "NotReady" };
        reason.clone_into(&mut summary.reason);
    }
}

/// Why a container ended: its reason, else its signal, else its exit code.
fn ended(terminated: &Value) -> String {
    let number = |key| json::int(terminated, &[key]).unwrap_or_default();
    match (json::text(terminated, &["reason"]), number("signal")) {
        ("", 0) => format!("ExitCode:{}", number("exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn is_sidecar(init_container: &Value) -> bool {
    json::text(init_container, &["restartPolicy"]) == "Always"
}

fn gates(pod: &Object) -> String {
    let gates = pod.items("/spec/readinessGates");
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let met = gates.iter().filter(|gate| {
        pod.items("/status/conditions").iter().any(|entry| {
            json::text(entry, &["type"]) == json::text(gate, &["conditionType"])
                && json::text(entry, &["status"]) == "True"
        })
    });
    format!("{}/{}", met.count(), gates.len())
}
