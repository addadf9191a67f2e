//! How many requests are worked on at once, and whose turn it is. The idea of Kubernetes' API Priority and Fairness without
//! its configuration.
//!
//! When there is no seat, requests wait in lines (`seats`); a seat that becomes free goes to the users in turns, so that one
//! who floods waits for themselves. A line has a limit, and so has the wait: past them a request is refused with 429, which
//! costs next to nothing (law L6). Nobody has more than half of the seats.
//!
//! A seat bounds what is held; who has one also waits for their turns (`turns`), which bound how long others wait for the
//! processor. A request has its seat until the head of its answer, or the end of a long list: watches and followed logs go on
//! in their body and have none then.

mod places;
mod seats;
mod shares;
mod turns;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use http::Method;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wk_api::Status;

pub(crate) use self::places::Place as Watching;
pub(crate) use self::places::Place as Streaming;
use self::places::Places;
pub(crate) use self::seats::{Flow, Seat, Seats};
pub(crate) use self::turns::{TURN, Turns};
use crate::route::Route;

/// Reads at once: each may hold the head of a list and wait for the leader. What they compute is bounded by their turns.
/// Kubernetes' `--max-requests-inflight`.
const READS_MAX: usize = 400;

/// Writes at once: each may hold a body of 3 MiB and its decoded form, and all wait for the one log, which takes many as
/// fast as one. Kubernetes' `--max-mutating-requests-inflight`.
pub(crate) const WRITES_MAX: usize = 200;

/// Requests for modules at once, apart from the others because an upload may take minutes: each holds a file open.
pub(crate) const MODULES_MAX: usize = 64;

/// Proxied requests at once, apart from the others because a pod may take its time: each waits for a head.
const PROXIED_MAX: usize = 256;

/// Of those at most for one user, so that a pod that hangs takes only the place of who asks it.
const PROXIED_EACH_MAX: usize = PROXIED_MAX / 4;

/// Connections that were taken over for exec, attach and port-forward, for as long as they last: each holds a few buffers
/// of 32 KiB, and some more for each SPDY stream in it.
const STREAMS_MAX: usize = 512;

/// Of those at most for one user: a rollout of a large cluster is watched with some dozens.
const STREAMS_EACH_MAX: usize = STREAMS_MAX / 4;

/// Watches at once, for as long as they last: each holds some 10 KiB, and is told each change that it selects.
const WATCHES_MAX: usize = 16_384;

/// Of those at most for one user: the agents of a thousand nodes under one account have some thousands.
const WATCHES_EACH_MAX: usize = WATCHES_MAX / 2;

/// Requests that wait for a webhook without a seat: each holds a body of up to 3 MiB. More of them keep their seats.
const ASIDE_MAX: usize = WRITES_MAX;

/// When to try again: most requests take milliseconds, and a second is the least that `Retry-After` can say.
const RETRY_SECONDS: u32 = 1;

/// The seats for requests.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) reads: Seats,
    pub(crate) writes: Seats,
    pub(crate) modules: Seats,
    proxied: Seats,
    streams: Places,
    watches: Places,
    aside: Arc<Semaphore>,
    pub(crate) turns: Turns,
}

