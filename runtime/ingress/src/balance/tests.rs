//! What the balancer promises, on a clock that the test sets.

use std::sync::Arc;
use std::time::Duration;

use super::{Choice, Group, Millis, Sent, Standings, Verdict};
use crate::{Backend, Endpoint, Limits};

fn group(pods: &[(&str, &str)]) -> Group {
    let endpoint = |&(pod, node): &(&str, &str)| Endpoint {
        pod: pod.into(),
        node: node.into(),
        address: "10.128.0.1:8080".into(),
        local: false,
    };
    Group::new(Arc::new(Backend {
        name: "default/web:80".into(),
        endpoints: pods.iter().map(endpoint).collect(),
        lacks: None,
    }))
}

fn limits() -> Limits {
    Limits {
        failures_to_eject: 2,
        ejection: Duration::from_millis(100),
        ejection_max: Duration::from_millis(400),
        ..Limits::default()
    }
}

const THREE: [(&str, &str); 3] = [("a", "n1"), ("b", "n2"), ("c", "n3")];

/// The pods that the next `count` requests go to, each ending before the next.
fn pods(group: &Group, all: &Standings, now: u64, count: usize) -> Vec<String> {
    let choose = || group.choose(all, Millis(now), &limits()).map(|choice| choice.endpoint.pod.to_string());
    (0..count).filter_map(|_| choose()).collect()
}

fn choose_pod<'a>(group: &'a Group, all: &Standings, now: u64, pod: &str) -> Choice<'a> {
    let mut chosen = (0..100).filter_map(|_| group.choose(all, Millis(now), &limits()));
    chosen.find(|choice| &*choice.endpoint.pod == pod).expect("the pod is chosen")
}

/// Makes `pod` fail until it is ejected.
fn eject(group: &Group, all: &Standings, now: u64, pod: &str) {
    for _ in 0..limits().failures_to_eject {
        let choice = choose_pod(group, all, now, pod);
        choice.held.standing().failed(choice.sent, Millis(now), &limits());
    }
}

#[test]
fn requests_that_do_not_overlap_take_turns() {
    let (group, all) = (group(&THREE), Standings::default());
    let chosen = pods(&group, &all, 0, 300);
    for pod in ["a", "b", "c"] {
        assert_eq!(chosen.iter().filter(|&chosen| chosen == pod).count(), 100);
    }
}

#[test]
fn replica_with_requests_in_flight_gets_fewer() {
    let (group, all) = (group(&THREE), Standings::default());
    let _busy: Vec<_> = (0..3).map(|_| choose_pod(&group, &all, 0, "a")).collect();
    let chosen = pods(&group, &all, 0, 300);
    let to_busy = chosen.iter().filter(|&pod| pod == "a").count();
    // It is its turn every third time; in two of three cases another one is drawn beside it.
    assert!((10..60).contains(&to_busy), "{to_busy}");
}

#[test]
fn ejected_endpoint_gets_nothing_until_one_request_probes_it() {
    let (group, all) = (group(&THREE), Standings::default());
    eject(&group, &all, 0, "a");
    assert!(!pods(&group, &all, 99, 50).contains(&"a".to_owned()));
    // Its time is over: one request goes there, and while that is out no other.
    let probe = choose_pod(&group, &all, 100, "a");
    assert_eq!(probe.sent, Sent::AsProbe);
    assert!(!pods(&group, &all, 101, 50).contains(&"a".to_owned()));
    probe.held.standing().succeeded();
    drop(probe);
    assert!(pods(&group, &all, 101, 3).contains(&"a".to_owned()));
}

#[test]
fn failed_probe_doubles_the_time_up_to_a_limit() {
    let (group, all) = (group(&THREE), Standings::default());
    eject(&group, &all, 0, "a");
    let mut now = 100;
    for length in [200, 400, 400] {
        let probe = choose_pod(&group, &all, now, "a");
        assert_eq!(probe.held.standing().failed(probe.sent, Millis(now), &limits()), Verdict::Stays);
        assert!(!pods(&group, &all, now + length - 1, 50).contains(&"a".to_owned()));
        now += length;
    }
    assert_eq!(choose_pod(&group, &all, now, "a").sent, Sent::AsProbe);
}

#[test]
fn many_requests_broken_at_once_are_one_breakdown() {
    let (group, all) = (group(&THREE), Standings::default());
    let in_flight: Vec<_> = (0..50).map(|_| choose_pod(&group, &all, 0, "a")).collect();
    let fail = |choice: &Choice<'_>| choice.held.standing().failed(choice.sent, Millis(0), &limits());
    let ejections = in_flight.iter().map(fail).filter(|verdict| matches!(verdict, Verdict::Ejected(_))).count();
    assert_eq!(ejections, 1);
    assert_eq!(choose_pod(&group, &all, 100, "a").sent, Sent::AsProbe, "the first length, not the longest");
}

#[test]
fn single_failure_ejects_nobody_and_success_forgets_it() {
    let (group, all) = (group(&THREE), Standings::default());
    for _ in 0..5 {
        let choice = choose_pod(&group, &all, 0, "a");
        assert_eq!(choice.held.standing().failed(choice.sent, Millis(0), &limits()), Verdict::Stays);
        choice.held.standing().succeeded();
    }
}

#[test]
fn when_all_are_ejected_they_are_tried_all_the_same() {
    let (group, all) = (group(&THREE), Standings::default());
    for pod in ["a", "b", "c"] {
        eject(&group, &all, 0, pod);
    }
    assert_eq!(pods(&group, &all, 1, 3).len(), 3);
}

#[test]
fn backend_without_endpoints_has_no_choice() {
    assert!(group(&[]).choose(&Standings::default(), Millis(0), &limits()).is_none());
}

#[test]
fn second_attempt_goes_to_another_node() {
    let (group, all) = (group(&[("a", "n1"), ("b", "n1"), ("c", "n1"), ("d", "n2")]), Standings::default());
    let failed = choose_pod(&group, &all, 0, "a").endpoint;
    for _ in 0..10 {
        assert_eq!(
            &*group.choose_other(&all, &[Arc::clone(&failed.pod)], &failed.node).expect("another").endpoint.pod,
            "d"
        );
    }
    eject(&group, &all, 0, "d");
    let other = group.choose_other(&all, &[Arc::clone(&failed.pod)], &failed.node).expect("another").endpoint;
    assert!(["b", "c"].contains(&&*other.pod), "one in good standing rather than an ejected one");
}

#[test]
fn only_replica_has_no_other() {
    let (group, all) = (group(&[("a", "n1")]), Standings::default());
    let failed = choose_pod(&group, &all, 0, "a").endpoint;
    assert!(group.choose_other(&all, &[Arc::clone(&failed.pod)], &failed.node).is_none());
}

#[test]
fn standing_outlives_the_table_and_is_forgotten_with_the_pod() {
    let all = Standings::default();
    let before = group(&THREE);
    eject(&before, &all, 0, "a");
    drop(before);
    let after = group(&THREE);
    assert!(!pods(&after, &all, 50, 20).contains(&"a".to_owned()));
    drop(after);
    // A thousand tables of pods that are gone.
    for generation in 0..1000 {
        let names: Vec<String> = (0..3).map(|pod| format!("{generation}-{pod}")).collect();
        let pods: Vec<_> = names.iter().map(|name| (name.as_str(), "n1")).collect();
        assert!(group(&pods).choose(&all, Millis(0), &limits()).is_some());
    }
    assert!(all.0.lock().expect("lock").pods.len() <= super::PRUNE_MIN + 3);
}
