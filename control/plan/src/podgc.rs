//! Pods that nobody else would remove: those of nodes that are gone, those that ended before they had a node, and old
//! finished ones.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use wk_api::strategy::Disruption;
use wk_api::{Object, kinds};
use wk_base::time::Timestamp;

use crate::order::{Order, Plan, Target};
use crate::{pod, read};

/// Finished pods kept for whoever wants to read their end. Kubernetes keeps 12,500; a quarter of that is still far more
/// than anybody reads, and costs about 10 MiB at every peer.
const FINISHED_MAX: usize = 3000;

/// What such a pod says of itself, if somebody holds it and reads it.
const NODE_GONE: Disruption = Disruption { reason: "DeletionByPodGC", message: "PodGC: node no longer exists" };

/// What the decision is made from.
///
/// **Assumption.** The nodes are at least as new as the pods: a pod's node was there when the pod was bound.
pub struct Input<'a> {
    /// All pods.
    pub pods: &'a [&'a Object],
    /// All nodes.
    pub nodes: &'a [&'a Object],
    /// Since when those that pods name and that are not there are known to be missing.
    pub absent: &'a BTreeMap<String, Timestamp>,
}

/// A node has to be missing for this long, as in Kubernetes: one that is made anew, or comes a moment after its pod, keeps
/// its pods.
const QUARANTINE: SignedDuration = SignedDuration::from_secs(40);

/// Deletes what is left over.
pub fn plan(input: &Input<'_>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let nodes: BTreeSet<&str> = input.nodes.iter().map(|node| node.name()).collect();
    let mut finished = Vec::new();
    for pod in input.pods {
        let node = pod::node(pod);
        if !node.is_empty() && !nodes.contains(node) {
            let since = input.absent.get(node).copied().unwrap_or(now);
            let until = since.saturating_add(QUARANTINE).unwrap_or(Timestamp::MAX);
            if until > now {
                plan.say(format!(
                    "{}/{}: its node {node} is missing; waits until {until}",
                    pod.namespace(),
                    pod.name()
                ));
                plan.due_by(until);
                continue;
            }
            plan.say(format!("{}/{}: its node {node} is gone", pod.namespace(), pod.name()));
            let target = Target::incarnation(&kinds::POD, pod);
            plan.orders.push(Order::Evict { target, grace_period_seconds: Some(0), why: NODE_GONE });
        } else if node.is_empty() && pod.is_deleting() {
            plan.say(format!("{}/{}: ended before it had a node", pod.namespace(), pod.name()));
            plan.orders.push(remove(pod));
        } else if pod::is_finished(pod) && !pod.is_deleting() {
            finished.push(*pod);
        }
    }
    if finished.len() > FINISHED_MAX {
        let surplus = finished.len() - FINISHED_MAX;
        plan.say(format!("{} pods have finished, {FINISHED_MAX} are kept", finished.len()));
        finished.sort_by_key(|pod| (read::created(pod), pod.namespace(), pod.name()));
        plan.orders.extend(finished.into_iter().take(surplus).map(remove));
    }
    plan
}

fn remove(pod: &Object) -> Order {
    // Any version: nothing that a status could still say would save it.
    Order::Delete { target: Target::incarnation(&kinds::POD, pod), grace_period_seconds: Some(0), propagation: None }
}
