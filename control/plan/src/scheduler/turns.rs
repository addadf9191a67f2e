//! Whose turn it is: which of the pods that wait one plan is about.
//!
//! A pod costs what is looked at for its sake: each node, and each pod that has one beside each of its rules. Rules and
//! pods are as many as somebody writes, so a plan takes as many pods as it can afford, and the next ones go on.
//!
//! Namespaces take turns, and whose pod cost more sits out for longer: none gets more of the scheduler than another that has
//! pods waiting. In a namespace one half goes to who matters most, and among those to who had no turn yet; the other half
//! to who has waited longest since he came or had his last turn, so that everybody is looked at again.
//!
//! Not here: in which order those of one plan find a node.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use serde_json::Value;
use wk_api::Object;

use super::terms::REQUIRED;
use super::{Placed, preempt};

/// What the pods of one plan cost, in steps of some ten nanoseconds: a twentieth of a second.
const COST_MAX: u64 = 5_000_000;

/// What one pod costs at least. So a plan has five hundred at most, and what is left is planned on newer news.
const COST_OF_POD_MIN: u64 = COST_MAX / 500;

/// What it may cost to find a node for one, or it is told that this is too much: a fifth of a second. That is a weight of
/// 2,000, some hundred rules, beside ten thousand pods.
const COST_OF_POD_MAX: u64 = 20_000_000;

/// What a look at a node costs in such steps.
const COST_OF_NODE: u64 = 20;

/// What it costs to look at a pod that has a node, and may have to go.
const COST_OF_VICTIM: u64 = 30;

/// What it costs to read a word of a pod.
const COST_OF_WORD: u64 = 10;

/// How much the rules may weigh by which a pod keeps others away: each pod that comes later is held against them.
pub(super) const REPELS_MAX: u64 = 2_000;

/// How much there is to look at for the sake of a pod.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    nodes: u64,
    /// Pods that have a node.
    placed: u64,
    /// The least priority of those.
    lowest: i64,
    /// What the rules weigh by which those keep others away.
    repels: u64,
}

