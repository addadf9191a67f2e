//! What containers were last seen to use. In memory only, like heartbeats: it is out of date before a log could agree on
//! it.
//!
//! Not here: asking the nodes; the binary does, while this peer leads and somebody wants to know.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use wk_base::time::Timestamp;
use wk_plan::autoscaler::Usages;

/// What is older says nothing about now: four rounds of asking.
const FRESH: Duration = Duration::from_mins(1);

/// The last round of measuring. Written by who asks the nodes, read by the autoscaler.
#[derive(Debug, Default)]
pub struct Measured(Mutex<Option<(Timestamp, Usages)>>);

impl Measured {
    /// The nodes said this at `at`.
    pub fn set(&self, at: Timestamp, usages: Usages) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((at, usages));
    }

    /// What they said last, if that is recent.
    pub(crate) fn recent(&self, now: Timestamp) -> Option<Usages> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, usages) = last.as_ref().filter(|(at, _)| now.duration_since(*at).unsigned_abs() <= FRESH)?;
        Some(usages.clone())
    }
}
