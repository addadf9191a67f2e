//! The last changes of each collection, for watches that go on from a revision.
//!
//! One bounded list a collection, read by all its watchers at their own places: a slow watcher costs nothing but its
//! place, and is told when that has fallen off the list. The memory is that of the objects, shared with the state.
//! Who watches a tag reads a list of the changes that have it ([`queues`]), and is woken by those alone.

mod ages;
mod queues;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use self::ages::Ages;
use self::queues::{Place, Queues};
use crate::error::Compacted;
use crate::model::{Event, Revision};
use crate::options::Limits;
use crate::tags::{Index, Tag};
use crate::view::View;
use crate::watch::Watch;

/// Looks at whether the history has come to where the view is. The thread of the peer publishes one right after the
/// other, so more than a few mean that it was held up between the two.
const LOOKS_MAX: u32 = 1000;

/// All histories of a peer.
pub(crate) struct Histories {
    limits: Limits,
    index: Option<Index>,
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
    pub(crate) queues: Queues,
    ages: Ages,
}

impl Histories {
    /// Empty histories of a state that is at `floor`.
    pub(crate) fn new(limits: Limits, index: Option<Index>, floor: Revision) -> Self {
        let registry = Registry { collections: BTreeMap::new(), floor, is_closed: false };
        Self { limits, index, registry: RwLock::new(registry), applied: AtomicU64::new(floor.0) }
    }

