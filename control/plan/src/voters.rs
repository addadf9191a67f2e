//! Which peer votes: up to five of those that keep up.
//!
//! Not here: replacing a voter that is gone for good.

use std::collections::{BTreeMap, BTreeSet};

use crate::order::{Order, Plan};

/// Voters at most. Five survive the loss of two; more would slow every write for losses that hardly ever meet.
pub const VOTERS_MAX: usize = 5;

/// Entries of log that a learner may be behind and still count as caught up: what a busy cluster writes in about the
/// time that the change of members takes.
const LAG_MAX: u64 = 200;

/// What the leader knows of the members. Numbers are the store's member ids.
#[derive(Debug, Clone, Default)]
pub struct Input {
    /// Who votes.
    pub voters: BTreeSet<u64>,
    /// Who follows without a vote.
    pub learners: BTreeSet<u64>,
    /// How many entries each member's log is behind.
    pub lag: BTreeMap<u64, u64>,
    /// The members heard from just now, the leader among them.
    pub active: BTreeSet<u64>,
    /// A change of members has been asked for and has not been decided.
    pub changing: bool,
}

/// Promotes one learner, if there is room for it and it keeps up.
///
/// A voter more while another one is silent could leave the cluster without a majority, so nobody is promoted then.
pub fn plan(input: &Input) -> Plan {
    let mut plan = Plan::default();
    if input.learners.is_empty() {
        return plan;
    }
    let (voters, learners) = (input.voters.len(), input.learners.len());
    if voters >= VOTERS_MAX {
        plan.say(format!("{voters} voters are enough; {learners} learners stay"));
        return plan;
    }
    if input.changing {
        plan.say("a change of members is under way");
        return plan;
    }
    let silent: Vec<&u64> = input.voters.difference(&input.active).collect();
    if let Some(silent) = silent.first() {
        plan.say(format!("voter {silent} is silent; no voter is added until it is back"));
        return plan;
    }
    let lag = |member: &u64| input.lag.get(member).copied().unwrap_or(u64::MAX);
    let ready = input.learners.iter().filter(|member| input.active.contains(member) && lag(member) <= LAG_MAX);
    match ready.min_by_key(|member| (lag(member), **member)) {
        Some(member) => {
            plan.say(format!("learner {member} is {} entries behind and becomes voter {}", lag(member), voters + 1));
            plan.orders.push(Order::Promote { member: *member });
        }
        None => plan.say(format!("none of {learners} learners has caught up")),
    }
    plan
}
