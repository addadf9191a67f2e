//! The objects at one revision. Not here: how they change ([`crate::machine`]).

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;

use crate::model::{Event, Key, Revision, Stored};

/// The objects of one collection by name.
pub(crate) type Collection = OrdMap<Arc<str>, Arc<Stored>>;

/// All objects at one revision. Never changes; clones share everything.
#[derive(Clone, Default)]
pub struct View {
    revision: Revision,
    collections: OrdMap<Arc<str>, Collection>,
}

/// One collection at some revision. Two are equal when nothing was written to it in between; that they differ does not
/// mean that their objects do.
#[derive(Clone)]
pub struct Part(Collection);

impl PartialEq for Part {
    fn eq(&self, other: &Self) -> bool {
        (self.0.is_empty() && other.0.is_empty()) || self.0.ptr_eq(&other.0)
    }
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "part of {} objects", self.0.len())
    }
}

impl View {
    pub(crate) fn new(revision: Revision, collections: OrdMap<Arc<str>, Collection>) -> Self {
        Self { revision, collections }
    }

    /// Every write up to this one is in the view, and none after it.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The object at `key`.
    pub fn get(&self, key: &Key) -> Option<Arc<Stored>> {
        self.collections.get(key.collection())?.get(key.name()).cloned()
    }

    /// The objects of `collection` whose names start with `name_prefix`, in the order of their names.
    pub fn list<'a>(&'a self, collection: &str, name_prefix: &str) -> impl Iterator<Item = Arc<Stored>> + use<'a> {
        self.list_after(collection, name_prefix, None)
    }

    /// As [`View::list`], but only those whose names come after `after`. The ones before cost nothing.
    pub fn list_after<'a>(
        &'a self,
        collection: &str,
        name_prefix: &str,
        after: Option<&str>,
    ) -> impl Iterator<Item = Arc<Stored>> + use<'a> {
        let prefix: Box<str> = name_prefix.into();
        let start = match after {
            Some(after) if after >= &*prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(&*prefix),
        };
        let range = self
            .collections
            .get(collection)
            .map(|objects| objects.range::<(Bound<&str>, Bound<&str>), str>((start, Bound::Unbounded)));
        range
            .into_iter()
            .flatten()
            .take_while(move |(name, _)| name.starts_with(&*prefix))
            .map(|(_, stored)| Arc::clone(stored))
    }

    /// The objects of `collection` alone as they were at `revision`, after which `since` happened to them.
    pub(crate) fn rewound(&self, collection: &str, revision: Revision, since: &[Arc<Event>]) -> Self {
        let mut objects = self.collections.get(collection).cloned().unwrap_or_default();
        for event in since.iter().rev() {
            let name = event.object().key().shared_name();
            match event.previous() {
                Some(previous) => objects.insert(Arc::clone(name), Arc::clone(previous)),
                None => objects.remove(name),
            };
        }
        Self::new(revision, OrdMap::unit(collection.into(), objects))
    }

    /// All collections, none of them empty.
    pub(crate) fn collections(&self) -> &OrdMap<Arc<str>, Collection> {
        &self.collections
    }

    /// The objects of `collection` as something to compare: whoever made something of them asks whether it still holds.
    pub fn part(&self, collection: &str) -> Part {
        Part(self.collections.get(collection).cloned().unwrap_or_default())
    }

    /// How many objects `collection` has.
    pub fn len(&self, collection: &str) -> usize {
        self.collections.get(collection).map_or(0, OrdMap::len)
    }

    /// How many objects there are.
    pub(crate) fn objects(&self) -> u64 {
        self.collections.values().map(|objects| objects.len() as u64).sum()
    }

    /// True when `collection` has no object.
    pub fn is_empty(&self, collection: &str) -> bool {
        self.len(collection) == 0
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "view at revision {} of {} collections", self.revision, self.collections.len())
    }
}
