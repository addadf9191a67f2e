//! Making room for a pod that matters more: which pods go, from which node.
//!
//! Who goes, and the order in which nodes are preferred: `k8s.io/kubernetes/pkg/scheduler/framework/preemption`. What is
//! freed are resources: pods that another keeps away by a rule about places are not helped. Not here: when a pod is bound,
//! which a later plan does once the room is there.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use wk_api::requests::{self, Amounts};
use wk_api::strategy::{self, Disruption};
use wk_api::{Object, kinds};
use wk_base::time::Timestamp;

use super::disks::Disks;
use super::rules::Rules;
use super::{Candidate, Input, Placed, SCHEDULER_NAME, filter};
use crate::order::{Event, EventType, Order, Target};
use crate::read;

/// Pods for which room is made by one plan: each is a look at all that have a node.
const ROOMS_MAX: usize = 20;

/// What a pod says of itself that goes for another.
const PREEMPTED: Disruption = Disruption {
    reason: "PreemptionByScheduler",
    message: "default-scheduler: preempting to accommodate a higher priority pod",
};

/// `spec.priority` of a pod, as it was admitted.
pub(super) fn priority(pod: &Object) -> i64 {
    pod.int("/spec/priority").unwrap_or_default()
}

/// Whether others may have to go for `pod`: it was told that it does not fit, and does not forgo it.
pub(super) fn may(pod: &Object) -> bool {
    let refused = crate::conditions::find(pod, "PodScheduled").is_some_and(|said| said["status"] == "False");
    refused && pod.text("/spec/preemptionPolicy") != "Never"
}

/// From which nodes pods of a lower priority may have to go, and of which: only these pods have to be shown to the planner.
/// Where no room can be made by sending away all that matter less, as for a pod that asks for more than any node has,
/// there is nobody to be shown.
pub fn rooms<'a>(waiting: &[&Object], placed: &[Placed<'a>], nodes: &[&'a Object]) -> BTreeMap<&'a str, i64> {
    let mut found = BTreeMap::new();
    // What stays on each node where anything may go, by the priority of who comes: there are few of these.
    let mut staying: BTreeMap<i64, BTreeMap<&str, Amounts>> = BTreeMap::new();
    for pod in waiting.iter().filter(|pod| may(pod)) {
        let (own, asked) = (priority(pod), requests::of_pod(pod));
        let staying = staying.entry(own).or_insert_with(|| {
            let lesser = placed.iter().filter(|one| one.priority < own);
            let mut stays: BTreeMap<&str, Amounts> = lesser.map(|one| (one.node, Amounts::default())).collect();
            for one in placed.iter().filter(|one| one.priority >= own) {
                if let Some(promised) = stays.get_mut(one.node) {
                    promised.add(&one.asked);
                }
            }
            stays
        });
        for node in nodes {
            let Some(promised) = staying.get(node.name()) else { continue };
            let will_do = filter::lacking(&asked, &requests::of_node(node), promised).is_empty()
                && filter::obstacle(pod, node).is_none();
            if will_do {
                let below = found.entry(node.name()).or_insert(own);
                *below = own.max(*below);
            }
        }
    }
    found
}

/// What becomes of a pod that fits nowhere.
pub(super) enum Room<'a> {
    /// It will fit on this node when those who leave it already are gone.
    Soon(usize),
    /// It will when these are gone, too.
    For(usize, Vec<&'a Placed<'a>>),
    /// Not even then.
    Nowhere,
}

/// The pods that have a node, and who of them has to go by this plan.
pub(super) struct Rooms<'a> {
    /// By the number of the node.
    placed: BTreeMap<usize, Vec<&'a Placed<'a>>>,
    going: BTreeSet<&'a str>,
    /// The budgets, with how many of their pods may go.
    budgets: Vec<(&'a Object, i64)>,
    made: usize,
}

