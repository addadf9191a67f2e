//! A pod's life, told in events.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::container::RestartPolicy;
use crate::spec::{Action, Check, ContainerSpec, Hooks, Probe, Probes};

fn at(millisecond: i64) -> Timestamp {
    Timestamp::from_millisecond(millisecond).unwrap()
}

fn container(name: &str, role: Role) -> ContainerSpec {
    ContainerSpec { name: name.into(), role, ..ContainerSpec::default() }
}

fn spec(policy: RestartPolicy, containers: Vec<ContainerSpec>) -> PodSpec {
    PodSpec {
        uid: "u".into(),
        namespace: "default".into(),
        name: "web-1".into(),
        containers: containers.into_iter().map(Arc::new).collect(),
        restart: policy,
        deadline: None,
        grace: Duration::from_secs(30),
        gates: Vec::new(),
        volumes: Arc::default(),
        isolation: crate::spec::Isolation::Shared,
    }
}

fn pod_of(spec: PodSpec) -> Pod {
    let containers = spec.containers.iter().map(|it| Container::new(it, spec.restart, 0, None)).collect();
    Pod::new(spec, containers, IpAddr::from([10, 128, 0, 2]), at(0))
}

fn pod(policy: RestartPolicy, deadline: Option<u64>) -> Pod {
    let containers = vec![container("a", Role::Main), container("b", Role::Main)];
    pod_of(PodSpec { deadline: deadline.map(Duration::from_secs), ..spec(policy, containers) })
}

/// Two init containers, of which the first stays, and one that serves.
fn with_inits(policy: RestartPolicy) -> Pod {
    let containers =
        vec![container("side", Role::Sidecar), container("init", Role::Init), container("main", Role::Main)];
    pod_of(spec(policy, containers))
}

fn started(pod: &mut Pod, index: usize, now: i64) -> Vec<Order> {
    let event = container::Event::Started { image_id: String::new() };
    done(pod.handle(Event::Container(index, event), at(now)))
}

fn ends(pod: &mut Pod, index: usize, code: i32, now: i64) -> Vec<Order> {
    let event = container::Event::Ended { code, reason: "Error".into(), message: String::new() };
    done(pod.handle(Event::Container(index, event), at(now)))
}

fn start(pod: &mut Pod) {
    pod.begin(at(0));
    for index in 0..pod.containers.len() {
        started(pod, index, 0);
    }
}

/// The orders but for what people are told.
fn done(orders: Vec<Order>) -> Vec<Order> {
    orders.into_iter().filter(|order| !matches!(order, Order::Tell(_))).collect()
}

fn run(container: usize) -> Order {
    Order::Start { container, restart: 0 }
}

#[test]
fn pod_is_ready_once_every_container_runs() {
    let mut pod = pod(RestartPolicy::Always, None);
    assert_eq!(pod.begin(at(0)), [Order::Report, run(0), run(1)]);
    assert_eq!((pod.phase(), pod.is_ready()), (Phase::Pending, false));
    started(&mut pod, 0, 0);
    assert_eq!((pod.phase(), pod.is_ready()), (Phase::Pending, false));
    started(&mut pod, 1, 0);
    assert_eq!((pod.phase(), pod.is_ready()), (Phase::Running, true));
}

#[test]
fn pod_that_never_restarts_succeeds_or_fails_with_its_containers() {
    for (code, phase) in [(0, Phase::Succeeded), (3, Phase::Failed)] {
        let mut pod = pod(RestartPolicy::Never, None);
        start(&mut pod);
        ends(&mut pod, 0, 0, 1);
        assert_eq!(pod.phase(), Phase::Running);
        ends(&mut pod, 1, code, 1);
        assert_eq!(pod.phase(), phase);
    }
}

