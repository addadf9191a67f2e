//! Watching a kind: the store's events, of one namespace or of all, of some objects or of all.

use std::sync::Arc;

use wk_api::selector::{Fields, Labels};
use wk_api::{Kind, Object, Status};
use wk_store::{Event, Revision, Stored, WatchError};

use crate::{Cluster, object, read, refusal, tags};

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

/// One change of one object. Decodes no more of it than it is asked for.
#[derive(Debug, Clone)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The object now, as it is stored and served; when deleted its last state, at the revision of the deletion.
    pub stored: Arc<Stored>,
    previous: Option<Arc<Stored>>,
}

impl Change {
    fn of(event: &Event) -> Self {
        let kind = match event {
            Event::Put { previous: None, .. } => ChangeKind::Added,
            Event::Put { .. } => ChangeKind::Modified,
            Event::Deleted { .. } => ChangeKind::Deleted,
        };
        Self { kind, stored: Arc::clone(event.object()), previous: event.previous().cloned() }
    }

    /// [`Change::stored`], decoded.
    pub fn object(&self) -> Arc<Object> {
        object(&self.stored)
    }

    /// The object before, unless it is new.
    pub fn previous(&self) -> Option<Arc<Object>> {
        self.previous.as_ref().map(|stored| object(stored))
    }
}

/// The changes of a kind after a revision, once and in order.
pub struct Watch {
    inner: wk_store::Watch,
    prefix: String,
}

impl Cluster {
    /// Follows `kind` in one namespace or in all, from just after `after`.
    ///
    /// Ends with 410 when the history no longer reaches back that far, also later, when the reader is too slow.
    pub fn watch(&self, kind: &Kind, namespace: Option<&str>, after: Revision) -> Result<Watch, Status> {
        self.watch_selected(kind, namespace, &Labels::default(), &Fields::default(), after)
    }

    /// As [`Cluster::watch`], but may leave out changes of objects that the selectors let through neither before nor
    /// after. Whoever wants none of these judges what is delivered: the watch is by one term of the selectors.
    pub fn watch_selected(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        labels: &Labels,
        fields: &Fields,
        after: Revision,
    ) -> Result<Watch, Status> {
        let collection = kind.collection();
        let opened = match tags::most_selective(kind, namespace, labels, fields) {
            Some(tag) => self.store().watch_tagged(collection, tag, after),
            None => self.store().watch(collection, after),
        };
        let inner = opened.map_err(|error| refusal::from_compacted(&error))?;
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
