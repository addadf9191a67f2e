//! Who compiles next. So many modules are compiled at once as the engine says, and one more of an *asker* (a namespace) of
//! whom none is: whose modules take minutes waits for them alone. Among those that wait, who has the fewest is next.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The places for compilations.
pub(crate) struct Turns(Arc<Mutex<Inner>>);

struct Inner {
    max: usize,
    /// Compilations of those who have any.
    running: HashMap<String, usize>,
    waiting: VecDeque<Waiter>,
}

struct Waiter {
    asker: String,
    turn: oneshot::Sender<Turn>,
}

/// A place, until it is dropped.
pub(crate) struct Turn {
    asker: String,
    inner: Arc<Mutex<Inner>>,
}

impl Turns {
    /// Places for `max` compilations, and one for whoever has none.
    pub(crate) fn new(max: usize) -> Self {
        Self(Arc::new(Mutex::new(Inner { max: max.max(1), running: HashMap::new(), waiting: VecDeque::new() })))
    }

    /// Waits for a place.
    pub(crate) async fn take(&self, asker: &str) -> Turn {
        let wait = {
            let mut inner = lock(&self.0);
            let (turn, wait) = oneshot::channel();
            inner.waiting.push_back(Waiter { asker: asker.to_owned(), turn });
            let ready = inner.next(&self.0);
            drop(inner);
            hand_out(ready);
            wait
        };
        // The sender is dropped with the queue only, which this keeps.
        wait.await.expect("whoever waits is handed a turn")
    }
}

impl Inner {
    /// The next whose turn it is, with their turns.
    fn next(&mut self, shared: &Arc<Mutex<Inner>>) -> Vec<(oneshot::Sender<Turn>, Turn)> {
        let mut ready = Vec::new();
        loop {
            self.waiting.retain(|waiter| !waiter.turn.is_closed());
            let total: usize = self.running.values().sum();
            let of = |asker: &str| self.running.get(asker).copied().unwrap_or(0);
            let next = self.waiting.iter().enumerate().min_by_key(|(at, waiter)| (of(&waiter.asker), *at));
            let Some((at, has)) = next.map(|(at, waiter)| (at, of(&waiter.asker))) else { return ready };
            if total >= self.max + usize::from(has == 0) {
                return ready;
            }
            let Some(Waiter { asker, turn }) = self.waiting.remove(at) else { return ready };
            *self.running.entry(asker.clone()).or_default() += 1;
            ready.push((turn, Turn { asker, inner: Arc::clone(shared) }));
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut inner = lock(&self.inner);
        if let Some(count) = inner.running.get_mut(&self.asker) {
            *count -= 1;
            if *count == 0 {
                inner.running.remove(&self.asker);
            }
        }
        let ready = inner.next(&self.inner);
        drop(inner);
        hand_out(ready);
    }
}

/// Without the lock: a turn that nobody waits for any more is given back at once.
fn hand_out(ready: Vec<(oneshot::Sender<Turn>, Turn)>) {
    for (to, turn) in ready {
        let _ = to.send(turn);
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn one_whose_modules_take_long_leaves_a_place_to_the_others() {
        let turns = Turns::new(2);
        let take = |asker: &'static str| turns.take(asker).now_or_never();
        let (one, two) = (take("slow").expect("free"), take("slow").expect("free"));
        assert!(take("slow").is_none());
        let other = take("other").expect("it has none");
        assert!(take("other").is_none() && take("third").is_none());
        drop(other);
        let third = take("third").expect("the place for who has none");
        drop((one, two, third));
        assert!(take("slow").is_some());
    }

    #[tokio::test]
    async fn who_has_the_fewest_is_next_and_who_gave_up_is_passed_over() {
        let turns = Turns::new(1);
        let first = turns.take("a").await;
        let second = turns.take("b").await;
        let mut more_of_a = Box::pin(turns.take("a"));
        let mut gone = Box::pin(turns.take("c"));
        let mut third = Box::pin(turns.take("d"));
        for wait in [&mut more_of_a, &mut gone, &mut third] {
            assert!(wait.as_mut().now_or_never().is_none());
        }
        drop(gone);
        drop(second);
        let third = third.await;
        assert!(more_of_a.as_mut().now_or_never().is_none(), "a has one still");
        drop((first, third));
        more_of_a.await;
        assert!(lock(&turns.0).running.is_empty());
    }
}
