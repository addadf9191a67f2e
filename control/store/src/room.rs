//! A full disk: what finds no room waits for it, and goes on by itself once there is some.
//!
//! That is safe where a write was refused before anything was promised on it, and what there is of it was taken back. An
//! error of `fsync` is another matter: nobody knows what is on disk after one, and the peer gives up.
//!
//! The simulator's disks are not waited for.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Between two tries: space comes free when somebody frees it.
const PAUSE: Duration = Duration::from_millis(500);

/// Whether there is room on the disk.
#[derive(Debug, Default)]
pub(crate) struct Room {
    waits: bool,
    full: AtomicBool,
    over: AtomicBool,
}

impl Room {
    /// One that is waited for, until it is closed.
    pub(crate) fn waiting() -> Self {
        Self { waits: true, ..Self::default() }
    }

    /// Whether something waits for room now.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// Nothing is waited for any more.
    pub(crate) fn close(&self) {
        self.over.store(true, Ordering::Release);
    }

    /// Does `act` once the disk has room for it. `act` leaves nothing behind where it is told that there is none.
    #[expect(clippy::disallowed_methods, reason = "the log's own thread, and nobody tells when a disk has room again")]
    pub(crate) fn retry<T>(&self, mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match act() {
                Err(error) if is_full(&error) && self.waits && !self.over.load(Ordering::Acquire) => {
                    if !self.full.swap(true, Ordering::AcqRel) {
                        tracing::error!(%error, "the disk is full: nothing can be written until there is room on it");
                    }
                    thread::sleep(PAUSE);
                }
                done => {
                    if self.full.swap(false, Ordering::AcqRel) && done.is_ok() {
                        tracing::warn!("the disk has room again");
                    }
                    return done;
                }
            }
        }
    }
}

/// Whether the disk, or whoever owns the files on it, has no room for more.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// An error after which nobody knows what is on disk, whatever its kind is.
pub(crate) fn lasting(error: io::Error) -> io::Error {
    io::Error::other(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn act_goes_on_once_there_is_room_and_other_errors_are_final() {
        let room = Room::waiting();
        let mut tries = 0;
        let done = room.retry(|| {
            tries += 1;
            if tries < 3 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(room.is_full()) }
        });
        assert!(done.unwrap(), "it says so while it waits");
        assert!(!room.is_full());
        assert!(room.retry(|| Err::<(), _>(lasting(io::ErrorKind::StorageFull.into()))).is_err());
        let failing = Room::default();
        assert!(failing.retry(|| Err::<(), _>(io::ErrorKind::StorageFull.into())).is_err());
        room.close();
        assert!(room.retry(|| Err::<(), _>(io::ErrorKind::QuotaExceeded.into())).is_err());
    }
}
