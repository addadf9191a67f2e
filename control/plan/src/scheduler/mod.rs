//! The scheduler: which node each waiting pod runs on.
//!
//! The waiting pods whose turn it is are planned on one snapshot, one after the other, each counted at once. Here: the order
//! and the choice; `turns` says whose turn it is, [`requests`] counts what is asked for and what there is, [`filter`] says why
//! a node will not do, `rules` what others that are placed have to do with it, `score` which node is best, `preempt` who goes
//! where none will do.
//!
//! Not here: moving pods that run.

mod disks;
mod filter;
mod preempt;
mod rules;
mod score;
mod terms;
#[cfg(test)]
mod tests;
mod turns;

use std::cell::LazyCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use serde_json::{Map, Value, json};
use wk_api::requests::{self, Amounts};
use wk_api::{Object, kinds};
use wk_base::time::Timestamp;

use crate::conditions::{self, Condition};
use crate::order::{Event, EventType, Order, Plan, Target};
use crate::{owned, pod, read};
use disks::Disks;
pub(crate) use filter::fits as tolerates;
pub use preempt::rooms;
use preempt::{Room, Rooms};
use rules::{Neighbours, Rules};
pub use terms::{Interest, interests};
pub use turns::{Size, Turns, Waiting, repels};

/// The name by which pods ask for this scheduler.
const SCHEDULER_NAME: &str = "default-scheduler";

/// Pods that one plan tells why they wait. Each is a write, and nothing can be bound while those are under way; the next
/// look goes on with the others.
const REFUSALS_MAX: usize = 100;

/// After [`REFUSALS_MAX`], look again no later than this, in case none of those writes went through and woke us.
const REFUSALS_REST: SignedDuration = SignedDuration::from_secs(1);

/// Between two reasons of one pod: with every node that comes, goes or fills up the numbers change for all that wait.
const REASON_HOLDS: SignedDuration = SignedDuration::from_secs(10);

/// When a reason was said: unlike `lastTransitionTime` it moves with the message.
const SAID_AT: &str = "lastProbeTime";

/// What the decision is made from.
pub struct Input<'a> {
    /// The pods that have no node and whose turn it is ([`Turns`]), and those that use claims. Others that have a node may be
    /// among them.
    pub pods: &'a [&'a Object],
    /// All that wait and for which room is made, whether or not it is their turn.
    pub nominated: &'a [Nominated<'a>],
    /// What is on the nodes, of all pods.
    pub placed: &'a [Placed<'a>],
    /// All nodes.
    pub nodes: &'a [&'a Object],
    /// All claims.
    pub claims: &'a [&'a Object],
    /// All volumes.
    pub volumes: &'a [&'a Object],
    /// All namespaces: rules may be about those with some label.
    pub namespaces: &'a [&'a Object],
    /// All disruption budgets.
    pub budgets: &'a [&'a Object],
}

/// A pod that has a node, as far as it matters to others.
#[derive(Debug, Clone, Copy)]
pub struct Placed<'a> {
    /// The node's name.
    pub node: &'a str,
    /// The uid of the pod's controller, unless the pod is on its way out.
    pub sibling_of: Option<&'a str>,
    /// What it asks for.
    pub asked: Amounts,
    /// How much it matters: `spec.priority`.
    pub priority: i64,
    /// It is on its way out.
    pub is_going: bool,
    /// The pod, where it is one of [`interests`], keeps others away itself, or may have to go ([`rooms`]).
    pub pod: Option<&'a Object>,
}

/// A pod that waits for room that is made for it, as far as it matters to others.
#[derive(Debug, Clone, Copy)]
pub struct Nominated<'a> {
    /// `metadata.uid`.
    pub uid: &'a str,
    /// Where: `status.nominatedNodeName`.
    pub node: &'a str,
    /// What it asks for.
    pub asked: Amounts,
    /// How much it matters.
    pub priority: i64,
}

/// A node and what is promised on it.
struct Candidate<'a> {
    node: &'a Object,
    has: Amounts,
    promised: Amounts,
    /// Pods here by the uid of their controller.
    siblings: BTreeMap<&'a str, u64>,
}

