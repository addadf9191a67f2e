//! Which changes of a collection have a tag that somebody watches: for each such tag a list of their numbers.
//!
//! A list is made for the first watcher of its tag and goes with the last. It names only changes that the history keeps,
//! but for a few that the next sweep takes out.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::watch;

use crate::model::Revision;
use crate::tags::{Tag, Wanted};

/// Changes that leave the history between two sweeps, at least: a sweep looks at every list.
const SWEEP_MIN: u64 = 1024;

/// A change: its number in the history, and its revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) number: u64,
    pub(crate) revision: Revision,
}

/// The lists of one collection.
#[derive(Default)]
pub(crate) struct Queues {
    by_tag: HashMap<Tag, Queue>,
    /// How many of the tags take a look into objects.
    object_tags: usize,
    /// The first number kept at the last sweep.
    swept: u64,
}

/// The changes with one tag.
pub(crate) struct Queue {
    places: VecDeque<Place>,
    /// Changes up to this one are not in the list, whether they have the tag or not.
    lost: Place,
    watchers: usize,
    next: Arc<watch::Sender<u64>>,
}

impl Queues {
    /// Which tags are to be looked for.
    pub(super) fn wanted(&self) -> Wanted {
        match self.by_tag.len() {
            0 => Wanted::Nothing,
            _ if self.object_tags == 0 => Wanted::Keys,
            _ => Wanted::KeysAndObjects,
        }
    }

    /// Notes that the change at `place`, the newest, has `tag`. False when nobody watches it, or it was noted.
    pub(super) fn add(&mut self, place: Place, tag: Tag) -> bool {
        match self.by_tag.get_mut(&tag) {
            // Both versions may have the tag.
            Some(queue) if queue.places.back() != Some(&place) => {
                queue.places.push_back(place);
                true
            }
            Some(_) | None => false,
        }
    }

    /// One more watcher of `tag`, whose list begins after `last`, the newest change, if there is none yet.
    pub(super) fn enter(&mut self, tag: Tag, last: Place) -> watch::Receiver<u64> {
        let object_tags = &mut self.object_tags;
        let queue = self.by_tag.entry(tag).or_insert_with(|| {
            *object_tags += usize::from(matches!(tag, Tag::Object(_)));
            Queue { places: VecDeque::new(), lost: last, watchers: 0, next: Arc::new(watch::channel(0).0) }
        });
        queue.watchers += 1;
        queue.next.subscribe()
    }

    /// One watcher of `tag` less.
    pub(super) fn leave(&mut self, tag: Tag) {
        let Some(queue) = self.by_tag.get_mut(&tag) else { return };
        queue.watchers -= 1;
        if queue.watchers > 0 {
            return;
        }
        self.by_tag.remove(&tag);
        self.object_tags -= usize::from(matches!(tag, Tag::Object(_)));
        if self.by_tag.len() < self.by_tag.capacity() / 4 {
            self.by_tag.shrink_to_fit();
        }
    }

    /// How many watch by a tag.
    pub(super) fn count(&self) -> u64 {
        self.by_tag.values().map(|queue| queue.watchers as u64).sum()
    }

    /// The list of a tag that is watched.
    pub(super) fn get(&self, tag: Tag) -> Option<&Queue> {
        self.by_tag.get(&tag)
    }

    pub(super) fn get_mut(&mut self, tag: Tag) -> Option<&mut Queue> {
        self.by_tag.get_mut(&tag)
    }

    /// Whom to wake after changes with the tags `touched`, each once.
    pub(super) fn watchers(&self, mut touched: Vec<Tag>) -> Vec<Arc<watch::Sender<u64>>> {
        touched.sort_unstable();
        touched.dedup();
        touched.iter().filter_map(|tag| self.by_tag.get(tag)).map(|queue| Arc::clone(&queue.next)).collect()
    }

    /// Whom to wake when it concerns everybody.
    pub(super) fn all_watchers(&self) -> Vec<Arc<watch::Sender<u64>>> {
        self.by_tag.values().map(|queue| Arc::clone(&queue.next)).collect()
    }

    /// Takes changes before the number `first` out of the lists, now and then: the cost of it is spread over the changes
    /// that left the history since, and the lists never name more of those than that.
    pub(super) fn sweep(&mut self, first: u64) {
        if first - self.swept < SWEEP_MIN.max(self.by_tag.len() as u64) {
            return;
        }
        self.swept = first;
        for queue in self.by_tag.values_mut() {
            queue.sweep(first);
        }
    }

    /// Empties every list: what happened up to `lost` is not known.
    pub(super) fn restart(&mut self, lost: Place) {
        for queue in self.by_tag.values_mut() {
            queue.places = VecDeque::new();
            queue.lost = lost;
        }
    }

    /// Changes named, in all lists.
    #[cfg(test)]
    pub(crate) fn places(&self) -> usize {
        self.by_tag.values().map(|queue| queue.places.len()).sum()
    }

    /// Tags that are watched.
    #[cfg(test)]
    pub(crate) fn tags(&self) -> usize {
        self.by_tag.len()
    }
}

impl Queue {
    /// The first change from the number `from` on that is after `after`, in a history that begins with the number
    /// `first`; Err with its revision when there was one that is gone.
    pub(super) fn find(&self, from: u64, after: Revision, first: u64) -> Result<Option<Place>, Revision> {
        let lost = self.lost(first);
        if lost.number >= from && lost.revision > after {
            return Err(lost.revision);
        }
        let skip = self.places.partition_point(|place| place.number < from.max(first) || place.revision <= after);
        Ok(self.places.get(skip).copied())
    }

    /// The last change that is not, or no longer, known.
    pub(super) fn lost(&self, first: u64) -> Place {
        let gone = self.places.partition_point(|place| place.number < first);
        gone.checked_sub(1).map_or(self.lost, |last| self.places[last])
    }

    /// Adds changes from before the list begins: `found` are those with the tag after `lost` and up to `end` at least.
    pub(super) fn extend_back(&mut self, lost: Place, found: &[Place], end: u64) {
        // Meanwhile somebody else may have done the same, or what was found may have been forgotten.
        if lost.revision < self.lost.revision && (lost.number..=end).contains(&self.lost.number) {
            for place in found.iter().rev().filter(|place| place.number <= self.lost.number) {
                self.places.push_front(*place);
            }
            self.lost = lost;
        }
    }

    fn sweep(&mut self, first: u64) {
        self.lost = self.lost(first);
        let gone = self.places.partition_point(|place| place.number < first);
        self.places.drain(..gone);
        if self.places.len() < self.places.capacity() / 4 {
            self.places.shrink_to_fit();
        }
    }
}
