//! What objects can be watched by besides their collection. What a tag means is not known here: the store is opened
//! with an [`Index`] that names the tags of an object, and tells equal ones from others.

use std::sync::Arc;

use crate::model::{Event, Key, Stored};

/// Something that an object has in common with others, as a hash. Two things with one hash are one to the store: who
/// watches a tag judges what is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tag {
    /// Follows from the key.
    Key(u64),
    /// Takes a look into the object.
    Object(u64),
}

/// Which tags somebody watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wanted {
    Nothing,
    Keys,
    KeysAndObjects,
}

/// Names the tags of objects. The same object must always get the same tags.
///
/// Called by the thread of the peer with every change of a collection in which somebody watches a tag.
#[derive(Debug, Clone, Copy)]
pub struct Index {
    /// Calls back with the hash of each [`Tag::Key`].
    pub of_key: fn(&Key, &mut dyn FnMut(u64)),
    /// Calls back with the hash of each [`Tag::Object`]. Not called while only tags of keys are watched.
    pub of_object: fn(&Stored, &mut dyn FnMut(u64)),
}

impl Index {
    /// The tags that `events` have, with the place of the event, some twice.
    pub(crate) fn of_events(self, events: &[&Arc<Event>], wanted: Wanted) -> Vec<(usize, Tag)> {
        let mut tags = Vec::new();
        for (place, event) in events.iter().enumerate() {
            self.of_event(event, wanted, &mut |tag| tags.push((place, tag)));
        }
        tags
    }

    /// Calls back with each tag of the object before or after `event`.
    fn of_event(self, event: &Event, wanted: Wanted, each: &mut dyn FnMut(Tag)) {
        if wanted >= Wanted::Keys {
            (self.of_key)(event.object().key(), &mut |hash| each(Tag::Key(hash)));
        }
        if wanted < Wanted::KeysAndObjects {
            return;
        }
        let mut of_object = |stored: &Stored| (self.of_object)(stored, &mut |hash| each(Tag::Object(hash)));
        match event {
            Event::Put { stored, previous } => {
                of_object(stored);
                if let Some(previous) = previous {
                    of_object(previous);
                }
            }
            // The last version differs from the one before in nothing but its stamp, and that one may be decoded.
            Event::Deleted { previous, .. } => of_object(previous),
        }
    }

    /// Whether the object has `tag` before or after `event`.
    pub(crate) fn has(self, event: &Event, tag: Tag) -> bool {
        let mut has = false;
        let wanted = match tag {
            Tag::Key(_) => Wanted::Keys,
            Tag::Object(_) => Wanted::KeysAndObjects,
        };
        self.of_event(event, wanted, &mut |found| has |= found == tag);
        has
    }
}
