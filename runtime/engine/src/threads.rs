//! Threads that wait in guests' names, for the disk: work there is done whole, and its container pays for it. They are the
//! runtime's, and the node needs them as well, to answer lists, to start pods, to read logs. So guests have a part of them,
//! and one container a part of that; whoever has none waits, first come, first served.
//!
//! A thread is the work's until that is done, whatever becomes of the guest that asked: one that begins such work and goes
//! away, again and again, has no more of them than one that waits.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn, spawn_blocking};

use crate::cpu::charged;
use crate::usage::Usage;

/// Threads of all guests of a process: half of those that a runtime has (tokio's own number is 512).
const GUESTS_MAX: usize = 256;
/// Threads of one container, all its instances together: enough to keep a disk busy, and sixteen such leave none over.
pub(crate) const CONTAINER_MAX: usize = 16;

static GUESTS: Semaphore = Semaphore::const_new(GUESTS_MAX);

/// The right to a thread, until it is dropped.
#[derive(Debug)]
pub(crate) struct Thread {
    usage: Arc<Usage>,
    _one: SemaphorePermit<'static>,
}

impl Thread {
    /// Waits for one.
    pub(crate) async fn take(usage: &Arc<Usage>) -> Self {
        Self::of(usage, &GUESTS).await
    }

    async fn of(usage: &Arc<Usage>, guests: &'static Semaphore) -> Self {
        let own = usage.threads.acquire().await.expect("it is never closed");
        let one = guests.acquire().await.expect("it is never closed");
        // It is given back by the drop below.
        own.forget();
        Self { usage: Arc::clone(usage), _one: one }
    }

    /// One, if there is one now.
    pub(crate) fn try_take(usage: &Arc<Usage>) -> Option<Self> {
        let own = usage.threads.try_acquire().ok()?;
        let one = GUESTS.try_acquire().ok()?;
        own.forget();
        Some(Self { usage: Arc::clone(usage), _one: one })
    }

    /// Does `work` there. What has not begun when this is dropped is not done.
    pub(crate) fn work<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> AbortOnDropJoinHandle<T> {
        let work = charged(&self.usage, work);
        spawn_blocking(move || {
            let done = work();
            drop(self);
            done
        })
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.usage.threads.add_permits(1);
    }
}

/// Does `work` on a thread of the container, once it has one. What has not begun when this is dropped is not done.
pub(crate) async fn apart<T: Send + 'static>(usage: &Arc<Usage>, work: impl FnOnce() -> T + Send + 'static) -> T {
    Thread::take(usage).await.work(work).await
}

/// The same for whoever cannot wait: it begins at once, or while others do something else.
pub(crate) fn begin<T: Send + 'static>(
    usage: &Arc<Usage>,
    work: impl FnOnce() -> T + Send + 'static,
) -> AbortOnDropJoinHandle<T> {
    if let Some(thread) = Thread::try_take(usage) {
        return thread.work(work);
    }
    let usage = Arc::clone(usage);
    spawn(async move { apart(&usage, work).await })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures::FutureExt as _;

    use super::*;
    use crate::sandbox::MemoryBytes;
    use crate::usage::CpuLimits;

    fn usage() -> Arc<Usage> {
        Usage::new(CpuLimits::BEST_EFFORT, MemoryBytes(0))
    }

    #[tokio::test]
    async fn one_container_leaves_threads_to_others_also_when_it_gives_up_what_it_began() {
        let (one, other) = (usage(), usage());
        let (begun, begins) = mpsc::sync_channel(CONTAINER_MAX);
        let mut ends = Vec::new();
        for _ in 0..CONTAINER_MAX {
            let (end, ended) = mpsc::sync_channel::<()>(1);
            let begun = begun.clone();
            let work = begin(&one, move || {
                begun.send(()).expect("somebody counts");
                let _ = ended.recv();
            });
            begins.recv().expect("it has begun");
            // Nobody waits for it any more, and it goes on.
            drop(work);
            ends.push(end);
        }
        assert!(apart(&one, || ()).now_or_never().is_none(), "it has all that it may have");
        assert!(Thread::try_take(&one).is_none());
        let late = begin(&one, || 7);
        apart(&other, || ()).await;
        drop(ends);
        assert_eq!(late.await, 7);
        while one.threads.available_permits() < CONTAINER_MAX {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn all_containers_together_have_no_more_than_their_part() {
        static GUESTS: Semaphore = Semaphore::const_new(3);
        let usages = [usage(), usage()];
        let mut taken = Vec::new();
        for at in 0..3 {
            taken.push(Thread::of(&usages[at % 2], &GUESTS).await);
        }
        assert!(Thread::of(&usages[0], &GUESTS).now_or_never().is_none());
        assert_eq!(usages[0].threads.available_permits(), CONTAINER_MAX - 2, "who gave up waiting holds nothing");
        taken.pop();
        assert!(Thread::of(&usages[1], &GUESTS).now_or_never().is_some());
    }
}
