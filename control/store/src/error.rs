//! How each act of the store can fail. One enum an act; `Display` says what and what to do, never the source.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{MemberId, Revision, Stored};

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or directory could not be read or written.
    #[error("{act} {}", file.display())]
    Io {
        /// What was being done, such as `create`.
        act: &'static str,
        /// To what.
        file: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file was written by a newer version of wk.
    #[error(
        "{} has format {found} and this version of wk reads formats up to {known}: start the newer version that wrote it",
        file.display()
    )]
    NewerFormat {
        /// The file.
        file: PathBuf,
        /// The format it has.
        found: u32,
        /// The newest format this version reads.
        known: u32,
    },
    /// A file does not hold what was written to it.
    #[error(
        "{} is damaged at byte {offset}: {what}. Nothing was changed. Do not delete it by hand: move the whole store \
         directory away, remove this member from the cluster and join again as a new one; the other members still \
         hold the data", file.display()
    )]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// The directory was to be empty and is not.
    #[error("{} holds a store already: resume it, or use another directory", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory was to hold a store and does not.
    #[error("{} holds no store to resume", dir.display())]
    NothingToResume {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory belongs to another member.
    #[error("{} is the store of member {found}, not of member {expected}", dir.display())]
    WrongMember {
        /// The directory.
        dir: PathBuf,
        /// The member it belongs to.
        found: MemberId,
        /// The member it was opened as.
        expected: MemberId,
    },
    /// An option does not make sense.
    #[error("the store's options are wrong: {0}")]
    Options(String),
    /// The Raft library refused what was recovered.
    #[error("start Raft")]
    Raft(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why a transaction was not, or may not have been, written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// An expectation did not hold. Nothing was written.
    #[error("expectation {op} of the transaction does not hold")]
    Conflict {
        /// Which of the transaction's ops.
        op: usize,
        /// What is there instead.
        found: Option<Arc<Stored>>,
    },
    /// The transaction is larger than one log entry may be. Nothing was written.
    #[error("the transaction has {size} bytes and the limit is {limit}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The largest size allowed.
        limit: usize,
    },
    /// The transaction contradicts itself. Nothing was written.
    #[error("the transaction is wrong: {reason}")]
    Invalid {
        /// Why.
        reason: &'static str,
    },
    /// No leader took the write in time. Nothing was written; trying again is safe.
    #[error("the cluster had no leader for {waited:?}; is a majority of its voters up?")]
    NoLeader {
        /// How long the write waited.
        waited: Duration,
    },
    /// The write was not taken. Nothing was written; trying again is safe.
    #[error("the store cannot take the write now: {reason}")]
    Unavailable {
        /// Why.
        reason: &'static str,
    },
    /// The write was proposed and its outcome was not learned in time: it may have happened, or happen yet.
    #[error("the outcome of the write was not learned within {waited:?}: it may have happened, or may happen yet")]
    Unknown {
        /// How long the write waited.
        waited: Duration,
    },
    /// The store stopped before it took the write. Nothing was written.
    #[error("the store has stopped")]
    Stopped,
}

/// Why a linearizable read was not answered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// No leader confirmed in time that this peer is up to date.
    #[error("no leader confirmed the read within {waited:?}; is a majority of the voters up?")]
    NoLeader {
        /// How long the read waited.
        waited: Duration,
    },
    /// Too many reads wait.
    #[error("the store cannot take the read now: {reason}")]
    Unavailable {
        /// Why.
        reason: &'static str,
    },
    /// The store stopped.
    #[error("the store has stopped")]
    Stopped,
}

/// The history asked for is no longer kept: list again and watch from the revision of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the history after revision {requested} is gone, the oldest kept starts after {oldest}: list again")]
pub struct Compacted {
    /// The revision after which changes were wanted.
    pub requested: Revision,
    /// The oldest revision after which a watch can start.
    pub oldest: Revision,
}

/// Why a watch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The watcher fell behind the history, or the peer caught up by a snapshot that skips it.
    #[error("the watch fell behind")]
    Compacted(#[source] Compacted),
    /// The store stopped.
    #[error("the store has stopped")]
    Stopped,
}

/// Why a message of another peer was not taken. Raft copes with lost messages, so none of these is an alarm.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReceiveError {
    /// The queue is full.
    #[error("too many messages wait")]
    Busy,
    /// The bytes are no message of ours.
    #[error("the message is malformed: {0}")]
    Malformed(String),
    /// The sender speaks a newer version.
    #[error("the message has format {found} and this version of wk reads formats up to {known}")]
    NewerFormat {
        /// The format it has.
        found: u8,
        /// The newest format this version reads.
        known: u8,
    },
    /// The message claims to come from another member than the one that sent it.
    #[error("member {from} sent a message in the name of member {claimed}")]
    NotTheirs {
        /// Who sent it.
        from: MemberId,
        /// Who it says it is from.
        claimed: MemberId,
    },
    /// The message is for another member.
    #[error("the message is for member {to}")]
    NotForUs {
        /// For whom it is.
        to: MemberId,
    },
    /// The store stopped.
    #[error("the store has stopped")]
    Stopped,
}

/// Why a change of members was not, or may not have been, made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MemberError {
    /// Members change on the leader only: ask there.
    #[error("this peer does not lead: {}", match leader { Some(id) => format!("ask member {id}"), None => "the cluster has no leader now".to_owned() })]
    NotLeader {
        /// Who does, as far as known.
        leader: Option<MemberId>,
    },
    /// The change makes no sense for the members there are.
    #[error("{0}")]
    Refused(String),
    /// Another change was under way all the time.
    #[error("another change of members was under way for {waited:?}")]
    Busy {
        /// How long it waited.
        waited: Duration,
    },
    /// The change was proposed and its outcome was not learned in time.
    #[error("the outcome of the change was not learned within {waited:?}: look at the members and ask again")]
    Unknown {
        /// How long it waited.
        waited: Duration,
    },
    /// The store stopped.
    #[error("the store has stopped")]
    Stopped,
}