impl Size {
    /// So many nodes, and these pods on them, whose rules by which they keep others away weigh so much ([`repels`]).
    pub fn of(nodes: usize, placed: &[Placed<'_>], repels: u64) -> Self {
        let lowest = placed.iter().map(|one| one.priority).min().unwrap_or(i64::MAX);
        Self { nodes: count(nodes), placed: count(placed.len()), lowest, repels }
    }
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

/// Who of those that wait had a turn, and when the next one of each namespace is.
#[derive(Debug, Default)]
pub struct Turns {
    /// How many plans there were.
    plans: u64,
    /// The first plan that was made after the last news.
    news: u64,
    /// Those that wait, by uid.
    pods: BTreeMap<String, Turn>,
    spaces: BTreeMap<String, Space>,
    /// No namespace that waits has its turn in an earlier round.
    round: u64,
    /// The uid of who cost more than was left of the last plan. It is the first of the next one.
    postponed: Option<String>,
}

/// The last turn of a pod.
#[derive(Debug)]
struct Turn {
    /// In which plan that was, or after which the pod came.
    last: u64,
    was_had: bool,
}

/// The turns of a namespace.
#[derive(Debug)]
struct Space {
    /// The round of its next one.
    next: u64,
    /// How much more was spent on those that matter most than on those that have waited longest.
    lead: i64,
}

/// The pods of a namespace that have no turn yet in this plan, as places in the list of all, the first one last.
#[derive(Default)]
struct Lines {
    matter_most: Vec<usize>,
    waited_longest: Vec<usize>,
}

impl Turns {
    /// There is something that those that wait have not been held against: all are looked at again.
    pub fn news(&mut self) {
        self.news = self.plans + 1;
    }

    /// Whether all that wait were looked at since there were news.
    pub fn are_over(&self) -> bool {
        self.pods.values().all(|turn| turn.was_had && turn.last >= self.news)
    }

    /// Those of `waiting` that have their turn in the next plan. Each comes with what it is known by; `read` makes the pod of
    /// that, and is asked for few.
    pub fn take<T, P>(&mut self, waiting: &[(Waiting<'_>, T)], size: Size, read: impl Fn(&T) -> P) -> Vec<P>
    where
        P: Deref<Target = Object>,
    {
        self.begin(waiting);
        let postponed = self.postponed.take();
        let first = waiting.iter().position(|(pod, _)| Some(pod.uid) == postponed.as_deref());
        let (mut lines, mut heads) = (self.lines(waiting), BTreeSet::new());
        for (namespace, lines) in &mut lines {
            match first.filter(|at| waiting[*at].0.namespace == *namespace) {
                Some(at) => heads.extend([(0, Reverse(0), 0, at)]),
                None => heads.extend(self.head(waiting, namespace, lines)),
            }
        }
        let (mut purse, mut left, mut taken) = (Purse::of(size), COST_MAX, Vec::new());
        while let Some((.., at)) = heads.pop_first() {
            let (pod, known) = &waiting[at];
            let object = read(known);
            let cost = purse.cost(&object);
            // The first has its turn whatever it costs.
            if cost > left && !taken.is_empty() {
                self.postponed = Some(pod.uid.to_owned());
                break;
            }
            left = left.saturating_sub(cost);
            taken.push(object);
            self.spend(pod, cost);
            if let Some(lines) = lines.get_mut(pod.namespace) {
                heads.extend(self.head(waiting, pod.namespace, lines));
            }
        }
        taken
    }

    /// Forgets who waits no more, and learns of who is new. What a namespace had it owes also when it was away meanwhile; one
    /// that is new has its turn after those whose turn it is now.
    fn begin<T>(&mut self, waiting: &[(Waiting<'_>, T)]) {
        // Who is new has waited since the last plan.
        let last = self.plans;
        self.plans += 1;
        let uids: BTreeSet<&str> = waiting.iter().map(|(pod, _)| pod.uid).collect();
        self.pods.retain(|uid, _| uids.contains(uid.as_str()));
        for uid in uids {
            if !self.pods.contains_key(uid) {
                self.pods.insert(uid.to_owned(), Turn { last, was_had: false });
            }
        }
        let names: BTreeSet<&str> = waiting.iter().map(|(pod, _)| pod.namespace).collect();
        let waits = self.spaces.iter().filter(|(name, _)| names.contains(name.as_str()));
        let round = waits.map(|(_, space)| space.next).min().unwrap_or_default().max(self.round);
        self.round = round;
        self.spaces.retain(|name, space| space.next > round || names.contains(name.as_str()));
        for name in names {
            if !self.spaces.contains_key(name) {
                self.spaces.insert(name.to_owned(), Space { next: round + 1, lead: 0 });
            }
        }
    }

    fn lines<'a, T>(&self, waiting: &[(Waiting<'a>, T)]) -> BTreeMap<&'a str, Lines> {
        let mut all: Vec<_> = waiting.iter().enumerate().map(|(at, (pod, _))| (at, pod, &self.pods[pod.uid])).collect();
        let mut lines = BTreeMap::<&str, Lines>::new();
        all.sort_by_key(|(_, pod, turn)| Reverse((Reverse(pod.priority), turn.was_had, turn.last, pod.since)));
        for (at, pod, _) in &all {
            lines.entry(pod.namespace).or_default().matter_most.push(*at);
        }
        all.sort_by_key(|(_, pod, turn)| Reverse((turn.last, Reverse(pod.priority), pod.since)));
        for (at, pod, _) in &all {
            lines.entry(pod.namespace).or_default().waited_longest.push(*at);
        }
        lines
    }

    /// Who is next in a namespace, after the round in which that is and what goes before in one round.
    fn head<T>(
        &self,
        waiting: &[(Waiting<'_>, T)],
        namespace: &str,
        lines: &mut Lines,
    ) -> Option<(u64, Reverse<i64>, u64, usize)> {
        let space = &self.spaces[namespace];
        let line = if space.lead > 0 { &mut lines.waited_longest } else { &mut lines.matter_most };
        // Who had his turn from the other line is still in this one.
        let had = |at: usize| {
            let turn = &self.pods[waiting[at].0.uid];
            turn.was_had && turn.last == self.plans
        };
        let at = std::iter::from_fn(|| line.pop()).find(|at| !had(*at))?;
        let pod = &waiting[at].0;
        Some((space.next, Reverse(pod.priority), pod.since, at))
    }

    /// `pod` has its turn and costs so much.
    fn spend(&mut self, pod: &Waiting<'_>, cost: u64) {
        if let Some(space) = self.spaces.get_mut(pod.namespace) {
            space.next = space.next.saturating_add(cost / COST_OF_POD_MIN);
            let cost = i64::try_from(cost).unwrap_or(i64::MAX);
            let sign = if space.lead > 0 { -1 } else { 1 };
            space.lead = space.lead.saturating_add(cost.saturating_mul(sign));
        }
        if let Some(turn) = self.pods.get_mut(pod.uid) {
            *turn = Turn { last: self.plans, was_had: true };
        }
    }
}

/// What the pods of one plan cost.
struct Purse {
    size: Size,
    /// What keeps pods away is worked out once for all of a namespace that have the same labels.
    kin: BTreeSet<(String, Vec<(String, String)>)>,
}

impl Purse {
    fn of(size: Size) -> Self {
        Self { size, kin: BTreeSet::new() }
    }

    /// What it costs to read `pod` and to find a node or room for it.
    fn cost(&mut self, pod: &Object) -> u64 {
        let mut cost = weight(&pod.0).saturating_mul(COST_OF_WORD);
        if !is_too_much(pod, &self.size) {
            cost = cost.saturating_add(of_node(pod, &self.size)).saturating_add(of_room(pod, &self.size));
            let labels = || pod.labels().into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            if self.size.repels > 0 && self.kin.insert((pod.namespace().to_owned(), labels())) {
                cost = cost.saturating_add(self.size.repels);
            }
        }
        cost.max(COST_OF_POD_MIN)
    }
}

/// What it costs to look for a node for `pod`.
fn of_node(pod: &Object, size: &Size) -> u64 {
    let places = ["/spec/affinity/nodeAffinity", "/spec/nodeSelector", "/spec/tolerations"];
    let places: u64 = places.iter().filter_map(|field| pod.at(field)).map(weight).sum();
    let places = places.saturating_add(count(pod.items("/spec/volumes").len()));
    let beside_others = size.nodes.saturating_add(size.placed).saturating_mul(about_others(pod));
    size.nodes.saturating_mul(COST_OF_NODE.saturating_add(places)).saturating_add(beside_others)
}

/// What it costs to look for others that would have to go for it.
fn of_room(pod: &Object, size: &Size) -> u64 {
    let looks = preempt::may(pod) && preempt::priority(pod) > size.lowest;
    if looks { size.placed.saturating_mul(COST_OF_VICTIM) } else { 0 }
}

/// Whether the rules of `pod` are more than can be worked out beside so much.
pub(super) fn is_too_much(pod: &Object, size: &Size) -> bool {
    keeps_away(pod) > REPELS_MAX || of_node(pod, size) > COST_OF_POD_MAX
}

/// What the rules of a pod about others weigh.
fn about_others(pod: &Object) -> u64 {
    let fields = ["/spec/affinity/podAffinity", "/spec/affinity/podAntiAffinity", "/spec/topologySpreadConstraints"];
    fields.iter().filter_map(|field| pod.at(field)).map(weight).sum()
}

/// What the rules weigh by which a pod that has a node keeps others away. More than may be is never worked out
/// (`terms::Neighbour`): who binds a pod by hand is not to make others cost more.
pub fn repels(pod: &Object) -> u64 {
    keeps_away(pod).min(REPELS_MAX)
}

fn keeps_away(pod: &Object) -> u64 {
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
mod tests;
