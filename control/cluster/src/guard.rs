//! Who writes may decide what may be written: a hook in the decision of each write, on the object as it would be stored.
//!
//! Not here: what it says. The API server guards the writes of its callers; controllers' writes are not guarded.

use wk_api::{Kind, Object, Status};
use wk_store::View;

use crate::{Cluster, Subresource};

/// A write that is about to be made, by the objects in `view`.
pub struct Write<'a> {
    /// What the decision is made from.
    pub view: &'a View,
    /// Of which kind.
    pub kind: &'a Kind,
    /// Through which face.
    pub subresource: Subresource,
    /// What is there; None for a create.
    pub old: Option<&'a Object>,
    /// What is to be there; None for a deletion.
    pub new: Option<&'a Object>,
}

/// Judges writes.
pub trait Guard: Send + Sync + 'static {
    /// Refuses what may not be written. Asked again on newer news before the writer hears of it.
    fn check(&self, write: &Write<'_>) -> Result<(), Status>;
}

impl Write<'_> {
    /// The object's name.
    pub fn name(&self) -> &str {
        self.old.or(self.new).map_or("", Object::name)
    }

    /// Its namespace; empty for cluster-wide kinds.
    pub fn namespace(&self) -> &str {
        self.old.or(self.new).map_or("", Object::namespace)
    }
}

impl Cluster {
    /// Asks the guard, if there is one.
    pub(crate) fn guard(&self, write: &Write<'_>) -> Result<(), Status> {
        self.guard.as_ref().map_or(Ok(()), |guard| guard.check(write))
    }
}
