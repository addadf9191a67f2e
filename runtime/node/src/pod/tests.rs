//! A pod's life, told in events.

use super::*;
use crate::container::RestartPolicy;

fn at(millisecond: i64) -> Timestamp {
    Timestamp::from_millisecond(millisecond).unwrap()
}

fn pod(policy: RestartPolicy, deadline: Option<u64>) -> Pod {
    let spec = PodSpec {
        uid: "u".into(),
        namespace: "default".into(),
        name: "web-1".into(),
        containers: Vec::new(),
        restart: policy,
        deadline: deadline.map(Duration::from_secs),
        volumes: Vec::new(),
    };
    let containers = ["a", "b"].map(|name| Container::new(name.into(), policy, 0, None)).into();
    Pod::new(spec, containers, IpAddr::from([10, 128, 0, 2]), at(0))
}

fn start(pod: &mut Pod) {
    for index in 0..pod.containers.len() {
        pod.handle(Event::Container(index, container::Event::Started { image_id: String::new() }), at(0));
    }
}

fn exit(code: i32) -> container::Event {
    container::Event::Ended { code, reason: "Error".into(), message: String::new() }
}

#[test]
fn pod_is_ready_once_every_container_runs() {
    let mut pod = pod(RestartPolicy::Always, None);
    assert_eq!(
        pod.begin(),
        [Order::Report, Order::Start { container: 0, restart: 0 }, Order::Start { container: 1, restart: 0 }]
    );
    assert_eq!((pod.phase(), pod.is_ready()), (Phase::Pending, false));
    pod.handle(Event::Container(0, container::Event::Started { image_id: String::new() }), at(0));
    assert_eq!((pod.phase(), pod.is_ready()), (Phase::Pending, false));
    start(&mut pod);
    assert_eq!((pod.phase(), pod.is_ready()), (Phase::Running, true));
}

#[test]
fn pod_that_never_restarts_succeeds_or_fails_with_its_containers() {
    for (code, phase) in [(0, Phase::Succeeded), (3, Phase::Failed)] {
        let mut pod = pod(RestartPolicy::Never, None);
        start(&mut pod);
        pod.handle(Event::Container(0, exit(0)), at(1));
        assert_eq!(pod.phase(), Phase::Running);
        pod.handle(Event::Container(1, exit(code)), at(1));
        assert_eq!(pod.phase(), phase);
    }
}

#[test]
fn deleted_pod_serves_on_until_tables_forgot_it_and_its_requests_ended() {
    let mut pod = pod(RestartPolicy::Always, None);
    start(&mut pod);
    assert_eq!(pod.handle(Event::Delete(at(30_000)), at(1_000)), [Order::Report, Order::Drain]);
    assert!(!pod.is_ready());
    assert_eq!(pod.handle(Event::Drained, at(1_100)), []);
    assert_eq!(pod.wakes_at(), Some(at(2_000)));
    assert_eq!(pod.handle(Event::Tick, at(2_000)), [Order::StopAll { cut: false }, Order::Remove]);
    assert_eq!(pod.handle(Event::Tick, at(40_000)), [], "it ends once");
}

#[test]
fn deleted_pod_with_stuck_requests_ends_with_its_grace_period() {
    let mut pod = pod(RestartPolicy::Always, None);
    start(&mut pod);
    pod.handle(Event::Delete(at(30_000)), at(0));
    assert_eq!(pod.handle(Event::Tick, at(29_999)), []);
    assert_eq!(
        pod.handle(Event::Delete(at(5_000)), at(29_999)),
        [Order::StopAll { cut: true }, Order::Remove],
        "--now shortens"
    );
}

#[test]
fn crash_during_deletion_starts_nothing() {
    let mut pod = pod(RestartPolicy::Always, None);
    start(&mut pod);
    pod.handle(Event::Delete(at(30_000)), at(0));
    assert_eq!(pod.handle(Event::Container(0, exit(1)), at(1)), [Order::Report]);
}

#[test]
fn pod_over_its_active_deadline_is_stopped_and_says_why() {
    let mut pod = pod(RestartPolicy::Always, Some(5));
    start(&mut pod);
    assert_eq!(pod.wakes_at(), Some(at(5_000)));
    assert_eq!(pod.handle(Event::Tick, at(5_000)), [Order::StopAll { cut: true }, Order::Report]);
    assert_eq!(pod.phase(), Phase::Failed);
    assert_eq!(pod.failed.as_ref().map(|(reason, _)| *reason), Some("DeadlineExceeded"));
    assert_eq!(pod.handle(Event::Tick, at(6_000)), []);
}
