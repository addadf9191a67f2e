//! Nodes: alive or silent, whether that sends their pods away, and which addresses a node's pods get.
//!
//! The facts are heartbeats that this leader heard itself. Silence is judged only over a time in which it could hear
//! ([`Input::hearing_since`]), and when most nodes fall silent at once it is taken for the leader's own deafness:
//! no pod is sent away then. Not here: which pods go, and when ([`crate::taints`]).

mod cidr;
mod disk;
mod tainted;

pub use disk::STORE_HEALTHY;
use tainted::Silence;

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use serde_json::{Value, json};
use wk_api::{Object, kinds};
use wk_base::time::Timestamp;

use crate::conditions::{self, Condition};
use crate::order::{Event, EventType, Order, Plan, Target};
use crate::{pod, read};

/// Silence after which a node counts as not ready. Nodes beat once a second, so three beats in a row were lost.
pub const SILENT_AFTER: SignedDuration = SignedDuration::from_secs(4);

const COMPONENT: &str = "node-controller";
const UNKNOWN_REASON: &str = "NodeStatusUnknown";
const FAILED_REASON: &str = "StoreFailed";

/// What the decision is made from.
pub struct Input<'a> {
    /// All nodes.
    pub nodes: &'a [&'a Object],
    /// All pods.
    pub pods: &'a [&'a Object],
    /// When this leader last heard from each node, by name.
    pub heard: &'a BTreeMap<String, Timestamp>,
    /// Why the store of a node gave up, by the node's name: those that said so with their last beat.
    pub failures: &'a BTreeMap<&'a str, &'a str>,
    /// Since when this leader hears: it took over then, or woke from a pause. Every node has a full grace from here.
    pub hearing_since: Timestamp,
}

/// Readiness, taints and address ranges of all nodes.
pub fn plan(input: &Input<'_>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let mut silent: BTreeSet<&str> = BTreeSet::new();
    for node in input.nodes {
        let heard = input.heard.get(node.name()).copied();
        let quiet = now.duration_since(last_sign(node, heard, input.hearing_since));
        if quiet >= SILENT_AFTER {
            silent.insert(node.name());
        } else {
            plan.due_by(now.saturating_add(SILENT_AFTER - quiet).unwrap_or(Timestamp::MAX));
        }
        // What was heard before this leader listened, or long ago, is no sign of life today.
        let is_heard = heard.is_some_and(|at| at >= input.hearing_since && now.duration_since(at) < SILENT_AFTER);
        let failure = input.failures.get(node.name()).copied().filter(|_| is_heard);
        readiness(node, is_heard, quiet, failure.is_some(), &mut plan, now);
        if is_heard {
            disk::plan(node, failure, &mut plan, now);
        }
    }
    let is_deaf = silent.len() * 2 > input.nodes.len();
    if is_deaf {
        plan.say(format!(
            "{} of {} nodes are silent at once: that may be this leader's own network, so no pod is evicted",
            silent.len(),
            input.nodes.len()
        ));
    } else {
        unready(input.pods, &silent, &mut plan, now);
    }
    for node in input.nodes {
        let silence = if !silent.contains(node.name()) {
            Silence::None
        } else if is_deaf {
            Silence::OfMost
        } else {
            Silence::Own
        };
        plan.orders.extend(tainted::plan(node, silence, now));
    }
    plan.extend(cidr::plan(input.nodes));
    plan
}

fn last_sign(node: &Object, heard: Option<Timestamp>, hearing_since: Timestamp) -> Timestamp {
    let heard = heard.unwrap_or(Timestamp::UNIX_EPOCH);
    heard.max(hearing_since).max(read::created(node))
}

/// Ready turns Unknown when a node falls silent, and False when its store gave up: it learns of no pod and of no
/// deletion any more. It turns True again when it was that and is no longer.
fn readiness(node: &Object, is_heard: bool, quiet: SignedDuration, failed: bool, plan: &mut Plan, now: Timestamp) {
    let ready = conditions::find(node, "Ready");
    let status = ready.map_or("", |ready| read::text(ready, "status"));
    let reason = ready.map_or("", |ready| read::text(ready, "reason"));
    let is_silent = quiet >= SILENT_AFTER;
    let was_ready = status == "True" || ready.is_none();
    let turned_silent = is_silent && status != "Unknown";
    let (status, reason, message) = if turned_silent {
        plan.say(format!("{}: silent for {:.1} s", node.name(), quiet.as_secs_f64()));
        ("Unknown", UNKNOWN_REASON, "The node's heartbeats stopped.")
    } else if is_heard && failed {
        if status == "False" {
            return;
        }
        ("False", FAILED_REASON, "The node's store gave up: it runs on with the pods it has, and learns nothing new.")
    } else if is_heard && status == "False" && reason == FAILED_REASON {
        ("True", "NodeReady", "The node's store takes part in the cluster again.")
    } else if is_heard && status == "Unknown" && reason == UNKNOWN_REASON {
        plan.say(format!("{}: heard again", node.name()));
        ("True", "NodeReady", "The node's heartbeats arrive.")
    } else {
        return;
    };
    let wanted = Condition { kind: "Ready", status, reason, message: message.to_owned() };
    plan.orders.push(set_condition(Target::version(&kinds::NODE, node), node, &wanted, now));
    if (turned_silent || failed) && was_ready {
        plan.orders.push(Order::Event(Event {
            regarding: Target::incarnation(&kinds::NODE, node),
            kind: EventType::Normal,
            reason: "NodeNotReady",
            message: format!("Node {} status is now: NodeNotReady", node.name()),
            component: COMPONENT,
        }));
    }
}

fn set_condition(target: Target, object: &Object, wanted: &Condition, now: Timestamp) -> Order {
    let mut list = object.items("/status/conditions").to_vec();
    conditions::set(&mut list, wanted, None, now);
    Order::Status { target, change: json!({"status": {"conditions": list}}) }
}

/// Pods of silent nodes stop counting as ready.
fn unready(pods: &[&Object], silent: &BTreeSet<&str>, plan: &mut Plan, now: Timestamp) {
    let counts = |pod: &&&Object| !pod::is_finished(pod) && pod::is_ready(pod) && silent.contains(pod::node(pod));
    plan.orders.extend(pods.iter().filter(counts).map(|pod| not_ready(pod, pod::node(pod), now)));
}

fn not_ready(pod: &Object, node: &str, now: Timestamp) -> Order {
    let message = format!("node {node} is silent");
    let wanted = |kind| Condition { kind, status: "False", reason: "NodeNotReady", message: message.clone() };
    let mut list: Vec<Value> = pod.items("/status/conditions").to_vec();
    for kind in ["Ready", "ContainersReady"] {
        conditions::set(&mut list, &wanted(kind), None, now);
    }
    let target = Target::version(&kinds::POD, pod);
    Order::Status { target, change: json!({"status": {"conditions": list}}) }
}
