//! How many requests are worked on at once, and whose turn it is. The idea of Kubernetes' API Priority and Fairness without
//! its configuration.
//!
//! Requests come in flows: one client, by user, address and program. When there is no seat they wait, each flow in a line
//! of its own; a seat that becomes free goes to the flows in turn, so that one that floods waits for itself. A line
//! has a limit, and so has the wait: past them a request is refused with 429, which costs next to nothing (law L6).
//!
//! A request has its seat until the head of its answer: watches and followed logs go on in their body and have none then.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use wk_api::Status;

use crate::route::Route;

/// Reads at once for each core: some wait for the leader while others are computed. More would not be answered sooner,
/// and all of them later.
const READS_PER_CORE: usize = 8;

/// Writes at once: each may hold a body of 3 MiB and its decoded form, and all wait for the one log, which takes many as
/// fast as one. Kubernetes' `--max-mutating-requests-inflight`.
pub(crate) const WRITES_MAX: usize = 200;

/// Requests for modules at once, apart from the others because an upload may take minutes: each holds a file open.
pub(crate) const MODULES_MAX: usize = 64;

/// Proxied requests at once, apart from the others because a pod may take its time: each waits for a head.
const PROXIED_MAX: usize = 256;

/// Of those at most for one client, so that a pod that hangs takes only the place of who asks it.
const PROXIED_EACH_MAX: usize = PROXIED_MAX / 4;

/// Connections that were taken over for exec, attach and port-forward, for as long as they last: each holds a few buffers
/// of 32 KiB, and some more for each SPDY stream in it.
const STREAMS_MAX: usize = 512;

/// Of those at most for one user: a rollout of a large cluster is watched with some dozens.
const STREAMS_EACH_MAX: usize = STREAMS_MAX / 4;

/// Requests of one flow that wait: Kubernetes' `queueLengthLimit` of its default level.
const LINE_MAX: usize = 50;

/// Requests that wait, of all flows: each holds its head and a connection.
const WAITING_MAX: usize = 2000;

/// Requests that wait for a webhook without a seat: each holds a body of up to 3 MiB. More of them keep their seats.
const ASIDE_MAX: usize = WRITES_MAX;

/// How long a request waits for a seat: a client that got none until then is told to come again, well before its own
/// deadline. Kubernetes waits up to a quarter of the request's minute.
const WAIT_MAX: Duration = Duration::from_secs(15);

/// When to try again: most requests take milliseconds, and a second is the least that `Retry-After` can say.
const RETRY_SECONDS: u32 = 1;

/// One client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Flow {
    /// Who they proved to be.
    pub(crate) user: String,
    /// From where, where that is known.
    pub(crate) address: Option<IpAddr>,
    /// The program, as it says itself: it tells a person's kubectl from the same person's script.
    pub(crate) agent: String,
}

/// The seats for requests.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) reads: Seats,
    pub(crate) writes: Seats,
    pub(crate) modules: Seats,
    proxied: Seats,
    streams: Arc<Semaphore>,
    streaming: Arc<Mutex<HashMap<String, usize>>>,
    aside: Arc<Semaphore>,
}

impl Default for Flight {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        Self {
            reads: Seats::new(cores * READS_PER_CORE),
            writes: Seats::new(WRITES_MAX),
            modules: Seats::new(MODULES_MAX),
            proxied: Seats::shared(PROXIED_MAX, PROXIED_EACH_MAX),
            streaming: Arc::default(),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            aside: Arc::new(Semaphore::new(ASIDE_MAX)),
        }
    }
}

