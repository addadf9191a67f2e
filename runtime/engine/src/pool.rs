//! Instances kept between requests, for pods whose mode is `pooled`: each serves one request at a time and a bounded
//! number of them. A pool belongs to one container of one pod; nothing is ever shared beyond it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::host::Host;
use crate::instance::Instance;

/// Instances at rest that one pod keeps. More were busy at once only in a burst, and the next one can be made fresh.
const RESTING_MAX: usize = 64;

/// How long an instance rests before it is given up: longer than the pauses of a client that works, short enough that
/// a pod without requests soon costs nothing again.
const REST_MAX: Duration = Duration::from_secs(10);

/// How often one instance may be used, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reuse {
    /// Requests it answers in its life.
    pub requests: u32,
    /// The age at which it answers no further one.
    pub age: Duration,
}

impl Default for Reuse {
    /// A thousand requests leave a thousandth of an instantiation to each; what a guest leaks by then still fits its
    /// memory, and what it holds on to is minutes old at most.
    fn default() -> Self {
        Self { requests: 1000, age: Duration::from_mins(10) }
    }
}

/// One container's instances at rest.
pub(crate) struct Pool {
    reuse: Reuse,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    /// The one that rested last is taken first, so that those nobody needs grow old.
    resting: Vec<(Instant, Instance)>,
    sweeping: bool,
}

impl Pool {
    pub(crate) fn new(reuse: Reuse) -> Self {
        Self { reuse, inner: Arc::default() }
    }

    /// An instance that has answered before and may again.
    pub(crate) fn take(&self, engine: &Engine) -> Option<Instance> {
        let popped = || lock(&self.inner).resting.pop();
        // Those that are too old by now go, each without the lock.
        let (_, mut instance) =
            std::iter::from_fn(popped).find(|(_, instance)| instance.born.elapsed() < self.reuse.age)?;
        Host::resume(&mut instance.store, engine.running());
        Some(instance)
    }

    /// Lays an instance to rest that has just answered without a failure, if it may answer again.
    pub(crate) fn keep(&self, mut instance: Instance) {
        if instance.served >= self.reuse.requests || instance.born.elapsed() >= self.reuse.age {
            return;
        }
        Host::rest(&mut instance.store);
        let mut inner = lock(&self.inner);
        if inner.resting.len() >= RESTING_MAX {
            drop(inner);
            return;
        }
        inner.resting.push((Instant::now(), instance));
        if !std::mem::replace(&mut inner.sweeping, true) {
            tokio::spawn(sweep(Arc::downgrade(&self.inner), self.reuse.age));
        }
    }
}

/// Gives up what has rested too long, until nothing rests.
async fn sweep(pool: std::sync::Weak<Mutex<Inner>>, age: Duration) {
    loop {
        tokio::time::sleep(REST_MAX / 2).await;
        let Some(pool) = pool.upgrade() else { return };
        let tired = {
            let mut inner = lock(&pool);
            let now = Instant::now();
            let tired: Vec<_> = inner
                .resting
                .extract_if(.., |(since, instance)| {
                    now.duration_since(*since) >= REST_MAX || now.duration_since(instance.born) >= age
                })
                .collect();
            inner.sweeping = !inner.resting.is_empty();
            if !inner.sweeping && tired.is_empty() {
                return;
            }
            (tired, inner.sweeping)
        };
        // Their memory is given back without the lock.
        let (tired, more) = tired;
        drop(tired);
        if !more {
            return;
        }
    }
}

fn lock(inner: &Mutex<Inner>) -> std::sync::MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}
