//! The words of the store: members, revisions, keys, values, transactions.
//!
//! Not here: how they are encoded ([`crate::command`]) and applied ([`crate::machine`]).

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::decoded::Decoded;
use crate::packed;

/// A peer of the store. Given once, never used again for another peer: a peer that lost its disk comes back under a
/// new id, because the old one has promised things it no longer remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemberId(pub u64);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A position in the history of the whole store: the log index of the entry that made a change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Where an object is: a collection such as `core/pods` and a name in it such as `default/web-1`.
///
/// Ordered by collection, then name, both as bytes. Clones share the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    collection: Arc<str>,
    name: Arc<str>,
}

impl Key {
    /// The key of `name` in `collection`.
    pub fn new(collection: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { collection: collection.into(), name: name.into() }
    }

    /// The collection, such as `core/pods`.
    pub fn collection(&self) -> &str {
        &self.collection
    }

    /// The name in the collection, such as `default/web-1`.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn shared_name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn shared_collection(&self) -> &Arc<str> {
        &self.collection
    }

    /// The same key with `collection` shared instead of owned once an object.
    pub(crate) fn in_collection(self, collection: &Arc<str>) -> Self {
        Self { collection: Arc::clone(collection), name: self.name }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.collection, self.name)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An encoded object on its way into the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The object's bytes, opaque to the store.
    pub bytes: Bytes,
    /// Byte offset at which the store inserts the decimal revision when the write is applied, so that what is kept is
    /// what is served. None: the bytes are kept as they are.
    pub stamp: Option<u32>,
}

/// How the bytes of an object are kept.
enum Form {
    Plain(Bytes),
    /// Beside those of another object, after their length.
    Packed(Box<[u8]>, Arc<Bytes>),
}

/// An object as the store keeps it. Shared by all who read it.
pub struct Stored {
    key: Key,
    form: Mutex<Form>,
    revision: Revision,
    created: Revision,
    stamp: Option<u32>,
    decoded: Decoded,
    brief: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Stored {
    /// `value`, written by the log entry `revision`.
    pub(crate) fn stamped(key: Key, value: &Value, revision: Revision, created: Revision) -> Self {
        // An offset outside of the bytes is refused before it is proposed; a peer that sends one all the same must not
        // make the others differ, so it reads as "no stamp" everywhere.
        let stamp = value.stamp.filter(|&at| at as usize <= value.bytes.len());
        let bytes = match stamp {
            Some(at) => with_digits(&value.bytes[..at as usize], revision, &value.bytes[at as usize..]),
            // Copied, so that one object does not keep the whole message that it came in.
            None => Bytes::copy_from_slice(&value.bytes),
        };
        Self::as_kept(key, bytes, revision, created, stamp)
    }

    /// An object whose bytes carry their revision already.
    pub(crate) fn as_kept(key: Key, bytes: Bytes, revision: Revision, created: Revision, stamp: Option<u32>) -> Self {
        let form = Mutex::new(Form::Plain(bytes));
        Self { key, form, revision, created, stamp, decoded: Decoded::default(), brief: OnceLock::new() }
    }

    /// The same object as the event of its deletion shows it: stamped with the revision of the deletion.
    pub(crate) fn deleted_at(&self, revision: Revision) -> Self {
        let bytes = match (self.bytes(), self.stamp) {
            (bytes, Some(at)) => {
                let (at, digits) = (at as usize, self.revision.to_string().len());
                with_digits(&bytes[..at], revision, &bytes[at + digits..])
            }
            (bytes, None) => bytes,
        };
        Self::as_kept(self.key.clone(), bytes, revision, self.created, self.stamp)
    }

    /// Where the object is.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The encoded object, with its revision inserted. Made anew of an object that is packed.
    pub fn bytes(&self) -> Bytes {
        match &*self.form() {
            Form::Plain(bytes) => bytes.clone(),
            Form::Packed(packed, other) => packed::unpack(packed, other).expect("it was packed beside this").into(),
        }
    }

    /// How many bytes that are.
    pub fn size(&self) -> usize {
        match &*self.form() {
            Form::Plain(bytes) => bytes.len(),
            Form::Packed(packed, _) => packed::length(packed).expect("it begins with its length"),
        }
    }

    /// Keeps the bytes as what [`packed::pack`] made of them beside `other`.
    pub(crate) fn keep_packed(&self, packed: Box<[u8]>, other: &Arc<Bytes>) {
        let plain = std::mem::replace(&mut *self.form(), Form::Packed(packed, Arc::clone(other)));
        drop(plain);
    }

    /// Whether the bytes are kept as they are.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(&*self.form(), Form::Plain(_))
    }

