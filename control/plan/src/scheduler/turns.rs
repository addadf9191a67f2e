//! Whose turn it is: which of the pods that wait one plan is about.
//!
//! A pod costs what is looked at for its sake: each node, and each pod that has one beside each of its rules. Rules and
//! pods are as many as somebody writes, so a plan takes as many pods as it can afford, and the next ones go on with those
//! that had no turn. Of each namespace the first has its turn before the second of any, so that nobody waits for all that
//! another brings. Where all can be afforded all have their turn at once.
//!
//! Not here: in which order those of one plan find a node.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use wk_api::Object;

use super::terms::REQUIRED;

/// Pods of one plan. What is left is planned when these are bound, on newer news.
const PODS_MAX: usize = 500;

/// What the pods of one plan cost, in steps of some ten nanoseconds: a tenth of a second.
const COST_MAX: u64 = 5_000_000;

/// What one pod costs at most, or it is told that this is too much: half a second. That is a weight of 2,000, some hundred
/// rules, beside ten thousand pods.
const COST_OF_POD_MAX: u64 = 20_000_000;

/// What a look at a node costs in such steps.
const COST_OF_NODE: u64 = 20;

/// How much the rules may weigh by which a pod keeps others away: each pod that comes later is held against them.
pub(super) const REPELS_MAX: u64 = 2_000;

/// How much there is to look at for the sake of a pod.
#[derive(Debug, Clone, Copy, Default)]
pub struct Size {
    /// Nodes.
    pub nodes: usize,
    /// Pods that have a node.
    pub placed: usize,
    /// What the rules weigh by which those keep others away ([`repels`]).
    pub repels: u64,
}

/// A pod that waits, as far as it matters to whose turn it is.
#[derive(Debug, Clone, Copy)]
pub struct Waiting<'a> {
    /// `metadata.uid`.
    pub uid: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// How much it matters.
    pub priority: i64,
    /// A larger number for who came later.
    pub since: u64,
}

/// Who of those that wait had their turn since all of them last had.
#[derive(Debug, Default)]
pub struct Round {
    /// By uid; and whether they come among the first again.
    had: BTreeMap<String, bool>,
}

impl Round {
    /// Those that wait, each with what it is known by, in the order of their turns.
    pub fn in_order<T>(&self, waiting: Vec<(Waiting<'_>, T)>) -> impl Iterator<Item = T> {
        let comes_later = |pod: &Waiting<'_>| self.had.get(pod.uid).is_some_and(|again| !again);
        let mut all: Vec<_> = waiting.into_iter().map(|(pod, known)| (comes_later(&pod), pod, known)).collect();
        all.sort_by_key(|(later, pod, _)| (*later, Reverse(pod.priority), pod.since));
        let mut before: BTreeMap<(bool, &str), usize> = BTreeMap::new();
        let mut ranked = Vec::with_capacity(all.len());
        for (later, pod, known) in all {
            let rank = before.entry((later, pod.namespace)).or_default();
            ranked.push((later, *rank, known));
            *rank += 1;
        }
        ranked.sort_by_key(|(later, rank, _)| (*later, *rank));
        ranked.into_iter().map(|(_, _, known)| known)
    }

    /// `pod` has had its turn.
    pub(super) fn had(&mut self, pod: &Object) {
        self.had.insert(pod.uid().to_owned(), false);
    }

    /// `pod` has had its turn, and is there each time: others would take the room that is made for it.
    pub(super) fn again(&mut self, pod: &Object) {
        self.had.insert(pod.uid().to_owned(), true);
    }

    /// It was not all that a turn is.
    pub(super) fn had_not(&mut self, pod: &Object) {
        self.had.remove(pod.uid());
    }

    /// Whether nobody has had a turn yet.
    pub fn is_new(&self) -> bool {
        self.had.is_empty()
    }

    /// Whether all of `waiting`, which are uids, have had their turn; if so, another round begins.
    pub fn ends<'a>(&mut self, waiting: impl Iterator<Item = &'a str>) -> bool {
        let waiting: BTreeSet<&str> = waiting.collect();
        self.had.retain(|uid, _| waiting.contains(uid.as_str()));
        let ends = self.had.len() == waiting.len();
        if ends {
            self.had.clear();
        }
        ends
    }
}

/// What one plan may spend on pods, and has not spent.
#[derive(Debug)]
pub struct Purse {
    size: Size,
    left: u64,
    pods: usize,
    /// What keeps pods away is worked out once for all of a namespace that have the same labels.
    kin: BTreeSet<(String, Vec<(String, String)>)>,
}

impl Purse {
    /// A full one.
    pub fn of(size: Size) -> Self {
        Self { size, left: COST_MAX, pods: 0, kin: BTreeSet::new() }
    }

    /// Whether there is enough left for `pod`, which is then spent. There always is for the first.
    pub fn affords(&mut self, pod: &Object) -> bool {
        let mut cost = cost(pod, &self.size);
        let labels = || pod.labels().into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        if self.size.repels > 0 && self.kin.insert((pod.namespace().to_owned(), labels())) {
            cost = cost.saturating_add(self.size.repels);
        }
        let affords = self.pods == 0 || self.pods < PODS_MAX && cost <= self.left;
        self.left = self.left.saturating_sub(cost);
        self.pods += 1;
        affords
    }
}

/// What it costs to look for a node for `pod`.
fn cost(pod: &Object, size: &Size) -> u64 {
    let places = ["/spec/affinity/nodeAffinity", "/spec/nodeSelector", "/spec/tolerations"];
    let places: u64 = places.iter().filter_map(|field| pod.at(field)).map(weight).sum();
    let places = places.saturating_add(count(pod.items("/spec/volumes").len()));
    let beside = |pods: usize| count(pods).saturating_mul(about_others(pod));
    let of_nodes = count(size.nodes).saturating_mul(COST_OF_NODE.saturating_add(places));
    of_nodes.saturating_add(beside(size.nodes)).saturating_add(beside(size.placed))
}

