//! Get and list. The decoded form of an object is made once per stored version and shared by every reader.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use wk_api::{Kind, Object, Status, kinds};
use wk_store::{Revision, Stored, View};

use crate::{Cluster, key, refusal, vault};

/// How new the answer of a read has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It contains every write that was acknowledged before the read began, at any peer.
    Linearizable,
    /// What this peer knows now; never waits, and answers while the peer is cut off.
    Local,
}

/// Objects of one kind, as they were together at `revision`.
#[derive(Debug, Clone)]
pub struct List {
    /// The revision they were read at: watch from here to miss nothing.
    pub revision: Revision,
    /// In the order of namespace and name.
    pub items: Vec<Arc<Object>>,
}

/// The decoded form of `stored`, opened if it is sealed and its key is here ([`vault::sealed_with`] tells).
///
/// An Event's is made anew each time: there are more of them than of anything else, and hardly anybody reads one twice.
pub fn object(stored: &Stored) -> Arc<Object> {
    if stored.key().collection() == kinds::EVENT.collection() {
        return Arc::new(decode(&stored.bytes()));
    }
    stored.decoded(decode)
}

/// As [`object_as`], for one of thousands that nobody looks at again.
pub fn object_once(kind: &Kind, stored: &Stored) -> Arc<Object> {
    shown(kind, stored.decoded_here().unwrap_or_else(|| Arc::new(decode(&stored.bytes()))))
}

fn decode(bytes: &Bytes) -> Object {
    let value: Value = serde_json::from_slice(bytes).unwrap_or_else(|error| {
        // The log is checksummed, so this is an encoder's bug and not a disk's.
        tracing::error!(%error, "a stored object is not JSON");
        json!({ "metadata": {} })
    });
    vault::open(Object(value))
}

/// The decoded form of `stored` in the version of `kind`.
pub fn object_as(kind: &Kind, stored: &Stored) -> Arc<Object> {
    shown(kind, object(stored))
}

/// A stored object in the version of `kind`.
pub(crate) fn shown(kind: &Kind, stored: Arc<Object>) -> Arc<Object> {
    if kind.shows_what_is_stored() { stored } else { Arc::new(kind.shown(&stored).into_owned()) }
}

impl Cluster {
    /// The objects as they are, or as this peer knows them.
    pub async fn view(&self, freshness: Freshness) -> Result<View, Status> {
        match freshness {
            Freshness::Local => Ok(self.store.view()),
            Freshness::Linearizable => self.store.read().await.map_err(|error| refusal::from_read(&error)),
        }
    }

    /// The objects at `revision` or later; waits up to `wait` for a revision that has not come here yet.
    pub async fn view_since(&self, revision: Revision, wait: Duration) -> Result<View, Status> {
        let mut status = self.store.status();
        let view = self.store.view();
        if view.revision() >= revision {
            return Ok(view);
        }
        // A peer that is merely behind comes up to date by asking the leader.
        let view = self.view(Freshness::Linearizable).await?;
        if view.revision() >= revision {
            return Ok(view);
        }
        let arrived = status.wait_for(|_| self.store.view().revision() >= revision);
        match tokio::time::timeout(wait, arrived).await {
            Ok(Ok(_)) => Ok(self.store.view()),
            Ok(Err(_)) | Err(_) => Err(Status::too_large_resource_version(revision.0, self.store.view().revision().0)),
        }
    }

    /// One object.
    pub async fn get(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
        freshness: Freshness,
    ) -> Result<Arc<Object>, Status> {
        let view = self.view(freshness).await?;
        let stored = view.get(&key(kind, namespace, name)).ok_or_else(|| Status::not_found(kind, name))?;
        let object = object_as(kind, &stored);
        vault::check_open(kind, &object)?;
        Ok(object)
    }

    /// All objects of a kind, in one namespace or in all.
    pub async fn list(&self, kind: &Kind, namespace: Option<&str>, freshness: Freshness) -> Result<List, Status> {
        Ok(list_of(&self.view(freshness).await?, kind, namespace))
    }

    /// One object of the local copy, if it is there and can be opened here.
    pub fn local_object(&self, kind: &Kind, namespace: Option<&str>, name: &str) -> Option<Arc<Object>> {
        let stored = self.store.view().get(&key(kind, namespace, name))?;
        Some(object_as(kind, &stored)).filter(|object| vault::check_open(kind, object).is_ok())
    }

    /// As [`Cluster::list`] of the local copy.
    pub fn local(&self, kind: &Kind, namespace: Option<&str>) -> List {
        list_of(&self.store.view(), kind, namespace)
    }
}

/// What the names of a namespace's objects begin with in the store; empty for all namespaces.
pub(crate) fn prefix(namespace: Option<&str>) -> String {
    namespace.map(|namespace| format!("{namespace}/")).unwrap_or_default()
}

fn list_of(view: &View, kind: &Kind, namespace: Option<&str>) -> List {
    let items = view.list(kind.collection(), &prefix(namespace)).map(|stored| object_as(kind, &stored)).collect();
    List { revision: view.revision(), items }
}
