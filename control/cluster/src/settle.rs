//! From a decision to a write: tries on the local copy first, on a linearizable view from then on.

use std::sync::Arc;

use wk_api::{Object, Status};
use wk_store::{Op, Txn, View, WriteError};

use crate::{Cluster, Effect, Freshness, refusal, stamped};

/// Lost races before a writer hears of it. Kubernetes' server tries a patch 5 times and a generated name 8 times; under
/// contention each round has a winner, so this many writers of one object can meet without anyone being refused.
const TRIES_MAX: u32 = 8;

/// What to write, and the object as it will read.
pub(crate) struct Decision {
    /// Nothing to write when empty: the object is already as asked.
    pub ops: Vec<Op>,
    /// The object after the write, its `resourceVersion` still that of before.
    pub answer: Arc<Object>,
    /// What becomes of the object.
    pub outcome: Outcome,
    /// What the writer should hear besides.
    pub warnings: Vec<String>,
}

/// What becomes of the object that a decision is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Kept,
    Removed,
}

impl Cluster {
    /// Decides, writes, and decides again on newer news when the world had moved on.
    ///
    /// `lost` says what to answer when all tries lost their race.
    pub(crate) async fn settle(
        &self,
        mut decide: impl FnMut(&View) -> Result<Decision, Status>,
        lost: impl FnOnce() -> Status,
    ) -> Result<(Arc<Object>, Outcome), Status> {
        for attempt in 0..TRIES_MAX {
            let local = attempt == 0;
            let freshness = if local { Freshness::Local } else { Freshness::Linearizable };
            let view = self.view(freshness).await?;
            let Decision { ops, answer, outcome, warnings } = match decide(&view) {
                Ok(decision) => decision,
                // A refusal on old news would be wrong if the news is bad; ask again before saying no.
                Err(_) if local => continue,
                Err(status) => return Err(status),
            };
            if ops.is_empty() || self.effect == Effect::DryRun {
                // "Nothing to do" on old news would lose an update, as a refusal would.
                if local {
                    continue;
                }
                self.warn(warnings);
                return Ok((answer, outcome));
            }
            match self.store().write(Txn { ops }).await {
                Ok(revision) => {
                    self.warn(warnings);
                    return Ok((stamped(Arc::unwrap_or_clone(answer), revision), outcome));
                }
                Err(WriteError::Conflict { .. }) => {}
                Err(error) => return Err(refusal::from_write(&error)),
            }
        }
        Err(lost())
    }
}
