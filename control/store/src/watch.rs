//! Watching a collection.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use crate::error::{Compacted, WatchError};
use crate::history::{Histories, History};
use crate::model::{Event, Revision};

/// The changes of one collection, in order, each once.
///
/// **Guarantees.** Every change after the revision that the watch started from is delivered once, in order, or the watch
/// ends with [`WatchError::Compacted`]. Events of one transaction have one revision and follow each other; a watch that
/// goes on from a revision in the middle of them leaves out the rest, so it is resumed from [`Watch::seen`].
pub struct Watch {
    all: Arc<Histories>,
    history: Arc<History>,
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
        next: watch::Receiver<u64>,
        number: u64,
        after: Revision,
    ) -> Self {
        Self { all, history, next, number, after, delivered: after }
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
            if self.number < changes.first {
                return self.before(self.delivered);
            }
            match changes.get(changes.find(self.number, self.after)) {
                None => applied.max(self.delivered),
                // More events of the transaction delivered last are to come.
                Some(event) if event.revision() == self.delivered => self.before(self.delivered),
                Some(_) => self.delivered,
            }
        })
    }

    fn before(&self, revision: Revision) -> Revision {
        Revision(revision.0.saturating_sub(1)).max(self.after)
    }

    fn step(&mut self) -> Result<Step, WatchError> {
        let (after, delivered) = (self.after, self.delivered);
        let number = &mut self.number;
        let event = self.history.read(|changes| {
            if *number < changes.first {
                if after < changes.floor {
                    return Err(WatchError::Compacted(Compacted { requested: delivered, oldest: changes.floor }));
                }
                *number = changes.first;
            }
            *number = changes.find(*number, after);
            match changes.get(*number) {
                Some(event) => Ok(Some(Arc::clone(event))),
                None if changes.is_closed => Err(WatchError::Stopped),
                None => Ok(None),
            }
        })?;
        Ok(match event {
            Some(event) => {
                *number += 1;
                self.delivered = event.revision();
                Step::Deliver(event)
            }
            None => Step::Wait,
        })
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "watch seen up to revision {}", self.seen())
    }
}

#[cfg(test)]
mod tests;
