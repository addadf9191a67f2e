//! Watching a collection.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use crate::error::{Compacted, WatchError};
use crate::history::{Histories, History};
use crate::model::{Event, Revision};
use crate::tags::Tag;

/// The changes of one collection, or those with a tag in it, in order, each once.
///
/// **Guarantees.** Every such change after the revision that the watch started from is delivered once, in order, or the watch
/// ends with [`WatchError::Compacted`]. Events of one transaction have one revision and follow each other; a watch that
/// goes on from a revision in the middle of them leaves out the rest, so it is resumed from [`Watch::seen`]. A watch of a
/// tag is woken by the changes with the tag alone, and ended only when one of those is gone.
pub struct Watch {
    all: Arc<Histories>,
    history: Arc<History>,
    /// None: all of them.
    tag: Option<Tag>,
    next: watch::Receiver<u64>,
    /// The number of the change to deliver next.
    number: u64,
    /// Changes up to here are not delivered.
    after: Revision,
    /// The last change delivered.
    delivered: Revision,
}

enum Step {
    Deliver(Arc<Event>),
    Wait,
}

impl Watch {
    pub(crate) fn new(
        all: Arc<Histories>,
        history: Arc<History>,
        tag: Option<Tag>,
        next: watch::Receiver<u64>,
        number: u64,
        after: Revision,
    ) -> Self {
        Self { all, history, tag, next, number, after, delivered: after }
    }

    /// The next change; waits for it. May be cancelled: nothing is lost.
    pub async fn next(&mut self) -> Result<Arc<Event>, WatchError> {
        loop {
            // Marked as seen before the look, so that what comes in between wakes the wait.
            self.next.borrow_and_update();
            match self.step()? {
                Step::Deliver(event) => return Ok(event),
                Step::Wait => self.next.changed().await.map_err(|_| WatchError::Stopped)?,
            }
        }
    }

    /// The next change, if it has happened already.
    pub fn try_next(&mut self) -> Result<Option<Arc<Event>>, WatchError> {
        match self.step()? {
            Step::Deliver(event) => Ok(Some(event)),
            Step::Wait => Ok(None),
        }
    }

    /// Every change up to here was delivered, also when the last ones were in other collections: for bookmarks, and to
    /// resume from.
    pub fn seen(&self) -> Revision {
        // Before the look at the history: what is applied by then is in there.
        let applied = self.all.applied();
        self.history.read(|changes| {
            match changes.look(self.tag, self.number, self.after) {
                Ok(None) => applied.max(self.delivered),
                // More events of the transaction delivered last are to come.
                Ok(Some(place)) if place.revision == self.delivered => self.before(self.delivered),
                Ok(Some(_)) => self.delivered,
                Err(_) => self.before(self.delivered),
            }
        })
    }

    fn before(&self, revision: Revision) -> Revision {
        Revision(revision.0.saturating_sub(1)).max(self.after)
    }

    fn step(&mut self) -> Result<Step, WatchError> {
        let found = self.history.read(|changes| {
            let place = changes
                .look(self.tag, self.number, self.after)
                .map_err(|oldest| WatchError::Compacted(Compacted { requested: self.delivered, oldest }))?;
            match place.and_then(|place| Some((place, changes.get(place.number)?))) {
                Some((place, event)) => Ok(Some((place, Arc::clone(event)))),
                None if changes.is_closed => Err(WatchError::Stopped),
                None => Ok(None),
            }
        })?;
        Ok(match found {
            Some((place, event)) => {
                self.number = place.number + 1;
                self.delivered = place.revision;
                Step::Deliver(event)
            }
            None => Step::Wait,
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(tag) = self.tag {
            self.history.leave(tag);
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "watch seen up to revision {}", self.seen())
    }
}

#[cfg(test)]
mod tests;
