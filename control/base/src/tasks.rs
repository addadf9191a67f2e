//! Named background tasks that end together.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// A group of tasks with one stop signal. Clones share the group.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// An empty group.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `task` until it ends. It should watch [`Tasks::stopping`] and end soon after that fires.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task.instrument(tracing::info_span!("task", name)));
    }

    /// Runs `task` and drops it where it waits once the group stops.
    pub fn spawn_until_stop(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.spawn(name, async move {
            stop.run_until_cancelled(task).await;
        });
    }

    /// The signal that fires when the group stops.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// A group that stops with this one, or before it.
    pub fn child(&self) -> Self {
        Self { tracker: TaskTracker::new(), stop: self.stop.child_token() }
    }

    /// Signals the stop and waits for every task, `limit` at most. True when all of them ended in time.
    pub async fn stop(&self, limit: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stopping_ends_every_task_and_tells_when_one_does_not() {
        let tasks = Tasks::new();
        tasks.spawn_until_stop("waits", std::future::pending());
        assert!(tasks.stop(Duration::from_secs(10)).await);

        let tasks = Tasks::new();
        tasks.spawn("deaf", std::future::pending());
        assert!(!tasks.stop(Duration::from_millis(1)).await);
    }
}
