//! What of the histories is old: whoever resumes a watch was away for seconds, and what is kept for him longer is memory
//! of a store in which nothing happens. Old versions of objects are most of it.
//!
//! Not here: a clock. Whoever has one calls [`Histories::age`] at even times.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use super::{Changes, Histories, History};
use crate::model::Event;

/// Calls after which a change is no longer young. By [`crate::Store::AGE_EVERY`] 75 seconds: so long Kubernetes' servers keep
/// what watchers may resume from (`eventFreshDuration`).
const YOUNG: usize = 5;

/// Bytes of changes that are not young, in each collection: all that happened to a small cluster.
const OLD_BYTES_MAX: usize = 1 << 20;

/// Calls after which a change is gone in any case. By [`crate::Store::AGE_EVERY`] five minutes: after so long Kubernetes'
/// servers have their store compacted (`--etcd-compaction-interval`), and the next page of a list begun then is refused.
const GONE: usize = 20;

/// The number of the next change at each of the last calls, the latest one last.
#[derive(Debug, Default)]
pub(super) struct Ages(VecDeque<u64>);

impl Histories {
    /// Lets go of what is old. The time between two calls is what ages are counted in.
    pub(crate) fn age(&self) {
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<Arc<History>> = registry.collections.values().cloned().collect();
        drop(registry);
        for history in all {
            // Objects are taken apart after the lock: nobody waits for that.
            drop(history.write(Changes::age));
        }
    }
}

impl Changes {
    fn age(&mut self) -> Vec<Arc<Event>> {
        let ages = &mut self.ages.0;
        ages.push_back(self.first + self.events.len() as u64);
        let gone = if ages.len() > GONE { ages.pop_front() } else { None }.unwrap_or(0);
        let young = ages.len().checked_sub(YOUNG + 1).and_then(|at| ages.get(at)).copied().unwrap_or(0);
        let mut old = Vec::new();
        while self.first < gone || self.first < young && self.bytes > OLD_BYTES_MAX {
            let Some(event) = self.pop() else { break };
            old.push(event);
        }
        if self.events.len() < self.events.capacity() / 4 {
            self.events.shrink_to_fit();
        }
        self.queues.sweep(self.first);
        old
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::{Key, Revision, Stored};
    use crate::options::Limits;

    fn put(all: &Histories, revision: u64, bytes: usize) {
        let (revision, bytes) = (Revision(revision), Bytes::from(vec![b'x'; bytes]));
        let stored = Arc::new(Stored::as_kept(Key::new("a", "n"), bytes, revision, revision, None));
        all.publish(&[Arc::new(Event::Put { stored, previous: None })], revision);
    }

    fn oldest(all: &Arc<Histories>) -> u64 {
        (0..=1_000_000).find(|after| all.watch("a", Revision(*after)).is_ok()).expect("the present can be watched")
    }

    #[test]
    fn young_changes_are_kept_however_large_and_old_ones_within_bounds_until_they_are_gone() {
        let all = Arc::new(Histories::new(Limits::default(), None, Revision(0)));
        put(&all, 1, OLD_BYTES_MAX);
        put(&all, 2, OLD_BYTES_MAX / 2);
        (0..YOUNG).for_each(|_| all.age());
        assert_eq!(oldest(&all), 0, "both are young");
        all.age();
        assert_eq!(oldest(&all), 1, "what is old is too much by the first");
        put(&all, 3, 10);
        (YOUNG + 1..GONE).for_each(|_| all.age());
        assert_eq!(oldest(&all), 1);
        all.age();
        assert_eq!(oldest(&all), 2);
        (0..GONE).for_each(|_| all.age());
        assert_eq!(oldest(&all), 3);
    }

    #[tokio::test]
    async fn watcher_that_has_seen_all_goes_on_when_what_it_saw_is_gone() {
        let all = Arc::new(Histories::new(Limits::default(), None, Revision(0)));
        let mut watch = all.watch("a", Revision(0)).expect("is kept");
        put(&all, 1, 10);
        assert_eq!(watch.next().await.expect("the change").revision(), Revision(1));
        (0..=GONE).for_each(|_| all.age());
        put(&all, 2, 10);
        assert_eq!(watch.next().await.expect("the change").revision(), Revision(2));
    }
}
