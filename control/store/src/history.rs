//! The last changes of each collection, for watches that go on from a revision.
//!
//! One bounded list a collection, read by all its watchers at their own places: a slow watcher costs nothing but its
//! place, and is told when that has fallen off the list. The memory is that of the objects, shared with the state.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use crate::error::Compacted;
use crate::model::{Event, Revision};
use crate::options::Limits;
use crate::watch::Watch;

/// All histories of a peer.
pub(crate) struct Histories {
    limits: Limits,
    registry: RwLock<Registry>,
    /// Every change up to this revision is in its history.
    applied: AtomicU64,
}

/// How much the histories hold.
#[derive(Debug, Default)]
pub(crate) struct Size {
    pub(crate) watchers: u64,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
}

struct Registry {
    collections: BTreeMap<Arc<str>, Arc<History>>,
    /// What happened up to this revision is not known to any history.
    floor: Revision,
    is_closed: bool,
}

/// The last changes of one collection.
pub(crate) struct History {
    changes: RwLock<Changes>,
    /// The number of the next change, for those who wait for it.
    next: watch::Sender<u64>,
}

/// See [`History`]. Changes are numbered from the start of the process, without gaps but at a restore.
pub(crate) struct Changes {
    events: VecDeque<Arc<Event>>,
    /// The number of the first one kept.
    pub(crate) first: u64,
    bytes: usize,
    /// What happened up to this revision may be gone.
    pub(crate) floor: Revision,
    pub(crate) is_closed: bool,
}

impl Histories {
    /// Empty histories of a state that is at `floor`.
    pub(crate) fn new(limits: Limits, floor: Revision) -> Self {
        let registry = Registry { collections: BTreeMap::new(), floor, is_closed: false };
        Self { limits, registry: RwLock::new(registry), applied: AtomicU64::new(floor.0) }
    }

    /// Adds `events`, which are all that happened up to `applied` since the last call.
    pub(crate) fn publish(&self, events: &[Arc<Event>], applied: Revision) {
        let mut by_collection = BTreeMap::<&str, Vec<&Arc<Event>>>::new();
        for event in events {
            by_collection.entry(event.object().key().collection()).or_default().push(event);
        }
        for (collection, events) in by_collection {
            self.history(collection).add(&events, self.limits);
        }
        self.applied.store(applied.0, Ordering::Release);
    }

    /// Forgets everything: the state jumped to `floor`.
    pub(crate) fn restart(&self, floor: Revision) {
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        registry.floor = floor;
        for history in registry.collections.values() {
            history.restart(floor);
        }
        self.applied.store(floor.0, Ordering::Release);
    }

    /// Ends all watches.
    pub(crate) fn close(&self) {
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        registry.is_closed = true;
        for history in registry.collections.values() {
            history.close();
        }
    }

    /// Every change up to here is in its history.
    pub(crate) fn applied(&self) -> Revision {
        Revision(self.applied.load(Ordering::Acquire))
    }

    /// The changes of `collection` after `after`.
    pub(crate) fn watch(self: &Arc<Self>, collection: &str, after: Revision) -> Result<Watch, Compacted> {
        let history = self.history(collection);
        let (first, floor) = history.read(|changes| (changes.first, changes.floor));
        if after < floor {
            return Err(Compacted { requested: after, oldest: floor });
        }
        let next = history.next.subscribe();
        Ok(Watch::new(Arc::clone(self), history, next, first, after))
    }

    /// How much is kept, and for how many.
    pub(crate) fn size(&self) -> Size {
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        let mut size = Size::default();
        for history in registry.collections.values() {
            size.watchers += history.next.receiver_count() as u64;
            history.read(|changes| {
                size.events += changes.events.len() as u64;
                size.bytes += changes.bytes as u64;
            });
        }
        size
    }

    fn history(&self, collection: &str) -> Arc<History> {
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(history) = registry.collections.get(collection) {
            return Arc::clone(history);
        }
        drop(registry);
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        let (floor, is_closed) = (registry.floor, registry.is_closed);
        let history = registry.collections.entry(collection.into()).or_insert_with(|| {
            let changes = Changes { events: VecDeque::new(), first: 0, bytes: 0, floor, is_closed };
            Arc::new(History { changes: RwLock::new(changes), next: watch::channel(0).0 })
        });
        Arc::clone(history)
    }
}

impl History {
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Changes) -> T) -> T {
        read(&self.changes.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Changes)) {
        let mut changes = self.changes.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut changes);
        let next = changes.end();
        drop(changes);
        self.next.send_replace(next);
    }

    fn add(&self, events: &[&Arc<Event>], limits: Limits) {
        self.change(|changes| {
            for event in events {
                changes.bytes += size(event);
                changes.events.push_back(Arc::clone(event));
            }
            while (changes.events.len() > limits.history_events || changes.bytes > limits.history_bytes)
                && let Some(old) = changes.events.pop_front()
            {
                changes.bytes -= size(&old);
                changes.first += 1;
                changes.floor = old.revision();
            }
        });
    }

    fn restart(&self, floor: Revision) {
        self.change(|changes| {
            // One number is left out, so that watchers that had seen everything notice the gap too.
            changes.first = changes.end() + 1;
            changes.events.clear();
            changes.bytes = 0;
            changes.floor = floor;
        });
    }

    fn close(&self) {
        self.change(|changes| changes.is_closed = true);
    }
}

impl Changes {
    /// The change number `number`; None when it has not happened yet.
    pub(crate) fn get(&self, number: u64) -> Option<&Arc<Event>> {
        self.events.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// The number of the first change after `after`, given that all before the number `from` are not.
    pub(crate) fn find(&self, from: u64, after: Revision) -> u64 {
        let skip = usize::try_from(from - self.first).unwrap_or(usize::MAX).min(self.events.len());
        let found = self.events.range(skip..).position(|event| event.revision() > after);
        found.map_or(self.end(), |found| self.first + (skip + found) as u64)
    }

    /// The number of the next change.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }
}

/// The bytes an event holds on to: its object and the one it replaced.
fn size(event: &Event) -> usize {
    match event {
        Event::Put { stored, previous } => stored.bytes().len() + previous.as_ref().map_or(0, |old| old.bytes().len()),
        Event::Deleted { last, previous } => last.bytes().len() + previous.bytes().len(),
    }
}
