//! Who has a core when: guests are metered, the quick ones run where their request came in, the heavy ones take turns on
//! threads of their own.
//!
//! A guest begins on the thread that asked for it, since most are done within microseconds and going elsewhere would cost
//! as much again. One that is still at work after a time slice moves to the [`pool`]: niced threads, as many as cores,
//! where containers take turns by weight and wait when their quota is used up. So the node's own threads, which carry
//! Raft and the API, never run a guest for longer than one slice, and the kernel prefers them to those that do.
//!
//! A container that was heavy a moment ago, or that had more than its share while cores were short, begins there ([`load`]).
//!
//! A guest that another guest waits for runs in a task of its own ([`inside`]).
//!
//! The rules are cgroups' ones, as the kubelet uses them: `cpu.shares` under contention, `cpu.cfs_quota_us` always.

mod account;
mod clock;
mod inside;
mod load;
mod pool;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::LIMITED;
use crate::cpu::clock::Stretch;
use crate::cpu::inside::{Inside, is_inside};
use crate::cpu::load::OVERRUN;
use crate::cpu::pool::{Pool, Pooled};
use crate::usage::Usage;

pub(crate) use account::{Account, PERIOD};
pub(crate) use load::Load;

/// One for an engine.
pub(crate) struct Scheduler {
    pub(crate) load: Arc<Load>,
    pool: Pool,
}

impl Scheduler {
    /// For guests that are asked on the threads of `runtime`.
    pub(crate) fn new(runtime: &Handle) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { load: Arc::new(Load::new(cores, runtime)), pool: Pool::new(cores) }
    }
}

/// `work`, which the container pays for on whatever thread does it: calls that wait for the disk, or for a resolver.
pub fn charged<T, F: FnOnce() -> T + Send>(usage: &Arc<Usage>, work: F) -> impl FnOnce() -> T + Send + use<T, F> {
    let usage = Arc::clone(usage);
    move || {
        let _paid = Pace::begin(&usage);
        work()
    }
}

/// A container's work on this thread, which is paid for when this is dropped, and before whenever it is asked to be.
pub struct Pace {
    usage: Arc<Usage>,
    stretch: Stretch,
}

impl Pace {
    /// Begins now.
    pub fn begin(usage: &Arc<Usage>) -> Self {
        Self { usage: Arc::clone(usage), stretch: Stretch::begin() }
    }

    /// Pays for what was done since. Answers until when it has to rest, if the container has used up its quota.
    pub fn pay(&mut self) -> Option<Instant> {
        self.settle();
        self.usage.throttled()
    }

    fn settle(&mut self) {
        let done = std::mem::replace(&mut self.stretch, Stretch::begin());
        self.usage.ran(done.end());
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.settle();
    }
}

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A guest at work: polled like the future it is made of, wherever that is by now. Dropping it ends the guest.
pub(crate) struct Guest<T> {
    scheduler: Arc<Scheduler>,
    usage: Arc<Usage>,
    /// Its work, while that is done on the thread that polls this.
    here: Option<Work<T>>,
    /// Its work in the pool.
    there: Option<Pooled<T>>,
    /// Its work in a task of its own, since it began within another guest's turn.
    apart: Option<Apart<T>>,
}

/// A task that ends when nobody waits for it any more.
struct Apart<T>(JoinHandle<T>);

impl<T> Drop for Apart<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T: Send + 'static> Guest<T> {
    /// Begins `work` on behalf of the container that `usage` counts.
    pub(crate) fn new(
        scheduler: &Arc<Scheduler>,
        usage: &Arc<Usage>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Self {
        Self::of(scheduler, usage, Box::pin(work))
    }

    fn of(scheduler: &Arc<Scheduler>, usage: &Arc<Usage>, work: Work<T>) -> Self {
        let (scheduler, usage) = (Arc::clone(scheduler), Arc::clone(usage));
        Self { scheduler, usage, here: Some(work), there: None, apart: None }
    }

    fn queues(&self) -> bool {
        let account = &self.usage.account;
        self.scheduler.load.queues(account) || self.usage.throttled().is_some()
    }

    /// Does the work on this thread for as long as it asks for; says whether that was too long.
    fn poll_here(&self, work: &mut Work<T>, cx: &mut Context<'_>) -> (Poll<T>, bool) {
        let turn = Inside::enter();
        if !LIMITED {
            return (work.as_mut().poll(cx), false);
        }
        let stretch = Stretch::begin();
        let outcome = work.as_mut().poll(cx);
        drop(turn);
        let nanos = stretch.end();
        self.usage.ran(nanos);
        self.scheduler.load.ran(&self.usage.account, nanos);
        (outcome, u128::from(nanos) >= OVERRUN.as_nanos())
    }
}

impl<T: Send + 'static> Future for Guest<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        if let Some(work) = self.here.take_if(|_| is_inside()) {
            self.apart = Some(Apart(tokio::spawn(Self::of(&self.scheduler, &self.usage, work))));
        }
        if let Some(apart) = &mut self.apart {
            return Pin::new(&mut apart.0).poll(cx).map(|ended| match ended {
                Ok(value) => value,
                Err(error) => match error.try_into_panic() {
                    // As if it had run here.
                    Ok(panicked) => std::panic::resume_unwind(panicked),
                    Err(error) => panic!("a guest's task went without an end: {error}"),
                },
            });
        }
        if let Some(mut work) = self.here.take() {
            if !self.queues() {
                match self.poll_here(&mut work, cx) {
                    (Poll::Ready(done), _) => return Poll::Ready(done),
                    (Poll::Pending, false) => {
                        self.here = Some(work);
                        return Poll::Pending;
                    }
                    (Poll::Pending, true) => self.scheduler.load.overran(&self.usage.account),
                }
            }
            // There it is polled at once: what it had asked to wake so far is this task, which only waits from now on.
            self.there = Some(self.scheduler.pool.spawn(&self.scheduler.load, &self.usage, work));
        }
        let there = self.there.as_mut().expect("a guest that has ended is not polled again");
        Pin::new(there).poll(cx)
    }
}

#[cfg(test)]
mod tests;