impl Default for Flight {
    fn default() -> Self {
        Self {
            reads: Seats::shared(READS_MAX, READS_MAX / 2),
            writes: Seats::shared(WRITES_MAX, WRITES_MAX / 2),
            modules: Seats::shared(MODULES_MAX, MODULES_MAX / 2),
            proxied: Seats::shared(PROXIED_MAX, PROXIED_EACH_MAX),
            streams: Places::new(STREAMS_MAX, STREAMS_EACH_MAX),
            watches: Places::new(WATCHES_MAX, WATCHES_EACH_MAX),
            aside: Arc::new(Semaphore::new(ASIDE_MAX)),
            turns: Turns::default(),
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
        self.streams.take(shares::of(user)).ok_or_else(busy)
    }

    /// Room for a watch of `user`'s, to be held until it ends.
    pub(crate) fn watch(&self, user: &str) -> Result<Watching, Status> {
        self.watches.take(shares::of(user)).ok_or_else(busy)
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
    /// It had its time.
    Gone,
}

impl Held {
    /// Waits for somebody else's answer, and lets others have the seat meanwhile: who is asked may well ask this server
    /// before they answer. Where no seat is free in time afterwards the request goes on without: it was admitted once.
    pub(crate) async fn aside<T>(&self, waiting: impl Future<Output = T>) -> T {
        let Some(kept) = &self.0 else { return waiting.await };
        let Ok(permit) = Arc::clone(&kept.aside).try_acquire_owned() else { return waiting.await };
        self.put(Place::Aside(permit));
        let answer = waiting.await;
        if let Some(seat) = kept.seats.wait(&kept.flow).await {
            self.put(Place::Seat(seat));
        }
        answer
    }

    /// What lets others have the seat for good, if the request has it still.
    pub(crate) fn last_call(&self) -> LastCall {
        LastCall(self.0.as_ref().map(Arc::downgrade))
    }

    /// Whose request it is; None for one that needs no seat.
    pub(crate) fn flow(&self) -> Option<&Flow> {
        self.0.as_ref().map(|kept| &kept.flow)
    }

    fn put(&self, place: Place) {
        let Some(kept) = &self.0 else { return };
        // What was there is dropped outside of the lock: a seat goes to the next in line.
        let before = std::mem::replace(&mut *kept.place.lock().unwrap_or_else(PoisonError::into_inner), place);
        drop(before);
    }
}

/// Takes the seat from a request that had its time.
pub(crate) struct LastCall(Option<Weak<Kept>>);

impl LastCall {
    pub(crate) fn give_up(&self) {
        Held(self.0.as_ref().and_then(Weak::upgrade)).put(Place::Gone);
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::seats::{Asked, LINE_MAX};
    use super::*;

    fn flow(agent: &str) -> Flow {
        Flow::new("u", None, agent.to_owned())
    }

    /// The only program of a user.
    fn user(name: &str) -> Flow {
        Flow::new(name, None, String::new())
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
        let held = [seat(seats.ask(&user("a"))), seat(seats.ask(&user("a")))];
        let mut third = wait(seats.ask(&user("a")));
        let other = seat(seats.ask(&user("b")));
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
    fn a_user_of_many_programs_has_no_more_turns_than_one_of_one() {
        let seats = Seats::new(1);
        let first = seat(seats.ask(&flow("0")));
        let mut many: Vec<_> = (0..20).map(|number| wait(seats.ask(&flow(&number.to_string())))).collect();
        let mut other = wait(seats.ask(&user("other")));
        drop(first);
        drop(many[0].try_recv().expect("the many came first"));
        drop(other.try_recv().expect("and each of the others after one of them"));
        drop(many[1].try_recv().expect("then the next of the many"));
        let asked: Vec<_> = (0..2000).map(|number| seats.ask(&flow(&format!("new-{number}")))).collect();
        assert!(asked.iter().any(|asked| matches!(asked, Asked::Full)), "there is an end to their lines");
        assert!(matches!(seats.ask(&user("other")), Asked::Wait(_)), "and room for others");
    }

    #[test]
    fn watches_of_a_user_have_an_end_and_others_have_theirs() {
        let flight = Flight::default();
        let own: Vec<_> = (0..WATCHES_EACH_MAX).map(|_| flight.watch("a").expect("room")).collect();
        let refused = flight.watch("a").err().expect("no more room");
        assert_eq!((refused.code, refused.details.map(|details| details.retry_after_seconds)), (429, Some(1)));
        assert!(flight.watch("b").is_ok());
        drop(own);
        assert!(flight.watch("a").is_ok());
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
