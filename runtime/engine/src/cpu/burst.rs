//! Guests of one container that come all at once let others between.
//!
//! The runtime's threads take tasks in the order in which they were woken. Of a hundred guests that one timer wakes, or one
//! look at the sockets, some go on and the others wait until whatever else was due by then has had its turn; then come the
//! next. So a request waits for a few guests of each other container, and not for all that are due.
//!
//! Not here: who has had much of the cores (`load`), and those that run on and on (`pool`).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::usage::Usage;

/// Guests that go on in one round: some hundred microseconds of work, for which going round the queue costs little.
const ROUND: usize = 8;

/// The rounds of one container's guests.
#[derive(Debug, Default)]
pub(crate) struct Bursts(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Guests that went on in this round.
    went: usize,
    /// A task waits for the end of this round.
    ends: bool,
    /// Those that wait for the next ones.
    waiting: VecDeque<Waker>,
}

impl Bursts {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a guest of this container may go on at once; else it is woken when it may. `waited` is the guest's own, and says
/// whether it was put off before: it is the next one then.
pub(super) fn admits(usage: &Arc<Usage>, waker: &Waker, waited: &mut bool) -> bool {
    let mut state = usage.account.bursts.state();
    if state.went < ROUND {
        state.went += 1;
        *waited = false;
        if !std::mem::replace(&mut state.ends, true) {
            tokio::spawn(rounds(Arc::clone(usage)));
        }
        return true;
    }
    if std::mem::replace(waited, true) {
        state.waiting.push_front(waker.clone());
    } else {
        state.waiting.push_back(waker.clone());
    }
    false
}

/// Begins one round after another until nobody waits.
async fn rounds(usage: Arc<Usage>) {
    loop {
        // Behind all that is due.
        tokio::task::yield_now().await;
        let next: Vec<Waker> = {
            let mut state = usage.account.bursts.state();
            state.went = 0;
            state.ends = !state.waiting.is_empty();
            let count = state.waiting.len().min(ROUND);
            state.waiting.drain(..count).collect()
        };
        if next.is_empty() {
            return;
        }
        next.into_iter().for_each(Waker::wake);
    }
}
