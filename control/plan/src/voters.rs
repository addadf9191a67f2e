//! Which members vote: an odd number of up to five, healthy, and spread over zones.
//!
//! [`plan`] orders at most one change, a joint one: learners in, voters out, at once. It is made anew from the facts at
//! every look and remembers nothing. [`explain`] says of each member why it votes or not.
//!
//! What it weighs, first things first (`choice.rs`): how many voters may fail; that nobody votes who should not; an odd
//! number; more rather than fewer; no change without need. A healthy voter gives way to a learner only if more zones
//! may be lost then (`zones.rs`), one at a time.
//!
//! Not here: how a change is made (Raft's joint consensus, in the store), and when (only as often as the leader looks).

mod choice;
mod explain;
#[cfg(test)]
mod tests;
mod zones;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use explain::{Why, explain, survives};

use crate::order::{Order, Plan};

/// Voters at most. Five survive the loss of two; more would slow every write for losses that hardly ever meet.
pub const VOTERS_MAX: usize = 5;

/// Entries of log that a learner may be behind and still count as caught up: what a busy cluster writes in a quarter of a
/// second, since under load nobody is ever level with the leader.
pub const LAG_MAX: u64 = 5_000;

/// Silence after which a member counts as away for a change that needs it. Members hear from each other ten times a
/// second.
const AWAY_AFTER: Duration = Duration::from_secs(1);

/// What a member is there for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Vote {
    /// Votes when it is chosen.
    #[default]
    Voter,
    /// Never votes.
    None,
    /// Holds no data; votes where two others need a third.
    Witness,
}

/// A member by its record, and what it told of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Where it stands, if that is known.
    pub zone: Option<String>,
    /// What it is there for.
    pub vote: Vote,
    /// Which level of the store's language it understands.
    pub level: u32,
    /// This leader heard from it, and so knows what it would tell.
    pub heard: bool,
    /// It is about to stop.
    pub leaving: bool,
    /// Its disk failed: the reason.
    pub failure: Option<String>,
}

/// What the leader knows of the members. Numbers are the store's member ids.
#[derive(Debug, Clone, Default)]
pub struct Input {
    /// Everybody with a record.
    pub members: BTreeMap<u64, Member>,
    /// Who leads: it gives up its vote only when nothing else is left to do.
    pub leader: u64,
    /// Who votes.
    pub voters: BTreeSet<u64>,
    /// Who follows without a vote, witnesses too.
    pub learners: BTreeSet<u64>,
    /// How many entries each member's log is behind. The leader's own is not.
    pub lag: BTreeMap<u64, u64>,
    /// For how long each member has been silent. The leader is not.
    pub silent: BTreeMap<u64, Duration>,
    /// A voter silent for longer than this is replaced.
    pub limit: Duration,
    /// Votes are changing just now: old and new voters are voters.
    pub changing: bool,
    /// All members understand joint changes. Older ones are given one vote at a time, and none is taken.
    pub joint: bool,
}

impl Input {
    fn silence(&self, id: u64) -> Duration {
        if id == self.leader { Duration::ZERO } else { self.silent.get(&id).copied().unwrap_or(Duration::MAX) }
    }

    fn lag(&self, id: u64) -> u64 {
        if id == self.leader { 0 } else { self.lag.get(&id).copied().unwrap_or(u64::MAX) }
    }

    fn vote(&self, id: u64) -> Vote {
        // A voter whose record is not there yet is the first member of a cluster that is just being made.
        self.members.get(&id).map_or(Vote::Voter, |member| member.vote)
    }

    /// Must not vote, whatever its health.
    fn must_go(&self, id: u64) -> bool {
        self.members.get(&id).is_some_and(|it| it.vote == Vote::None || it.leaving || it.failure.is_some())
    }

    /// Answers now.
    fn is_there(&self, id: u64) -> bool {
        self.silence(id) < AWAY_AFTER && self.members.get(&id).is_none_or(|member| member.failure.is_none())
    }

    /// A voter that may stay one.
    fn is_good(&self, id: u64) -> bool {
        self.voters.contains(&id) && !self.must_go(id) && self.silence(id) <= self.limit
    }

    /// A learner that may become a voter now.
    fn is_ready(&self, id: u64) -> bool {
        !self.voters.contains(&id)
            && self.learners.contains(&id)
            && self.members.get(&id).is_some_and(|member| member.heard)
            && !self.must_go(id)
            && self.is_there(id)
            && self.lag(id) <= LAG_MAX
    }

    fn name(&self, id: u64) -> String {
        self.members.get(&id).map_or_else(|| format!("member {id}"), |member| member.name.clone())
    }

    fn names<'a>(&self, ids: impl IntoIterator<Item = &'a u64>) -> String {
        ids.into_iter().map(|id| self.name(*id)).collect::<Vec<_>>().join(", ")
    }

    /// How many of `voters` answer now, and how many must.
    fn majority(&self, voters: &BTreeSet<u64>) -> (usize, usize) {
        (voters.iter().filter(|id| self.is_there(**id)).count(), voters.len() / 2 + 1)
    }
}

/// The next change of votes, if one is due, and what is to be said about every member.
pub fn plan(input: &Input) -> Plan {
    let mut plan = Plan::default();
    let wanted = if input.joint { choice::wanted(input) } else { choice::one_more(input) };
    let promote: BTreeSet<u64> = wanted.difference(&input.voters).copied().collect();
    let demote: BTreeSet<u64> = input.voters.difference(&wanted).copied().collect();
    if input.changing {
        plan.say("the votes are changing");
    } else if !(promote.is_empty() && demote.is_empty()) {
        // A change needs a majority of the old voters and one of the new.
        let short = [&input.voters, &wanted].map(|voters| input.majority(voters)).into_iter().find(|(up, of)| up < of);
        if let Some((up, of)) = short {
            plan.say(format!("the votes cannot change now: {up} of the {of} needed voters answer"));
        } else {
            plan.say(change_in_words(input, &promote, &demote));
            plan.orders.push(Order::Vote { promote, demote });
        }
    }
    for (id, why) in explain(input) {
        plan.say(format!("{} {why}", input.name(id)));
    }
    plan
}

fn change_in_words(input: &Input, promote: &BTreeSet<u64>, demote: &BTreeSet<u64>) -> String {
    let after = input.voters.len() + promote.len() - demote.len();
    let voters = if after == 1 { "voter" } else { "voters" };
    match (promote.is_empty(), demote.is_empty()) {
        (false, true) => format!("{after} {voters}: adding {}", input.names(promote)),
        (true, _) => format!("{after} {voters}: without {}", input.names(demote)),
        (false, false) => format!("{after} {voters}: {} in place of {}", input.names(promote), input.names(demote)),
    }
}