#[test]
fn init_containers_run_in_order_and_a_sidecar_stays() {
    let mut pod = with_inits(RestartPolicy::Always);
    assert_eq!(pod.begin(at(0)), [Order::Report, run(0)]);
    assert_eq!(started(&mut pod, 0, 0), [Order::Report, run(1)]);
    assert_eq!(started(&mut pod, 1, 0), [Order::Report]);
    assert_eq!((pod.phase(), pod.uninitialized().len()), (Phase::Pending, 1));
    assert_eq!(ends(&mut pod, 1, 0, 1), [Order::Report, run(2)]);
    assert_eq!((pod.phase(), pod.uninitialized().len()), (Phase::Pending, 0));
    started(&mut pod, 2, 1);
    assert_eq!((pod.phase(), pod.is_ready()), (Phase::Running, true));
    // The sidecar counts for readiness, and its restart starts nothing else.
    assert_eq!(ends(&mut pod, 0, 1, 2), [Order::Start { container: 0, restart: 1 }, Order::Report]);
    assert_eq!((pod.phase(), pod.is_ready()), (Phase::Running, false));
}

#[test]
fn failed_init_container_is_tried_again_or_fails_the_pod() {
    for (policy, phase, again) in [
        (RestartPolicy::Always, Phase::Pending, true),
        (RestartPolicy::OnFailure, Phase::Pending, true),
        (RestartPolicy::Never, Phase::Failed, false),
    ] {
        let mut pod = with_inits(policy);
        pod.begin(at(0));
        started(&mut pod, 0, 0);
        started(&mut pod, 1, 0);
        let orders = ends(&mut pod, 1, 1, 1);
        assert_eq!(pod.phase(), phase, "{policy:?}");
        assert_eq!(orders.contains(&Order::Start { container: 1, restart: 1 }), again);
        assert_eq!(orders.contains(&Order::Stop(0)), !again, "the sidecar of a pod that failed goes");
        assert!(!orders.contains(&run(2)));
    }
}

#[test]
fn sidecar_holds_up_the_next_container_until_its_startup_probe_passes() {
    let second = Duration::from_secs(1);
    let (check, initial_delay, period, timeout) = (Check::Tcp { port: 1 }, second, second, second);
    let probe = Probe { check, initial_delay, period, timeout, success: 1, failure: 1, grace: None };
    let probes = Probes { startup: Some(probe), ..Probes::default() };
    let side = ContainerSpec { probes, ..container("side", Role::Sidecar) };
    let mut pod = pod_of(spec(RestartPolicy::Always, vec![side, container("main", Role::Main)]));
    pod.begin(at(0));
    assert_eq!(started(&mut pod, 0, 0), [Order::Report, Order::Probe(0)]);
    let passed = container::Event::Probed { probe: crate::spec::ProbeKind::Startup, healthy: true };
    assert_eq!(pod.handle(Event::Container(0, passed), at(1)), [Order::Report, run(1)]);
}

#[test]
fn work_with_sidecars_is_done_once_they_went_in_reverse_order() {
    let containers =
        vec![container("one", Role::Sidecar), container("two", Role::Sidecar), container("main", Role::Main)];
    let mut pod = pod_of(spec(RestartPolicy::OnFailure, containers));
    start(&mut pod);
    assert_eq!(ends(&mut pod, 2, 0, 1), [Order::Report, Order::Stop(1)]);
    assert_eq!((pod.phase(), pod.is_ready()), (Phase::Running, false));
    assert_eq!(ends(&mut pod, 1, 137, 2), [Order::Report, Order::Stop(0)]);
    assert_eq!(ends(&mut pod, 0, 137, 3), [Order::Report]);
    assert_eq!(pod.phase(), Phase::Succeeded, "how a sidecar ends does not count");
    assert_eq!(pod.wakes_at(), None);
}

#[test]
fn deleted_pod_serves_on_until_tables_forgot_it_then_finishes_its_requests() {
    let mut pod = pod(RestartPolicy::Always, None);
    start(&mut pod);
    assert_eq!(done(pod.handle(Event::Delete(at(30_000)), at(1_000))), []);
    assert!(pod.is_ready(), "it serves: that nothing new is sent here follows from its deletion");
    assert_eq!(pod.wakes_at(), Some(at(2_000)));
    assert_eq!(pod.handle(Event::Tick, at(2_000)), [Order::Stop(0), Order::Stop(1)]);
    assert_eq!(ends(&mut pod, 0, 0, 3_000), [Order::Report]);
    assert_eq!(pod.wakes_at(), Some(at(30_000)), "requests are in flight");
    assert_eq!(ends(&mut pod, 1, 0, 4_000), [Order::Report, Order::Report, Order::Remove]);
    assert_eq!(pod.phase(), Phase::Succeeded);
    assert_eq!(pod.handle(Event::Tick, at(40_000)), [], "it ends once");
}