impl Flight {
    /// A seat for a request, to be held until the head of its answer; an empty one for a request that needs none.
    pub(crate) async fn admit(&self, route: &Route, method: &Method, flow: Flow) -> Result<Held, Status> {
        let seats = match route {
            // A busy server is alive, and whoever restarts it for being busy makes it worse.
            Route::Health(..) => return Ok(Held::default()),
            Route::Modules(_) => &self.modules,
            route if route.is_proxy() => &self.proxied,
            _ if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) => &self.reads,
            _ => &self.writes,
        };
        let seat = seats.wait(&flow).await.ok_or_else(busy)?;
        let aside = Arc::clone(&self.aside);
        let place = Mutex::new(Place::Seat(seat));
        Ok(Held(Some(Arc::new(Kept { place, seats: seats.clone(), flow, aside }))))
    }

    /// Room for a connection of `user`'s that is taken over, to be held until it ends.
    pub(crate) fn take_over(&self, user: &str) -> Result<Streaming, Status> {
        let permit = Arc::clone(&self.streams).try_acquire_owned().map_err(|_| busy())?;
        let mut streaming = self.streaming.lock().unwrap_or_else(PoisonError::into_inner);
        let own = streaming.entry(user.to_owned()).or_default();
        if *own >= STREAMS_EACH_MAX {
            return Err(busy());
        }
        *own += 1;
        drop(streaming);
        Ok(Streaming { user: user.to_owned(), all: Arc::clone(&self.streaming), _permit: permit })
    }
}

/// A connection's place, until it is dropped.
pub(crate) struct Streaming {
    user: String,
    all: Arc<Mutex<HashMap<String, usize>>>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Streaming {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(&self.user) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(all.remove(&self.user)),
        }
    }
}

fn busy() -> Status {
    Status::too_many_requests("Too many requests, please try again later.", RETRY_SECONDS)
}

/// What a request has while it is worked on. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Held(Option<Arc<Kept>>);

struct Kept {
    place: Mutex<Place>,
    seats: Seats,
    flow: Flow,
    aside: Arc<Semaphore>,
}

/// Where a request is.
enum Place {
    #[expect(dead_code, reason = "it is held, and given back by being dropped")]
    Seat(Seat),
    #[expect(dead_code, reason = "it is held, and given back by being dropped")]
    Aside(OwnedSemaphorePermit),
}

impl Held {
    /// Waits for somebody else's answer, and lets others have the seat meanwhile: who is asked may well ask this server
    /// before they answer. Where no seat is free in time afterwards the request goes on without: it was admitted once.
    pub(crate) async fn aside<T>(&self, waiting: impl Future<Output = T>) -> T {
        let Some(kept) = &self.0 else { return waiting.await };
        let Ok(permit) = Arc::clone(&kept.aside).try_acquire_owned() else { return waiting.await };
        // What was there is dropped outside of the lock: a seat goes to the next in line.
        let before = std::mem::replace(&mut *kept.place(), Place::Aside(permit));
        drop(before);
        let answer = waiting.await;
        if let Some(seat) = kept.seats.wait(&kept.flow).await {
            let before = std::mem::replace(&mut *kept.place(), Place::Seat(seat));
            drop(before);
        }
        answer
    }
}

impl Kept {
    fn place(&self) -> std::sync::MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number of seats and the lines before them. Clones are the same seats.
#[derive(Clone)]
pub(crate) struct Seats(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    free: usize,
    waiting: usize,
    /// Seats that one flow may have, and those that each has.
    each: usize,
    taken: HashMap<Flow, usize>,
    /// Those who wait, by flow; no line is empty.
    lines: HashMap<Flow, VecDeque<oneshot::Sender<Seat>>>,
    /// The flows with a line, in the order of their turns.
    turns: VecDeque<Flow>,
}

/// Somebody's seat, until it is dropped.
pub(crate) struct Seat(Option<(Seats, Flow)>);

enum Asked {
    Seat(Seat),
    Wait(oneshot::Receiver<Seat>),
    Full,
}

impl Seats {
    pub(crate) fn new(number: usize) -> Self {
        Self::shared(number, number)
    }