impl<'a> Rooms<'a> {
    pub(super) fn of(input: &Input<'a>, candidates: &[Candidate<'a>]) -> Self {
        let number: BTreeMap<&str, usize> =
            candidates.iter().enumerate().map(|(index, candidate)| (candidate.node.name(), index)).collect();
        let mut placed = BTreeMap::<usize, Vec<&Placed<'_>>>::new();
        for one in input.placed {
            if let Some(index) = number.get(one.node) {
                placed.entry(*index).or_default().push(one);
            }
        }
        let allowed = |budget: &&'a Object| (*budget, budget.int("/status/disruptionsAllowed").unwrap_or_default());
        let budgets = input.budgets.iter().map(allowed).collect();
        Self { placed, going: BTreeSet::new(), budgets, made: 0 }
    }

    /// Looks for room for `pod`, which fits nowhere.
    pub(super) fn find(
        &self,
        pod: &Object,
        asked: &Amounts,
        candidates: &[Candidate<'_>],
        disks: &Disks<'_>,
        rules: &Rules<'_>,
    ) -> Room<'a> {
        if !may(pod) || self.made >= ROOMS_MAX {
            return Room::Nowhere;
        }
        let own = priority(pod);
        let mut best: Option<(Price, usize, Vec<&'a Placed<'a>>)> = None;
        for (index, candidate) in candidates.iter().enumerate() {
            let Some(placed) = self.placed.get(&index) else { continue };
            let stands_against = filter::obstacle(pod, candidate.node).is_some()
                || disks.refusal(pod, candidate.node).is_some()
                || rules.refusal(candidate.node).is_some();
            if stands_against {
                continue;
            }
            let fits = |promised: &Amounts| filter::lacking(asked, &candidate.has, promised).is_empty();
            let is_going = |one: &Placed<'_>| one.is_going || one.pod.is_some_and(|it| self.going.contains(it.uid()));
            let mut promised = candidate.promised;
            let lesser = placed.iter().copied().filter(|one| one.priority < own);
            let (going, staying): (Vec<&Placed<'_>>, Vec<&Placed<'_>>) = lesser.partition(|one| is_going(one));
            for one in &going {
                promised = promised.without(&one.asked);
            }
            if fits(&promised) {
                return Room::Soon(index);
            }
            // Only who is shown can be sent away by name.
            let mut staying: Vec<&'a Placed<'a>> = staying.into_iter().filter(|one| one.pod.is_some()).collect();
            for one in &staying {
                promised = promised.without(&one.asked);
            }
            if !fits(&promised) {
                continue;
            }
            staying.sort_by_key(|one| (Reverse(one.priority), started(one), name(one)));
            let (guarded, others) = self.guarded(&staying);
            let mut victims = Vec::new();
            let mut broken = 0;
            // Each that there is room for stays: those first whose budgets would be broken, then those that matter most.
            for (one, is_guarded) in
                guarded.iter().map(|one| (*one, true)).chain(others.iter().map(|one| (*one, false)))
            {
                let mut with = promised;
                with.add(&one.asked);
                if fits(&with) {
                    promised = with;
                } else {
                    victims.push(one);
                    broken += usize::from(is_guarded);
                }
            }
            let price = Price::of(broken, &victims);
            if best.as_ref().is_none_or(|(least, ..)| price < *least) {
                best = Some((price, index, victims));
            }
        }
        best.map_or(Room::Nowhere, |(_, index, victims)| Room::For(index, victims))
    }

    /// Those whose going would break a budget, and the others.
    fn guarded(&self, all: &[&'a Placed<'a>]) -> (Vec<&'a Placed<'a>>, Vec<&'a Placed<'a>>) {
        let mut left: Vec<i64> = self.budgets.iter().map(|(_, allowed)| *allowed).collect();
        all.iter().copied().partition(|one| {
            let Some(pod) = one.pod else { return false };
            let mut breaks = false;
            for (number, (budget, _)) in self.budgets.iter().enumerate() {
                if is_covered(budget, pod) {
                    left[number] -= 1;
                    breaks |= left[number] < 0;
                }
            }
            breaks
        })
    }

    /// `pod` gets its room on the node called `node` by sending `victims` away.
    pub(super) fn make(&mut self, pod: &Object, node: &str, victims: &[&'a Placed<'a>]) -> Vec<Order> {
        self.made += 1;
        let mut orders = Vec::new();
        for victim in victims.iter().filter_map(|victim| victim.pod) {
            self.going.insert(victim.uid());
            self.budgets.iter_mut().filter(|(budget, _)| is_covered(budget, victim)).for_each(|(_, left)| *left -= 1);
            let target = Target::version(&kinds::POD, victim);
            orders.push(Order::Evict { target, grace_period_seconds: None, why: PREEMPTED });
            orders.push(Order::Event(Event {
                regarding: Target::incarnation(&kinds::POD, victim),
                kind: EventType::Normal,
                reason: "Preempted",
                message: format!("Preempted by pod {} on node {node}", pod.uid()),
                component: SCHEDULER_NAME,
            }));
        }
        orders
    }
}

/// Whether a budget has a say about `pod`, which it has not said goodbye to.
fn is_covered(budget: &Object, pod: &Object) -> bool {
    let gone = read::map(budget, "/status/disruptedPods").is_some_and(|gone| gone.contains_key(pod.name()));
    budget.namespace() == pod.namespace() && !gone && strategy::covers(budget, pod)
}

fn started(one: &Placed<'_>) -> Timestamp {
    let time = |pod: &Object| read::parse_time(pod.at("/status/startTime"));
    one.pod.map_or(Timestamp::MAX, |pod| time(pod).unwrap_or_else(|| read::created(pod)))
}

fn name<'a>(one: &Placed<'a>) -> (&'a str, &'a str) {
    one.pod.map_or(("", ""), |pod| (pod.namespace(), pod.name()))
}

/// What it costs to make room on a node: the less, the better.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Price {
    broken_budgets: usize,
    highest: i64,
    sum: i64,
    count: usize,
    /// Who came last goes first.
    since: Reverse<Timestamp>,
}

impl Price {
    fn of(broken_budgets: usize, victims: &[&Placed<'_>]) -> Self {
        let highest = victims.iter().map(|one| one.priority).max().unwrap_or(i64::MIN);
        let of_highest = victims.iter().filter(|one| one.priority == highest).map(|one| started(one));
        Self {
            broken_budgets,
            highest,
            sum: victims.iter().map(|one| one.priority).sum(),
            count: victims.len(),
            since: Reverse(of_highest.min().unwrap_or(Timestamp::MAX)),
        }
    }
}
