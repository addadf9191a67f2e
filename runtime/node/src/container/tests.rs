//! One container's life, told in events.

use super::*;
use crate::spec::{Action, Check, Hooks, Probe, Probes};

const GRACE: Duration = Duration::from_secs(30);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a small number of seconds")
}

fn spec() -> ContainerSpec {
    ContainerSpec { name: "app".into(), ..ContainerSpec::default() }
}

fn probe(grace: Option<u64>) -> Probe {
    let second = Duration::from_secs(1);
    let (check, initial_delay, period, timeout) = (Check::Tcp { port: 1 }, second, second, second);
    let grace = grace.map(Duration::from_secs);
    Probe { check, initial_delay, period, timeout, success: 1, failure: 1, grace }
}

/// A container and its spec, for tests that read as a list of what happened.
struct Told {
    container: Container,
    spec: ContainerSpec,
}

impl Told {
    fn begins(spec: ContainerSpec, policy: RestartPolicy) -> Self {
        let mut container = Container::new(&spec, policy, 0, None);
        assert_eq!(container.start(), [Order::Start { restart: 0 }]);
        Self { container, spec }
    }

    fn running(spec: ContainerSpec, policy: RestartPolicy) -> Self {
        let mut told = Self::begins(spec, policy);
        told.is(started(), 0);
        told
    }

    fn is(&mut self, event: Event, second: i64) -> Vec<Order> {
        self.container.handle(event, &self.spec, GRACE, at(second))
    }

    fn stop(&mut self, why: Why, until: i64) -> Vec<Order> {
        self.container.stop(why, at(until), &self.spec)
    }
}

fn started() -> Event {
    Event::Started { image_id: "sha256:1".into() }
}

fn exit(code: i32) -> Event {
    Event::Ended { code, reason: if code == 0 { "Completed" } else { "Error" }.into(), message: String::new() }
}

fn hook_ended(hook: Hook, failed: bool) -> Event {
    Event::HookEnded { hook, failure: failed.then(|| "no".to_owned()) }
}

fn probed(probe: ProbeKind, healthy: bool) -> Event {
    Event::Probed { probe, healthy }
}

/// The orders but for what people are told.
fn done(orders: Vec<Order>) -> Vec<Order> {
    orders.into_iter().filter(|order| !matches!(order, Order::Tell(_))).collect()
}

/// What people are told.
fn said(orders: &[Order]) -> Vec<String> {
    let told = orders.iter().filter_map(|order| match order {
        Order::Tell(notice) => Some(format!("{}: {}", notice.reason, notice.message)),
        _ => None,
    });
    told.collect()
}

#[test]
fn first_crash_restarts_at_once_and_later_ones_wait_ten_seconds_doubling() {
    let mut told = Told::running(spec(), RestartPolicy::Always);
    assert_eq!(told.is(exit(1), 1), [Order::Start { restart: 1 }, Order::Report]);
    for (restart, delay) in [(2, 10), (3, 20), (4, 40), (5, 80), (6, 160), (7, 300), (8, 300)] {
        told.is(started(), 1);
        told.is(exit(1), 1);
        assert_eq!(told.container.wakes_at(), Some(at(1 + delay)), "restart {restart}");
        assert_eq!(told.container.restarts, restart - 1, "one that waits has not started again");
        if restart == 5 {
            let State::Waiting { message, .. } = &told.container.state else { panic!("it waits") };
            assert_eq!(message, &format!("back-off 1m20s restarting failed container={}", told.container.name));
        }
        assert!(told.is(Event::Tick, delay).is_empty());
        assert_eq!(told.is(Event::Tick, 1 + delay), [Order::Start { restart }]);
    }
}

#[test]
fn crash_of_its_worker_restarts_it_at_once_however_often_and_is_not_held_against_it() {
    let crashed = || Event::Ended { code: KILLED, reason: WORKER_CRASHED.into(), message: "signal: 9".into() };
    let mut told = Told::running(spec(), RestartPolicy::Always);
    for restart in 1..4 {
        assert_eq!(told.is(crashed(), 1), [Order::Start { restart }, Order::Report]);
        assert_eq!(told.container.last.as_ref().map(|end| end.reason.as_str()), Some(WORKER_CRASHED));
        told.is(started(), 1);
    }
    assert_eq!(told.is(exit(1), 2), [Order::Start { restart: 4 }, Order::Report], "its own first crash");
    let mut once = Told::running(spec(), RestartPolicy::Never);
    assert_eq!(once.is(crashed(), 1), [Order::Report]);
    assert!(once.container.end_of_life().is_some());
}