/// Binds what fits, and says of the rest why it does not.
pub fn plan(input: &Input<'_>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let mut waiting: Vec<&Object> = input.pods.iter().copied().filter(|pod| is_waiting(pod)).collect();
    if waiting.is_empty() {
        return plan;
    }
    // Of those that matter as much they go first for whom others went.
    waiting.sort_by_cached_key(|pod| {
        let first = (Reverse(preempt::priority(pod)), preempt::nominated(pod).is_empty());
        (first, read::created(pod), pod.namespace(), pod.name())
    });
    let (mut candidates, mut neighbours) = candidates(input);
    let mut kept = kept(input, &waiting, &candidates).into_iter().peekable();
    let mut rooms = Rooms::of(input, &candidates, now);
    let mut disks = Disks::of(input);
    let size = Size::of(input.nodes.len(), input.placed, 0);
    let (mut bound, mut refused, mut waits) = (0, 0, 0_usize);
    for pod in waiting {
        while let Some((room, index)) = kept.next_if(|(room, _)| room.priority >= preempt::priority(pod)) {
            candidates[index].take(None, &room.asked);
        }
        let asked = requests::of_pod(pod);
        let (message, room) = match look(pod, &asked, &size, &candidates, &neighbours, &disks, &mut rooms) {
            Ok(index) => {
                let candidate = &mut candidates[index];
                candidate.take(owned::controller_uid(pod), &asked);
                disks.take(pod, candidate.node.name());
                neighbours.add(pod, index);
                plan.orders.extend(bind(pod, candidate.node.name()));
                bound += 1;
                continue;
            }
            Err(refusal) => refusal,
        };
        waits += 1;
        if let Room::Soon(index) | Room::For(index, _) = room {
            // Nobody who matters less takes what is about to be free.
            candidates[index].take(None, &asked);
        }
        if let Room::For(index, victims) = room {
            let node = candidates[index].node.name();
            plan.say(format!("{}/{}: {} pods go from {node}", pod.namespace(), pod.name(), victims.len()));
            plan.orders.extend(rooms.make(pod, node, &victims));
            plan.orders.extend(nominate(pod, node));
            continue;
        }
        if waits <= REFUSALS_MAX {
            plan.say(format!("{}/{} waits: {message}", pod.namespace(), pod.name()));
        }
        if refused < REFUSALS_MAX {
            let has_room =
                matches!(room, Room::Soon(index) if candidates[index].node.name() == preempt::nominated(pod));
            let refusal = refuse(pod, &message, has_room, now);
            refused += usize::from(!refusal.orders.is_empty());
            plan.extend(refusal);
        }
    }
    if waits > REFUSALS_MAX {
        plan.say(format!("{} pods more wait", waits - REFUSALS_MAX));
    }
    if refused == REFUSALS_MAX {
        plan.due_by(now.saturating_add(REFUSALS_REST).unwrap_or(Timestamp::MAX));
    }
    if bound > 0 {
        plan.say(format!("{bound} pods find a node"));
    }
    plan
}

/// What is kept for those whose turn it is not, those that matter most first, and on which candidate.
fn kept<'a>(input: &Input<'a>, waiting: &[&Object], candidates: &[Candidate<'_>]) -> Vec<(&'a Nominated<'a>, usize)> {
    let have_turns: BTreeSet<&str> = waiting.iter().map(|pod| pod.uid()).collect();
    let place = |room: &'a Nominated<'a>| {
        let index = candidates.binary_search_by(|candidate| candidate.node.name().cmp(room.node)).ok()?;
        (!have_turns.contains(room.uid)).then_some((room, index))
    };
    let mut kept: Vec<_> = input.nominated.iter().filter_map(place).collect();
    kept.sort_by_key(|(room, _)| Reverse(room.priority));
    kept
}

/// Whether a pod waits for this scheduler to give it a node.
pub fn is_waiting(pod: &Object) -> bool {
    let scheduler = pod.text("/spec/schedulerName");
    pod::node(pod).is_empty()
        && pod::is_active(pod)
        && (scheduler.is_empty() || scheduler == SCHEDULER_NAME)
        && pod.items("/spec/schedulingGates").is_empty()
}

/// The nodes by their names, with what is on them.
fn candidates<'a>(input: &Input<'a>) -> (Vec<Candidate<'a>>, Neighbours<'a>) {
    let mut nodes: Vec<&Object> = input.nodes.to_vec();
    nodes.sort_by_key(|node| node.name());
    let index: BTreeMap<&str, usize> = nodes.iter().enumerate().map(|(index, node)| (node.name(), index)).collect();
    let mut candidates: Vec<Candidate<'_>> = nodes.iter().copied().map(Candidate::of).collect();
    let mut neighbours = Neighbours::new(nodes.clone(), input.namespaces);
    for placed in input.placed {
        if let Some(index) = index.get(placed.node) {
            candidates[*index].take(placed.sibling_of, &placed.asked);
            if let Some(pod) = placed.pod {
                neighbours.add(pod, *index);
            }
        }
    }
    (candidates, neighbours)
}

impl<'a> Candidate<'a> {
    fn of(node: &'a Object) -> Self {
        let has = requests::of_node(node);
        Self { node, has, promised: Amounts::default(), siblings: BTreeMap::new() }
    }

    fn take(&mut self, sibling_of: Option<&'a str>, asked: &Amounts) {
        self.promised.add(asked);
        if let Some(owner) = sibling_of {
            *self.siblings.entry(owner).or_default() += 1;
        }
    }
}

