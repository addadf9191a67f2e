//! Nodes whose disk failed: their store gave up, and they say so with their beats.
//!
//! Such a node lives, and its pods run on, but it learns nothing new: it is given no pod until its disk is mended.

use wk_api::{Object, kinds};
use wk_base::time::Timestamp;

use super::{COMPONENT, set_condition};
use crate::conditions::{self, Condition};
use crate::order::{Event, EventType, Order, Plan, Target};
use crate::read;

/// The condition of a node that says whether its store takes part in the cluster. A node without it is healthy.
pub const STORE_HEALTHY: &str = "StoreHealthy";

/// Says that `node`'s store gave up, or that it is back.
pub(super) fn plan(node: &Object, failure: Option<&str>, plan: &mut Plan, now: Timestamp) {
    let (status, reason, message) = match failure {
        Some(failure) if is_full(failure) => ("False", "DiskFull", failure),
        Some(failure) => ("False", "DiskFailed", failure),
        None => ("True", "DiskHealthy", "The node's store takes part in the cluster."),
    };
    let known = conditions::find(node, STORE_HEALTHY);
    let is_said = match known {
        Some(known) => {
            read::text(known, "status") == status && (failure.is_none() || read::text(known, "message") == message)
        }
        None => failure.is_none(),
    };
    if is_said {
        return;
    }
    let wanted = Condition { kind: STORE_HEALTHY, status, reason, message: message.to_owned() };
    plan.orders.push(set_condition(Target::version(&kinds::NODE, node), node, &wanted, now));
    if failure.is_some() {
        plan.say(format!("{}: its store gave up: {message}", node.name()));
        plan.orders.push(Order::Event(Event {
            regarding: Target::incarnation(&kinds::NODE, node),
            kind: EventType::Warning,
            reason,
            message: format!("The node's store gave up, and its pods run on: {message}"),
            component: COMPONENT,
        }));
    }
}

/// Whether the system's words are those of a disk, a quota or a file that may not grow.
fn is_full(failure: &str) -> bool {
    let failure = failure.to_ascii_lowercase();
    ["no space left", "quota exceeded", "file too large"].iter().any(|words| failure.contains(words))
}