    fn form(&self) -> MutexGuard<'_, Form> {
        self.form.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The write that made this version.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The write that made the first version since the key was last absent.
    pub fn created(&self) -> Revision {
        self.created
    }

    pub(crate) fn stamp(&self) -> Option<u32> {
        self.stamp
    }

    /// Decoded form, shared by all readers. It is kept while somebody holds it or it is among those made last; else it is
    /// made anew.
    pub fn decoded<T: Any + Send + Sync>(&self, decode: impl FnOnce(&Bytes) -> T) -> Arc<T> {
        self.decoded.get(self.size(), || decode(&self.bytes()))
    }

    /// The decoded form if it is in memory, for who looks at everything once and should not put others out of it.
    pub fn decoded_here<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.decoded.here()
    }

    /// What is asked of all objects at once, made on first use and kept as long as this version: a few dozen bytes. One
    /// type a process; None for another.
    pub fn brief<T: Any + Send + Sync>(&self, make: impl FnOnce(&Self) -> T) -> Option<&T> {
        self.brief.get_or_init(|| Box::new(make(self))).downcast_ref()
    }
}

/// Two are equal when they are the same version of the same object.
impl PartialEq for Stored {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
            || (self.revision, self.created, &self.key) == (other.revision, other.created, &other.key)
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} ({} bytes)", self.key, self.revision, self.size())
    }
}

fn with_digits(before: &[u8], revision: Revision, after: &[u8]) -> Bytes {
    let digits = revision.to_string();
    let mut bytes = BytesMut::with_capacity(before.len() + digits.len() + after.len());
    bytes.put_slice(before);
    bytes.put_slice(digits.as_bytes());
    bytes.put_slice(after);
    bytes.freeze()
}

/// What must hold of a key for a transaction to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Any,
    /// There is no such object.
    Absent,
    /// There is one, whichever its revision.
    Present,
    /// There is one and this is its revision.
    Revision(Revision),
}

/// What a transaction does to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Creates or replaces the object.
    Put(Value),
    /// Removes the object; nothing when it is absent.
    Delete,
    /// Only the expectation is judged.
    Check,
}

/// One step of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// Which object.
    pub key: Key,
    /// Judged on the state before the transaction, when it is applied.
    pub expect: Expect,
    /// Done when every expectation of the transaction holds.
    pub change: Change,
}

/// Several changes that happen together or not at all: one log entry, one revision. A key appears once at most.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    /// The steps.
    pub ops: Vec<Op>,
}

impl From<Op> for Txn {
    fn from(op: Op) -> Self {
        Self { ops: vec![op] }
    }
}

/// A change as a watcher sees it.
#[derive(Debug)]
pub enum Event {
    /// An object was created (`previous` is None) or replaced.
    Put {
        /// The new version.
        stored: Arc<Stored>,
        /// The version it replaced.
        previous: Option<Arc<Stored>>,
    },
    /// An object was removed.
    Deleted {
        /// The last version, stamped with the revision of the deletion.
        last: Arc<Stored>,
        /// The last version as it was.
        previous: Arc<Stored>,
    },
}

impl Event {
    /// The write that caused this event. Events of one transaction share it.
    pub fn revision(&self) -> Revision {
        self.object().revision()
    }

    /// The object as the event shows it: the new version, or the last one stamped with the deletion.
    pub fn object(&self) -> &Arc<Stored> {
        match self {
            Self::Put { stored, .. } => stored,
            Self::Deleted { last, .. } => last,
        }
    }

    /// The object as it was before; None when it was not there.
    pub fn previous(&self) -> Option<&Arc<Stored>> {
        match self {
            Self::Put { previous, .. } => previous.as_ref(),
            Self::Deleted { previous, .. } => Some(previous),
        }
    }
}

/// A change of who takes part in the store. One at a time; voters change by joint consensus (Raft: Ongaro's thesis,
/// section 4.3), so that any number of them changes in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberChange {
    /// A new peer that receives the log and does not vote. Its id must never have been used before.
    AddLearner(MemberId),
    /// The same for a witness: it receives terms and indexes and no data, may become a voter, and never leads. A
    /// witness stays one for as long as it takes part.
    AddWitness(MemberId),
    /// One step: the learners in `promote` become voters, the voters in `demote` become learners.
    Vote {
        /// Who shall vote.
        promote: BTreeSet<MemberId>,
        /// Who shall not vote any more.
        demote: BTreeSet<MemberId>,
    },
    /// A peer leaves for good: its id is never taken again.
    Remove(MemberId),
}

impl MemberChange {
    /// One learner becomes a voter.
    pub fn promote(id: MemberId) -> Self {
        Self::Vote { promote: BTreeSet::from([id]), demote: BTreeSet::new() }
    }
}
