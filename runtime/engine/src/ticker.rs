//! The one thread that counts time slices: guests yield at each tick, so that a loop holds up nobody.
//!
//! It rests while no guest runs: an idle node should not wake a hundred times a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::EngineWeak;

use crate::LIMITED;
use crate::cpu::Load;

/// The time slice of a guest: short enough that a looping one delays its neighbours less than a network does,
/// long enough that counting and yielding cost nothing.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Ticks without a guest before the thread rests; a second, so that a steady trickle of requests never has to wake it.
const IDLE_TICKS: u32 = 100;

struct Shared {
    running: AtomicUsize,
    resting: AtomicBool,
    stopped: AtomicBool,
}

/// Owns the thread, which ends when this is dropped.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

/// While one lives, ticks are counted.
pub(crate) struct Running {
    shared: Arc<Shared>,
}

impl Ticker {
    pub(crate) fn start(engine: EngineWeak, load: Arc<Load>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            running: AtomicUsize::new(0),
            resting: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        let handle = thread::Builder::new().name("wk-epoch".into()).spawn(move || tick(&theirs, &engine, &load))?;
        Ok(Self { shared, thread: handle.thread().clone() })
    }

    /// Says that a guest starts.
    pub(crate) fn running(&self) -> Running {
        // Both sides write their own flag before they read the other's, in one total order: either the thread sees
        // this guest before it rests, or this sees that the thread rests and wakes it.
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.resting.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running { shared: Arc::clone(&self.shared) }
    }

    /// How many guests run.
    pub(crate) fn count(&self) -> usize {
        self.shared.running.load(Ordering::SeqCst)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.running.fetch_sub(1, Ordering::SeqCst);
    }
}

fn tick(shared: &Shared, engine: &EngineWeak, load: &Load) {
    if !LIMITED {
        return;
    }
    let mut idle = 0;
    while !shared.stopped.load(Ordering::SeqCst) {
        thread::park_timeout(TICK);
        let Some(engine) = engine.upgrade() else { return };
        engine.increment_epoch();
        drop(engine);
        load.tick();
        idle = if shared.running.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
        if idle >= IDLE_TICKS {
            rest(shared);
            idle = 0;
        }
    }
}

fn rest(shared: &Shared) {
    shared.resting.store(true, Ordering::SeqCst);
    while shared.running.load(Ordering::SeqCst) == 0 && !shared.stopped.load(Ordering::SeqCst) {
        thread::park();
    }
    shared.resting.store(false, Ordering::SeqCst);
}