/// The node for a pod; else why there is none, and what becomes of it.
fn look<'a>(
    pod: &'a Object,
    asked: &Amounts,
    size: &Size,
    candidates: &[Candidate<'a>],
    neighbours: &Neighbours<'a>,
    disks: &Disks<'a>,
    rooms: &mut Rooms<'a>,
) -> Result<usize, (String, Room<'a>)> {
    if turns::is_too_much(pod, size) {
        // No number of pods: with each that comes or goes it would be another message.
        let nodes = candidates.len();
        let message = format!("0/{nodes} nodes are available: the pod has more rules than can be worked out.");
        return Err((message, Room::Nowhere));
    }
    let rules = LazyCell::new(|| Rules::of(pod, neighbours));
    choose(pod, asked, candidates, disks, &rules)
        .map_err(|message| (message, rooms.find(pod, asked, candidates, disks, &rules)))
}

/// The best of the nodes that will do; why none will. Rules about others are worked out where nothing else is in the way.
fn choose<'a>(
    pod: &Object,
    asked: &Amounts,
    candidates: &[Candidate<'_>],
    disks: &Disks<'_>,
    rules: &LazyCell<Rules<'a>, impl FnOnce() -> Rules<'a>>,
) -> Result<usize, String> {
    if candidates.is_empty() {
        return Err("no nodes available to schedule pods".to_owned());
    }
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut good = Vec::new();
    for (index, candidate) in candidates.iter().enumerate() {
        let mut refused = filter::refusals(pod, asked, candidate.node, &candidate.has, &candidate.promised);
        if refused.is_empty() {
            refused.extend(disks.refusal(pod, candidate.node));
        }
        if refused.is_empty() {
            refused.extend(rules.refusal(candidate.node).map(str::to_owned));
        }
        if refused.is_empty() {
            good.push(index);
        }
        for reason in refused {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    if good.is_empty() {
        let reasons: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        return Err(format!("0/{} nodes are available: {}.", candidates.len(), sorted(reasons).join(", ")));
    }
    Ok(score::best(pod, asked, rules, candidates, &good))
}

/// As Kubernetes lists them: by the whole text, count first.
fn sorted(mut reasons: Vec<String>) -> Vec<String> {
    reasons.sort();
    reasons
}

fn bind(pod: &Object, node: &str) -> [Order; 2] {
    let event = Event {
        regarding: Target::incarnation(&kinds::POD, pod),
        kind: EventType::Normal,
        reason: "Scheduled",
        message: format!("Successfully assigned {}/{} to {node}", pod.namespace(), pod.name()),
        component: SCHEDULER_NAME,
    };
    [Order::Bind { target: Target::version(&kinds::POD, pod), node: node.to_owned() }, Order::Event(event)]
}

/// Says of a pod for which node room is made.
fn nominate(pod: &Object, node: &str) -> Option<Order> {
    let change = json!({"status": {"nominatedNodeName": node}});
    let is_news = preempt::nominated(pod) != node;
    is_news.then(|| Order::Status { target: Target::version(&kinds::POD, pod), change })
}

/// Tells the pod why it waits: once for each reason, and not a new one each moment. Where no room is made for it any more
/// that is said at once: what is kept for it is kept from others.
fn refuse(pod: &Object, message: &str, has_room: bool, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let mut status = Map::new();
    if !has_room && !preempt::nominated(pod).is_empty() {
        status.insert("nominatedNodeName".to_owned(), Value::Null);
    }
    let said = conditions::find(pod, "PodScheduled").filter(|said| said["status"] == "False");
    let said_at = said.and_then(|said| read::parse_time(said.get(SAID_AT)));
    // Either way: a clock that was set back does not silence the pod.
    let holds = said_at.filter(|at| now.duration_since(*at).abs() < REASON_HOLDS);
    let is_said = said.is_some_and(|said| said["message"] == message);
    if let Some(at) = holds.filter(|_| !is_said) {
        plan.due_by(at.saturating_add(REASON_HOLDS).unwrap_or(Timestamp::MAX));
    } else if !is_said {
        let wanted =
            Condition { kind: "PodScheduled", status: "False", reason: "Unschedulable", message: message.to_owned() };
        let mut list = pod.items("/status/conditions").to_vec();
        conditions::set(&mut list, &wanted, Some(SAID_AT), now);
        status.insert("conditions".to_owned(), list.into());
        plan.orders.push(Order::Event(Event {
            regarding: Target::incarnation(&kinds::POD, pod),
            kind: EventType::Warning,
            reason: "FailedScheduling",
            message: message.to_owned(),
            component: SCHEDULER_NAME,
        }));
    }
    if !status.is_empty() {
        let target = Target::version(&kinds::POD, pod);
        plan.orders.insert(0, Order::Status { target, change: json!({"status": status}) });
    }
    plan
}