#[test]
fn container_that_ran_ten_minutes_starts_its_back_off_anew() {
    let mut told = Told::running(spec(), RestartPolicy::Always);
    told.is(exit(1), 1);
    told.is(started(), 2);
    assert_eq!(told.is(exit(1), 700), [Order::Start { restart: 2 }, Order::Report]);
}

#[test]
fn container_that_waits_for_a_config_map_starts_when_it_appears() {
    let mut told = Told::begins(spec(), RestartPolicy::Always);
    let message = "configmap \"c\" not found".to_owned();
    told.is(Event::Lacks { message }, 0);
    assert_eq!(told.container.lacks(), Some("configmap \"c\" not found"));
    assert_eq!(told.is(Event::Retry, 1), [Order::Start { restart: 0 }]);
    assert_eq!(told.container.lacks(), None);
    assert_eq!(told.is(Event::Retry, 1), [], "its start is under way");
}

#[test]
fn policy_and_role_decide_who_starts_again() {
    use RestartPolicy::{Always, Never, OnFailure};
    for (policy, role, code, again) in [
        (Always, Role::Main, 0, true),
        (OnFailure, Role::Main, 0, false),
        (OnFailure, Role::Main, 1, true),
        (Never, Role::Main, 1, false),
        (Always, Role::Init, 0, false),
        (Always, Role::Init, 1, true),
        (OnFailure, Role::Init, 1, true),
        (Never, Role::Init, 1, false),
        (Never, Role::Sidecar, 0, true),
        (Always, Role::Debug, 1, false),
    ] {
        let mut told = Told::running(ContainerSpec { role, ..spec() }, policy);
        told.is(exit(code), 1);
        assert_eq!(told.container.end_of_life().is_none(), again, "{policy:?} {role:?} {code}");
        assert_eq!(told.container.has_passed(), role == Role::Init && code == 0 || role == Role::Sidecar);
    }
}

#[test]
fn start_that_takes_long_says_what_it_waits_for_until_it_has_begun() {
    let waits = || Event::StartTakesLong { reason: "Compiling", message: "for code".into() };
    let mut told = Told::begins(spec(), RestartPolicy::Always);
    let orders = told.is(waits(), 3);
    assert_eq!(said(&orders), [format!("Compiling: container {}: for code", told.container.name)]);
    assert_eq!(done(orders), [Order::Report]);
    assert!(matches!(&told.container.state, State::Waiting { message, until: None, .. } if message == "for code"));
    assert_eq!(told.is(Event::StartGoesOn, 4), [Order::Report]);
    assert_eq!(told.container.state, waiting("ContainerCreating"));
    told.is(started(), 4);
    assert!(told.container.is_running());
    assert_eq!(told.is(waits(), 5), [], "the news was late");
}

#[test]
fn failed_requests_are_reported_once_in_ten_seconds() {
    let mut told = Told::running(spec(), RestartPolicy::Always);
    let failed = Event::RequestFailed { reason: "Trapped".into(), limit: "".into(), message: "unreachable".into() };
    assert_eq!(told.is(failed.clone(), 1), [Order::Report]);
    assert_eq!(told.is(failed.clone(), 2), []);
    assert_eq!(told.is(failed, 11), [Order::Report]);
    assert!(told.container.is_running());
}

