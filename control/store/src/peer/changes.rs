//! Changes of members that wait, proposed one after the other.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::command::ProposalId;
use crate::core::Core;
use crate::core::members::NotProposed;
use crate::error::MemberError;
use crate::model::MemberChange;

struct Waiting {
    change: MemberChange,
    since: Instant,
    /// The number it was proposed under.
    proposed: Option<u64>,
    asker: oneshot::Sender<Result<(), MemberError>>,
}

/// The changes asked of this peer.
pub(super) struct Changes {
    deadline: Duration,
    waiting: VecDeque<Waiting>,
    next: u64,
}

impl Changes {
    pub(super) fn new(deadline: Duration) -> Self {
        Self { deadline, waiting: VecDeque::new(), next: 0 }
    }

    pub(super) fn add(&mut self, change: MemberChange, asker: oneshot::Sender<Result<(), MemberError>>, now: Instant) {
        self.waiting.push_back(Waiting { change, since: now, proposed: None, asker });
    }

    /// Proposes the first one that waits, when no other is under way.
    pub(super) fn propose(&mut self, core: &mut Core, id: impl Fn(u64) -> ProposalId) {
        while let Some(first) = self.waiting.front_mut()
            && first.proposed.is_none()
        {
            let outcome = match core.change_members(&first.change, id(self.next + 1)) {
                Ok(()) => {
                    self.next += 1;
                    first.proposed = Some(self.next);
                    return;
                }
                Err(NotProposed::Busy) => return,
                Err(NotProposed::Done) => Ok(()),
                Err(NotProposed::NotLeader) => Err(MemberError::NotLeader { leader: core.leader() }),
                Err(NotProposed::Refused(why)) => Err(MemberError::Refused(why)),
            };
            if let Some(first) = self.waiting.pop_front() {
                let _ = first.asker.send(outcome);
            }
        }
    }

    /// Tells who asked for the change `number` what became of it.
    pub(super) fn settle(&mut self, number: u64, verdict: Result<(), String>) {
        if let Some(at) = self.waiting.iter().position(|waiting| waiting.proposed == Some(number))
            && let Some(waiting) = self.waiting.remove(at)
        {
            let _ = waiting.asker.send(verdict.map_err(MemberError::Refused));
        }
    }

    /// Gives up what is past the deadline.
    pub(super) fn tick(&mut self, now: Instant) {
        while let Some(first) = self.waiting.pop_front_if(|first| now.duration_since(first.since) >= self.deadline) {
            let waited = now.duration_since(first.since);
            let error = match first.proposed {
                Some(_) => MemberError::Unknown { waited },
                None => MemberError::Busy { waited },
            };
            let _ = first.asker.send(Err(error));
        }
    }

    /// The store stops.
    pub(super) fn close(&mut self, now: Instant) {
        for waiting in self.waiting.drain(..) {
            let error = match waiting.proposed {
                Some(_) => MemberError::Unknown { waited: now.duration_since(waiting.since) },
                None => MemberError::Stopped,
            };
            let _ = waiting.asker.send(Err(error));
        }
    }
}
