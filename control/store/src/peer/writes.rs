//! Writes that wait for their outcome.
//!
//! A proposal may be lost on its way to the leader, or with it. So it is proposed again under the same id, when there is
//! a new leader and when nothing is heard for a while, and applied once all the same ([`crate::machine`]). Slow is not
//! lost: a leader has in its log what it proposed for as long as it leads, and a follower waits longer each time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::command::{self, ProposalId};
use crate::core::Core;
use crate::error::WriteError;
use crate::machine::{Machine, REMEMBERED_ENTRIES, Verdict};
use crate::model::Revision;

/// How long a proposal sent to the leader may be without outcome until it is sent again: well above a slow fsync and
/// round trip, a fifth of the default deadline. Doubled each time, up to [`AGAIN_DOUBLED`] times, so that a leader that
/// is slow gets no more to do.
const AGAIN: Duration = Duration::from_secs(1);

/// See [`AGAIN`]: 1, 2, then 4 s.
const AGAIN_DOUBLED: u32 = 2;

/// Proposals in one message to the leader, and their bytes: what one append to the log takes at a time.
const PROPOSED_TOGETHER: usize = 1024;

/// See [`PROPOSED_TOGETHER`]. One entry more may be in it.
const PROPOSED_BYTES: usize = 2 << 20;

/// A write on its way to the thread.
pub(crate) struct Proposal {
    pub(crate) sequence: u64,
    pub(crate) command: Bytes,
    pub(crate) done: oneshot::Sender<Result<Revision, WriteError>>,
    /// Its share of the limits, given back when it is dropped.
    #[expect(dead_code, reason = "held, not read")]
    pub(crate) permits: [OwnedSemaphorePermit; 2],
}

impl Proposal {
    /// Tells the writer that the store stopped.
    pub(crate) fn refuse(self) {
        let _ = self.done.send(Err(WriteError::Stopped));
    }

    /// Tells the writer that the disk is full.
    pub(crate) fn refuse_for_room(self) {
        let reason = "this node's disk is full; once there is room on it, it goes on by itself";
        let _ = self.done.send(Err(WriteError::Unavailable { reason }));
    }
}

struct Waiting {
    proposal: Proposal,
    since: Instant,
    proposed: Option<Proposed>,
}

/// The last time that something was proposed.
#[derive(Clone, Copy)]
struct Proposed {
    at: Instant,
    term: u64,
    /// How often in this term before.
    before: u32,
}

impl Proposed {
    fn is_lost(&self, now: Instant, term: u64, leads: bool) -> bool {
        // What a leader proposed in its own term is in its log.
        let is_kept = leads && self.term == term;
        !is_kept && now.duration_since(self.at) >= AGAIN * (1 << self.before.min(AGAIN_DOUBLED))
    }
}

/// The writes of this peer.
pub(super) struct Writes {
    member: u64,
    incarnation: u64,
    deadline: Duration,
    waiting: BTreeMap<u64, Waiting>,
    /// Those to be proposed next, in order.
    due: BTreeSet<u64>,
}

impl Writes {
    pub(super) fn new(member: u64, incarnation: u64, deadline: Duration) -> Self {
        Self { member, incarnation, deadline, waiting: BTreeMap::new(), due: BTreeSet::new() }
    }

    pub(super) fn add(&mut self, proposal: Proposal, now: Instant) {
        let sequence = proposal.sequence;
        self.due.insert(sequence);
        self.waiting.insert(sequence, Waiting { proposal, since: now, proposed: None });
    }

    /// Proposes what is due. What is not taken stays due.
    pub(super) fn propose(&mut self, core: &mut Core, now: Instant) {
        let mut due = std::mem::take(&mut self.due).into_iter().peekable();
        while due.peek().is_some() {
            let (mut commands, mut sequences, mut bytes) = (Vec::new(), Vec::new(), 0);
            while commands.len() < PROPOSED_TOGETHER
                && bytes < PROPOSED_BYTES
                && let Some(sequence) = due.next()
            {
                if let Some(waiting) = self.waiting.get(&sequence) {
                    bytes += waiting.proposal.command.len();
                    commands.push(waiting.proposal.command.clone());
                    sequences.push(sequence);
                }
            }
            if core.propose(commands).is_err() {
                self.due = sequences.into_iter().chain(due).collect();
                return;
            }
            self.note(&sequences, core.term(), now);
        }
    }

    fn note(&mut self, sequences: &[u64], term: u64, at: Instant) {
        for sequence in sequences {
            if let Some(waiting) = self.waiting.get_mut(sequence) {
                let last = waiting.proposed.filter(|last| last.term == term);
                waiting.proposed = Some(Proposed { at, term, before: last.map_or(0, |last| last.before + 1) });
            }
        }
    }

    /// There is a leader, in `term`. Makes due what was proposed in another term, whose leader may have lost it.
    pub(super) fn lead_changed(&mut self, term: u64) {
        let is_old = |waiting: &Waiting| waiting.proposed.is_none_or(|last| last.term != term);
        self.due.extend(self.waiting.iter().filter(|(_, waiting)| is_old(waiting)).map(|(&sequence, _)| sequence));
    }

