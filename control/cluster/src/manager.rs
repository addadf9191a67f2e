//! Who writes, as `metadata.managedFields` records it.

use std::sync::Arc;

use serde_json::Value;
use wk_api::{Kind, Object, Status, managed, strategy};

/// A field manager.
#[derive(Debug, Clone)]
pub struct Manager {
    name: Arc<str>,
    creates_tracked: bool,
}

impl Manager {
    /// A client: the owners of what it creates are recorded from the first.
    pub fn client(name: &str) -> Self {
        Self { name: name.into(), creates_tracked: true }
    }

    /// Part of the cluster itself. What it creates has no owners until somebody applies, which Kubernetes allows and
    /// which keeps the many pods of controllers small; what it changes in objects with owners is recorded.
    pub fn internal(name: &str) -> Self {
        Self { name: name.into(), creates_tracked: false }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the owners of what it creates are recorded.
    pub(crate) fn tracks_creation(&self) -> bool {
        self.creates_tracked
    }
}

/// The Scale of `object`, with its owners if they are recorded.
pub(crate) fn scale_of(kind: &Kind, object: &Object) -> Result<Object, Status> {
    let mut scale = Object::new(strategy::scale_of(kind, object)?);
    if let Some(entries) = object.metadata().get("managedFields") {
        managed::put(&mut scale, managed::to_scale(kind, entries));
    }
    Ok(scale)
}

/// Gives `new` the owners that `old` has, with those of its replicas from `scale`.
pub(crate) fn put_scale_owners(kind: &Kind, old: &Object, new: &mut Object, scale: &Object) {
    let Some(entries) = old.metadata().get("managedFields") else { return };
    let none = Value::Array(Vec::new());
    let owners = scale.metadata().get("managedFields").unwrap_or(&none);
    managed::put(new, managed::from_scale(kind, entries, owners));
}
