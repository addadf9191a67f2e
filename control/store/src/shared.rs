//! What the handles and the thread of a peer share: snapshots for readers, no state that either changes under the other.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::core::Core;
use crate::history::Histories;
use crate::metrics::Metrics;
use crate::model::{MemberId, Revision};
use crate::options::{Options, Timing};
use crate::room::Room;
use crate::status::Status;
use crate::view::View;

pub(crate) struct Shared {
    pub(crate) member: MemberId,
    /// Drawn at each start; part of the ids of proposals.
    pub(crate) incarnation: u64,
    pub(crate) timing: Timing,
    /// This peer holds no data.
    pub(crate) witness: bool,
    /// The feature level that all members understand.
    pub(crate) level: AtomicU32,
    /// The state after the last batch applied.
    pub(crate) view: ArcSwap<View>,
    pub(crate) histories: Arc<Histories>,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) metrics: Metrics,
    /// Whether the log finds room on the disk.
    pub(crate) room: Arc<Room>,
}

impl Shared {
    /// What is known at the start. `incarnation` is another one at each start.
    pub(crate) fn new(options: &Options, core: &Core, incarnation: u64) -> Self {
        Self {
            member: options.member,
            incarnation,
            timing: options.timing,
            witness: options.witness,
            level: AtomicU32::new(1),
            view: ArcSwap::from_pointee(core.machine().view()),
            histories: Arc::new(Histories::new(options.limits, options.index, Revision(core.applied()))),
            status: watch::channel(core.status()).0,
            metrics: Metrics::new(),
            room: Arc::new(Room::waiting()),
        }
    }
}