    /// The same, where one flow has no more than `each` of them.
    pub(crate) fn shared(number: usize, each: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: number, each, ..State::default() })))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, flow: &Flow) -> Asked {
        let mut state = self.state();
        if state.free > 0 && state.may_take(flow) {
            state.take(flow);
            return Asked::Seat(Seat(Some((self.clone(), flow.clone()))));
        }
        // Those who went away without waiting for their turn leave room.
        if let Some(line) = state.lines.get_mut(flow)
            && line.len() >= LINE_MAX
        {
            let before = line.len();
            line.retain(|waiting| !waiting.is_closed());
            let gone = before - line.len();
            state.waiting -= gone;
        }
        if state.waiting >= WAITING_MAX || state.lines.get(flow).is_some_and(|line| line.len() >= LINE_MAX) {
            return Asked::Full;
        }
        let (turn, wait) = oneshot::channel();
        state.waiting += 1;
        if let Some(line) = state.lines.get_mut(flow) {
            line.push_back(turn);
        } else {
            state.lines.insert(flow.clone(), VecDeque::from([turn]));
            state.turns.push_back(flow.clone());
        }
        Asked::Wait(wait)
    }

    /// A seat, when it is the flow's turn; None when that takes too long.
    async fn wait(&self, flow: &Flow) -> Option<Seat> {
        match self.ask(flow) {
            Asked::Seat(seat) => Some(seat),
            // Past its time; or its line was given up, which only the end of the server does.
            Asked::Wait(turn) => tokio::time::timeout(WAIT_MAX, turn).await.ok()?.ok(),
            Asked::Full => None,
        }
    }

    /// A seat of `flow` became free: it goes to the flow whose turn it is.
    fn leave(&self, flow: &Flow) {
        self.state().give_back(flow);
        loop {
            let next = self.state().next();
            let Some((flow, next)) = next else { return };
            // One that went away is not there to take it.
            let Err(mut seat) = next.send(Seat(Some((self.clone(), flow.clone())))) else { return };
            seat.0 = None;
            self.state().give_back(&flow);
        }
    }

    /// Seats that nobody has.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.state().free
    }

    /// Takes all seats, for a server that is full.
    #[cfg(test)]
    pub(crate) fn take_all(&self) -> Vec<Seat> {
        let mut state = self.state();
        let nobody = Flow { user: String::new(), address: None, agent: String::new() };
        let number = state.free;
        (0..number).for_each(|_| state.take(&nobody));
        (0..number).map(|_| Seat(Some((self.clone(), nobody.clone())))).collect()
    }

    /// How many wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.state().waiting
    }
}

impl State {
    fn may_take(&self, flow: &Flow) -> bool {
        self.taken.get(flow).is_none_or(|own| *own < self.each)
    }

    fn take(&mut self, flow: &Flow) {
        self.free -= 1;
        *self.taken.entry(flow.clone()).or_default() += 1;
    }

    fn give_back(&mut self, flow: &Flow) {
        self.free += 1;
        match self.taken.get_mut(flow) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(self.taken.remove(flow)),
        }
    }

    /// The one whose turn it is, with a seat taken for it; None when nobody waits who may have one more.
    fn next(&mut self) -> Option<(Flow, oneshot::Sender<Seat>)> {
        if self.free == 0 {
            return None;
        }
        let at = self.turns.iter().position(|flow| self.may_take(flow))?;
        let flow = self.turns.remove(at).expect("it was found there");
        self.take(&flow);
        let line = self.lines.get_mut(&flow).expect("a flow with a turn has a line");
        let next = line.pop_front().expect("no line is empty");
        self.waiting -= 1;
        if line.is_empty() {
            self.lines.remove(&flow);
        } else {
            self.turns.push_back(flow.clone());
        }
        Some((flow, next))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some((seats, flow)) = self.0.take() {
            seats.leave(&flow);
        }
    }
}