/// Whether the rules of `pod` are more than can be worked out beside `placed` pods.
pub(super) fn is_too_much(pod: &Object, placed: usize) -> bool {
    repels(pod) > REPELS_MAX || count(placed).saturating_mul(about_others(pod)) > COST_OF_POD_MAX
}

/// What the rules of a pod about others weigh.
fn about_others(pod: &Object) -> u64 {
    let fields = ["/spec/affinity/podAffinity", "/spec/affinity/podAntiAffinity", "/spec/topologySpreadConstraints"];
    fields.iter().filter_map(|field| pod.at(field)).map(weight).sum()
}

/// What the rules weigh by which `pod` keeps others away.
pub fn repels(pod: &Object) -> u64 {
    pod.at(&format!("/spec/affinity/podAntiAffinity/{REQUIRED}")).map_or(0, weight)
}

/// How much is written there: each word of a rule may be one more thing to compare.
pub(super) fn weight(value: &Value) -> u64 {
    match value {
        Value::Object(members) => members.values().map(weight).sum::<u64>().max(1),
        Value::Array(items) => items.iter().map(weight).sum::<u64>().max(1),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(namespace: &str, name: &str, rules: usize) -> Object {
        let term = json!({"podAffinityTerm": {"topologyKey": "zone", "namespaceSelector": {}}, "weight": 1});
        let affinity = json!({"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": vec![term; rules]}});
        Object::new(json!({"metadata": {"name": name, "namespace": namespace, "uid": format!("{namespace}/{name}"),
            "labels": {"app": name}}, "spec": {"affinity": affinity}}))
    }

    /// The uids of those whose turn it is, which they then have had.
    fn turn(round: &mut Round, pods: &[Object], size: Size) -> Vec<String> {
        let line = pods.iter().zip(0..).map(|(pod, since)| {
            let priority = if pod.name() == "urgent" { 9 } else { 0 };
            (Waiting { uid: pod.uid(), namespace: pod.namespace(), priority, since }, pod)
        });
        let mut purse = Purse::of(size);
        let turn: Vec<&Object> = round.in_order(line.collect()).take_while(|pod| purse.affords(pod)).collect();
        for pod in &turn {
            round.had(pod);
        }
        turn.iter().map(|pod| pod.uid().to_owned()).collect()
    }

    const SIZE: Size = Size { nodes: 10, placed: 2_000, repels: 0 };

    #[test]
    fn what_one_brings_is_looked_at_in_pieces_and_others_do_not_wait_for_all_of_it() {
        let mut pods: Vec<Object> = (0..300).map(|number| pod("many", &number.to_string(), 200)).collect();
        pods.push(pod("few", "a", 0));
        pods.push(pod("few", "urgent", 0));
        let mut round = Round::default();
        let first = turn(&mut round, &pods, SIZE);
        assert_eq!(first[..4], ["few/urgent", "many/0", "many/1", "few/a"]);
        assert!((4..20).contains(&first.len()), "{}", first.len());
        // Who comes now is not behind those who had their turn, and all have it in the end.
        pods.push(pod("few", "b", 0));
        let mut seen = BTreeSet::from_iter(first);
        let mut looks = 1;
        while !round.ends(pods.iter().map(Object::uid)) {
            let next = turn(&mut round, &pods, SIZE);
            assert!(looks > 1 || next.contains(&"few/b".to_owned()), "{next:?}");
            seen.extend(next);
            looks += 1;
        }
        assert_eq!(seen.len(), pods.len());
        assert!((15..80).contains(&looks), "{looks}");
        assert_eq!(turn(&mut round, &pods, SIZE)[0], "few/urgent", "another round");
    }

    #[test]
    fn pods_that_cost_little_are_looked_at_by_the_hundred_and_one_is_however_much_it_costs() {
        let plain: Vec<Object> = (0..700).map(|number| pod("a", &number.to_string(), 0)).collect();
        assert_eq!(turn(&mut Round::default(), &plain, SIZE).len(), PODS_MAX);
        let dear = [pod("a", "0", 5_000), pod("a", "1", 5_000)];
        assert_eq!(turn(&mut Round::default(), &dear, SIZE), ["a/0"]);
        // Rules of those that are there cost once for each sort of pod that comes.
        let kept_away = Size { repels: COST_MAX / 10, ..SIZE };
        assert!(turn(&mut Round::default(), &plain, kept_away).len() < 10);
        let same: Vec<Object> = (0..700).map(|_| pod("a", "same", 0)).collect();
        let mut purse = Purse::of(kept_away);
        assert_eq!(same.iter().take_while(|pod| purse.affords(pod)).count(), PODS_MAX);
    }

    #[test]
    fn for_whom_room_is_made_is_there_each_time() {
        let pods: Vec<Object> = (0..3).map(|number| pod("a", &number.to_string(), 5_000)).collect();
        let mut round = Round::default();
        assert_eq!(turn(&mut round, &pods, SIZE), ["a/0"]);
        round.again(&pods[0]);
        assert_eq!(turn(&mut round, &pods, SIZE), ["a/0"]);
        round.had(&pods[0]);
        assert_eq!(turn(&mut round, &pods, SIZE), ["a/1"]);
        round.had_not(&pods[0]);
        assert_eq!(turn(&mut round, &pods, SIZE), ["a/0"]);
    }
}
