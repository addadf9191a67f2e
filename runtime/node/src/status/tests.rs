//! Statuses, and what the next process of a node makes of them.

use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use serde_json::{Value, json};
use wk_base::time::Timestamp;

use super::{render, settled, take_over};
use crate::container::{Event, RestartPolicy, State};
use crate::pod::{self, Phase, Pod};
use crate::spec::PodSpec;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn spec_of(policy: RestartPolicy, fields: &Value) -> PodSpec {
    let mut object = json!({
        "metadata": {"name": "web-1", "namespace": "default", "uid": "u"},
        "spec": {"containers": [{"name": "app", "image": "wk.local/web:1"}]},
    });
    for (key, value) in fields.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    let object = serde_json::from_value(object).unwrap();
    PodSpec { restart: policy, ..crate::spec::read(&object).unwrap() }
}

fn spec(policy: RestartPolicy) -> PodSpec {
    spec_of(policy, &json!({}))
}

fn begun(spec: PodSpec) -> Pod {
    let containers = take_over(&spec, None, at(0));
    let mut pod = Pod::new(spec, containers, IpAddr::from([10, 128, 0, 2]), at(0));
    pod.begin(at(0));
    pod
}

fn status(pod: &Pod, before: Option<&Value>, second: i64) -> (Value, core::PodStatus) {
    let status = render(pod, IpAddr::from([127, 0, 0, 1]), before, at(second));
    (status.clone(), serde_json::from_value(status).unwrap())
}

fn status_after(policy: RestartPolicy, events: &[Event]) -> (Value, core::PodStatus) {
    let mut pod = begun(spec(policy));
    for event in events {
        pod.handle(pod::Event::Container(0, event.clone()), at(5));
    }
    status(&pod, None, 5)
}

fn started() -> Event {
    Event::Started { image_id: "sha256:1".into() }
}

fn ended(code: i32) -> Event {
    Event::Ended { code, reason: "Completed".into(), message: String::new() }
}

fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    status["conditions"].as_array().unwrap().iter().find(|it| it["type"] == kind).unwrap()
}

#[test]
fn running_pod_is_ready_and_a_new_process_counts_its_restart() {
    let (status, typed) = status_after(RestartPolicy::Always, &[started()]);
    assert_eq!(status["phase"], "Running");
    for kind in ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"] {
        assert_eq!(condition(&status, kind)["status"], "True", "{kind}");
    }
    let next = take_over(&spec(RestartPolicy::Always), Some(&typed), at(9));
    assert_eq!(next[0].restarts, 1);
    assert_eq!(next[0].last.as_ref().unwrap().reason, "NodeRestarted");
    assert!(settled(Some(&typed)).is_none());
}

#[test]
fn each_run_of_a_container_has_an_id_of_its_own() {
    let crashed = Event::Ended { code: 137, reason: "WorkerCrashed".into(), message: String::new() };
    let (status, typed) = status_after(RestartPolicy::Always, &[started(), crashed, started()]);
    let container = &status["containerStatuses"][0];
    let run = |id: &Value| super::run_of(id.as_str().unwrap());
    assert_eq!(run(&container["containerID"]), Some(1));
    assert_eq!(run(&container["lastState"]["terminated"]["containerID"]), Some(0));
    let next = take_over(&spec(RestartPolicy::Always), Some(&typed), at(9));
    assert_eq!((next[0].restarts, next[0].last.as_ref().unwrap().run), (2, 1));
}

#[test]
fn finished_pod_is_not_run_again_by_a_new_process() {
    let (status, typed) = status_after(RestartPolicy::Never, &[started(), ended(0)]);
    assert_eq!(status["phase"], "Succeeded");
    assert_eq!(condition(&status, "Ready")["reason"], "PodCompleted");
    let next = take_over(&spec(RestartPolicy::Never), Some(&typed), at(9));
    assert!(matches!(next[0].state, State::Terminated(_)));
    assert_eq!(next[0].image_id, "sha256:1");
    assert_eq!(settled(Some(&typed)), Some((Phase::Succeeded, None)));
}

#[test]
fn work_to_be_done_once_is_not_done_again_by_a_new_process() {
    let (_, typed) = status_after(RestartPolicy::Never, &[started()]);
    let next = take_over(&spec(RestartPolicy::Never), Some(&typed), at(9));
    assert!(matches!(&next[0].state, State::Terminated(end) if end.code == 137));
}

#[test]
fn conditions_keep_the_time_of_their_last_change() {
    let mut pod = begun(spec(RestartPolicy::Always));
    pod.handle(pod::Event::Container(0, started()), at(5));
    let (before, _) = status(&pod, None, 5);
    let (later, _) = status(&pod, Some(&before), 60);
    assert_eq!(later["conditions"], before["conditions"]);
}

#[test]
fn init_containers_have_statuses_of_their_own_and_those_that_completed_stay_so() {
    let inits = json!({"initContainers": [
        {"name": "first", "image": "i"},
        {"name": "side", "image": "i", "restartPolicy": "Always"},
        {"name": "second", "image": "i"},
    ]});
    let spec = || spec_of(RestartPolicy::Always, &inits);
    let mut pod = begun(spec());
    for event in [started(), ended(0)] {
        pod.handle(pod::Event::Container(0, event), at(1));
    }
    pod.handle(pod::Event::Container(1, started()), at(2));
    pod.handle(pod::Event::Container(2, started()), at(3));
    let (status, typed) = status(&pod, None, 4);
    assert_eq!(status["phase"], "Pending");
    assert_eq!(condition(&status, "Initialized")["reason"], "ContainersNotInitialized");
    assert_eq!(condition(&status, "Initialized")["message"], "containers with incomplete status: [second]");
    let statuses = status["initContainerStatuses"].as_array().unwrap();
    let seen: Vec<_> = statuses.iter().map(|it| (it["name"].as_str().unwrap(), it["ready"] == true)).collect();
    assert_eq!(seen, [("first", true), ("side", true), ("second", false)]);
    assert_eq!(status["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");

    let next = take_over(&spec(), Some(&typed), at(9));
    let mut pod = Pod::new(spec(), next, IpAddr::from([10, 128, 0, 2]), at(0));
    let orders = pod.begin(at(9));
    let starts = orders.iter().filter(|order| matches!(order, pod::Order::Start { .. }));
    assert_eq!(starts.collect::<Vec<_>>(), [&pod::Order::Start { container: 1, restart: 1 }], "the sidecar first");
    let orders = pod.handle(pod::Event::Container(1, started()), at(10));
    assert!(orders.contains(&pod::Order::Start { container: 2, restart: 1 }), "what was interrupted runs again");
}

#[test]
fn many_containers_that_say_much_leave_a_status_that_can_be_written() {
    let containers: Vec<Value> = (0..300).map(|nth| json!({"name": format!("c{nth}"), "image": "i"})).collect();
    let mut pod = begun(spec_of(RestartPolicy::Always, &json!({"containers": containers})));
    for _ in 0..2 {
        for index in 0..300 {
            let message = "x".repeat(10_000);
            let end = Event::Ended { code: 137, reason: "Trapped".into(), message };
            for event in [started(), end] {
                pod.handle(pod::Event::Container(index, event), at(5));
            }
        }
    }
    let bytes = status(&pod, None, 5).0.to_string().len();
    assert!(bytes < 1 << 20, "{bytes}");
}
