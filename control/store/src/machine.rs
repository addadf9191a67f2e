//! What committed entries do: the state that is the same on every member at the same index.
//!
//! No clock, dice, I/O or unordered iteration. Not here: who commits ([`crate::core`]), who watches
//! ([`crate::history`]), the bytes of a snapshot ([`crate::state`]).

mod members;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use imbl::OrdMap;
use raft::eraftpb::ConfState;

use crate::command::{Command, ProposalId};
use crate::model::{Change, Event, Expect, Op, Revision, Stored, Txn};
use crate::view::{Collection, View};

/// Entries for which the id of an applied proposal is remembered. More than all members together may have under way
/// (five times [`crate::store::WRITES_MAX`]), so that a copy is too old only after an entry got stuck on its way for
/// long; the proposer then learns of it and proposes anew. A full window takes 3 MiB.
pub(crate) const REMEMBERED_ENTRIES: u64 = 32_768;

/// What became of one copy of a proposal.
#[derive(Debug, Clone)]
pub(crate) enum Verdict {
    /// It was applied: the revision is the entry's index.
    Written(Revision),
    /// An expectation did not hold.
    Conflict { op: usize, found: Option<Arc<Stored>> },
    /// It is so old that an earlier copy might be forgotten: not applied. If the proposer has not met an earlier copy
    /// then there is none, and it may propose the same id with a newer base.
    Expired,
    /// An earlier copy was applied or refused. Nothing happened, and nobody waits any more.
    Repeated,
}

/// What is remembered of a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The entry that was applied or refused.
    pub(crate) index: u64,
    /// The op whose expectation did not hold.
    pub(crate) refused: Option<u32>,
}

/// The ids of the proposals of the last [`REMEMBERED_ENTRIES`] entries.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recent {
    order: VecDeque<(u64, ProposalId)>,
    outcomes: HashMap<ProposalId, Outcome>,
}

impl Recent {
    pub(crate) fn remember(&mut self, id: ProposalId, outcome: Outcome) {
        self.order.push_back((outcome.index, id));
        self.outcomes.insert(id, outcome);
    }

    fn forget(&mut self, now: u64) {
        while let Some(&(index, id)) = self.order.front()
            && index + REMEMBERED_ENTRIES < now
        {
            self.order.pop_front();
            self.outcomes.remove(&id);
        }
    }

    pub(crate) fn outcome(&self, id: &ProposalId) -> Option<Outcome> {
        self.outcomes.get(id).copied()
    }

    /// In the order of their entries.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (ProposalId, Outcome)> {
        self.order.iter().map(|(index, id)| {
            (*id, self.outcomes.get(id).copied().unwrap_or(Outcome { index: *index, refused: None }))
        })
    }
}

/// The replicated state. Clones share the objects.
#[derive(Debug, Clone, Default)]
pub(crate) struct Machine {
    /// The last entry applied.
    pub(crate) applied: u64,
    /// Its term.
    pub(crate) term: u64,
    /// Who takes part, as of that entry.
    pub(crate) members: ConfState,
    /// Who took part once and was removed: their ids are not given again.
    pub(crate) retired: BTreeSet<u64>,
    /// Those who take part and get no data.
    pub(crate) witnesses: BTreeSet<u64>,
    pub(crate) recent: Recent,
    pub(crate) collections: OrdMap<Arc<str>, Collection>,
}

impl Machine {
    /// The state of a cluster before its first entry: `member` is alone. Stands at index 1, so that the log of a new
    /// member can never reach back to before the members were known, and it gets a snapshot instead.
    pub(crate) fn bootstrap(member: u64) -> Self {
        Self { applied: 1, term: 1, members: ConfState::from((vec![member], vec![])), ..Self::default() }
    }

    pub(crate) fn view(&self) -> View {
        View::new(Revision(self.applied), self.collections.clone())
    }

    /// Applies the entry `index`; what it changed is added to `changes`.
    pub(crate) fn apply(&mut self, index: u64, term: u64, command: Command, changes: &mut Vec<Arc<Event>>) -> Verdict {
        self.pass(index, term);
        let Command { id, base, txn } = command;
        if self.recent.outcome(&id).is_some() {
            return Verdict::Repeated;
        }
        if base.saturating_add(REMEMBERED_ENTRIES) < index {
            return Verdict::Expired;
        }
        let refused = txn.ops.iter().position(|op| !self.holds(op));
        // The number of ops is bounded by the size of an entry, far below 32 bits.
        self.recent.remember(id, Outcome { index, refused: refused.map(|op| op as u32) });
        if let Some(op) = refused {
            return Verdict::Conflict { op, found: self.found(&txn.ops[op]) };
        }
        self.change(Revision(index), txn, changes);
        Verdict::Written(Revision(index))
    }

    /// Notes that the entry `index` is done, for entries that change no object.
    pub(crate) fn pass(&mut self, index: u64, term: u64) {
        self.applied = index;
        self.term = term;
        self.recent.forget(index);
    }

    /// What is at the key of `op` now.
    pub(crate) fn found(&self, op: &Op) -> Option<Arc<Stored>> {
        self.collections.get(op.key.collection())?.get(op.key.name()).cloned()
    }

    fn holds(&self, op: &Op) -> bool {
        let found = self.collections.get(op.key.collection()).and_then(|objects| objects.get(op.key.name()));
        match op.expect {
            Expect::Any => true,
            Expect::Absent => found.is_none(),
            Expect::Present => found.is_some(),
            Expect::Revision(revision) => found.is_some_and(|stored| stored.revision() == revision),
        }
    }

    fn change(&mut self, revision: Revision, txn: Txn, changes: &mut Vec<Arc<Event>>) {
        for op in txn.ops {
            let event = match op.change {
                Change::Check => None,
                Change::Delete => self.delete(revision, &op),
                Change::Put(value) => {
                    let collection = match self.collections.get_key_value(op.key.collection()) {
                        Some((collection, _)) => Arc::clone(collection),
                        None => Arc::clone(op.key.shared_collection()),
                    };
                    let objects = self.collections.entry(Arc::clone(&collection)).or_default();
                    let previous = objects.get(op.key.name()).cloned();
                    let created = previous.as_ref().map_or(revision, |previous| previous.created());
                    let key = match &previous {
                        Some(previous) => previous.key().clone(),
                        None => op.key.in_collection(&collection),
                    };
                    let stored = Arc::new(Stored::stamped(key, &value, revision, created));
                    objects.insert(Arc::clone(stored.key().shared_name()), Arc::clone(&stored));
                    Some(Event::Put { stored, previous })
                }
            };
            changes.extend(event.map(Arc::new));
        }
    }

    fn delete(&mut self, revision: Revision, op: &Op) -> Option<Event> {
        let objects = self.collections.get_mut(op.key.collection())?;
        let previous = objects.remove(op.key.name())?;
        if objects.is_empty() {
            self.collections.remove(op.key.collection());
        }
        Some(Event::Deleted { last: Arc::new(previous.deleted_at(revision)), previous })
    }
}

#[cfg(test)]
mod tests;
