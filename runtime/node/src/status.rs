//! A pod's state as `status` of its Pod object, and back: what the last process of this node left behind.
//!
//! Not here: when to write it.

use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use serde_json::{Value, json};
use wk_base::time::Timestamp;

use crate::container::{Container, RestartPolicy, State, Termination};
use crate::pod::{Phase, Pod};
use crate::spec::PodSpec;

/// Messages longer than this are cut: a status is read by people and copied to every peer.
const MESSAGE_CHARS_MAX: usize = 4096;

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
        "containerStatuses": pod.containers.iter().zip(&pod.spec.containers)
            .map(|(container, spec)| container_status(container, &spec.image, &pod.spec.uid)).collect::<Vec<_>>(),
    });
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

fn conditions(pod: &Pod, before: Option<&Value>, now: Timestamp) -> Vec<Value> {
    let not_ready: Vec<_> =
        pod.containers.iter().filter(|container| !container.is_running()).map(|it| it.name.as_str()).collect();
    let reason = match (pod.phase(), not_ready.is_empty()) {
        (Phase::Succeeded, _) => Some(("PodCompleted", String::new())),
        (Phase::Failed, _) => Some(("PodFailed", String::new())),
        (Phase::Pending | Phase::Running, false) => {
            Some(("ContainersNotReady", format!("containers with unready status: [{}]", not_ready.join(" "))))
        }
        (Phase::Pending | Phase::Running, true) => None,
    };
    let ending = pod.ending.map(|_| ("PodTerminating", "the pod is being deleted".to_owned()));
    [
        ("Initialized", true, None),
        ("Ready", pod.is_ready(), ending.or_else(|| reason.clone())),
        ("ContainersReady", not_ready.is_empty(), reason),
        ("PodScheduled", true, None),
    ]
    .into_iter()
    .map(|(kind, holds, reason)| {
        let status = if holds { "True" } else { "False" };
        let old = before.and_then(|status| {
            status.get("conditions")?.as_array()?.iter().find(|condition| condition["type"] == kind)
        });
        let since = old
            .filter(|condition| condition["status"] == status)
            .and_then(|condition| condition.get("lastTransitionTime").cloned())
            .unwrap_or_else(|| json!(rfc3339(now)));
        let mut condition = json!({"type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": since});
        if let Some((reason, message)) = reason {
            condition["reason"] = json!(reason);
            if !message.is_empty() {
                condition["message"] = json!(message);
            }
        }
        condition
    })
    .collect()
}

fn container_status(container: &Container, image: &str, pod: &str) -> Value {
    let id = format!("wasm://{pod}/{}/{}", container.name, container.restarts);
    let state = match &container.state {
        State::Waiting { reason, message, .. } => {
            json!({"waiting": {"reason": reason, "message": cut(message)}})
        }
        State::Running { since } => json!({"running": {"startedAt": rfc3339(*since)}}),
        State::Terminated(end) => json!({"terminated": termination(end, &id)}),
    };
    let last = container.last.as_ref().map_or(json!({}), |end| json!({"terminated": termination(end, &id)}));
    json!({
        "name": container.name,
        "image": image,
        "imageID": container.image_id,
        "containerID": id,
        "ready": container.is_running(),
        "started": container.is_running(),
        "restartCount": container.restarts,
        "state": state,
        "lastState": last,
    })
}

fn termination(end: &Termination, id: &str) -> Value {
    let mut value = json!({
        "exitCode": end.code,
        "reason": end.reason,
        "finishedAt": rfc3339(end.finished),
        "containerID": id,
    });
    if !end.message.is_empty() {
        value["message"] = json!(cut(&end.message));
    }
    if let Some(started) = end.started {
        value["startedAt"] = json!(rfc3339(started));
    }
    value
}

fn cut(message: &str) -> &str {
    message.char_indices().nth(MESSAGE_CHARS_MAX).map_or(message, |(end, _)| &message[..end])
}

/// The containers of a pod as this process takes them over: what ended for good stays ended, and what ran under an
/// earlier process of this node starts again, counted as a restart.
pub fn take_over(spec: &PodSpec, status: Option<&core::PodStatus>, now: Timestamp) -> Vec<Container> {
    let statuses = status.and_then(|status| status.container_statuses.as_ref());
    let of = |name: &str| statuses.and_then(|all| all.iter().find(|status| status.name == name));
    spec.containers
        .iter()
        .map(|container| take_over_one(&container.name, spec.restart, of(&container.name), now))
        .collect()
}

