//! Whether a connection is still used.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// A stream on which nothing moves for this long is ended: the kubelet's `--streaming-connection-idle-timeout`.
pub const IDLE_MAX: Duration = Duration::from_hours(4);

/// When something last moved. Clones share it. Pings do not count: clients send them for as long as they live.
#[derive(Debug, Clone)]
pub struct Idle {
    began: Instant,
    last: Arc<AtomicU64>,
}

impl Default for Idle {
    fn default() -> Self {
        Self { began: Instant::now(), last: Arc::default() }
    }
}

impl Idle {
    /// Something moved.
    pub fn touch(&self) {
        self.last.store(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Ends when nothing has moved for `limit`.
    pub async fn expired(&self, limit: Duration) {
        loop {
            let last = self.began + Duration::from_millis(self.last.load(Ordering::Relaxed));
            if last.elapsed() >= limit {
                return;
            }
            tokio::time::sleep_until(last + limit).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn what_moves_is_not_idle() {
        let hour = Duration::from_hours(1);
        let began = Instant::now()
            .checked_sub(hour)
            .expect("a machine that has been up for an hour, or a clock that starts late");
        let idle = Idle { began, last: Arc::default() };
        assert!(idle.expired(hour / 2).now_or_never().is_some());
        idle.touch();
        assert!(idle.expired(hour / 2).now_or_never().is_none());
    }
}
