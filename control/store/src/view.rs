//! The objects at one revision. Not here: how they change ([`crate::machine`]).

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

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
/// mean that their objects do. The default has no objects.
#[derive(Clone, Default)]
pub struct Part(Collection);

/// An object that is not the same in two parts of one collection: as it was, if it was there, and as it is, if it is.
#[derive(Debug)]
pub struct Difference<'a> {
    /// The object in the earlier part.
    pub old: Option<&'a Arc<Stored>>,
    /// The object in the later part.
    pub new: Option<&'a Arc<Stored>>,
}

impl Part {
    /// What differs in `later`, in the order of names. Costs what differs, not what there is: whoever looked at all objects
    /// once keeps the part, and looks at these the next time.
    pub fn differences<'a>(&'a self, later: &'a Self) -> impl Iterator<Item = Difference<'a>> {
        self.0.diff(&later.0).map(|item| match item {
            DiffItem::Add(_, new) => Difference { old: None, new: Some(new) },
            DiffItem::Update { old: (_, old), new: (_, new) } => Difference { old: Some(old), new: Some(new) },
            DiffItem::Remove(_, old) => Difference { old: Some(old), new: None },
        })
    }
}

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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::Key;

    fn object(name: &str, revision: u64) -> (Arc<str>, Arc<Stored>) {
        let key = Key::new("c", name);
        (name.into(), Arc::new(Stored::as_kept(key, Bytes::new(), Revision(revision), Revision(1), None)))
    }

    #[test]
    fn differences_of_two_parts_are_what_came_what_changed_and_what_went() {
        let before: Collection = (0..5000_u64).map(|number| object(&format!("{number:05}"), number)).collect();
        let mut after = before.clone();
        after.remove("00100");
        for (name, revision) in [("00007", 9000), ("04999", 9001), ("02500-new", 9002)] {
            let (name, stored) = object(name, revision);
            after.insert(name, stored);
        }
        let (before, after) = (Part(before), Part(after));
        let revision = |stored: Option<&Arc<Stored>>| stored.map(|stored| stored.revision().0);
        let found: Vec<_> = before.differences(&after).map(|it| (revision(it.old), revision(it.new))).collect();
        let changed = (Some(4999), Some(9001));
        assert_eq!(found, [(Some(7), Some(9000)), (Some(100), None), (None, Some(9002)), changed]);
        assert_eq!(after.differences(&after.clone()).count(), 0);
        assert_eq!(Part::default().differences(&after).filter(|it| it.old.is_none()).count(), 5000);
    }
}
