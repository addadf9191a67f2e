//! What committed entries should do, written a second time and as plainly as can be: a list of objects, and of all that
//! ever happened to them. The machine of the store is compared with it at every index.

use std::collections::BTreeMap;

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType};

use crate::command::{self, ProposalId};
use crate::machine::REMEMBERED_ENTRIES;
use crate::model::{Change, Event, Expect, Key, Op, Value};
use crate::view::View;

/// The collections of the simulated clients.
pub(super) const COLLECTIONS: [&str; 2] = ["core/configmaps", "core/pods"];

/// One change of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Happened {
    pub(super) revision: u64,
    pub(super) name: String,
    /// None: it was deleted.
    pub(super) bytes: Option<Bytes>,
    pub(super) previous: Option<Bytes>,
}

impl Happened {
    /// The change that `event` tells of.
    pub(super) fn of(event: &Event) -> Self {
        let (bytes, previous) = match event {
            Event::Put { stored, previous } => (Some(stored.bytes()), previous.as_ref().map(|stored| stored.bytes())),
            Event::Deleted { previous, .. } => (None, Some(previous.bytes())),
        };
        let name = event.object().key().name().to_owned();
        Self { revision: event.revision().0, name, bytes, previous }
    }
}

#[derive(Debug, Clone)]
struct Object {
    bytes: Bytes,
    revision: u64,
}

/// What became of a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Written(u64),
    Refused,
}

#[derive(Default)]
pub(super) struct Model {
    objects: BTreeMap<Key, Object>,
    outcomes: BTreeMap<ProposalId, Outcome>,
    happened: BTreeMap<String, Vec<Happened>>,
}

impl Model {
    /// Applies the next committed entry.
    pub(super) fn apply(&mut self, entry: &Entry) -> Result<(), String> {
        if entry.data.is_empty() || entry.entry_type != EntryType::EntryNormal {
            return Ok(());
        }
        let command = command::decode(entry.data.clone()).map_err(|error| error.to_string())?;
        if self.outcomes.contains_key(&command.id) || command.base + REMEMBERED_ENTRIES < entry.index {
            return Ok(());
        }
        let holds = command.txn.ops.iter().all(|op| self.holds(op));
        let outcome = if holds { Outcome::Written(entry.index) } else { Outcome::Refused };
        self.outcomes.insert(command.id, outcome);
        if holds {
            for op in command.txn.ops {
                self.change(entry.index, op);
            }
        }
        Ok(())
    }

    fn holds(&self, op: &Op) -> bool {
        let found = self.objects.get(&op.key);
        match op.expect {
            Expect::Any => true,
            Expect::Absent => found.is_none(),
            Expect::Present => found.is_some(),
            Expect::Revision(revision) => found.is_some_and(|object| object.revision == revision.0),
        }
    }

    fn change(&mut self, revision: u64, op: Op) {
        let key = op.key.clone();
        let (bytes, previous) = match op.change {
            Change::Check => return,
            Change::Put(value) => {
                let object = Object { bytes: stamped(&value, revision), revision };
                (Some(object.bytes.clone()), self.objects.insert(key, object))
            }
            Change::Delete => match self.objects.remove(&key) {
                Some(previous) => (None, Some(previous)),
                None => return,
            },
        };
        let (name, previous) = (op.key.name().to_owned(), previous.map(|object| object.bytes));
        let happened = Happened { revision, name, bytes, previous };
        self.happened.entry(op.key.collection().to_owned()).or_default().push(happened);
    }

    /// All that happened in a collection, in order.
    pub(super) fn happened(&self, collection: &str) -> &[Happened] {
        self.happened.get(collection).map_or(&[], Vec::as_slice)
    }

    pub(super) fn outcome(&self, id: ProposalId) -> Option<Outcome> {
        self.outcomes.get(&id).copied()
    }

    /// A checksum of the objects, equal to [`digest`] of a view of the same ones.
    pub(super) fn digest(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        for (key, object) in &self.objects {
            add(&mut hasher, key, object.revision, &object.bytes);
        }
        hasher.finalize()
    }
}

/// A checksum of the objects in `view`.
pub(super) fn digest(view: &View) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for collection in COLLECTIONS {
        for stored in view.list(collection, "") {
            add(&mut hasher, stored.key(), stored.revision().0, &stored.bytes());
        }
    }
    hasher.finalize()
}

fn add(hasher: &mut crc32fast::Hasher, key: &Key, revision: u64, bytes: &[u8]) {
    for part in [key.collection().as_bytes(), key.name().as_bytes(), &revision.to_le_bytes(), bytes] {
        hasher.update(part);
        hasher.update(&[0xff]);
    }
}

fn stamped(value: &Value, revision: u64) -> Bytes {
    let at = value.stamp.map_or(value.bytes.len(), |at| at as usize);
    let digits = if value.stamp.is_some() { revision.to_string() } else { String::new() };
    [&value.bytes[..at], digits.as_bytes(), &value.bytes[at..]].concat().into()
}
