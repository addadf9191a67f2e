//! Descriptors that guests keep open: files, listings, sockets of the host. Each is one of this process', which needs some
//! itself: to accept connections, to write its log, to start workers. So guests have a part of them, and what one container
//! may have depends on what is free: it leaves some to the next, however many there are.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::process::{Resource, getrlimit};

use crate::usage::Usage;

/// Of all descriptors that the process may have, those of guests are one in so many.
const GUESTS_PART: u64 = 2;
/// A container that has one for so many that are free gets no more. Alone that is a quarter of all of guests; where a
/// hundred take what they can, each has a hundredth part, and three such parts are left for those that have fewer.
const FREE_PART: u64 = 3;

/// What guests of this process have open.
static OPEN: AtomicU64 = AtomicU64::new(0);

/// What they may have open: a process raises its own limit, or lowers it, before its first guest.
fn most() -> u64 {
    static MOST: OnceLock<u64> = OnceLock::new();
    *MOST.get_or_init(|| getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / GUESTS_PART)
}

/// The place of one descriptor, until it is dropped.
#[derive(Debug)]
pub struct Place {
    usage: Arc<Usage>,
    all: &'static AtomicU64,
}

impl Place {
    /// A place for one more of a container, or the error of a system that has none left.
    pub fn take(usage: &Arc<Usage>) -> io::Result<Self> {
        Self::within(usage, &OPEN, most())
    }

    fn within(usage: &Arc<Usage>, all: &'static AtomicU64, most: u64) -> io::Result<Self> {
        let one_more = |of: &AtomicU64, max: u64| {
            let more = |open: u64| Some(open + 1).filter(|open| *open <= max);
            of.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
        };
        let free = most.saturating_sub(all.load(Ordering::Relaxed));
        if one_more(&usage.files, free / FREE_PART) {
            if one_more(all, most) {
                return Ok(Self { usage: Arc::clone(usage), all });
            }
            usage.files.fetch_sub(1, Ordering::Relaxed);
        }
        usage.refused_file();
        // WASI knows no other word for it than that of a machine short of memory.
        Err(rustix::io::Errno::NOMEM.into())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.usage.files.fetch_sub(1, Ordering::Relaxed);
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::MemoryBytes;
    use crate::usage::CpuLimits;

    fn usage() -> Arc<Usage> {
        Usage::new(CpuLimits::BEST_EFFORT, MemoryBytes(0))
    }

    #[test]
    fn one_container_leaves_places_to_others_and_has_its_own_back() {
        static OPEN: AtomicU64 = AtomicU64::new(0);
        let (one, other, most) = (usage(), usage(), 400);
        let take = |usage: &Arc<Usage>| Place::within(usage, &OPEN, most);
        let mut held: Vec<_> = std::iter::from_fn(|| take(&one).ok()).collect();
        assert_eq!((held.len() as u64, one.used().files_refused), (most / 4, 1));
        assert!(take(&other).is_ok());
        held.pop();
        assert!(take(&one).is_ok());
        drop(held);
        assert!(one.files.load(Ordering::Relaxed) == 0 && OPEN.load(Ordering::Relaxed) == 0);
    }

    #[test]
    fn many_that_take_what_they_can_leave_places_to_one_that_comes_after_them() {
        static OPEN: AtomicU64 = AtomicU64::new(0);
        let most = 10_000;
        let take = |usage: &Arc<Usage>| Place::within(usage, &OPEN, most);
        let mut held = Vec::new();
        let greedy: Vec<_> = (0..100).map(|_| usage()).collect();
        for _ in 0..most {
            held.extend(greedy.iter().filter_map(|usage| take(usage).ok()));
        }
        assert!(held.len() as u64 > most * 9 / 10, "{} are used", held.len());
        let late = usage();
        let had = std::iter::from_fn(|| take(&late).ok()).take(64).collect::<Vec<_>>();
        assert_eq!(had.len(), 64);
    }
}
