//! Bugs to be planted, each one that a store had once. The simulator must find every one of them: a checker that never
//! fails proves nothing.

/// What is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    /// `fsync` returns at once and does nothing.
    SkipFsync,
    /// A leader acknowledges what it has taken into its own log.
    AckBeforeCommit,
    /// A linearizable read is answered from what the peer has, without asking the leader.
    StaleRead,
    /// Which proposals were applied is not remembered.
    ApplyTwice,
    /// A peer that restarts knows its term and not whom it voted for.
    LoseVote,
    /// A peer that restarts takes the last entries of its log for torn.
    TruncateTail,
    /// A watcher misses an event now and then.
    SkipEvent,
    /// A snapshot lacks what the last entry did.
    SnapshotWithoutLast,
}
