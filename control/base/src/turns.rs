//! Places that *askers* (namespaces, say) share: who asks for many, or keeps them for long, leaves some to the others. Among
//! those that wait, who has the fewest is next.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The places. Clones share them.
#[derive(Clone)]
pub struct Turns(Arc<Mutex<Inner>>);

struct Inner {
    max: usize,
    /// See [`Turns::with_part_of_free`].
    part: Option<usize>,
    taken: usize,
    /// Those who have a place, or want one.
    askers: HashMap<String, Asker>,
    /// How often a place was asked for.
    asked: u64,
}

#[derive(Default)]
struct Asker {
    has: usize,
    /// In the order in which they came, with their number among all.
    waiting: VecDeque<(u64, oneshot::Sender<Turn>)>,
}

/// A place, until it is dropped.
pub struct Turn {
    asker: String,
    inner: Arc<Mutex<Inner>>,
}

impl Turns {
    /// So many places, all of which one asker may have, and one more for whoever has none.
    pub fn new(max: usize) -> Self {
        Self::of(max, None)
    }

    /// So many places. Who has one for each `part` that are free gets no more: alone that is one in `part + 1` of all, and
    /// however many take what they can, some are left for who comes then.
    pub fn with_part_of_free(max: usize, part: usize) -> Self {
        Self::of(max, Some(part.max(1)))
    }

    fn of(max: usize, part: Option<usize>) -> Self {
        let inner = Inner { max: max.max(1), part, taken: 0, askers: HashMap::new(), asked: 0 };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// Waits for a place.
    pub async fn take(&self, asker: &str) -> Turn {
        let wait = {
            let mut inner = lock(&self.0);
            let wait = inner.queue(asker);
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
    fn queue(&mut self, asker: &str) -> oneshot::Receiver<Turn> {
        let (turn, wait) = oneshot::channel();
        let waiting = &mut self.askers.entry(asker.to_owned()).or_default().waiting;
        waiting.retain(|(_, turn)| !turn.is_closed());
        waiting.push_back((self.asked, turn));
        self.asked += 1;
        wait
    }

    /// Whether one who has so many may have one more.
    fn is_room(&self, has: usize) -> bool {
        match self.part {
            None => self.taken < self.max + usize::from(has == 0),
            Some(part) => has < self.max.saturating_sub(self.taken) / part,
        }
    }

    /// Those whose turn it is, with their turns.
    fn next(&mut self, shared: &Arc<Mutex<Inner>>) -> Vec<(oneshot::Sender<Turn>, Turn)> {
        self.askers.retain(|_, asker| {
            while asker.waiting.pop_front_if(|(_, turn)| turn.is_closed()).is_some() {}
            asker.has > 0 || !asker.waiting.is_empty()
        });
        let mut ready = Vec::new();
        loop {
            let waiting = |(name, asker)| {
                let (name, asker): (&String, &Asker) = (name, asker);
                Some((asker.has, asker.waiting.front()?.0, name))
            };
            let next = self.askers.iter().filter_map(waiting).min();
            let Some((.., name)) = next.filter(|(has, ..)| self.is_room(*has)) else { return ready };
            let name = name.clone();
            let Some(asker) = self.askers.get_mut(&name) else { return ready };
            let Some((_, turn)) = asker.waiting.pop_front() else { return ready };
            asker.has += 1;
            self.taken += 1;
            ready.push((turn, Turn { asker: name, inner: Arc::clone(shared) }));
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut inner = lock(&self.inner);
        inner.taken -= 1;
        if let Some(asker) = inner.askers.get_mut(&self.asker) {
            asker.has -= 1;
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
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// What is ready at once.
    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn one_that_keeps_its_places_for_long_leaves_one_to_the_others() {
        let turns = Turns::new(2);
        let take = |asker: &'static str| now(turns.take(asker));
        let (one, two) = (take("slow").expect("free"), take("slow").expect("free"));
        assert!(take("slow").is_none());
        let other = take("other").expect("it has none");
        assert!(take("other").is_none() && take("third").is_none());
        drop(other);
        let third = take("third").expect("the place for who has none");
        drop((one, two, third));
        assert!(take("slow").is_some());
    }

    #[test]
    fn many_that_take_a_part_of_what_is_free_leave_places_to_one_that_comes_after_them() {
        let turns = Turns::with_part_of_free(128, 3);
        let take = |asker: &str| now(turns.take(asker));
        let mut held: Vec<_> = std::iter::from_fn(|| take("one")).collect();
        assert_eq!(held.len(), 32);
        for asker in ["two", "three", "four", "five"] {
            held.extend(std::iter::from_fn(|| take(asker)));
        }
        assert!((64..128).contains(&held.len()), "{}", held.len());
        let late: Vec<_> = std::iter::from_fn(|| take("late")).collect();
        assert!(late.len() > 4, "{}", late.len());
        drop((held, late));
        assert!(lock(&turns.0).askers.is_empty() && lock(&turns.0).taken == 0);
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
            assert!(now(wait.as_mut()).is_none());
        }
        drop(gone);
        drop(second);
        let third = third.await;
        assert!(now(more_of_a.as_mut()).is_none(), "a has one still");
        drop((first, third));
        more_of_a.await;
        assert!(lock(&turns.0).askers.is_empty());
    }
}
