//! What writers of one peer share beside the store: turns where a quota makes them meet, and what they should hear.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard};
use wk_api::kinds;

use crate::{Cluster, read};

/// Namespaces with quotas that are written to at once. More only use memory: two that share a turn wait for each other's
/// fsync, and are right all the same.
const TURNS: usize = 64;

/// Turns of writers, by namespace.
#[derive(Clone)]
pub(crate) struct Turns(Arc<[Arc<Turn<()>>]>);

impl Default for Turns {
    fn default() -> Self {
        Self((0..TURNS).map(|_| Arc::default()).collect())
    }
}

/// What the writer through one handle should hear besides the answer.
#[derive(Clone, Default)]
pub(crate) struct Warnings(Option<Arc<Mutex<Vec<String>>>>);

/// Who is told what the audit log should say of writes through one handle.
pub(crate) type Notes = Option<Arc<dyn Fn(Vec<(String, String)>) + Send + Sync>>;

impl Cluster {
    /// The turn of a writer in a namespace with quotas. Each such write changes the quota, so that all but one of those
    /// that run at once would be decided again: 50 pods of one ReplicaSet would lose their races more often than is
    /// borne. In turns they lose only to writers of other peers.
    pub(crate) async fn turn(&self, namespace: Option<&str>) -> Option<OwnedMutexGuard<()>> {
        let namespace = namespace?;
        let prefix = read::prefix(Some(namespace));
        self.store().view().list(kinds::RESOURCEQUOTA.collection(), &prefix).next()?;
        let mut hasher = DefaultHasher::new();
        namespace.hash(&mut hasher);
        let count = u64::try_from(TURNS).expect("a small number");
        let index = usize::try_from(hasher.finish() % count).expect("a small number");
        Some(Arc::clone(&self.turns.0[index]).lock_owned().await)
    }

    /// The same cluster, whose writes keep what the writer should hear for [`Cluster::take_warnings`].
    #[must_use]
    pub fn with_warnings(&self) -> Self {
        Self { warnings: Warnings(Some(Arc::default())), ..self.clone() }
    }

    /// What writes through this handle had to say, once.
    pub fn take_warnings(&self) -> Vec<String> {
        let Some(kept) = &self.warnings.0 else { return Vec::new() };
        std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn warn(&self, warnings: Vec<String>) {
        if let Some(kept) = &self.warnings.0 {
            kept.lock().unwrap_or_else(PoisonError::into_inner).extend(warnings);
        }
    }

    /// The same cluster, which says of its writes what the audit log should: names and texts of annotations, also when a
    /// write is refused, and again when it is decided again.
    #[must_use]
    pub fn with_notes(&self, notes: impl Fn(Vec<(String, String)>) + Send + Sync + 'static) -> Self {
        Self { notes: Some(Arc::new(notes)), ..self.clone() }
    }

    pub(crate) fn note(&self, notes: impl FnOnce() -> Vec<(String, String)>) {
        if let Some(told) = &self.notes {
            told(notes());
        }
    }
}
