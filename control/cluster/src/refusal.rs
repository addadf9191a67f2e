//! What the store refuses, as a `Status` that says what to do. The only place where store errors become answers.

use wk_api::{Reason, Status};
use wk_store::{Compacted, ReadError, Revision, WatchError, WriteError};

/// What clients are told to wait before they try again: about one election.
const RETRY_AFTER_SECONDS: u32 = 1;

/// The answer to a write that the store refused, or whose outcome it does not know.
///
/// A conflict belongs to whoever knows which expectation it was; here it reads as an inner error.
pub fn from_write(error: &WriteError) -> Status {
    match error {
        WriteError::Conflict { op, .. } => {
            Status::internal(format!("expectation {op} of a write failed where none was expected to"))
        }
        WriteError::TooLarge { size, limit } => Status::too_large(format!(
            "Request entity too large: the object takes {size} bytes in the store and the limit is {limit}: \
             split it, or keep large data outside the cluster"
        )),
        WriteError::Invalid { reason } => Status::internal(format!("the write contradicts itself: {reason}")),
        WriteError::NoLeader { .. } | WriteError::Unavailable { .. } => {
            unavailable(format!("nothing was written: {error}; try again"))
        }
        WriteError::Unknown { waited } => Status::timeout(
            format!(
                "the write was not confirmed within {waited:?}; it may have happened or happen yet: read the object \
                 before trying again"
            ),
            RETRY_AFTER_SECONDS,
        ),
        WriteError::Stopped => stopped("nothing was written"),
    }
}

/// The answer to a linearizable read that failed.
pub fn from_read(error: &ReadError) -> Status {
    match error {
        ReadError::NoLeader { .. } | ReadError::Unavailable { .. } => {
            unavailable(format!("{error}; try again, or read with resourceVersion=0 for what this peer knew last"))
        }
        ReadError::Stopped => stopped("nothing was read"),
    }
}

/// The answer to a watch from a revision that is no longer kept.
pub fn from_compacted(error: &Compacted) -> Status {
    Status::expired(error.requested.0, error.oldest.0)
}

/// The last event of a watch that cannot go on; it had delivered everything up to `seen`.
pub fn from_watch(seen: Revision, error: &WatchError) -> Status {
    match error {
        WatchError::Compacted(compacted) => Status::expired(seen.0, compacted.oldest.0),
        WatchError::Stopped => stopped("the watch ends"),
    }
}

fn unavailable(message: String) -> Status {
    Status::unavailable(message).retry_after(RETRY_AFTER_SECONDS)
}

fn stopped(what: &str) -> Status {
    let message = format!("this peer is shutting down: {what}; ask another peer");
    Status::new(503, Reason::ServiceUnavailable, message).retry_after(RETRY_AFTER_SECONDS)
}
