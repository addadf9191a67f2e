//! Delete: at once, or a mark and a wait for whoever still has to let go.

use std::sync::Arc;

use wk_api::strategy::{self, DeleteOptions, Deletion};
use wk_api::{Kind, Object, Status};
use wk_store::{Change, Expect, Op, Stored, View};

use crate::guard::Write;
use crate::read::shown;
use crate::settle::{Decision, Outcome};
use crate::{Cluster, Subresource, definitions, key, object, services};

/// What a deletion led to.
#[derive(Debug, Clone)]
pub enum Deleted {
    /// It is marked and goes when its finalizers are done or its pod has stopped.
    Object(Arc<Object>),
    /// It is gone; this is its last state.
    Gone(Arc<Object>),
}

impl Deleted {
    /// The object, marked or in its last state.
    pub fn object(&self) -> &Arc<Object> {
        match self {
            Self::Object(object) | Self::Gone(object) => object,
        }
    }
}

impl Cluster {
    /// Deletes an object, or begins to. Deleting what is already going is no error.
    pub async fn delete(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted, Status> {
        let decide = |view: &View| {
            let kind = definitions::current(view, kind)?;
            let stored = view.get(&key(kind, namespace, name)).ok_or_else(|| Status::not_found(kind, name))?;
            self.decide_delete(view, kind, &stored, object(&stored), options)
        };
        let cluster = if options.dry_run { self.dry_run() } else { self.clone() };
        match cluster.settle(decide, || Status::modified(kind, name)).await? {
            (object, Outcome::Removed) => Ok(Deleted::Gone(shown(kind, object))),
            (object, Outcome::Kept) => Ok(Deleted::Object(shown(kind, object))),
        }
    }

    /// What a delete of `old` does, which is what is `stored` or that with something added.
    pub(crate) fn decide_delete(
        &self,
        view: &View,
        kind: &Kind,
        stored: &Stored,
        old: Arc<Object>,
        options: &DeleteOptions,
    ) -> Result<Decision, Status> {
        self.guard(&Write { view, kind, subresource: Subresource::None, old: Some(&old), new: None })?;
        let op = |change| Op { key: stored.key().clone(), expect: Expect::Revision(stored.revision()), change };
        match strategy::delete(kind, &old, options, self.clock().now())? {
            Deletion::Remove => {
                let mut ops = services::release(view, kind, &old);
                ops.extend(definitions::release(view, kind, &old, self.clock().now()));
                ops.push(op(Change::Delete));
                Ok(Decision { ops, answer: old, outcome: Outcome::Removed, warnings: Vec::new() })
            }
            Deletion::Mark(marked) => {
                let (change, relies_on) = self.put(view, &marked)?;
                Ok(Decision {
                    ops: relies_on.into_iter().chain([op(change)]).collect(),
                    answer: Arc::new(marked),
                    outcome: Outcome::Kept,
                    warnings: Vec::new(),
                })
            }
            Deletion::Nothing => {
                Ok(Decision { ops: Vec::new(), answer: old, outcome: Outcome::Kept, warnings: Vec::new() })
            }
        }
    }
}
