//! What a store is opened with, and the limits it keeps.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use crate::error::OpenError;
use crate::model::MemberId;
use crate::tags::Index;

/// The newest feature level this version speaks; see [`crate::Store::speak`].
///
/// 1: one change of members at a time, of one voter; a snapshot travels as one message. 2: joint changes and witnesses;
/// followers fetch snapshots in pieces. 3: the store itself does nothing new; members open sealed Secrets.
pub const LEVEL: u32 = 3;

/// The collections that witnesses hold too: the records that say where the members are. A transaction reaches a witness
/// when all of its ops are in these, so their writers keep to transactions of their own.
pub const WITNESS_COLLECTIONS: &[&str] = &["wk.dev/members"];

/// Carries messages to other peers.
pub trait Transport: Send + Sync + 'static {
    /// Sends `message` to `to`. Must not block, and may drop the message: Raft sends again.
    fn send(&self, to: MemberId, message: Bytes);
}

/// How the store comes to its first state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The first peer of a new cluster: its sole voter. The directory is empty.
    Bootstrap,
    /// A peer that the leader will add as a learner: an empty log that waits for it. The directory is empty.
    Join,
    /// The directory holds this member's log.
    Resume,
}

/// How fast the peer's clockwork turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// One tick, the unit of the others.
    pub tick: Duration,
    /// Ticks between heartbeats of the leader.
    pub heartbeat: usize,
    /// Ticks without a leader until an election: drawn from this up to twice this.
    pub election: usize,
    /// Ticks until a snapshot on its way to a follower counts as lost and is sent again: more than the transport takes
    /// to give it up, else copies of it pile up on a slow link.
    pub snapshot: usize,
    /// How long a write, a linearizable read or a change of members waits for its outcome.
    pub deadline: Duration,
}

impl Default for Timing {
    /// A dead leader is replaced in 0.4 to 0.8 s, a snapshot has 65 s to arrive, a write waits 5 s.
    fn default() -> Self {
        let (tick, deadline) = (Duration::from_millis(50), Duration::from_secs(5));
        Self { tick, heartbeat: 2, election: 8, snapshot: 1300, deadline }
    }
}

/// How much is kept and taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one transaction as it stands in the log. 1.5 MiB as in etcd: clients of Kubernetes know this limit, and
    /// a larger entry would hold up the heartbeats behind it.
    pub entry_bytes: usize,
    /// Bytes of log after the last snapshot at which the next one is taken. The log is kept in memory too, and a restart
    /// reads it: 64 MiB is a tenth of a second of reading.
    pub log_bytes: u64,
    /// Entries of log after the last snapshot at which the next one is taken, for logs of tiny entries.
    pub log_entries: u64,
    /// Bytes of log kept behind a snapshot, so that a peer that was away briefly catches up by log.
    pub kept_bytes: u64,
    /// Entries of log kept behind a snapshot.
    pub kept_entries: u64,
    /// Bytes at which a log file is followed by the next. Files are deleted as a whole, so a quarter of `log_bytes`.
    pub segment_bytes: u64,
    /// Events of one collection kept for watches that resume.
    pub history_events: usize,
    /// Bytes of objects that the events of one collection may hold on to: of pods some two thousand changes, more than a
    /// watcher is ever behind that will catch up. A node of ten thousand pods has several such collections.
    pub history_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entry_bytes: 1536 * 1024,
            log_bytes: 64 << 20,
            log_entries: 100_000,
            kept_bytes: 16 << 20,
            kept_entries: 10_000,
            segment_bytes: 16 << 20,
            history_events: 8192,
            history_bytes: 16 << 20,
        }
    }
}

/// What a store is opened with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the log and the snapshots are. The caller makes sure that no other process uses it.
    pub dir: PathBuf,
    /// Who this peer is.
    pub member: MemberId,
    /// How it starts.
    pub start: Start,
    /// How fast its clockwork turns.
    pub timing: Timing,
    /// How much it keeps and takes.
    pub limits: Limits,
    /// What objects can be watched by; None: by their collection only.
    pub index: Option<Index>,
    /// This peer is a witness: it votes and keeps the log's terms, holds no data ([`WITNESS_COLLECTIONS`] apart), and
    /// never leads. It must have been added by [`crate::MemberChange::AddWitness`], and no other peer may be so.
    pub witness: bool,
}

impl Options {
    /// Options with the default timing and limits, without an index.
    pub fn new(dir: impl Into<PathBuf>, member: MemberId, start: Start) -> Self {
        let (timing, limits) = (Timing::default(), Limits::default());
        Self { dir: dir.into(), member, start, timing, limits, index: None, witness: false }
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let wrong = |what: &str| Err(OpenError::Options(what.to_owned()));
        if self.member.0 == 0 {
            return wrong("member 0 means nobody");
        }
        if self.witness && self.start == Start::Bootstrap {
            return wrong("a witness holds no data, so it cannot be the first member");
        }
        if self.timing.tick.is_zero() || self.timing.deadline.is_zero() {
            return wrong("a tick and the deadline last longer than nothing");
        }
        if self.timing.heartbeat == 0 || self.timing.election <= self.timing.heartbeat {
            return wrong("an election takes more ticks than a heartbeat, and that one at least");
        }
        if self.timing.snapshot <= self.timing.election {
            return wrong("a snapshot may travel for longer than an election takes");
        }
        if self.limits.history_events == 0 || self.limits.entry_bytes == 0 {
            return wrong("history and entries have room for something");
        }
        Ok(())
    }
}
