//! Writes that wait for their outcome.
//!
//! A proposal may be lost on its way to the leader, or with it. So it is proposed again under the same id, when there is
//! a new leader and when nothing is heard for a while, and applied once all the same ([`crate::machine`]).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::command::{self, ProposalId};
use crate::core::Core;
use crate::error::WriteError;
use crate::machine::{Machine, REMEMBERED_ENTRIES, Verdict};
use crate::model::Revision;

/// How long a proposal may be without outcome until it is proposed again: well above a slow fsync and round trip, a
/// fifth of the default deadline.
const AGAIN: Duration = Duration::from_secs(1);

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
}

struct Waiting {
    proposal: Proposal,
    since: Instant,
    /// When it was last proposed.
    proposed: Option<Instant>,
}

/// The writes of this peer.
pub(super) struct Writes {
    member: u64,
    incarnation: u64,
    deadline: Duration,
    waiting: BTreeMap<u64, Waiting>,
    /// Those to be proposed next, in order.
    due: Vec<u64>,
}

impl Writes {
    pub(super) fn new(member: u64, incarnation: u64, deadline: Duration) -> Self {
        Self { member, incarnation, deadline, waiting: BTreeMap::new(), due: Vec::new() }
    }

    pub(super) fn add(&mut self, proposal: Proposal) {
        let sequence = proposal.sequence;
        self.due.push(sequence);
        self.waiting.insert(sequence, Waiting { proposal, since: Instant::now(), proposed: None });
    }

    /// Proposes what is due. What is not taken stays due.
    pub(super) fn propose(&mut self, core: &mut Core) {
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
                self.due = sequences;
                self.due.extend(due);
                return;
            }
            let now = Instant::now();
            for sequence in sequences {
                if let Some(waiting) = self.waiting.get_mut(&sequence) {
                    waiting.proposed = Some(now);
                }
            }
        }
    }

    /// Makes everything due: there is a new leader, and the old one may have lost what it had.
    pub(super) fn propose_again(&mut self) {
        self.due = self.waiting.keys().copied().collect();
    }

    /// Gives up what is past the deadline, and makes due what was proposed long ago.
    pub(super) fn tick(&mut self, now: Instant) {
        let late = |waiting: &mut Waiting| now.duration_since(waiting.since) >= self.deadline;
        for (_, waiting) in self.waiting.extract_if(.., |_, waiting| late(waiting)) {
            let waited = now.duration_since(waiting.since);
            let error = match waiting.proposed {
                Some(_) => WriteError::Unknown { waited },
                None => WriteError::NoLeader { waited },
            };
            let _ = waiting.proposal.done.send(Err(error));
        }
        let lost = |waiting: &Waiting| waiting.proposed.is_some_and(|at| now.duration_since(at) >= AGAIN);
        if self.waiting.values().any(lost) {
            let again = self.waiting.iter().filter(|(_, waiting)| waiting.proposed.is_none() || lost(waiting));
            self.due = again.map(|(&sequence, _)| sequence).collect();
        }
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
                    self.due.push(id.sequence);
                }
                return;
            }
        };
        if let Some(waiting) = self.waiting.remove(&id.sequence) {
            let _ = waiting.proposal.done.send(outcome);
        }
    }

    /// The state jumped forward: some outcomes can be looked up in it, others are not known, the rest is still to come.
    pub(super) fn restored(&mut self, machine: &Machine) {
        let now = Instant::now();
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
        self.propose_again();
    }

    /// The store stops.
    pub(super) fn close(&mut self) {
        let now = Instant::now();
        for waiting in std::mem::take(&mut self.waiting).into_values() {
            let error = match waiting.proposed {
                Some(_) => WriteError::Unknown { waited: now.duration_since(waiting.since) },
                None => WriteError::Stopped,
            };
            let _ = waiting.proposal.done.send(Err(error));
        }
    }
}
