//! How long a body may stand still.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// A timer that runs only while there is something to wait for. A body that is always ready costs none.
#[derive(Debug)]
pub(crate) struct Idle {
    limit: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    running: bool,
}

impl Idle {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, sleep: None, running: false }
    }

    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// Something came: the next wait starts anew.
    pub(crate) fn moved(&mut self) {
        self.running = false;
    }

    /// Nothing is there: ready once that has been so for the limit.
    pub(crate) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| {
            self.running = true;
            Box::pin(sleep(self.limit))
        });
        if !self.running {
            sleep.as_mut().reset(Instant::now() + self.limit);
            self.running = true;
        }
        sleep.as_mut().poll(cx)
    }
}