fn take_over_one(
    name: &str,
    policy: RestartPolicy,
    status: Option<&core::ContainerStatus>,
    now: Timestamp,
) -> Container {
    let Some(status) = status else { return Container::new(name.to_owned(), policy, 0, None) };
    let restarts = u32::try_from(status.restart_count).unwrap_or(0);
    let read = |state: &core::ContainerState| {
        state.terminated.as_ref().map(|end| Termination {
            code: end.exit_code,
            reason: end.reason.clone().unwrap_or_default(),
            message: end.message.clone().unwrap_or_default(),
            started: end.started_at.as_ref().map(|time| time.0),
            finished: end.finished_at.as_ref().map_or(now, |time| time.0),
        })
    };
    if let Some(end) = status.state.as_ref().and_then(read) {
        return Container::ended(name.to_owned(), policy, restarts, end);
    }
    let last = status.last_state.as_ref().and_then(read);
    match status.state.as_ref().and_then(|state| state.running.as_ref()) {
        Some(running) => {
            let end = Termination {
                code: 137,
                reason: "NodeRestarted".into(),
                message: "the node's process ended while the container ran".into(),
                started: running.started_at.as_ref().map(|time| time.0),
                finished: now,
            };
            match policy {
                RestartPolicy::Never => Container::ended(name.to_owned(), policy, restarts, end),
                RestartPolicy::Always | RestartPolicy::OnFailure => {
                    Container::new(name.to_owned(), policy, restarts + 1, Some(end))
                }
            }
        }
        None => Container::new(name.to_owned(), policy, restarts, last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::Event;
    use crate::pod;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn spec(policy: RestartPolicy) -> PodSpec {
        let object = serde_json::from_value(json!({
            "metadata": {"name": "web-1", "namespace": "default", "uid": "u"},
            "spec": {"containers": [{"name": "app", "image": "wk.local/web:1"}]},
        }))
        .unwrap();
        PodSpec { restart: policy, ..crate::spec::read(&object, IpAddr::from([10, 128, 0, 2])).unwrap() }
    }

    fn status_after(policy: RestartPolicy, event: Event) -> (Value, core::PodStatus) {
        let spec = spec(policy);
        let containers = take_over(&spec, None, at(0));
        let mut pod = Pod::new(spec, containers, IpAddr::from([10, 128, 0, 2]), at(0));
        pod.handle(pod::Event::Container(0, event), at(5));
        let status = render(&pod, IpAddr::from([127, 0, 0, 1]), None, at(5));
        (status.clone(), serde_json::from_value(status).unwrap())
    }

    #[test]
    fn running_pod_is_ready_and_a_new_process_counts_its_restart() {
        let (status, typed) = status_after(RestartPolicy::Always, Event::Started { image_id: "sha256:1".into() });
        assert_eq!(status["phase"], "Running");
        let ready = status["conditions"].as_array().unwrap().iter().find(|it| it["type"] == "Ready").unwrap();
        assert_eq!(ready["status"], "True");
        let next = take_over(&spec(RestartPolicy::Always), Some(&typed), at(9));
        assert_eq!(next[0].restarts, 1);
        assert_eq!(next[0].last.as_ref().unwrap().reason, "NodeRestarted");
    }

    #[test]
    fn finished_pod_is_not_run_again_by_a_new_process() {
        let end = Event::Ended { code: 0, reason: "Completed".into(), message: String::new() };
        let (status, typed) = status_after(RestartPolicy::Never, end);
        assert_eq!(status["phase"], "Succeeded");
        assert!(matches!(take_over(&spec(RestartPolicy::Never), Some(&typed), at(9))[0].state, State::Terminated(_)));
    }

    #[test]
    fn work_to_be_done_once_is_not_done_again_by_a_new_process() {
        let (_, typed) = status_after(RestartPolicy::Never, Event::Started { image_id: String::new() });
        let next = take_over(&spec(RestartPolicy::Never), Some(&typed), at(9));
        assert!(matches!(&next[0].state, State::Terminated(end) if end.code == 137));
    }

    #[test]
    fn conditions_keep_the_time_of_their_last_change() {
        let (status, _) = status_after(RestartPolicy::Always, Event::Started { image_id: String::new() });
        let spec = spec(RestartPolicy::Always);
        let containers = take_over(&spec, None, at(0));
        let mut pod = Pod::new(spec, containers, IpAddr::from([10, 128, 0, 2]), at(0));
        pod.handle(pod::Event::Container(0, Event::Started { image_id: String::new() }), at(5));
        let later = render(&pod, IpAddr::from([127, 0, 0, 1]), Some(&status), at(60));
        assert_eq!(later["conditions"], status["conditions"]);
    }
}
