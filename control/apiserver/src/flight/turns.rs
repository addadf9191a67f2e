//! Turns at the processor, which go to users one after the other: for a step of a request, and for a piece of what takes long.
//!
//! The runtime's threads run what is ready in the order in which it became ready: behind a hundred requests of one client,
//! another's would wait for all of them at each of its steps. So a request that is ready gets in line first, which takes next
//! to nothing, and makes its step when it is its user's turn. A step is from one wait to the next.
//!
//! What takes long is made in pieces on threads of its own, so that the kernel shares the cores between those who compute and
//! those who answer and look at sockets.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use super::seats::{Asked, Flow, Seat, Seats};

/// How long a piece should take: another who computes waits so long for a turn.
pub(crate) const TURN: Duration = Duration::from_micros(500);

/// The turns of one server. Clones are the same turns.
#[derive(Debug, Clone)]
pub(crate) struct Turns {
    steps: Seats,
    pieces: Seats,
}

impl Default for Turns {
    fn default() -> Self {
        Self::of(std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get))
    }
}

impl Turns {
    /// Steps on all cores; pieces on all but one, so that what is short finds one. As many wait as were admitted.
    fn of(cores: usize) -> Self {
        Self { steps: Seats::for_admitted(cores), pieces: Seats::for_admitted(cores.saturating_sub(1).max(1)) }
    }

    /// `request` with each of its steps in a turn of this flow.
    pub(crate) fn steps<F: Future>(&self, flow: Flow, request: F) -> Steps<F> {
        Steps { turns: self.steps.clone(), flow, turn: Turn::None, request: Box::pin(request) }
    }

    /// Waits for a turn of this flow, and computes a piece. A client that goes away leaves no turn behind.
    pub(crate) async fn piece<T: Send + 'static>(
        &self,
        flow: &Flow,
        compute: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let turn = match self.pieces.ask(flow) {
            Asked::Seat(seat) => Some(seat),
            // Its line is given up with the server only.
            Asked::Wait(turn) => turn.await.ok(),
            Asked::Full => None,
        };
        let piece = move || {
            let _turn = turn;
            compute()
        };
        match tokio::task::spawn_blocking(piece).await {
            Ok(computed) => computed,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The process ends.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

/// A request that goes on in turns.
pub(crate) struct Steps<F> {
    turns: Seats,
    flow: Flow,
    turn: Turn,
    request: Pin<Box<F>>,
}

/// How far a request is with its next step.
enum Turn {
    None,
    Waits(oneshot::Receiver<Seat>),
    /// It may go on when those that became ready meanwhile are in line.
    Has(Seat),
}

impl<F> Steps<F> {
    /// A turn; None where there is no line any more.
    fn turn(&mut self, context: &mut Context<'_>) -> Poll<Option<Seat>> {
        let mut waiting = match std::mem::replace(&mut self.turn, Turn::None) {
            Turn::Has(turn) => return Poll::Ready(Some(turn)),
            Turn::Waits(waiting) => waiting,
            Turn::None => match self.turns.ask(&self.flow) {
                Asked::Wait(waiting) => waiting,
                Asked::Full => return Poll::Ready(None),
                Asked::Seat(turn) => {
                    self.turn = Turn::Has(turn);
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
            },
        };
        let turn = Pin::new(&mut waiting).poll(context);
        if turn.is_pending() {
            self.turn = Turn::Waits(waiting);
        }
        turn.map(Result::ok)
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

    use futures::future::join_all;

    use super::*;

    fn flow(user: &str) -> Flow {
        Flow::new(user, None, String::new())
    }

    #[tokio::test]
    async fn step_of_another_user_comes_after_one_of_the_crowd_and_not_after_all() {
        let turns = Turns::of(1);
        let order = Arc::new(Mutex::new(Vec::new()));
        // All are ready at once, the other one last.
        let requests = ["many", "many", "many", "other"].map(|user| {
            let order = Arc::clone(&order);
            turns.steps(flow(user), async move { order.lock().expect("nobody panics").push(user) })
        });
        join_all(requests.map(tokio::spawn)).await;
        assert_eq!(*order.lock().expect("nobody panics"), ["many", "many", "other", "many"]);
    }

    #[tokio::test]
    async fn piece_of_another_user_comes_after_one_of_the_crowd_and_not_after_all() {
        let turns = Turns::of(2);
        let order = Arc::new(Mutex::new(Vec::new()));
        let Asked::Seat(busy) = turns.pieces.ask(&flow("x")) else { panic!("nobody has it") };
        let piece = async |user: &'static str| {
            let order = Arc::clone(&order);
            turns.piece(&flow(user), move || order.lock().expect("nobody panics").push(user)).await;
        };
        let crowd = join_all(["many", "many", "many", "other"].map(piece));
        let begin = async {
            while turns.pieces.waiting() < 4 {
                tokio::task::yield_now().await;
            }
            assert!(order.lock().expect("nobody panics").is_empty(), "they wait for their turn");
            drop(busy);
        };
        tokio::join!(crowd, begin);
        assert_eq!(*order.lock().expect("nobody panics"), ["many", "other", "many", "many"]);
    }
}
