//! Making room for a pod that matters more: which pods go, from which node.
//!
//! Who goes, and the order in which nodes are preferred: `k8s.io/kubernetes/pkg/scheduler/framework/preemption`. What is
//! freed are resources: pods that another keeps away by a rule about places are not helped. Not here: when a pod is bound,
//! which a later plan does once the room is there.

use std::cell::LazyCell;
use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::SignedDuration;
use wk_api::requests::{self, Amounts};
use wk_api::strategy::{self, Disruption};
use wk_api::{Object, kinds};
use wk_base::time::Timestamp;

use super::disks::Disks;
use super::rules::Rules;
use super::{Candidate, Input, Placed, SCHEDULER_NAME, filter};
use crate::order::{Event, EventType, Order, Target};
use crate::read;

/// Who is gone by then is waited for in place of sending others away: twice the grace of pods that ask for no other.
const SOON: SignedDuration = SignedDuration::from_secs(60);

/// The grace of a pod that asks for no other (`spec.terminationGracePeriodSeconds`).
const GRACE: i64 = 30;

/// What a pod says of itself that goes for another.
const PREEMPTED: Disruption = Disruption {
    reason: "PreemptionByScheduler",
    message: "default-scheduler: preempting to accommodate a higher priority pod",
};

/// `spec.priority` of a pod, as it was admitted.
pub(super) fn priority(pod: &Object) -> i64 {
    pod.int("/spec/priority").unwrap_or_default()
}

