//! What must hold after each step, of all peers together.

use std::collections::BTreeMap;
use std::fmt;

use raft::eraftpb::{Entry, EntryType};

use super::bug::Bug;
use super::model::{self, Model, Outcome};
use super::probe::Probe;
use crate::command::ProposalId;
use crate::machine::Machine;
use crate::state;

/// Which promise was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    /// One leader a term, and it has all that was committed before.
    OneLeader,
    /// A committed entry never changes.
    CommittedStays,
    /// Peers that applied the same entries have the same state, and it is what the entries say.
    SameState,
    /// An acknowledged write is committed under the revision named.
    Acknowledged,
    /// Watchers see every change once and in order.
    Watched,
    /// What clients saw is linearizable.
    Linearizable,
    /// A healed cluster serves again.
    Available,
    /// A peer gives up only when its disk fails.
    Alive,
    /// Revisions never go backwards.
    Monotonic,
}

/// A broken promise.
#[derive(Debug, Clone)]
pub(super) struct Violation {
    pub(super) rule: Rule,
    pub(super) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.what)
    }
}

impl Rule {
    pub(super) fn broken<T>(self, what: impl Into<String>) -> Result<T, Violation> {
        Err(Violation { rule: self, what: what.into() })
    }
}

/// Every so many entries the whole state of peers is compared, bytes of a snapshot with bytes of a snapshot.
const WHOLE_EVERY: u64 = 8;

/// The index at which a cluster begins.
const BEGIN: u64 = 1;

struct Committed {
    term: u64,
    digest: u32,
    /// Of the objects after it.
    state: u32,
}

/// Sees all peers after each step.
pub(super) struct Referee {
    leaders: BTreeMap<u64, u64>,
    /// From the entry after [`BEGIN`] on.
    committed: Vec<Committed>,
    pub(super) model: Model,
    /// Checksums of the whole state by index.
    whole: BTreeMap<u64, u32>,
    bug: Option<Bug>,
    pub(super) changes: u64,
    pub(super) installs: u64,
}

impl Referee {
    pub(super) fn new(bug: Option<Bug>) -> Self {
        Self {
            leaders: BTreeMap::new(),
            committed: Vec::new(),
            model: Model::default(),
            whole: BTreeMap::new(),
            bug,
            changes: 0,
            installs: 0,
        }
    }

    /// The last index known to be committed.
    pub(super) fn last(&self) -> u64 {
        BEGIN + self.committed.len() as u64
    }

    /// Terms that had a leader.
    pub(super) fn leaders(&self) -> u64 {
        self.leaders.len() as u64
    }

    fn entry(&self, index: u64) -> Option<&Committed> {
        self.committed.get(index.checked_sub(BEGIN + 1)? as usize)
    }

    /// Looks at a peer: `checked` is the last entry of its log compared before. True when it is a new leader.
    pub(super) fn look(&mut self, member: u64, probe: &Probe<'_>, checked: &mut u64) -> Result<bool, Violation> {
        let is_new_leader = probe.leads() && !self.leaders.contains_key(&probe.term());
        if probe.leads() {
            self.leads(member, probe)?;
        }
        let commit = probe.commit();
        if commit > *checked {
            let from = (*checked + 1).max(probe.first());
            if from > self.last() + 1 {
                return Rule::CommittedStays.broken(format!(
                    "member {member} has a log from {from} on, and nobody is known to have committed more than {}",
                    self.last()
                ));
            }
            self.installs += u64::from(from > *checked + 1);
            for entry in probe.entries(from, commit) {
                if probe.is_witness { self.witnesses(member, &entry)? } else { self.commits(member, &entry)? }
            }
            *checked = commit;
        }
        Ok(is_new_leader)
    }

    /// A witness has the terms, and not what the entries say. It hears last of what is committed.
    fn witnesses(&self, member: u64, entry: &Entry) -> Result<(), Violation> {
        match self.entry(entry.index) {
            Some(known) if known.term == entry.term => Ok(()),
            known => Rule::CommittedStays.broken(format!(
                "witness {member} has entry {} committed with term {}, and its term is {:?}",
                entry.index,
                entry.term,
                known.map(|known| known.term)
            )),
        }
    }

