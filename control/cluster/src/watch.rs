//! Watching a kind: the store's events, decoded, of one namespace or of all.

use std::sync::Arc;

use wk_api::{Kind, Object, Status};
use wk_store::{Event, Revision, Stored, WatchError};

use crate::{Cluster, object, read, refusal};

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It was there and is different now.
    Modified,
    /// It is gone.
    Deleted,
}

/// One change of one object.
#[derive(Debug, Clone)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The object now; when deleted its last state, at the revision of the deletion.
    pub object: Arc<Object>,
    /// The object before, unless it is new.
    pub previous: Option<Arc<Object>>,
    /// [`Change::object`] as it is stored and served.
    pub stored: Arc<Stored>,
}

impl Change {
    fn of(event: &Event) -> Self {
        let (kind, stored, previous) = match event {
            Event::Put { stored, previous: None } => (ChangeKind::Added, stored, None),
            Event::Put { stored, previous: Some(previous) } => (ChangeKind::Modified, stored, Some(previous)),
            Event::Deleted { last, previous } => (ChangeKind::Deleted, last, Some(previous)),
        };
        Self {
            kind,
            object: object(stored),
            previous: previous.map(|stored| object(stored)),
            stored: Arc::clone(stored),
        }
    }
}

/// Every change of a kind after a revision, once and in order.
pub struct Watch {
    inner: wk_store::Watch,
    prefix: String,
}

impl Cluster {
    /// Follows `kind` in one namespace or in all, from just after `after`.
    ///
    /// Ends with 410 when the history no longer reaches back that far, also later, when the reader is too slow.
    pub fn watch(&self, kind: &Kind, namespace: Option<&str>, after: Revision) -> Result<Watch, Status> {
        let inner = self.store().watch(kind.collection(), after).map_err(|error| refusal::from_compacted(&error))?;
        Ok(Watch { inner, prefix: read::prefix(namespace) })
    }
}

impl Watch {
    /// The next change. May be dropped while it waits; nothing is lost.
    pub async fn next(&mut self) -> Result<Change, Status> {
        loop {
            let event = self.inner.next().await.map_err(|error| self.ended(&error))?;
            if event.object().key().name().starts_with(&self.prefix) {
                return Ok(Change::of(&event));
            }
        }
    }

    /// Every change up to here has been delivered: the revision of a bookmark.
    pub fn seen(&self) -> Revision {
        self.inner.seen()
    }

    fn ended(&self, error: &WatchError) -> Status {
        refusal::from_watch(self.seen(), error)
    }
}
