//! Turns at the processor: of the requests that could go on, as many do as there are cores, and users go on in turns.
//!
//! The runtime runs what is ready in the order in which it became ready: behind a hundred requests of one client, another's
//! waits for all of them at each of its steps. So each step of a request waits for its turn here first. A step is from one
//! wait to the next; what computes for long takes a turn for each piece.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::seats::{Asked, Flow, Seat, Seats};

/// The turns of one server.
#[derive(Debug)]
pub(crate) struct Turns(Seats);

impl Default for Turns {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        // As many wait as were admitted.
        Self(Seats::for_admitted(cores))
    }
}

impl Turns {
    /// Waits for a turn of this flow, and computes.
    pub(crate) async fn run<T>(&self, flow: &Flow, compute: impl FnOnce() -> T) -> T {
        let _turn = match self.0.ask(flow) {
            Asked::Seat(seat) => Some(seat),
            // Its line is given up with the server only.
            Asked::Wait(turn) => turn.await.ok(),
            Asked::Full => None,
        };
        compute()
    }

    /// `request` with each of its steps in a turn of this flow.
    pub(crate) fn steps<F: Future>(&self, flow: Flow, request: F) -> Steps<F> {
        Steps { turns: self.0.clone(), flow, waiting: None, request: Box::pin(request) }
    }
}

impl Clone for Turns {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// A request that goes on in turns.
pub(crate) struct Steps<F> {
    turns: Seats,
    flow: Flow,
    waiting: Option<oneshot::Receiver<Seat>>,
    request: Pin<Box<F>>,
}

impl<F> Steps<F> {
    /// A turn; None where there is none to be had any more, and nobody to wait for.
    fn turn(&mut self, context: &mut Context<'_>) -> Poll<Option<Seat>> {
        let waiting = match self.waiting.take() {
            Some(waiting) => waiting,
            None => match self.turns.ask(&self.flow) {
                Asked::Seat(seat) => return Poll::Ready(Some(seat)),
                Asked::Wait(waiting) => waiting,
                Asked::Full => return Poll::Ready(None),
            },
        };
        let waiting = self.waiting.insert(waiting);
        let turn = std::task::ready!(Pin::new(waiting).poll(context)).ok();
        self.waiting = None;
        Poll::Ready(turn)
    }
}

impl<F: Future> Future for Steps<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let turn = std::task::ready!(self.turn(context));
        let step = self.request.as_mut().poll(context);
        drop(turn);
        step
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::task::Waker;

    use super::*;

    #[test]
    fn step_of_another_user_comes_after_one_of_the_crowd_and_not_after_all() {
        let turns = Turns(Seats::for_admitted(1));
        let order = Arc::new(Mutex::new(Vec::new()));
        let flow = |user: &str| Flow::new(user, None, String::new());
        let step = |user: &'static str| {
            let order = Arc::clone(&order);
            turns.steps(flow(user), async move { order.lock().expect("one thread").push(user) })
        };
        let Asked::Seat(busy) = turns.0.ask(&flow("x")) else { panic!("nobody has it") };
        let mut requests: Vec<_> = ["many", "many", "many", "other"].map(step).into();
        let mut context = Context::from_waker(Waker::noop());
        let mut poll_all = |requests: &mut Vec<Steps<_>>| {
            requests.retain_mut(|request| Pin::new(request).poll(&mut context).is_pending());
        };
        poll_all(&mut requests);
        assert!(order.lock().expect("one thread").is_empty(), "they wait for their turn");
        drop(busy);
        while !requests.is_empty() {
            poll_all(&mut requests);
        }
        assert_eq!(*order.lock().expect("one thread"), ["many", "other", "many", "many"]);
    }
}