impl fmt::Debug for Seats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        write!(f, "Seats({} free, {} waiting in {} lines)", state.free, state.waiting, state.turns.len())
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seat")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(agent: &str) -> Flow {
        Flow { user: "u".to_owned(), address: None, agent: agent.to_owned() }
    }

    fn seat(asked: Asked) -> Seat {
        match asked {
            Asked::Seat(seat) => seat,
            Asked::Wait(_) | Asked::Full => panic!("no seat"),
        }
    }

    fn wait(asked: Asked) -> oneshot::Receiver<Seat> {
        match asked {
            Asked::Wait(turn) => turn,
            Asked::Seat(_) | Asked::Full => panic!("no line"),
        }
    }

    #[test]
    fn a_flow_that_floods_waits_for_itself_and_another_goes_next() {
        let seats = Seats::new(1);
        let first = seat(seats.ask(&flow("flood")));
        let mut flood: Vec<_> = (0..LINE_MAX).map(|_| wait(seats.ask(&flow("flood")))).collect();
        assert!(matches!(seats.ask(&flow("flood")), Asked::Full));
        let mut other = wait(seats.ask(&flow("other")));
        drop(first);
        let second = flood[0].try_recv().expect("its line came first");
        drop(second);
        drop(other.try_recv().expect("then the other's, whatever the flood has in line"));
        drop(flood[1].try_recv().expect("and the flood again"));
    }

    #[tokio::test]
    async fn who_waits_for_somebody_else_lets_others_have_the_seat() {
        let (seats, aside) = (Seats::new(1), Arc::new(Semaphore::new(1)));
        let held = |seat, agent| {
            let place = Mutex::new(Place::Seat(seat));
            Held(Some(Arc::new(Kept { place, seats: seats.clone(), flow: flow(agent), aside: Arc::clone(&aside) })))
        };
        let first = held(seat(seats.ask(&flow("a"))), "a");
        let inner = first.aside(async {
            let second = held(seats.wait(&flow("b")).await.expect("the first one's seat"), "b");
            // Nobody else may stand aside now, so this one keeps its seat.
            second.aside(async { assert_eq!(seats.free(), 0) }).await;
        });
        inner.await;
        assert_eq!((seats.free(), aside.available_permits()), (0, 1), "it has a seat again");
        drop(first);
        assert_eq!(seats.free(), 1);
    }

    #[test]
    fn one_client_has_its_share_of_the_seats_and_no_more_and_none_is_lost() {
        let seats = Seats::shared(3, 2);
        let held = [seat(seats.ask(&flow("a"))), seat(seats.ask(&flow("a")))];
        let mut third = wait(seats.ask(&flow("a")));
        let other = seat(seats.ask(&flow("b")));
        assert_eq!((seats.free(), third.try_recv().is_err()), (0, true));
        drop(other);
        assert_eq!((seats.free(), third.try_recv().is_err()), (1, true), "a free seat is not for who has their share");
        drop(held);
        drop(third.try_recv().expect("its own seats are"));
        assert_eq!(seats.free(), 3);
        let flight = Flight::default();
        let own: Vec<_> = (0..STREAMS_EACH_MAX).map(|_| flight.take_over("a").expect("room")).collect();
        assert_eq!(flight.take_over("a").err().map(|status| status.code), Some(429));
        assert!(flight.take_over("b").is_ok());
        drop(own);
        assert!(flight.take_over("a").is_ok());
    }

    #[test]
    fn seats_of_those_who_went_away_go_on_and_none_is_lost() {
        let seats = Seats::new(2);
        let taken = [seat(seats.ask(&flow("a"))), seat(seats.ask(&flow("a")))];
        let gone: Vec<_> = (0..LINE_MAX).map(|_| wait(seats.ask(&flow("a")))).collect();
        drop(gone);
        let mut here = wait(seats.ask(&flow("a")));
        assert_eq!(seats.waiting(), 1, "who went away leaves room");
        let unasked = wait(seats.ask(&flow("b")));
        drop(taken);
        assert!(here.try_recv().is_ok());
        drop((here, unasked));
        assert_eq!((seats.free(), seats.waiting()), (2, 0));
    }
}
