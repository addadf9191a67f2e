//! Kubernetes' verbs over the replicated store: what the API server, the controllers and the node agent share.
//!
//! A verb here is a decision and a write. The decision is a function of a [`View`](wk_store::View); it is first tried
//! on the local copy, and whatever that refuses (or finds unchanged) is asked again of a linearizable view before the
//! caller hears it. Nothing is written without naming the revision it relied on, so the store is the referee.
//!
//! Not here: HTTP, identities, and what a field means (`wk-api`). Start at [`Cluster`].
//!
//! **Guarantees.** An `Ok` of a write means that it is in the fsynced logs of a majority and applied to this peer's
//! copy. A conflict is answered only when the precondition that the *caller* gave does not hold, or after
//! `TRIES_MAX` lost races.
//!
//! **Assumptions.** The store holds only what `wk_api::encode` made.

mod admission;
mod apply;
mod brief;
mod definitions;
mod delete;
mod guard;
mod manager;
mod namespaces;
mod node_ports;
mod notes;
mod pods;
mod read;
mod refusal;
mod sealing;
mod services;
mod settle;
mod tags;
mod turns;
mod vault;
mod watch;
mod write;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use wk_api::{Kind, Object};
use wk_base::time::Clock;
use wk_store::{Key, Revision, Store};

pub use admission::DEFAULT_SERVICE_ACCOUNT;
pub use apply::{ApplyRequest, Judged, Settled};
pub use brief::{Brief, PodBrief, brief, label_hash};
pub use definitions::{kind_in, kinds_in, stored_kind, stored_kinds_in};
pub use delete::Deleted;
pub use guard::{Guard, Write};
pub use manager::Manager;
pub use namespaces::SYSTEM_NAMESPACES;
pub use notes::{Note, Severity};
pub use read::{Freshness, List, object, object_as, object_once};
pub use refusal::{from_compacted, from_read, from_watch, from_write};
pub use sealing::{COLLECTION as SECRETS_KEYS, MissingKey, Sealing, forget_keys};
pub use services::{SERVICE_RANGE, ServiceRange};
pub use tags::INDEX;
pub use vault::{KEY_BYTES, SecretsKey, Vault, check_keys, check_open, open, sealed_with};
pub use watch::{Change, ChangeKind, Watch};
pub use write::Subresource;

/// The cluster's objects, as one peer reads and writes them. Clones share everything.
#[derive(Clone)]
pub struct Cluster {
    store: Store,
    clock: Arc<dyn Clock>,
    effect: Effect,
    turns: turns::Turns,
    warnings: turns::Warnings,
    notes: turns::Notes,
    vault: Option<Arc<Vault>>,
    counted: Arc<sealing::Counted>,
    guard: Option<Arc<dyn Guard>>,
    /// What an update begins from, where that is not what is stored.
    converted: Option<Arc<Object>>,
    manager: Manager,
}

/// Whether writes happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Write,
    /// Everything is decided and checked, nothing is stored (`dryRun=All`).
    DryRun,
}

impl Cluster {
    /// The verbs over `store`; `clock` dates what they create and delete.
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        let manager = Manager::internal("wk-controllers");
        Self {
            store,
            clock,
            effect: Effect::Write,
            vault: None,
            counted: Arc::default(),
            turns: turns::Turns::default(),
            warnings: turns::Warnings::default(),
            notes: None,
            converted: None,
            manager,
            guard: None,
        }
    }

    /// The same cluster, whose Secrets are sealed by `vault` on their way to the store.
    #[must_use]
    pub fn with_vault(self, vault: Vault) -> Self {
        Self { vault: Some(Arc::new(vault)), ..self }
    }

    /// The same cluster, whose writes decide and check everything and store nothing (`dryRun=All`).
    #[must_use]
    pub fn dry_run(&self) -> Self {
        Self { effect: Effect::DryRun, ..self.clone() }
    }

    /// The same cluster, whose writes are judged by `guard`.
    #[must_use]
    pub fn guarded(&self, guard: Arc<dyn Guard>) -> Self {
        Self { guard: Some(guard), ..self.clone() }
    }

    /// The same cluster, whose next update begins from `old`: the stored object as a webhook converted it to the version
    /// that is stored now. It holds only while the object is at the version of `old`.
    #[must_use]
    pub fn with_converted(&self, old: Arc<Object>) -> Self {
        Self { converted: Some(old), ..self.clone() }
    }

    /// The same cluster, whose writes are `manager`'s as far as `metadata.managedFields` says.
    #[must_use]
    pub fn as_manager(&self, manager: Manager) -> Self {
        Self { manager, ..self.clone() }
    }

    /// The store below.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The clock that dates objects.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("effect", &self.effect).finish_non_exhaustive()
    }
}

/// Where the store keeps the object `name`.
pub fn key(kind: &Kind, namespace: Option<&str>, name: &str) -> Key {
    Key::new(kind.collection(), Kind::name_in_store(namespace, name))
}

/// `object` as it reads once it is stored at `revision`.
pub(crate) fn stamped(mut object: Object, revision: Revision) -> Arc<Object> {
    object.0["metadata"]["resourceVersion"] = revision.to_string().into();
    Arc::new(object)
}
