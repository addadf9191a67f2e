//! What the handles and the thread of a peer share: snapshots for readers, no state that either changes under the other.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::history::Histories;
use crate::model::MemberId;
use crate::options::Timing;
use crate::status::Status;
use crate::view::View;

pub(crate) struct Shared {
    pub(crate) member: MemberId,
    /// Drawn at each start; part of the ids of proposals.
    pub(crate) incarnation: u64,
    pub(crate) timing: Timing,
    /// The state after the last batch applied.
    pub(crate) view: ArcSwap<View>,
    pub(crate) histories: Arc<Histories>,
    pub(crate) status: watch::Sender<Status>,
}
