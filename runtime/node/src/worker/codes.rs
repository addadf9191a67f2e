//! Code that the node handed over for containers that are about to start. It comes by the door, and the order to start by
//! another way, so that either may be first.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How long the second of the two is waited for: the node sends them one after the other.
const PATIENCE: Duration = Duration::from_secs(10);

/// Files by their containers' numbers.
#[derive(Default)]
pub(super) struct Codes {
    there: Mutex<HashMap<u64, (File, Instant)>>,
    came: Notify,
}

impl Codes {
    /// Keeps a file until its container starts. One whose container was given up meanwhile goes in a while.
    pub(super) fn put(&self, number: u64, code: File) {
        let mut there = self.lock();
        there.retain(|_, (_, since)| since.elapsed() < PATIENCE);
        there.insert(number, (code, Instant::now()));
        drop(there);
        self.came.notify_waiters();
    }

    /// The file of a container that starts.
    pub(super) async fn of(&self, number: u64) -> Option<File> {
        let come = async {
            loop {
                let came = self.came.notified();
                let mut came = std::pin::pin!(came);
                came.as_mut().enable();
                if let Some((code, _)) = self.lock().remove(&number) {
                    return code;
                }
                came.await;
            }
        };
        tokio::time::timeout(PATIENCE, come).await.ok()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, (File, Instant)>> {
        self.there.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn code_is_found_whether_it_comes_before_its_container_or_after() {
        let codes = Codes::default();
        let file = || File::open("/dev/null").unwrap();
        codes.put(1, file());
        assert!(codes.of(1).await.is_some());
        let (found, ()) = tokio::join!(codes.of(2), async {
            codes.put(3, file());
            codes.put(2, file());
        });
        assert!(found.is_some() && codes.lock().contains_key(&3));
    }
}