#[test]
fn requests_that_fail_for_another_reason_are_reported_beside() {
    let mut told = Told::running(spec(), RestartPolicy::Always);
    let failed = |reason: &str, limit: &'static str| Event::RequestFailed {
        reason: reason.into(),
        limit: limit.into(),
        message: String::new(),
    };
    assert_eq!(told.is(failed("Trapped", ""), 1), [Order::Report]);
    assert_eq!(told.is(failed("OOMKilled", ""), 2), [Order::Report]);
    assert_eq!(told.container.last.as_ref().map(|end| end.code), Some(KILLED));
    assert_eq!(told.is(failed("Trapped", ""), 3), []);
    assert_eq!(told.is(failed("LimitExceeded", "open handles"), 4), [Order::Report]);
    assert_eq!(told.is(failed("LimitExceeded", "bytes of headers"), 4), [Order::Report], "another limit");
    assert_eq!(told.is(failed("LimitExceeded", "open handles"), 5), []);
    assert_eq!(told.is(failed("Trapped", "call stack exhausted, at its limit of 512 KiB"), 5), [Order::Report]);
    assert_eq!(told.is(failed("Trapped", "call stack exhausted, at its limit of 513 KiB"), 6), []);
}

#[test]
fn limit_that_ends_nothing_is_told_and_leaves_no_last_state() {
    let mut told = Told::running(spec(), RestartPolicy::Always);
    let reached = Event::LimitReached { reason: "LogLimit", message: "1024 KiB a second".into() };
    let name = told.container.name.clone();
    let notice = Notice::warning("LogLimit", format!("container {name}: 1024 KiB a second"));
    assert_eq!(told.is(reached.clone(), 1), [Order::Tell(notice)]);
    assert_eq!(told.is(reached, 2), []);
    let other = |number: u32| Event::LimitReached { reason: "LogLimit", message: format!("{number} other things") };
    assert_eq!(told.is(other(1), 2).len(), 1, "another limit of that name");
    assert_eq!(told.is(other(2), 2), []);
    assert_eq!(told.container.last, None);
    assert!(told.container.is_running());
}

#[test]
fn container_runs_once_its_post_start_hook_is_done() {
    let hooks = Hooks { post_start: Some(Action::Sleep(GRACE)), pre_stop: None };
    let mut told = Told::begins(ContainerSpec { hooks, ..spec() }, RestartPolicy::Always);
    assert_eq!(told.is(started(), 1), [Order::Hook(Hook::PostStart)]);
    assert!(!told.container.is_running());
    assert_eq!(told.is(hook_ended(Hook::PostStart, false), 2), [Order::Report]);
    assert_eq!(told.container.state, State::Running { since: at(1) });
}

#[test]
fn failed_post_start_hook_ends_the_container_which_starts_again() {
    let hooks = Hooks { post_start: Some(Action::Sleep(GRACE)), pre_stop: None };
    let mut told = Told::begins(ContainerSpec { hooks, ..spec() }, RestartPolicy::OnFailure);
    told.is(started(), 1);
    let orders = told.is(hook_ended(Hook::PostStart, true), 2);
    assert_eq!(said(&orders), ["FailedPostStartHook: PostStartHook failed: no", "Killing: FailedPostStartHook"]);
    assert_eq!(done(orders), [Order::Stop]);
    assert_eq!(told.is(exit(0), 3), [Order::Start { restart: 1 }, Order::Report]);
}

#[test]
fn pre_stop_hook_comes_before_the_stop_and_within_the_grace() {
    let hooks = Hooks { post_start: None, pre_stop: Some(Action::Sleep(GRACE)) };
    let mut told = Told::running(ContainerSpec { hooks, ..spec() }, RestartPolicy::Always);
    let orders = told.stop(Why::Leave, 30);
    assert_eq!(said(&orders), ["Killing: Stopping container app"]);
    assert_eq!(done(orders), [Order::Hook(Hook::PreStop)]);
    assert_eq!(told.stop(Why::Leave, 20), [], "asked again, sooner");
    assert_eq!(told.container.wakes_at(), Some(at(20)));
    assert_eq!(told.is(Event::Tick, 20), [Order::Stop], "the hook took it all");
    assert_eq!(told.container.wakes_at(), Some(at(22)), "two seconds on top");
    assert_eq!(told.is(hook_ended(Hook::PreStop, false), 21), []);
    assert_eq!(told.is(Event::Tick, 22), [Order::Cut]);
    assert_eq!(told.container.wakes_at(), None);
    assert_eq!(told.is(exit(137), 23), [Order::Report]);
    assert_eq!(told.container.end_of_life().map(|end| end.code), Some(137));
}