/// The node on which room is made for it (`status.nominatedNodeName`); empty without one.
pub(super) fn nominated(pod: &Object) -> &str {
    pod.text("/status/nominatedNodeName")
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
    let have: Vec<Amounts> = nodes.iter().map(|node| requests::of_node(node)).collect();
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
        for (node, has) in nodes.iter().zip(&have) {
            let Some(promised) = staying.get(node.name()) else { continue };
            let will_do = filter::lacking(&asked, has, promised).is_empty() && filter::obstacle(pod, node).is_none();
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
    nodes: usize,
    /// What those ask for who matter less than some priority, on each node.
    lesser: BTreeMap<i64, Vec<Amounts>>,
    /// When those are gone who go by this plan.
    sent: BTreeMap<&'a str, Timestamp>,
    budgets: Budgets<'a>,
    now: Timestamp,
}

impl<'a> Rooms<'a> {
    pub(super) fn of(input: &Input<'a>, candidates: &[Candidate<'a>], now: Timestamp) -> Self {
        let number: BTreeMap<&str, usize> =
            candidates.iter().enumerate().map(|(index, candidate)| (candidate.node.name(), index)).collect();
        let mut placed = BTreeMap::<usize, Vec<&Placed<'_>>>::new();
        for one in input.placed {
            if let Some(index) = number.get(one.node) {
                placed.entry(*index).or_default().push(one);
            }
        }
        let (lesser, sent, budgets) = (BTreeMap::new(), BTreeMap::new(), Budgets::of(input.budgets));
        Self { placed, nodes: candidates.len(), lesser, sent, budgets, now }
    }

    /// Looks for room for `pod`, which fits nowhere.
    pub(super) fn find<'r>(
        &mut self,
        pod: &Object,
        asked: &Amounts,
        candidates: &[Candidate<'_>],
        disks: &Disks<'_>,
        rules: &LazyCell<Rules<'r>, impl FnOnce() -> Rules<'r>>,
    ) -> Room<'a> {
        if !may(pod) {
            return Room::Nowhere;
        }
        let own = priority(pod);
        let lesser = self.lesser_than(own);
        let could_be = |(index, candidate): &(usize, &Candidate<'_>)| {
            let least = candidate.promised.without(&lesser[*index]);
            lesser[*index].pods > 0
                && filter::lacking(asked, &candidate.has, &least).is_empty()
                && filter::obstacle(pod, candidate.node).is_none()
                && disks.refusal(pod, candidate.node).is_none()
                && rules.refusal(candidate.node).is_none()
        };
        let possible: Vec<(usize, &Candidate<'_>)> = candidates.iter().enumerate().filter(could_be).collect();
        if possible.is_empty() {
            return Room::Nowhere;
        }
        let fits =
            |candidate: &Candidate<'_>, promised: &Amounts| filter::lacking(asked, &candidate.has, promised).is_empty();
        let nominated = nominated(pod);
        if let Some((index, candidate)) = possible.iter().find(|(_, candidate)| candidate.node.name() == nominated) {
            // It waits for as long as those take who go for it.
            let (going, ..) = self.going(*index, own, |_| true);
            if fits(candidate, &candidate.promised.without(&going)) {
                return Room::Soon(*index);
            }
        }
        let mut soonest: Option<(Timestamp, usize)> = None;
        let mut best: Option<(Price, usize, Vec<&'a Placed<'a>>)> = None;
        for (index, candidate) in possible {
            let now = self.now;
            let (going, last, mut staying) = self.going(index, own, |by| by.duration_since(now).abs() <= SOON);
            let mut promised = candidate.promised.without(&going);
            if fits(candidate, &promised) {
                soonest = soonest.into_iter().chain([(last, index)]).min();
                continue;
            }
            // Only who is shown can be sent away by name.
            staying.retain(|one| one.pod.is_some());
            for one in &staying {
                promised = promised.without(&one.asked);
            }
            if !fits(candidate, &promised) {
                continue;
            }
            let (broken, victims) = self.victims(staying, promised, |promised| fits(candidate, promised));
            let price = Price::of(broken, &victims);
            if best.as_ref().is_none_or(|(least, ..)| price < *least) {
                best = Some((price, index, victims));
            }
        }
        match (soonest, best) {
            (Some((_, index)), _) => Room::Soon(index),
            (None, Some((_, index, victims))) => Room::For(index, victims),
            (None, None) => Room::Nowhere,
        }
    }

    /// What those ask for whose priority is lower, by node.
    fn lesser_than(&mut self, priority: i64) -> &[Amounts] {
        let (placed, nodes) = (&self.placed, self.nodes);
        self.lesser.entry(priority).or_insert_with(|| {
            let mut lesser = vec![Amounts::default(); nodes];
            for (index, all) in placed {
                all.iter().filter(|one| one.priority < priority).for_each(|one| lesser[*index].add(&one.asked));
            }
            lesser
        })
    }

    /// Of those on a node who matter less: what those ask for who go, by when the last of them is gone, and who stays. One
    /// that goes and is gone too late is neither: it holds its place, and would not go any faster.
    fn going(
        &self,
        node: usize,
        own: i64,
        in_time: impl Fn(Timestamp) -> bool,
    ) -> (Amounts, Timestamp, Vec<&'a Placed<'a>>) {
        let (mut going, mut last, mut staying) = (Amounts::default(), Timestamp::MIN, Vec::new());
        for one in self.placed.get(&node).into_iter().flatten().filter(|one| one.priority < own) {
            match self.goes_by(one) {
                Some(by) if in_time(by) => {
                    going.add(&one.asked);
                    last = last.max(by);
                }
                Some(_) => {}
                None => staying.push(*one),
            }
        }
        (going, last, staying)
    }

    /// When one is gone; None for one that stays.
    fn goes_by(&self, one: &Placed<'_>) -> Option<Timestamp> {
        let Some(pod) = one.pod else { return one.is_going.then_some(Timestamp::MAX) };
        let marked =
            || one.is_going.then(|| read::parse_time(pod.at("/metadata/deletionTimestamp")).unwrap_or(self.now));
        self.sent.get(pod.uid()).copied().or_else(marked)
    }

    /// Who of `all` has to go so that it `fits`, where there is so much besides them; and of how many that breaks a budget.
    fn victims(
        &mut self,
        mut all: Vec<&'a Placed<'a>>,
        mut promised: Amounts,
        fits: impl Fn(&Amounts) -> bool,
    ) -> (usize, Vec<&'a Placed<'a>>) {
        all.sort_by_cached_key(|one| (Reverse(one.priority), started(one), name(one)));
        let (guarded, others) = self.budgets.guarded(&all);
        let (mut broken, mut victims) = (0, Vec::new());
        // Each that there is room for stays: those first whose budgets would be broken, then those that matter most.
        for (one, is_guarded) in guarded.iter().map(|one| (*one, true)).chain(others.iter().map(|one| (*one, false))) {
            let mut with = promised;
            with.add(&one.asked);
            if fits(&with) {
                promised = with;
            } else {
                victims.push(one);
                broken += usize::from(is_guarded);
            }
        }
        (broken, victims)
    }

    /// `pod` gets its room on the node called `node` by sending `victims` away.
    pub(super) fn make(&mut self, pod: &Object, node: &str, victims: &[&'a Placed<'a>]) -> Vec<Order> {
        let mut orders = Vec::new();
        for victim in victims.iter().filter_map(|victim| victim.pod) {
            let grace = victim.int("/spec/terminationGracePeriodSeconds").unwrap_or(GRACE);
            let by = self.now.saturating_add(SignedDuration::from_secs(grace)).unwrap_or(Timestamp::MAX);
            self.sent.insert(victim.uid(), by);
            self.budgets.count(victim);
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

/// The budgets, with how many of their pods may go.
struct Budgets<'a> {
    all: Vec<(&'a Object, i64)>,
    /// Which of them each pod has that was asked about.
    of: BTreeMap<&'a str, Vec<usize>>,
}

impl<'a> Budgets<'a> {
    fn of(budgets: &[&'a Object]) -> Self {
        let allowed = |budget: &&'a Object| (*budget, budget.int("/status/disruptionsAllowed").unwrap_or_default());
        Self { all: budgets.iter().map(allowed).collect(), of: BTreeMap::new() }
    }

    /// Those whose going would break a budget, and the others.
    fn guarded(&mut self, all: &[&'a Placed<'a>]) -> (Vec<&'a Placed<'a>>, Vec<&'a Placed<'a>>) {
        let mut left: Vec<i64> = self.all.iter().map(|(_, allowed)| *allowed).collect();
        all.iter().copied().partition(|one| {
            let Some(pod) = one.pod else { return false };
            let mut breaks = false;
            for number in self.about(pod) {
                left[*number] -= 1;
                breaks |= left[*number] < 0;
            }
            breaks
        })
    }

    /// `pod` goes.
    fn count(&mut self, pod: &'a Object) {
        for number in self.about(pod).to_vec() {
            self.all[number].1 -= 1;
        }
    }

    /// The numbers of those that have a say about `pod`.
    fn about(&mut self, pod: &'a Object) -> &[usize] {
        let all = &self.all;
        self.of.entry(pod.uid()).or_insert_with(|| {
            let covers = |(_, (budget, _)): &(usize, &(&Object, i64))| is_covered(budget, pod);
            all.iter().enumerate().filter(covers).map(|(number, _)| number).collect()
        })
    }
}

/// Whether a budget has a say about `pod`, which it has not said goodbye to.
fn is_covered(budget: &Object, pod: &Object) -> bool {
    let is_gone = || read::map(budget, "/status/disruptedPods").is_some_and(|gone| gone.contains_key(pod.name()));
    budget.namespace() == pod.namespace() && !is_gone() && strategy::covers(budget, pod)
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