    /// Adds `events`, which are all that happened up to `applied` since the last call.
    pub(crate) fn publish(&self, events: &[Arc<Event>], applied: Revision) {
        let mut by_collection = BTreeMap::<&str, Vec<&Arc<Event>>>::new();
        for event in events {
            by_collection.entry(event.object().key().collection()).or_default().push(event);
        }
        for (collection, events) in by_collection {
            self.history(collection).add(&events, self.limits, self.index);
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
        Ok(Watch::new(Arc::clone(self), history, None, next, first, after))
    }

    /// How much is kept, and for how many.
    pub(crate) fn size(&self) -> Size {
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        let mut size = Size::default();
        for history in registry.collections.values() {
            size.watchers += history.next.receiver_count() as u64;
            history.read(|changes| {
                size.watchers += changes.queues.count();
                size.events += changes.events.len() as u64;
                size.bytes += changes.bytes as u64;
            });
        }
        size
    }

    /// The changes of `collection` after `after` whose object has `tag` before or after them; all without an index.
    pub(crate) fn watch_tagged(
        self: &Arc<Self>,
        collection: &str,
        tag: Tag,
        after: Revision,
    ) -> Result<Watch, Compacted> {
        let Some(index) = self.index else { return self.watch(collection, after) };
        let history = self.history(collection);
        let next = history.enter(tag);
        // From here on, dropping the watch leaves.
        let watch = Watch::new(Arc::clone(self), Arc::clone(&history), Some(tag), next, 0, after);
        history.reach_back(tag, index, after)?;
        Ok(watch)
    }

    /// The objects of `collection` as they were at the revision `to`: those of `view`, a present view, without what
    /// happened since. None when the history does not reach back that far.
    pub(crate) fn rewound(&self, collection: &str, to: Revision, view: &View) -> Option<View> {
        let mut looks = 0..LOOKS_MAX;
        while self.applied() < view.revision() {
            looks.next()?;
            std::thread::yield_now();
        }
        let since = self.history(collection).read(|changes| {
            let since = changes.find(changes.first, to);
            (changes.floor <= to).then(|| changes.from(since).cloned().collect::<Vec<_>>())
        })?;
        Some(view.rewound(collection, to, &since))
    }

    pub(crate) fn history(&self, collection: &str) -> Arc<History> {
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(history) = registry.collections.get(collection) {
            return Arc::clone(history);
        }
        drop(registry);
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        let (floor, is_closed) = (registry.floor, registry.is_closed);
        let history = registry.collections.entry(collection.into()).or_insert_with(|| {
            // Numbers begin at 1, so that there is one before the first.
            let (events, queues, ages) = (VecDeque::new(), Queues::default(), Ages::default());
            let changes = Changes { events, first: 1, bytes: 0, floor, is_closed, queues, ages };
            Arc::new(History { changes: RwLock::new(changes), next: watch::channel(0).0 })
        });
        Arc::clone(history)
    }
}

impl History {
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Changes) -> T) -> T {
        read(&self.changes.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, write: impl FnOnce(&mut Changes) -> T) -> T {
        write(&mut self.changes.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, events: &[&Arc<Event>], limits: Limits, index: Option<Index>) {
        let tags_of = |wanted| index.map(|index| index.of_events(events, wanted)).unwrap_or_default();
        // Objects are looked into before the lock, so that nobody waits for that.
        let wanted = self.read(|changes| changes.queues.wanted());
        let mut tags = tags_of(wanted);
        let (next, woken) = self.write(|changes| {
            if changes.queues.wanted() > wanted {
                tags = tags_of(changes.queues.wanted());
            }
            let first = changes.end();
            let place = |event: usize| Place { number: first + event as u64, revision: events[event].revision() };
            tags.retain(|(event, tag)| changes.queues.add(place(*event), *tag));
            for event in events {
                changes.bytes += size(event);
                changes.events.push_back(Arc::clone(event));
            }
            while changes.events.len() > limits.history_events || changes.bytes > limits.history_bytes {
                changes.pop();
            }
            changes.queues.sweep(changes.first);
            let touched = tags.into_iter().map(|(_, tag)| tag).collect();
            (changes.end(), changes.queues.watchers(touched))
        });
        self.wake(next, &woken);
    }

    fn restart(&self, floor: Revision) {
        let (next, woken) = self.write(|changes| {
            // One number is left out, so that watchers that had seen everything notice the gap too.
            changes.first = changes.end() + 1;
            changes.events.clear();
            changes.bytes = 0;
            changes.floor = floor;
            changes.queues.restart(Place { number: changes.first - 1, revision: floor });
            (changes.end(), changes.queues.all_watchers())
        });
        self.wake(next, &woken);
    }

    fn close(&self) {
        let (next, woken) = self.write(|changes| {
            changes.is_closed = true;
            (changes.end(), changes.queues.all_watchers())
        });
        self.wake(next, &woken);
    }

    fn wake(&self, next: u64, tagged: &[Arc<watch::Sender<u64>>]) {
        self.next.send_replace(next);
        for watchers in tagged {
            watchers.send_replace(next);
        }
    }

    fn enter(&self, tag: Tag) -> watch::Receiver<u64> {
        self.write(|changes| {
            let last = changes.last();
            changes.queues.enter(tag, last)
        })
    }

    /// One watcher of `tag` less.
    pub(crate) fn leave(&self, tag: Tag) {
        self.write(|changes| changes.queues.leave(tag));
    }

    /// Sees to it that the list of `tag` begins at `after`. Looks into objects without holding anybody up.
    fn reach_back(&self, tag: Tag, index: Index, after: Revision) -> Result<(), Compacted> {
        let compacted = |oldest| Compacted { requested: after, oldest };
        let missing = self.read(|changes| {
            let lost = changes.queues.get(tag).map_or(changes.last(), |queue| queue.lost(changes.first));
            if lost.revision <= after {
                return Ok(None);
            }
            if after < changes.floor {
                return Err(compacted(lost.revision));
            }
            let first = changes.find(changes.first, after);
            let count = (lost.number + 1).saturating_sub(first);
            let events: Vec<_> =
                changes.from(first).take(usize::try_from(count).unwrap_or(usize::MAX)).cloned().collect();
            Ok(Some((first, events)))
        })?;
        let Some((first, events)) = missing else { return Ok(()) };
        let found: Vec<_> = (first..)
            .zip(&events)
            .filter(|(_, event)| index.has(event, tag))
            .map(|(number, event)| Place { number, revision: event.revision() })
            .collect();
        let end = first + events.len() as u64 - 1;
        self.write(|changes| {
            let first_kept = changes.first;
            let Some(queue) = changes.queues.get_mut(tag) else { return Ok(()) };
            queue.extend_back(Place { number: first - 1, revision: after }, &found, end);
            queue.find(0, after, first_kept).map(|_| ()).map_err(compacted)
        })
    }
}

impl Changes {
    /// The change number `number`; None when it has not happened yet.
    pub(crate) fn get(&self, number: u64) -> Option<&Arc<Event>> {
        self.events.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Where the next change after `after` is, of those with `tag` or of all, given that all before the number `from`
    /// were looked at; Err when it may be gone, with the oldest revision to start from.
    pub(crate) fn look(&self, tag: Option<Tag>, from: u64, after: Revision) -> Result<Option<Place>, Revision> {
        if let Some(tag) = tag {
            return self.queues.get(tag).map_or(Ok(None), |queue| queue.find(from, after, self.first));
        }
        if from < self.first && after < self.floor {
            return Err(self.floor);
        }
        let number = self.find(from.max(self.first), after);
        Ok(self.get(number).map(|event| Place { number, revision: event.revision() }))
    }

    /// Takes the oldest change out.
    fn pop(&mut self) -> Option<Arc<Event>> {
        let old = self.events.pop_front()?;
        self.bytes -= size(&old);
        self.first += 1;
        self.floor = old.revision();
        Some(old)
    }

    /// The newest change, or what is left of it.
    fn last(&self) -> Place {
        Place { number: self.end() - 1, revision: self.events.back().map_or(self.floor, |event| event.revision()) }
    }

    /// The changes from the number `number` on.
    fn from(&self, number: u64) -> impl Iterator<Item = &Arc<Event>> {
        let skip = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.events.range(skip.min(self.events.len())..)
    }

    /// The number of the first change after `after`, given that all before the number `from` are not.
    pub(crate) fn find(&self, from: u64, after: Revision) -> u64 {
        let found = self.events.partition_point(|event| event.revision() <= after);
        from.max(self.first + found as u64)
    }

    /// The number of the next change.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }
}

/// The bytes an event holds on to: its object and the one it replaced.
fn size(event: &Event) -> usize {
    match event {
        Event::Put { stored, previous } => stored.size() + previous.as_ref().map_or(0, |old| old.size()),
        Event::Deleted { last, previous } => last.size() + previous.size(),
    }
}