#[test]
fn deleted_pod_with_stuck_requests_is_cut_off_with_its_grace_period() {
    let mut pod = pod(RestartPolicy::Always, None);
    start(&mut pod);
    pod.handle(Event::Delete(at(30_000)), at(0));
    pod.handle(Event::Tick, at(1_000));
    assert_eq!(pod.handle(Event::Tick, at(4_999)), []);
    assert_eq!(done(pod.handle(Event::Delete(at(5_000)), at(4_999))), [], "--now shortens");
    assert_eq!(pod.handle(Event::Delete(at(90_000)), at(4_999)), [], "and nothing makes it longer");
    assert_eq!(pod.wakes_at(), Some(at(5_000)));
    assert_eq!(pod.handle(Event::Tick, at(5_000)), [Order::Cut(0), Order::Cut(1)]);
    ends(&mut pod, 0, 137, 5_001);
    assert_eq!(ends(&mut pod, 1, 137, 5_001), [Order::Report, Order::Report, Order::Remove]);
    assert_eq!(pod.phase(), Phase::Failed);
}

#[test]
fn sidecars_of_a_deleted_pod_go_after_the_others_and_with_the_grace_at_the_latest() {
    let mut pod = with_inits(RestartPolicy::Always);
    pod.begin(at(0));
    started(&mut pod, 0, 0);
    started(&mut pod, 1, 0);
    ends(&mut pod, 1, 0, 0);
    started(&mut pod, 2, 0);
    pod.handle(Event::Delete(at(5_000)), at(0));
    assert_eq!(pod.handle(Event::Tick, at(1_000)), [Order::Stop(2)]);
    assert_eq!(pod.wakes_at(), Some(at(5_000)));
    assert_eq!(done(pod.handle(Event::Tick, at(5_000))), [Order::Cut(2), Order::Stop(0)]);
    ends(&mut pod, 2, 137, 5_001);
    assert_eq!(pod.handle(Event::Tick, at(7_000)), [Order::Cut(0)], "a moment of its own");
    assert_eq!(ends(&mut pod, 0, 137, 7_001), [Order::Report, Order::Report, Order::Remove]);
}

#[test]
fn pre_stop_hooks_run_while_the_pod_serves_on() {
    let hooks = Hooks { post_start: None, pre_stop: Some(Action::Sleep(Duration::from_secs(3))) };
    let hooked = ContainerSpec { hooks, ..container("a", Role::Main) };
    let mut pod = pod_of(spec(RestartPolicy::Always, vec![hooked, container("b", Role::Main)]));
    start(&mut pod);
    assert_eq!(done(pod.handle(Event::Delete(at(30_000)), at(0))), [Order::Hook(0, Hook::PreStop)]);
    assert_eq!(pod.handle(Event::Tick, at(1_000)), [Order::Stop(1)]);
    let ended = container::Event::HookEnded { hook: Hook::PreStop, failure: None };
    assert_eq!(pod.handle(Event::Container(0, ended), at(3_000)), [Order::Stop(0)]);
}

#[test]
fn crash_during_deletion_starts_nothing() {
    let mut pod = pod(RestartPolicy::Always, None);
    start(&mut pod);
    pod.handle(Event::Delete(at(30_000)), at(0));
    assert_eq!(ends(&mut pod, 0, 1, 1), [Order::Report]);
}

#[test]
fn pod_that_never_began_is_gone_at_once_when_it_is_deleted() {
    let mut pod = pod(RestartPolicy::Always, None);
    assert_eq!(pod.handle(Event::Delete(at(30_000)), at(0)), [Order::Report, Order::Remove]);
    assert_eq!(pod.phase(), Phase::Failed);
}