    /// Gives up what is past the deadline, and makes due what seems lost. This peer `leads` in `term`, or follows.
    pub(super) fn tick(&mut self, now: Instant, term: u64, leads: bool) {
        let late = |waiting: &mut Waiting| now.duration_since(waiting.since) >= self.deadline;
        for (_, waiting) in self.waiting.extract_if(.., |_, waiting| late(waiting)) {
            let waited = now.duration_since(waiting.since);
            let error = match waiting.proposed {
                Some(_) => WriteError::Unknown { waited },
                None => WriteError::NoLeader { waited },
            };
            let _ = waiting.proposal.done.send(Err(error));
        }
        let is_lost = |waiting: &Waiting| waiting.proposed.is_some_and(|last| last.is_lost(now, term, leads));
        self.due.extend(self.waiting.iter().filter(|(_, waiting)| is_lost(waiting)).map(|(&sequence, _)| sequence));
    }

    /// Tells the writer of `id` what became of it.
    pub(super) fn settle(&mut self, id: ProposalId, verdict: Verdict, applied: u64) {
        if (id.member, id.incarnation) != (self.member, self.incarnation) {
            return;
        }
        let outcome = match verdict {
            Verdict::Written(revision) => Ok(revision),
            Verdict::Conflict { op, found } => Err(WriteError::Conflict { op, found }),
            // The first copy settled it.
            Verdict::Repeated => return,
            Verdict::Expired => {
                if let Some(waiting) = self.waiting.get_mut(&id.sequence) {
                    waiting.proposal.command = command::with_base(&waiting.proposal.command, applied).into();
                    self.due.insert(id.sequence);
                }
                return;
            }
        };
        if let Some(waiting) = self.waiting.remove(&id.sequence) {
            let _ = waiting.proposal.done.send(outcome);
        }
    }

    /// The state jumped forward: some outcomes can be looked up in it, others are not known, the rest is still to come.
    pub(super) fn restored(&mut self, machine: &Machine, now: Instant) {
        let (member, incarnation) = (self.member, self.incarnation);
        let outcome = |sequence: u64, waiting: &Waiting| {
            waiting.proposed?;
            let command = &waiting.proposal.command;
            match machine.recent.outcome(&ProposalId { member, incarnation, sequence }) {
                Some(outcome) => match outcome.refused {
                    None => Some(Ok(Revision(outcome.index))),
                    Some(op) => {
                        let op = op as usize;
                        let ops = command::decode(command.clone()).map(|command| command.txn.ops).unwrap_or_default();
                        Some(Err(WriteError::Conflict { op, found: ops.get(op).and_then(|op| machine.found(op)) }))
                    }
                },
                None if machine.applied <= command::base(command).saturating_add(REMEMBERED_ENTRIES) => None,
                None => Some(Err(WriteError::Unknown { waited: now.duration_since(waiting.since) })),
            }
        };
        let settled: Vec<_> = self
            .waiting
            .iter()
            .filter_map(|(&sequence, waiting)| Some((sequence, outcome(sequence, waiting)?)))
            .collect();
        for (sequence, outcome) in settled {
            if let Some(waiting) = self.waiting.remove(&sequence) {
                let _ = waiting.proposal.done.send(outcome);
            }
        }
        // The rest may come after the snapshot, or was lost while this peer was away.
        self.due.extend(self.waiting.keys());
    }

    /// The store stops.
    pub(super) fn close(&mut self, now: Instant) {
        for waiting in std::mem::take(&mut self.waiting).into_values() {
            let error = match waiting.proposed {
                Some(_) => WriteError::Unknown { waited: now.duration_since(waiting.since) },
                None => WriteError::Stopped,
            };
            let _ = waiting.proposal.done.send(Err(error));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    /// One write, proposed in term 3 at the time returned.
    fn proposed() -> (Writes, Instant) {
        let mut writes = Writes::new(1, 1, Duration::from_mins(1));
        let permit = || Arc::new(Semaphore::new(1)).try_acquire_owned().expect("is free");
        let (done, _) = oneshot::channel();
        let now = Instant::now();
        writes.add(Proposal { sequence: 1, command: Bytes::new(), done, permits: [permit(), permit()] }, now);
        propose(&mut writes, 3, now);
        (writes, now)
    }

    fn propose(writes: &mut Writes, term: u64, now: Instant) {
        let due: Vec<u64> = std::mem::take(&mut writes.due).into_iter().collect();
        assert_eq!(due, [1]);
        writes.note(&due, term, now);
    }

    #[test]
    fn a_leader_that_is_slow_does_not_propose_again_in_its_term() {
        let (mut writes, now) = proposed();
        writes.tick(now + Duration::from_secs(30), 3, true);
        writes.lead_changed(3);
        assert!(writes.due.is_empty());
        writes.lead_changed(4);
        propose(&mut writes, 4, now);
        assert!(writes.due.is_empty());
    }

    #[test]
    fn a_follower_sends_again_after_one_two_and_then_every_four_seconds() {
        let (mut writes, mut now) = proposed();
        for wait in [1, 2, 4, 4] {
            writes.tick(now + Duration::from_millis(wait * 1000 - 1), 3, false);
            assert!(writes.due.is_empty(), "before {wait} s");
            now += Duration::from_secs(wait);
            writes.tick(now, 3, false);
            propose(&mut writes, 3, now);
        }
    }
}
