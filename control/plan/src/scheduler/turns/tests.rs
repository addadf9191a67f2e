//! What holds for turns whoever waits, and what was once wrong with them.

use serde_json::json;

use super::*;
use crate::scheduler::terms::PREFERRED;

/// Many pods that have a node, so that rules about them cost.
const SIZE: Size = Size { nodes: 10, placed: 100_000, lowest: 0, repels: 0 };

/// Of how many rules a pod takes a plan for itself, and a bit less than may be.
const DEAR: usize = 60;

fn pod(namespace: &str, name: &str, rules: usize, priority: i64) -> Object {
    let term = json!({"podAffinityTerm": {"topologyKey": "zone", "namespaceSelector": {}}, "weight": 1});
    let affinity = if rules == 0 { json!({}) } else { json!({"podAffinity": {(PREFERRED): vec![term; rules]}}) };
    Object::new(json!({"metadata": {"name": name, "namespace": namespace, "uid": format!("{namespace}/{name}"),
        "labels": {"app": name}}, "spec": {"affinity": affinity, "priority": priority}}))
}

fn pods(namespace: &str, count: usize, rules: usize, priority: i64) -> Vec<Object> {
    (0..count).map(|number| pod(namespace, &format!("{priority}-{number}"), rules, priority)).collect()
}

/// A pod that was told that it does not fit.
fn told(mut pod: Object) -> Object {
    pod.0["status"] = json!({"conditions": [{"type": "PodScheduled", "status": "False"}]});
    pod
}

/// The uids of those whose turn it is; and it is never more than one plan can afford.
fn take<'a>(turns: &mut Turns, pods: &'a [Object], size: Size) -> Vec<&'a str> {
    let line = pods.iter().zip(0..).map(|(pod, since)| {
        let (uid, namespace, priority) = (pod.uid(), pod.namespace(), preempt::priority(pod));
        (Waiting { uid, namespace, priority, since }, pod)
    });
    let taken = turns.take(&line.collect::<Vec<_>>(), size, |pod| *pod);
    let mut purse = Purse::of(size);
    let costs: Vec<u64> = taken.iter().map(|pod| purse.cost(pod)).collect();
    assert!(taken.len() == 1 || costs.iter().sum::<u64>() <= COST_MAX, "{costs:?}");
    assert!(costs.iter().all(|cost| *cost <= COST_OF_POD_MAX + COST_MAX), "{costs:?}");
    assert!(!taken.is_empty() || pods.is_empty());
    taken.into_iter().map(Object::uid).collect()
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % sides
    }
}

#[test]
fn whoever_waits_has_a_turn_again_and_again_whatever_others_cost_and_however_they_come_and_go() {
    for seed in 0..6 {
        let (mut dice, mut turns) = (Dice(seed), Turns::default());
        let mut waits: Vec<(Object, usize)> = Vec::new();
        for plan in 0..250 {
            if waits.len() < 40 {
                let namespace = ["a", "b", "c", "d"][dice.below(4)];
                let rules = [0, 1, 8, DEAR][dice.below(4)];
                let priority = [0, 5, 9][dice.below(3)];
                waits.push((pod(namespace, &format!("{plan}"), rules, priority), plan));
            }
            if dice.below(3) == 0 {
                waits.remove(dice.below(waits.len()));
            }
            let pods: Vec<Object> = waits.iter().map(|(pod, _)| pod.clone()).collect();
            let taken = take(&mut turns, &pods, SIZE);
            for (pod, since) in &mut waits {
                if taken.contains(&pod.uid()) {
                    *since = plan;
                }
                assert!(plan - *since <= 4 * 40, "{} of seed {seed} waits since {since}, now is {plan}", pod.uid());
            }
        }
    }
}

#[test]
fn all_are_looked_at_since_there_were_news_and_then_it_is_over() {
    let pods = pods("a", 1_200, 0, 0);
    let mut turns = Turns::default();
    turns.news();
    let mut seen = BTreeSet::new();
    for plan in 0..3 {
        assert_eq!(turns.are_over(), plan == 0, "nobody is known yet");
        seen.extend(take(&mut turns, &pods, SIZE));
    }
    assert_eq!((seen.len(), turns.are_over()), (1_200, true));
    turns.news();
    take(&mut turns, &pods, SIZE);
    assert!(!turns.are_over());
    // Who goes is not waited for.
    take(&mut turns, &pods[..1], SIZE);
    assert!(turns.are_over());
}

#[test]
fn the_first_of_each_namespace_comes_before_the_second_of_any_and_those_that_matter_most_before_others() {
    let mut pods = pods("many", 300, 4, 0);
    pods.extend([pod("few", "a", 0, 0), pod("few", "urgent", 0, 9)]);
    assert_eq!(take(&mut Turns::default(), &pods, SIZE)[..4], ["few/urgent", "many/0-0", "few/a", "many/0-1"]);
}

#[test]
fn one_that_costs_a_plan_and_matters_most_holds_up_nobody_even_if_room_is_made_for_it() {
    let mut dear = told(pod("own", "dear", DEAR, 1_000));
    dear.0["status"]["nominatedNodeName"] = "n1".into();
    let all = [dear, pod("own", "plain", 0, 0), pod("other", "plain", 0, 0)];
    let mut turns = Turns::default();
    for _ in 0..3 {
        let plans: Vec<_> = (0..4).map(|_| take(&mut turns, &all, SIZE)).collect();
        assert!(plans[0] == ["own/dear"] && plans[2] == ["own/dear"], "{plans:?}");
        // Others come between, and who is in its own namespace comes too.
        assert!(plans[1][0] == "other/plain" && plans[3][0] == "other/plain", "{plans:?}");
        assert!(plans[1].contains(&"own/plain") || plans[3].contains(&"own/plain"), "{plans:?}");
    }
}