    fn leads(&mut self, member: u64, probe: &Probe<'_>) -> Result<(), Violation> {
        let term = probe.term();
        if probe.is_witness {
            return Rule::OneLeader.broken(format!("member {member} is a witness and leads in term {term}"));
        }
        let is_newest = self.leaders.last_key_value().is_none_or(|(newest, _)| *newest < term);
        let leader = *self.leaders.entry(term).or_insert(member);
        if leader != member {
            return Rule::OneLeader.broken(format!("members {leader} and {member} lead in term {term}"));
        }
        // A leader of a term that others have left behind may lack what they committed.
        if is_newest && probe.last() < self.last() {
            return Rule::OneLeader.broken(format!(
                "member {member} leads in term {term} with a log that ends at {}, and {} is committed",
                probe.last(),
                self.last()
            ));
        }
        Ok(())
    }

    fn commits(&mut self, member: u64, entry: &Entry) -> Result<(), Violation> {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&[entry.entry_type as u8]);
        hasher.update(&entry.data);
        hasher.update(&entry.context);
        let (term, digest) = (entry.term, hasher.finalize());
        let Some(known) = self.entry(entry.index) else {
            let applied = self.model.apply(entry);
            if let Err(why) = applied {
                return Rule::CommittedStays.broken(format!("entry {} is no command: {why}", entry.index));
            }
            self.changes += u64::from(entry.entry_type != EntryType::EntryNormal);
            self.committed.push(Committed { term, digest, state: self.model.digest() });
            return Ok(());
        };
        if (known.term, known.digest) == (term, digest) {
            return Ok(());
        }
        Rule::CommittedStays.broken(format!(
            "entry {} was committed with term {} and digest {:08x}, and member {member} has it committed with term {term} \
             and digest {digest:08x}",
            entry.index, known.term, known.digest
        ))
    }

    /// A peer has applied more, or another snapshot.
    pub(super) fn applied(&mut self, member: u64, machine: &Machine) -> Result<(), Violation> {
        let index = machine.applied;
        if index <= BEGIN {
            return Ok(());
        }
        let Some(known) = self.entry(index) else {
            return Rule::SameState.broken(format!("member {member} applied entry {index}, which nobody committed"));
        };
        let found = model::digest(&machine.view());
        if found != known.state {
            return Rule::SameState.broken(format!(
                "at index {index} member {member} has objects with digest {found:08x} instead of {:08x}",
                known.state
            ));
        }
        // A peer that forgets proposals forgets them at other times than others: that is not what shall give it away.
        if index.is_multiple_of(WHOLE_EVERY) && self.bug != Some(Bug::ApplyTwice) {
            let found = crc32fast::hash(&state::encode(machine));
            let known = *self.whole.entry(index).or_insert(found);
            if known != found {
                return Rule::SameState.broken(format!(
                    "at index {index} the whole state of member {member} has digest {found:08x}, another had {known:08x}"
                ));
            }
        }
        Ok(())
    }

    /// Compares a view with the state at its revision.
    pub(super) fn viewed(&self, member: u64, view: &crate::view::View) -> Result<(), Violation> {
        let revision = view.revision().0;
        match self.entry(revision) {
            Some(known) if known.state != model::digest(view) => Rule::SameState
                .broken(format!("a view of member {member} at revision {revision} is not of that revision")),
            None if revision > BEGIN => Rule::SameState
                .broken(format!("a view of member {member} is of revision {revision}, nobody committed it")),
            Some(_) | None => Ok(()),
        }
    }

    /// A client was told that its write has this revision.
    pub(super) fn acknowledged(&self, id: ProposalId, revision: u64) -> Result<(), Violation> {
        match self.model.outcome(id) {
            Some(Outcome::Written(index)) if index == revision => Ok(()),
            Some(outcome) => Rule::Acknowledged
                .broken(format!("revision {revision} was acknowledged for {id:?}, which was {outcome:?}")),
            None => Rule::Acknowledged
                .broken(format!("revision {revision} was acknowledged for {id:?}, which is not committed")),
        }
    }

    /// A client was told that its write was refused.
    pub(super) fn refused(&self, id: ProposalId) -> Result<(), Violation> {
        match self.model.outcome(id) {
            Some(Outcome::Refused) => Ok(()),
            outcome => Rule::Acknowledged.broken(format!("{id:?} was told to be refused, and it is {outcome:?}")),
        }
    }
}
