//! Threads that wait in guests' names, for the disk: work there is done whole, and its container pays for it. They are the
//! runtime's, and the node needs them as well, to answer lists, to start pods, to read logs. So guests have a part of them,
//! and one container a part of that; whoever has none waits, first come, first served.
//!
//! A thread is the work's until that is done, whatever becomes of the guest that asked: one that begins such work and goes
//! away, again and again, has no more of them than one that waits.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinError;
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn, spawn_blocking};

use crate::cpu::charged;
use crate::usage::Usage;

/// Threads of all guests of a process: half of those that a runtime has (tokio's own number is 512).
const GUESTS_MAX: usize = 256;
/// Threads of one container, all its instances together: enough to keep a disk busy, and sixteen such leave none over.
pub(crate) const CONTAINER_MAX: usize = 16;

static GUESTS: Semaphore = Semaphore::const_new(GUESTS_MAX);

/// The right to a thread, until it is dropped. Nobody has one without work for it: a guest that waits is not asked how it
/// goes on while its container has used up its time, and others wait for what it holds.
#[derive(Debug)]
struct Thread {
    usage: Arc<Usage>,
    _one: SemaphorePermit<'static>,
}

impl Thread {
    /// Waits for one.
    async fn take(usage: &Arc<Usage>, guests: &'static Semaphore) -> Self {
        let own = usage.threads.acquire().await.expect("it is never closed");
        let one = guests.acquire().await.expect("it is never closed");
        // It is given back by the drop below.
        own.forget();
        Self { usage: Arc::clone(usage), _one: one }
    }

    /// One, if there is one now.
    fn try_take(usage: &Arc<Usage>, guests: &'static Semaphore) -> Option<Self> {
        let own = usage.threads.try_acquire().ok()?;
        let one = guests.try_acquire().ok()?;
        own.forget();
        Some(Self { usage: Arc::clone(usage), _one: one })
    }

    fn work<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> AbortOnDropJoinHandle<T> {
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

/// Work on a thread. What has not begun when this is dropped is not done.
pub(crate) struct Apart<T>(Stage<T>);

enum Stage<T> {
    /// It waits for its thread, in a task that hands it over as soon as there is one, whether its guest looks or not.
    Waits(AbortOnDropJoinHandle<Stage<T>>),
    Has(AbortOnDropJoinHandle<T>),
}

impl<T: Send + 'static> Apart<T> {
    fn begin(usage: &Arc<Usage>, guests: &'static Semaphore, work: impl FnOnce() -> T + Send + 'static) -> Self {
        if let Some(thread) = Thread::try_take(usage, guests) {
            return Self(Stage::Has(thread.work(work)));
        }
        let usage = Arc::clone(usage);
        Self(Stage::Waits(spawn(async move { Stage::Has(Thread::take(&usage, guests).await.work(work)) })))
    }
}

impl<T> Apart<T> {
    /// Does not begin it, if it has not begun.
    pub(crate) fn cancel(&self) {
        match &self.0 {
            Stage::Waits(task) => task.abort(),
            Stage::Has(work) => work.abort(),
        }
    }

    /// What came of it, or that it was cancelled before it began.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        loop {
            match &mut self.0 {
                Stage::Waits(task) => match ready!(Pin::new(&mut **task).poll(cx)) {
                    Ok(stage) => self.0 = stage,
                    Err(error) => return Poll::Ready(Err(error)),
                },
                Stage::Has(work) => return Pin::new(&mut **work).poll(cx),
            }
        }
    }
}

impl<T> Future for Apart<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        self.poll_end(cx).map(|ended| ended.expect("it panicked"))
    }
}

/// Does `work` on a thread of the container, once it has one. What has not begun when this is dropped is not done.
pub async fn apart<T: Send + 'static>(usage: &Arc<Usage>, work: impl FnOnce() -> T + Send + 'static) -> T {
    begin(usage, work).await
}

/// The same for whoever cannot wait: it begins at once, or while others do something else.
pub(crate) fn begin<T: Send + 'static>(usage: &Arc<Usage>, work: impl FnOnce() -> T + Send + 'static) -> Apart<T> {
    Apart::begin(usage, &GUESTS, work)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::mpsc;
    use std::time::Duration;

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
        assert!(Thread::try_take(&one, &GUESTS).is_none());
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
            taken.push(Thread::take(&usages[at % 2], &GUESTS).await);
        }
        assert!(Thread::take(&usages[0], &GUESTS).now_or_never().is_none());
        assert_eq!(usages[0].threads.available_permits(), CONTAINER_MAX - 2, "who gave up waiting holds nothing");
        taken.pop();
        assert!(Thread::take(&usages[1], &GUESTS).now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_waits_and_is_not_asked_how_it_goes_on_keeps_no_thread_from_others() {
        static GUESTS: Semaphore = Semaphore::const_new(1);
        let [one, other] = [usage(), usage()];
        let busy = Thread::take(&one, &GUESTS).await;
        let (mut first, second) = (Apart::begin(&one, &GUESTS, || 1), Apart::begin(&other, &GUESTS, || 2));
        assert!((&mut first).now_or_never().is_none());
        drop(busy);
        assert_eq!(tokio::time::timeout(Duration::from_secs(20), second).await, Ok(2));
        assert_eq!(first.await, 1);
    }

    #[tokio::test]
    async fn what_is_cancelled_before_it_began_is_not_done_and_what_began_is_done() {
        static GUESTS: Semaphore = Semaphore::const_new(1);
        let one = usage();
        let busy = Thread::take(&one, &GUESTS).await;
        let mut waits = Apart::begin(&one, &GUESTS, || 1);
        waits.cancel();
        assert!(poll_fn(|cx| waits.poll_end(cx)).await.is_err_and(|error| error.is_cancelled()));
        let (begins, begun) = tokio::sync::oneshot::channel();
        let work = move || begins.send(()).map_or(0, |()| 2);
        let mut late = Apart::begin(&one, &GUESTS, work);
        drop(busy);
        begun.await.expect("it begins");
        late.cancel();
        assert_eq!(poll_fn(|cx| late.poll_end(cx)).await.ok(), Some(2));
    }
}