#[test]
fn who_was_refused_does_not_wait_for_all_that_another_namespace_brings() {
    let mut turns = Turns::default();
    let mut all = pods("a", 300, DEAR, 0);
    all.push(pod("b", "refused", 0, 0));
    take(&mut turns, &all[300..], SIZE);
    let (mut without, mut longest) = (0, 0);
    for plan in 0..100 {
        // For each that is looked at another one comes.
        let taken: Vec<String> = take(&mut turns, &all, SIZE).into_iter().map(str::to_owned).collect();
        without = if taken.iter().any(|uid| uid == "b/refused") { 0 } else { without + 1 };
        longest = longest.max(without);
        for (number, pod) in all.iter_mut().enumerate().filter(|(_, pod)| pod.namespace() == "a") {
            if taken.iter().any(|uid| uid == pod.uid()) {
                let name = format!("{plan}-{number}");
                pod.0["metadata"]["name"] = name.as_str().into();
                pod.0["metadata"]["uid"] = format!("a/{name}").into();
            }
        }
    }
    assert!(longest <= 1, "{longest} plans without it");
}

#[test]
fn what_matters_more_comes_before_what_had_no_turn_and_that_comes_too() {
    let mut turns = Turns::default();
    let mut all = pods("a", 240, 0, 1_000);
    take(&mut turns, &all, SIZE);
    // Ten thousand that matter less come.
    all.extend(pods("a", 10_000, 0, 0));
    for plan in 0..5 {
        let taken = take(&mut turns, &all, SIZE);
        let urgent = taken.iter().filter(|uid| uid.starts_with("a/1000-")).count();
        assert!(urgent == 240 && taken.len() == 500, "{urgent} of {} in plan {plan}", taken.len());
    }
    // And who matters less is looked at again though those never end that matter more and cost a plan each.
    let mut turns = Turns::default();
    let mut all = vec![pod("a", "refused", 0, 0)];
    take(&mut turns, &all, SIZE);
    all.extend(pods("a", 20, DEAR, 1_000));
    let mut looks = 0;
    for plan in 0..30 {
        looks += usize::from(take(&mut turns, &all, SIZE).contains(&"a/refused"));
        all.extend([pod("a", &format!("new-{plan}"), DEAR, 1_000)]);
    }
    assert!(looks > 0);
}

#[test]
fn a_namespace_that_leaves_and_comes_back_owes_what_it_had() {
    let mut turns = Turns::default();
    let mut plain = pods("plain", 3_000, 0, 0);
    let (mut plans, mut dear) = (0, 0);
    while !plain.is_empty() {
        let mut all = plain.clone();
        // It is there with another pod every second time.
        if plans % 2 == 0 {
            all.push(pod("dear", &format!("{plans}"), DEAR, 1_000));
        }
        let taken: BTreeSet<String> = take(&mut turns, &all, SIZE).into_iter().map(str::to_owned).collect();
        dear += taken.iter().filter(|uid| uid.starts_with("dear/")).count();
        plain.retain(|pod| !taken.contains(pod.uid()));
        plans += 1;
    }
    assert!((6..12).contains(&plans) && (1..4).contains(&dear), "{plans} plans, {dear} dear ones");
}

#[test]
fn pods_that_cost_little_are_looked_at_by_the_hundred() {
    let plain = pods("a", 700, 0, 0);
    assert_eq!(take(&mut Turns::default(), &plain, SIZE).len(), 500);
    // Rules of those that are there cost once for each sort of pod that comes.
    let kept_away = Size { repels: COST_MAX / 10, ..SIZE };
    assert!(take(&mut Turns::default(), &plain, kept_away).len() < 10);
    let same = plain.iter().map(|pod| {
        let mut pod = pod.clone();
        pod.0["metadata"]["labels"]["app"] = "same".into();
        pod
    });
    assert!(take(&mut Turns::default(), &same.collect::<Vec<_>>(), kept_away).len() > 400);
    // One whose rules are not worked out costs no more than reading it.
    let mut too_much = pods("a", 10, 80, 0);
    too_much.extend(pods("b", 10, 0, 0));
    assert_eq!(take(&mut Turns::default(), &too_much, SIZE).len(), 20);
}

#[test]
fn who_looks_for_room_in_vain_keeps_nobody_else_from_it() {
    let size = Size { placed: 10_000, ..SIZE };
    let mut all: Vec<Object> = pods("a", 40, 0, 9).into_iter().map(told).collect();
    all.extend([told(pod("a", "less", 0, 8)), told(pod("b", "less", 0, 8))]);
    let mut turns = Turns::default();
    let taken: Vec<Vec<&str>> = (0..6).map(|_| take(&mut turns, &all, size)).collect();
    assert!(taken.iter().all(|taken| taken.len() < 20 && taken.contains(&"b/less")), "{taken:?}");
    assert!(taken.iter().flatten().any(|uid| *uid == "a/less"));
    // Where nobody matters less there is nothing to look for.
    let size = Size { lowest: 9, ..size };
    assert_eq!(take(&mut Turns::default(), &all, size).len(), 42);
}

#[test]
fn rules_of_a_pod_that_was_bound_by_hand_count_for_no_more_than_is_worked_out() {
    let term = json!({"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "zone"});
    let apart = |terms: usize| {
        let mut pod = pod("a", "bound", 0, 0);
        pod.0["spec"] =
            json!({"nodeName": "n1", "affinity": {"podAntiAffinity": {(REQUIRED): vec![term.clone(); terms]}}});
        repels(&pod)
    };
    assert_eq!((apart(3), apart(100_000)), (6, REPELS_MAX));
}
