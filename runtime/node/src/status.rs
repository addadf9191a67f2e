//! A pod's state as `status` of its Pod object.
//!
//! Not here: when to write it, and the way back (`take_over.rs`).

use std::net::IpAddr;

use serde_json::{Value, json};
use wk_base::time::Timestamp;

use crate::container::{Container, State, Termination};
use crate::pod::{Phase, Pod};
use crate::spec::{PodSpec, Role};

mod conditions;
mod take_over;

use conditions::conditions;
pub use take_over::{settled, take_over};

/// Messages longer than this are cut: a status is read by people and copied to every peer.
const MESSAGE_CHARS_MAX: usize = 4096;
/// All of a pod's together. Each container says two, and what a status may have has an end: one that is never taken keeps
/// its pod from going.
const MESSAGES_CHARS_MAX: usize = 192 << 10;

/// Kubernetes writes times with whole seconds.
pub fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The status of `pod`, given the one in force: conditions keep the time of their last change.
pub fn render(pod: &Pod, node_ip: IpAddr, before: Option<&Value>, now: Timestamp) -> Value {
    let phase = match pod.phase() {
        Phase::Pending => "Pending",
        Phase::Running => "Running",
        Phase::Succeeded => "Succeeded",
        Phase::Failed => "Failed",
    };
    let mut status = json!({
        "phase": phase,
        "hostIP": node_ip.to_string(),
        "hostIPs": [{"ip": node_ip.to_string()}],
        "startTime": rfc3339(pod.started),
        "qosClass": before.and_then(|status| status.get("qosClass")).cloned().unwrap_or_else(|| json!("BestEffort")),
        "conditions": conditions(pod, before, now),
        "containerStatuses": container_statuses(pod, &[Role::Main]),
    });
    for (list, roles) in
        [("initContainerStatuses", &[Role::Init, Role::Sidecar][..]), ("ephemeralContainerStatuses", &[Role::Debug])]
    {
        let statuses = container_statuses(pod, roles);
        if !statuses.is_empty() {
            status[list] = json!(statuses);
        }
    }
    if let Some(ip) = pod.ip {
        status["podIP"] = json!(ip.to_string());
        status["podIPs"] = json!([{"ip": ip.to_string()}]);
    }
    if let Some((reason, message)) = &pod.failed {
        status["reason"] = json!(reason);
        status["message"] = json!(message);
    }
    status
}

fn container_statuses(pod: &Pod, roles: &[Role]) -> Vec<Value> {
    let containers = pod.containers.iter().zip(&pod.spec.containers);
    let chars = (MESSAGES_CHARS_MAX / (2 * pod.containers.len()).max(1)).min(MESSAGE_CHARS_MAX);
    containers
        .filter(|(container, _)| roles.contains(&container.role))
        .map(|(container, spec)| container_status(container, &spec.image, &pod.spec, chars))
        .collect()
}

/// A pod as the kubelet names it in what it says.
pub(crate) fn named(pod: &PodSpec) -> String {
    format!("{}_{}({})", pod.name, pod.namespace, pod.uid)
}

/// `chars` is the longest that one of its messages may be.
fn container_status(container: &Container, image: &str, pod: &PodSpec, chars: usize) -> Value {
    let id = |run: u32| format!("wasm://{}/{}/{run}", pod.uid, container.name);
    let state = match &container.state {
        State::Waiting { reason: reason @ "CrashLoopBackOff", message, .. } => {
            let message = format!("{message} pod={}", named(pod));
            json!({"waiting": {"reason": reason, "message": cut(&message, chars)}})
        }
        State::Waiting { reason, message, .. } => {
            json!({"waiting": {"reason": reason, "message": cut(message, chars)}})
        }
        State::Running { since } => json!({"running": {"startedAt": rfc3339(*since)}}),
        State::Terminated(end) => json!({"terminated": termination(end, &id(end.run), chars)}),
    };
    let last = container.last.as_ref();
    let last = last.map_or(json!({}), |end| json!({"terminated": termination(end, &id(end.run), chars)}));
    json!({
        "name": container.name,
        "image": image,
        "imageID": container.image_id,
        "containerID": id(container.restarts),
        "ready": container.is_ready(),
        "started": container.is_started(),
        "restartCount": container.restarts,
        "state": state,
        "lastState": last,
    })
}

/// The run that the id of a container ends with.
fn run_of(id: &str) -> Option<u32> {
    id.rsplit('/').next()?.parse().ok()
}

fn termination(end: &Termination, id: &str, chars: usize) -> Value {
    let mut value = json!({
        "exitCode": end.code,
        "reason": end.reason,
        "finishedAt": rfc3339(end.finished),
        "containerID": id,
    });
    if !end.message.is_empty() {
        value["message"] = json!(cut(&end.message, chars));
    }
    if let Some(started) = end.started {
        value["startedAt"] = json!(rfc3339(started));
    }
    value
}

fn cut(message: &str, chars: usize) -> &str {
    message.char_indices().nth(chars).map_or(message, |(end, _)| &message[..end])
}

#[cfg(test)]
mod tests;