#[test]
fn pod_over_its_active_deadline_is_stopped_and_says_why() {
    for mut pod in [pod(RestartPolicy::Always, Some(5)), {
        let mut pod = with_inits(RestartPolicy::Always);
        pod.spec.deadline = Some(Duration::from_secs(5));
        pod
    }] {
        pod.begin(at(0));
        started(&mut pod, 0, 0);
        assert_eq!(pod.wakes_at(), Some(at(5_000)));
        let orders = pod.handle(Event::Tick, at(5_000));
        assert!(orders.contains(&Order::Stop(1)), "{orders:?}");
        let told = |order: &Order| matches!(order, Order::Tell(notice) if notice.reason == "DeadlineExceeded");
        assert!(orders.iter().any(told), "{orders:?}");
        assert_eq!(pod.phase(), Phase::Failed);
        assert_eq!(pod.failed.as_ref().map(|(reason, _)| reason.as_str()), Some("DeadlineExceeded"));
        ends(&mut pod, 1, 137, 5_001);
        ends(&mut pod, 0, 137, 5_001);
        assert_eq!(pod.handle(Event::Tick, at(6_000)), []);
        assert_eq!(pod.wakes_at(), None);
    }
}

#[test]
fn pod_waits_for_its_readiness_gates() {
    let spec = PodSpec { gates: vec!["x/y".into()], ..spec(RestartPolicy::Always, vec![container("a", Role::Main)]) };
    let mut pod = pod_of(spec);
    start(&mut pod);
    assert_eq!((pod.containers_ready(), pod.is_ready()), (true, false));
    for (conditions, said) in [
        (serde_json::json!([]), Some("corresponding condition of pod readiness gate \"x/y\" does not exist.")),
        (
            serde_json::json!([{"type": "x/y", "status": "False"}]),
            Some("the status of pod readiness gate \"x/y\" is not \"True\", but False"),
        ),
        (serde_json::json!([{"type": "x/y", "status": "True"}]), None),
    ] {
        let unmet = unmet_gates(&pod.spec.gates, conditions.as_array().unwrap());
        assert_eq!(unmet.first().map(String::as_str), said);
        pod.handle(Event::Gates(unmet), at(1));
        assert_eq!(pod.is_ready(), said.is_none());
    }
}

#[test]
fn changed_image_restarts_its_container_and_a_debugger_starts_beside_the_others() {
    let mut pod = pod(RestartPolicy::Never, None);
    start(&mut pod);
    let mut changed = pod.spec.clone();
    Arc::make_mut(&mut changed.containers[0]).image = "new".into();
    changed.containers.push(Arc::new(container("debug", Role::Debug)));
    let orders = done(pod.handle(Event::Changed(Box::new(changed)), at(1)));
    assert_eq!(orders, [Order::Stop(0), Order::Report, Order::Report, run(2)]);
    assert_eq!(ends(&mut pod, 0, 0, 2), [Order::Start { container: 0, restart: 1 }, Order::Report]);
    started(&mut pod, 0, 2);
    ends(&mut pod, 2, 1, 3);
    assert_eq!((pod.phase(), pod.is_ready()), (Phase::Running, true), "a debugger counts for nothing");
}

#[test]
fn pod_is_done_once_nothing_of_it_runs_or_will() {
    let mut work = pod(RestartPolicy::Never, None);
    start(&mut work);
    ends(&mut work, 0, 0, 1);
    assert!(!work.is_done());
    ends(&mut work, 1, 1, 1);
    assert!(work.is_done());

    let mut server = pod(RestartPolicy::Always, None);
    start(&mut server);
    ends(&mut server, 0, 1, 1);
    ends(&mut server, 1, 1, 1);
    assert!(!server.is_done(), "it starts again");
    server.handle(Event::Evict("too much".into()), at(2));
    assert!(!server.is_done(), "its containers end first");
    ends(&mut server, 0, 137, 3);
    ends(&mut server, 1, 137, 3);
    assert!(server.is_done());
    assert!(with_inits(RestartPolicy::Always).settled(Phase::Failed, None).is_done());
}

#[test]
fn pod_that_had_come_to_its_end_starts_nothing() {
    let failed = Some(("DeadlineExceeded".to_owned(), String::new()));
    let mut pod = with_inits(RestartPolicy::Always).settled(Phase::Failed, failed);
    assert_eq!(pod.handle(Event::Tick, at(1)), []);
    assert_eq!(pod.phase(), Phase::Failed);
    assert_eq!(pod.handle(Event::Delete(at(1)), at(1)), [Order::Report, Order::Remove]);
}
