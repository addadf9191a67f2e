//! Taints of nodes that are not ready: they send pods away (`NoExecute`), as Kubernetes' controller puts them.
//!
//! Those that keep pods away are written with the Node itself ([`wk_api::taints::follow`]); here is only seen to it that they
//! are, after a member of an older version wrote it.

use serde_json::json;
use wk_api::taints::{self, NO_EXECUTE, NOT_READY, UNREACHABLE};
use wk_api::{Object, kinds};
use wk_base::time::Timestamp;

use crate::conditions;
use crate::order::{Order, Target};

/// Whether this leader hears a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// It does, or has not listened for long enough to say.
    None,
    /// It does not.
    Own,
    /// It hears most nodes no more: it may be deaf.
    OfMost,
}

/// Brings the node's taints up to date.
pub(super) fn plan(node: &Object, silence: Silence, now: Timestamp) -> Option<Order> {
    let kept = taints::following(node, now);
    let current = kept.as_deref().unwrap_or(node.items("/spec/taints"));
    let with = |wanted: &[&str]| taints::with(current, NO_EXECUTE, &[NOT_READY, UNREACHABLE], wanted, now);
    let new = match (sent_away(node), silence) {
        // Somebody else found it silent; this leader cannot tell yet.
        (Some(UNREACHABLE), Silence::None) => None,
        (Some(UNREACHABLE), Silence::OfMost) | (None, _) => with(&[]),
        (Some(key), _) => with(&[key]),
    };
    let taints = new.or(kept)?;
    Some(Order::Update { target: Target::version(&kinds::NODE, node), change: json!({"spec": {"taints": taints}}) })
}

/// Why pods should leave. Not from a node that never said anything, nor from one whose store failed: that keeps its pods, and
/// would not hear that they are to go.
fn sent_away(node: &Object) -> Option<&'static str> {
    let keeps = conditions::find(node, "Ready").is_none() || conditions::status(node, super::STORE_HEALTHY) == "False";
    taints::of_readiness(node).filter(|key| !keeps || *key == UNREACHABLE)
}
