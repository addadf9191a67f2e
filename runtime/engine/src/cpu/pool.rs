//! The threads of heavy guests: as many as cores, niced, each running the guest whose container is due for one slice.
//!
//! Which container is due is [`turns`]' business. A guest is a future; the epoch makes it give way after a slice.

mod turns;

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Instant;

use futures::FutureExt as _;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::cpu::clock::Stretch;
use crate::cpu::inside::Inside;
use crate::cpu::load::Load;
use crate::cpu::pool::turns::{Next, Turns};
use crate::usage::Usage;

/// How much the kernel prefers the node's own threads: about three to one where both want a core all the time, and in
/// practice at once, since those seldom want it for long.
const NICE: i32 = 5;

/// Owns the threads, which begin when there is work and end when this is dropped.
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    threads_max: usize,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    turns: Turns<Arc<Task>>,
    threads: usize,
    idle: usize,
    stopped: bool,
}

/// A guest's end, and the guest itself: dropping this ends it.
pub(crate) struct Pooled<T> {
    task: Arc<Task>,
    end: oneshot::Receiver<Result<T, Box<dyn Any + Send>>>,
}

type Future_ = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Task {
    usage: Arc<Usage>,
    load: Arc<Load>,
    shared: Weak<Shared>,
    /// Where its timers and sockets are.
    runtime: Handle,
    stage: AtomicU8,
    aborted: AtomicBool,
    future: Mutex<Option<Future_>>,
}

/// Waits for a wake-up.
const ASLEEP: u8 = 0;
/// Waits for its turn.
const READY: u8 = 1;
/// Has a thread.
const RUNNING: u8 = 2;
/// Has a thread, and was woken meanwhile.
const WOKEN: u8 = 3;

impl Pool {
    pub(crate) fn new(threads_max: usize) -> Self {
        Self { shared: Arc::new(Shared { threads_max, state: Mutex::default(), work: Condvar::new() }) }
    }

    /// Takes over `work`, which is ready to go on. Called within a runtime of tokio.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        load: &Arc<Load>,
        usage: &Arc<Usage>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Pooled<T> {
        let (tell, end) = oneshot::channel();
        let future = async move {
            // Nobody may be there any more to be told.
            let _ = tell.send(AssertUnwindSafe(work).catch_unwind().await);
        };
        let task = Arc::new(Task {
            usage: Arc::clone(usage),
            load: Arc::clone(load),
            shared: Arc::downgrade(&self.shared),
            runtime: Handle::current(),
            stage: AtomicU8::new(READY),
            aborted: AtomicBool::new(false),
            future: Mutex::new(Some(Box::pin(future))),
        });
        self.shared.enqueue(Arc::clone(&task));
        Pooled { task, end }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.work.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enqueue(self: &Arc<Self>, task: Arc<Task>) {
        let mut state = self.lock();
        let usage = Arc::clone(&task.usage);
        state.turns.push(&usage, task, Instant::now());
        if state.idle > 0 {
            self.work.notify_one();
        } else if state.threads < self.threads_max {
            state.threads += 1;
            let shared = Arc::clone(self);
            let begun = thread::Builder::new().name("wk-guest".into()).spawn(move || shared.serve());
            if let Err(error) = begun {
                state.threads -= 1;
                // Another one takes the task, unless there is none yet; then the next task tries again.
                tracing::error!(%error, "no thread for guests");
            }
        }
    }

    /// The life of one thread.
    fn serve(&self) {
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            tracing::debug!(%error, "guests' threads are not niced");
        }
        while let Some(task) = self.next() {
            let nanos = task.run();
            let mut state = self.lock();
            state.turns.ran(&task.usage, nanos, Instant::now());
        }
    }

    /// Waits for a task whose turn it is; none when the pool ends.
    fn next(&self) -> Option<Arc<Task>> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            let now = Instant::now();
            let wait = match state.turns.next(now) {
                Next::Run(task) => return Some(task),
                Next::At(time) => Some(time.saturating_duration_since(now)),
                Next::Nothing => None,
            };
            state.idle += 1;
            state = match wait {
                Some(wait) => self.work.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
            state.idle -= 1;
        }
    }
}

impl Task {
    /// Runs it for one slice; answers the nanoseconds that it took.
    fn run(self: &Arc<Self>) -> u64 {
        self.stage.store(RUNNING, Ordering::Release);
        let stretch = Stretch::begin();
        let over = {
            let mut future = self.future.lock().unwrap_or_else(PoisonError::into_inner);
            let over = future.as_mut().is_none_or(|future| {
                let _runtime = self.runtime.enter();
                let _turn = Inside::enter();
                let waker = Waker::from(Arc::clone(self));
                future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
            });
            if over {
                *future = None;
            }
            over
        };
        let nanos = stretch.end();
        self.usage.ran(nanos);
        self.load.ran_in_pool(&self.usage.account, nanos);
        if self.aborted.load(Ordering::SeqCst) {
            self.end();
        } else if !over && self.stage.compare_exchange(RUNNING, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_err() {
            self.stage.store(READY, Ordering::Release);
            if let Some(shared) = self.shared.upgrade() {
                shared.enqueue(Arc::clone(self));
            }
        }
        nanos
    }

    /// Drops the guest, unless a thread has it: that looks at `aborted` afterwards.
    fn end(&self) {
        let future = match self.future.try_lock() {
            Ok(mut future) => future.take(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().take(),
            Err(TryLockError::WouldBlock) => None,
        };
        let _runtime = self.runtime.enter();
        // What a guest's resources do when they go is not to take a thread of everybody's with it.
        let _ = panic::catch_unwind(AssertUnwindSafe(|| drop(future)));
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let woken = self.stage.fetch_update(Ordering::AcqRel, Ordering::Acquire, |stage| match stage {
            ASLEEP => Some(READY),
            RUNNING => Some(WOKEN),
            _ => None,
        });
        if woken == Ok(ASLEEP)
            && let Some(shared) = self.shared.upgrade()
        {
            shared.enqueue(self);
        }
    }
}

impl<T> Future for Pooled<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match std::task::ready!(Pin::new(&mut self.end).poll(cx)) {
            Ok(Ok(value)) => Poll::Ready(value),
            // As if it had run here.
            Ok(Err(panicked)) => panic::resume_unwind(panicked),
            Err(error) => panic!("a guest's task went without an end: {error}"),
        }
    }
}

impl<T> Drop for Pooled<T> {
    fn drop(&mut self) {
        self.task.aborted.store(true, Ordering::SeqCst);
        self.task.end();
    }
}
