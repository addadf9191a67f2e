//! A number of seats, and the lines before them: whose turn it is.
//!
//! Users wait in turns, and the programs of a user among themselves: who sends from many programs, or calls them by many
//! names, has no more turns than who sends from one.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::shares;

/// Requests of one program that wait: Kubernetes' `queueLengthLimit` of its default level.
pub(super) const LINE_MAX: usize = 50;

/// Requests that wait, of all users: each holds its head and a connection.
const WAITING_MAX: usize = 2000;

/// Of those at most of one user, whatever their programs are called.
const WAITING_EACH_MAX: usize = WAITING_MAX / 4;

/// How long a request waits for a seat: a client that got none until then is told to come again, well before its own
/// deadline. Kubernetes waits up to a quarter of the request's minute.
const WAIT_MAX: Duration = Duration::from_secs(15);

/// One client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Flow {
    user: Arc<str>,
    program: Arc<Program>,
}

/// Where a user's requests come from.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Program {
    /// Who of those that share: a service account of its namespace.
    member: Box<str>,
    /// The address, where that is known.
    address: Option<IpAddr>,
    /// The program, as it says itself: it tells a person's kubectl from the same person's script.
    agent: String,
}

impl Flow {
    /// The requests of `user`, who they proved to be, from this address and program.
    pub(crate) fn new(user: &str, address: Option<IpAddr>, agent: String) -> Self {
        let share = shares::of(user);
        Self { user: share.into(), program: Arc::new(Program { member: user[share.len()..].into(), address, agent }) }
    }
}

/// A number of seats and the lines before them. Clones are the same seats.
#[derive(Clone)]
pub(crate) struct Seats(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    free: usize,
    waiting: usize,
    /// Seats that one user may have, and those that each has.
    each: usize,
    taken: HashMap<Arc<str>, usize>,
    /// Whether those who wait are refused when they are too many.
    bounded: bool,
    /// Those who wait, by user.
    users: HashMap<Arc<str>, Lines>,
    /// The users with lines, in the order of their turns.
    turns: VecDeque<Arc<str>>,
}

/// The lines of one user, one for each program.
#[derive(Default)]
struct Lines {
    waiting: usize,
    by_program: HashMap<Arc<Program>, VecDeque<oneshot::Sender<Seat>>>,
    /// The programs with a line, in the order of their turns.
    turns: VecDeque<Arc<Program>>,
}

/// Somebody's seat, until it is dropped.
pub(crate) struct Seat(Option<(Seats, Arc<str>)>);

pub(super) enum Asked {
    Seat(Seat),
    Wait(oneshot::Receiver<Seat>),
    Full,
}

impl Seats {
    #[cfg(test)]
    pub(crate) fn new(number: usize) -> Self {
        Self::shared(number, number)
    }

    /// So many seats, where one user has no more than `each` of them.
    pub(crate) fn shared(number: usize, each: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: number, each, bounded: true, ..State::default() })))
    }

    /// So many seats for those who were admitted before, who are some: nobody is refused.
    pub(super) fn for_admitted(number: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: number, each: number, ..State::default() })))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ask(&self, flow: &Flow) -> Asked {
        let mut state = self.state();
        if state.free > 0 && state.may_take(&flow.user) {
            state.take(&flow.user);
            return Asked::Seat(Seat(Some((self.clone(), Arc::clone(&flow.user)))));
        }
        if state.bounded && state.is_full(flow) {
            return Asked::Full;
        }
        let (turn, wait) = oneshot::channel();
        state.enter(flow, turn);
        Asked::Wait(wait)
    }

    /// A seat, when it is the flow's turn; None when that takes too long.
    pub(super) async fn wait(&self, flow: &Flow) -> Option<Seat> {
        match self.ask(flow) {
            Asked::Seat(seat) => Some(seat),
            // Past its time; or its line was given up, which only the end of the server does.
            Asked::Wait(turn) => tokio::time::timeout(WAIT_MAX, turn).await.ok()?.ok(),
            Asked::Full => None,
        }
    }

    /// A seat of `user`'s became free: it goes to the flow whose turn it is.
    fn leave(&self, user: &Arc<str>) {
        self.state().give_back(user);
        loop {
            let next = self.state().next();
            let Some((user, next)) = next else { return };
            // One that went away is not there to take it.
            let Err(mut seat) = next.send(Seat(Some((self.clone(), Arc::clone(&user))))) else { return };
            seat.0 = None;
            self.state().give_back(&user);
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
        let nobody: Arc<str> = "".into();
        let number = state.free;
        for _ in 0..number {
            state.take(&nobody);
        }
        (0..number).map(|_| Seat(Some((self.clone(), Arc::clone(&nobody))))).collect()
    }

    /// How many wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.state().waiting
    }
}

