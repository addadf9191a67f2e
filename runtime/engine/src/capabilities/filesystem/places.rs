//! Descriptors that guests keep open. Each is one of this process', which needs some itself: to accept connections, to write
//! its log, to start workers. So guests have a part of them, and one container a part of that.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::process::{Resource, getrlimit};

use crate::usage::Usage;

/// Of all descriptors that the process may have, those of guests are one in so many.
const GUESTS_PART: u64 = 2;
/// Of those, one container's are one in so many.
const CONTAINER_PART: u64 = 4;

/// What guests of this process have open.
static OPEN: AtomicU64 = AtomicU64::new(0);

/// What they may have open: a process raises its own limit, or lowers it, before its first guest.
fn most() -> u64 {
    static MOST: OnceLock<u64> = OnceLock::new();
    *MOST.get_or_init(|| getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / GUESTS_PART)
}

/// The place of one descriptor, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    usage: Arc<Usage>,
    all: &'static AtomicU64,
}

impl Place {
    /// A place for one more of a container, or the error of a system that has none left.
    pub(super) fn take(usage: &Arc<Usage>) -> io::Result<Self> {
        Self::within(usage, &OPEN, most())
    }

    fn within(usage: &Arc<Usage>, all: &'static AtomicU64, most: u64) -> io::Result<Self> {
        let one_more = |max: u64| move |open: u64| Some(open + 1).filter(|open| *open <= max);
        let take = |of: &AtomicU64, max: u64| of.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more(max));
        // WASI knows no other word for it than that of a machine short of memory.
        let none = |_| io::Error::from(rustix::io::Errno::NOMEM);
        take(&usage.files, most / CONTAINER_PART).map_err(none)?;
        take(all, most).map_err(|open| {
            usage.files.fetch_sub(1, Ordering::Relaxed);
            none(open)
        })?;
        Ok(Self { usage: Arc::clone(usage), all })
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

    #[test]
    fn one_container_leaves_places_to_others_and_has_its_own_back() {
        static OPEN: AtomicU64 = AtomicU64::new(0);
        let usage = || Usage::new(CpuLimits::BEST_EFFORT, MemoryBytes(0));
        let take = |usage: &Arc<Usage>, most: u64| Place::within(usage, &OPEN, most);
        let usages: Vec<_> = (0..=CONTAINER_PART).map(|_| usage()).collect();
        let most = 400;
        let mut held: Vec<_> = std::iter::from_fn(|| take(&usages[0], most).ok()).collect();
        assert_eq!(held.len() as u64, most / CONTAINER_PART);
        assert!(take(&usages[1], most).is_ok());
        held.pop();
        assert!(take(&usages[0], most).is_ok());
        for usage in &usages {
            held.extend(std::iter::from_fn(|| take(usage, most).ok()));
        }
        assert_eq!(held.len() as u64, most, "all of them together");
        drop(held);
        assert!(
            usages.iter().all(|usage| usage.files.load(Ordering::Relaxed) == 0) && OPEN.load(Ordering::Relaxed) == 0
        );
    }
}