#[test]
fn container_without_hooks_stops_at_once_and_does_not_start_again() {
    let mut told = Told::running(spec(), RestartPolicy::Always);
    assert_eq!(done(told.stop(Why::Leave, 30)), [Order::Stop]);
    assert_eq!(told.is(exit(0), 1), [Order::Report]);
    assert!(!told.container.has_run());
    assert_eq!(told.stop(Why::Leave, 30), []);
}

#[test]
fn container_that_is_stopped_while_it_starts_is_gone_once_its_run_says_so() {
    let mut told = Told::begins(spec(), RestartPolicy::Always);
    assert_eq!(done(told.stop(Why::Leave, 30)), [Order::Stop]);
    assert_eq!(told.is(started(), 1), []);
    assert_eq!(told.is(exit(137), 1), [Order::Report]);
    assert!(told.container.end_of_life().is_some());
    let mut told = Told::begins(spec(), RestartPolicy::Always);
    told.stop(Why::Leave, 30);
    told.is(Event::StartFailed { reason: "ErrImagePull", message: String::new() }, 1);
    assert!(told.container.end_of_life().is_some());
}

#[test]
fn liveness_failure_restarts_but_for_a_policy_of_never() {
    for (policy, words, again) in [
        (RestartPolicy::Always, "Killing: Container app failed liveness probe, will be restarted", true),
        (RestartPolicy::OnFailure, "Killing: Container app failed liveness probe, will be restarted", true),
        (RestartPolicy::Never, "Killing: Container app failed liveness probe", false),
    ] {
        let probes = Probes { liveness: Some(probe(Some(5))), ..Probes::default() };
        let mut told = Told::begins(ContainerSpec { probes, ..spec() }, policy);
        assert_eq!(told.is(started(), 0), [Order::Report, Order::Probe]);
        let orders = told.is(probed(ProbeKind::Liveness, false), 10);
        assert_eq!(said(&orders), [words]);
        assert_eq!(done(orders), [Order::Stop]);
        assert_eq!(told.container.wakes_at(), Some(at(15)), "the probe's own grace");
        told.is(exit(0), 11);
        assert_eq!(told.container.end_of_life().is_none(), again, "{policy:?}");
    }
}

#[test]
fn readiness_follows_its_probe_after_the_startup_probe_passed() {
    let probes = Probes { startup: Some(probe(None)), readiness: Some(probe(None)), liveness: None };
    let mut told = Told::running(ContainerSpec { probes, role: Role::Sidecar, ..spec() }, RestartPolicy::Always);
    let seen = |told: &Told| (told.container.is_started(), told.container.is_ready(), told.container.has_passed());
    assert_eq!(seen(&told), (false, false, false));
    assert_eq!(told.is(probed(ProbeKind::Startup, true), 1), [Order::Report]);
    assert_eq!(seen(&told), (true, false, true));
    told.is(probed(ProbeKind::Readiness, true), 2);
    assert_eq!(seen(&told), (true, true, true));
    told.is(probed(ProbeKind::Readiness, false), 3);
    assert_eq!(seen(&told), (true, false, true));
    told.is(exit(1), 4);
    told.is(started(), 4);
    assert_eq!(seen(&told), (false, false, true), "each run is probed anew; what came after it has started");
}

#[test]
fn changed_container_starts_again_whatever_its_policy_and_its_crashes() {
    let mut told = Told::running(spec(), RestartPolicy::Never);
    let orders = told.stop(Why::Changed, 30);
    assert_eq!(said(&orders), ["Killing: Container app definition changed, will be restarted"]);
    assert_eq!(told.is(exit(0), 1), [Order::Start { restart: 1 }, Order::Report]);
    let mut told = Told::running(spec(), RestartPolicy::Always);
    told.is(exit(1), 1);
    told.is(started(), 1);
    told.is(exit(1), 1);
    assert_eq!(told.container.wakes_at(), Some(at(11)));
    told.container.forget_back_off();
    assert_eq!(told.container.start(), [Order::Start { restart: 2 }]);
}

#[test]
fn deletion_outranks_a_restart_under_way() {
    let mut told = Told::running(spec(), RestartPolicy::Always);
    told.stop(Why::Changed, 30);
    told.stop(Why::Leave, 10);
    assert_eq!(told.container.wakes_at(), Some(at(10)));
    told.is(exit(0), 1);
    assert!(told.container.end_of_life().is_some());
}