impl State {
    fn may_take(&self, user: &Arc<str>) -> bool {
        self.taken.get(user).is_none_or(|own| *own < self.each)
    }

    fn take(&mut self, user: &Arc<str>) {
        self.free -= 1;
        *self.taken.entry(Arc::clone(user)).or_default() += 1;
    }

    fn give_back(&mut self, user: &Arc<str>) {
        self.free += 1;
        match self.taken.get_mut(user) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(self.taken.remove(user)),
        }
    }

    /// Whether no more of this flow may wait. Those who went away without waiting for their turn leave room.
    fn is_full(&mut self, flow: &Flow) -> bool {
        let Some(lines) = self.users.get_mut(&flow.user) else { return self.waiting >= WAITING_MAX };
        if let Some(line) = lines.by_program.get_mut(&flow.program)
            && line.len() >= LINE_MAX
        {
            let before = line.len();
            line.retain(|waiting| !waiting.is_closed());
            let gone = before - line.len();
            lines.waiting -= gone;
            self.waiting -= gone;
        }
        let line = lines.by_program.get(&flow.program).map_or(0, VecDeque::len);
        self.waiting >= WAITING_MAX || lines.waiting >= WAITING_EACH_MAX || line >= LINE_MAX
    }

    fn enter(&mut self, flow: &Flow, turn: oneshot::Sender<Seat>) {
        self.waiting += 1;
        if !self.users.contains_key(&flow.user) {
            self.turns.push_back(Arc::clone(&flow.user));
        }
        let lines = self.users.entry(Arc::clone(&flow.user)).or_default();
        lines.waiting += 1;
        let line = lines.by_program.entry(Arc::clone(&flow.program)).or_default();
        // A line that was emptied by `is_full` still has its turn.
        if line.is_empty() && !lines.turns.contains(&flow.program) {
            lines.turns.push_back(Arc::clone(&flow.program));
        }
        line.push_back(turn);
    }

    /// The one whose turn it is, with a seat taken for it; None when nobody waits who may have one more.
    fn next(&mut self) -> Option<(Arc<str>, oneshot::Sender<Seat>)> {
        if self.free == 0 {
            return None;
        }
        loop {
            let at = self.turns.iter().position(|user| self.may_take(user))?;
            let user = self.turns.remove(at).expect("it was found there");
            let lines = self.users.get_mut(&user).expect("a user with a turn has lines");
            let next = lines.next();
            if lines.waiting == 0 {
                self.users.remove(&user);
            } else {
                self.turns.push_back(Arc::clone(&user));
            }
            // None where all of them went away.
            if let Some(next) = next {
                self.waiting -= 1;
                self.take(&user);
                return Some((user, next));
            }
        }
    }
}

impl Lines {
    fn next(&mut self) -> Option<oneshot::Sender<Seat>> {
        loop {
            let program = self.turns.pop_front()?;
            let line = self.by_program.get_mut(&program).expect("a program with a turn has a line");
            let next = line.pop_front();
            if line.is_empty() {
                self.by_program.remove(&program);
            } else {
                self.turns.push_back(program);
            }
            if let Some(next) = next {
                self.waiting -= 1;
                return Some(next);
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some((seats, user)) = self.0.take() {
            seats.leave(&user);
        }
    }
}

impl fmt::Debug for Seats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        write!(f, "Seats({} free, {} waiting of {} users)", state.free, state.waiting, state.turns.len())
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seat")
    }
}
