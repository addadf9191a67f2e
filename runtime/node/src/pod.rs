//! The life of one pod on this node: a pure state machine over its containers.
//!
//! Not here: how anything is started or written. The agent carries out the orders.

use std::net::IpAddr;
use std::time::Duration;

use wk_base::time::Timestamp;

use crate::container::{self, Container, State};
use crate::spec::PodSpec;

/// A pod that serves HTTP keeps answering this long after its deletion began, so that every node's ingress has heard of
/// it before its last replica here stops taking requests. Tables follow a write within 0.2 s on a healthy cluster; a
/// peer whose table is older than this is told "gone" and picks another replica.
const LAME_DUCK: Duration = Duration::from_secs(1);

/// `status.phase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not every container has started.
    Pending,
    /// At least one container runs or will run again.
    Running,
    /// All containers ended with code 0.
    Succeeded,
    /// All containers ended, one at least with another code.
    Failed,
}

/// Why and until when a pod is going away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// When its deletion was seen here.
    since: Timestamp,
    /// When it must be gone, requests in flight or not.
    until: Timestamp,
}

/// What can happen to a pod.
#[derive(Debug, Clone)]
pub enum Event {
    /// Something happened to the container of this index.
    Container(usize, container::Event),
    /// The object is marked for deletion; its grace ends at this time.
    Delete(Timestamp),
    /// No request is in flight any more.
    Drained,
    /// It is past a limit that a whole pod has; why, for a person.
    Evict(String),
    /// Time passed.
    Tick,
}

/// What the agent shall do for a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Start run number `restart` of the container with this index.
    Start {
        /// Index of the container.
        container: usize,
        /// 0 for the first run.
        restart: u32,
    },
    /// Stop all containers now: commands end, HTTP containers take no request any more.
    StopAll {
        /// Whether requests in flight are cut off too; otherwise they end by themselves or with their deadline.
        cut: bool,
    },
    /// Let no new request in from this node's own table, finish those in flight, and send [`Event::Drained`].
    Drain,
    /// Write the status.
    Report,
    /// Everything has ended: remove the object.
    Remove,
}

/// One pod and everything its status shows.
#[derive(Debug)]
pub struct Pod {
    /// What it should be.
    pub spec: PodSpec,
    /// Its containers, in the order of the spec.
    pub containers: Vec<Container>,
    /// Its address; a pod that cannot run gets none.
    pub ip: Option<IpAddr>,
    /// `status.startTime`.
    pub started: Timestamp,
    /// Set once it is being deleted.
    pub ending: Option<Ending>,
    /// Set once it was ended as a whole, or refused: `status.reason` and `status.message`.
    pub failed: Option<(&'static str, String)>,
    drained: bool,
    stopped: bool,
}

impl Pod {
    /// A pod that begins here, with containers in the state that the last process of this node left them in.
    pub fn new(spec: PodSpec, containers: Vec<Container>, ip: IpAddr, started: Timestamp) -> Self {
        let ip = Some(ip);
        Self { spec, containers, ip, started, ending: None, failed: None, drained: false, stopped: false }
    }

    /// A pod that this node cannot run: it has failed, and waits for its deletion.
    pub fn refused(spec: PodSpec, field: &str, why: &str, now: Timestamp) -> Self {
        let failed = Some(("UnsupportedSpec", format!("{field}: {why}")));
        Self {
            spec,
            containers: Vec::new(),
            ip: None,
            started: now,
            ending: None,
            failed,
            drained: false,
            stopped: false,
        }
    }

    /// The orders that begin its life.
    pub fn begin(&self) -> Vec<Order> {
        let starts = self.containers.iter().enumerate().filter(|(_, it)| matches!(it.state, State::Waiting { .. }));
        let starts = starts.map(|(container, it)| Order::Start { container, restart: it.restarts });
        std::iter::once(Order::Report).chain(starts).collect()
    }

    /// `status.phase`, as the *Pod Lifecycle* page defines it.
    pub fn phase(&self) -> Phase {
        let ended = |container: &Container| matches!(container.state, State::Terminated(_));
        let fine = |container: &Container| matches!(&container.state, State::Terminated(end) if end.code == 0);
        if self.failed.is_some() {
            Phase::Failed
        } else if self.containers.iter().all(fine) {
            Phase::Succeeded
        } else if self.containers.iter().all(ended) {
            Phase::Failed
        } else if self.containers.iter().any(|it| matches!(it.state, State::Waiting { .. }) && it.restarts == 0) {
            Phase::Pending
        } else {
            Phase::Running
        }
    }

    /// Whether it should get traffic.
    pub fn is_ready(&self) -> bool {
        self.ending.is_none() && self.failed.is_none() && self.containers.iter().all(Container::is_running)
    }

    /// Whether nothing of it will ever run again.
    pub fn is_over(&self) -> bool {
        self.containers.iter().all(|it| matches!(it.state, State::Terminated(_)))
    }

    /// Takes in what happened at `now` and tells what to do.
    pub fn handle(&mut self, event: Event, now: Timestamp) -> Vec<Order> {
        match event {
            Event::Container(index, event) => self.container_event(index, event, now),
            Event::Delete(until) => self.delete(until, now),
            Event::Drained => {
                self.drained = true;
                self.advance_ending(now)
            }
            Event::Evict(message) => self.evict(message, now),
            Event::Tick => self.tick(now),
        }
    }

    /// Ends it as the kubelet's eviction does: failed, its containers killed, the object left for people to see.
    fn evict(&mut self, message: String, now: Timestamp) -> Vec<Order> {
        if self.failed.is_some() || self.ending.is_some() || self.is_over() {
            return Vec::new();
        }
        for container in &mut self.containers {
            container.kill("Evicted", &message, now);
        }
        self.failed = Some(("Evicted", message));
        vec![Order::StopAll { cut: true }, Order::Report]
    }

    /// When a tick will change something.
    pub fn wakes_at(&self) -> Option<Timestamp> {
        if self.stopped {
            return None;
        }
        let ending = self.ending.map(|ending| if self.drained { ending.lame_until() } else { ending.until });
        let runs = self.ending.is_none() && !self.is_over();
        let deadline = self.spec.deadline.filter(|_| runs).map(|deadline| self.started + deadline);
        let containers = self.containers.iter().filter_map(Container::wakes_at);
        containers.chain(ending).chain(deadline).min()
    }

    fn container_event(&mut self, index: usize, event: container::Event, now: Timestamp) -> Vec<Order> {
        // What a killed run still had to say changes nothing.
        let Some(container) = self.containers.get_mut(index).filter(|_| self.failed.is_none()) else {
            return Vec::new();
        };
        let orders = container.handle(event, now);
        let ending = self.ending.is_some();
        orders
            .into_iter()
            .filter_map(|order| match order {
                // A pod that is going away starts nothing anew.
                container::Order::Start { .. } if ending => None,
                container::Order::Start { restart } => Some(Order::Start { container: index, restart }),
                container::Order::Report => Some(Order::Report),
            })
            .collect()
    }

    fn delete(&mut self, until: Timestamp, now: Timestamp) -> Vec<Order> {
        if let Some(ending) = &mut self.ending {
            // A second, shorter deletion (`--now`) may bring the end forward, never back.
            ending.until = ending.until.min(until);
            return self.advance_ending(now);
        }
        self.ending = Some(Ending { since: now, until });
        let mut orders = vec![Order::Report, Order::Drain];
        orders.extend(self.advance_ending(now));
        orders
    }

    fn tick(&mut self, now: Timestamp) -> Vec<Order> {
        let overdue = self.spec.deadline.filter(|deadline| now >= self.started + *deadline && !self.is_over());
        if let Some(deadline) = overdue.filter(|_| self.ending.is_none()) {
            let message = format!("pod was active longer than its deadline of {} s", deadline.as_secs());
            for container in &mut self.containers {
                container.kill("DeadlineExceeded", &message, now);
            }
            self.failed = Some(("DeadlineExceeded", message));
            return vec![Order::StopAll { cut: true }, Order::Report];
        }
        let mut orders = self.advance_ending(now);
        for index in 0..self.containers.len() {
            orders.extend(self.container_event(index, container::Event::Tick, now));
        }
        orders
    }

    fn advance_ending(&mut self, now: Timestamp) -> Vec<Order> {
        let Some(ending) = self.ending else { return Vec::new() };
        let due = now >= ending.until || (self.drained && now >= ending.lame_until());
        if self.stopped || !due {
            return Vec::new();
        }
        self.stopped = true;
        vec![Order::StopAll { cut: now >= ending.until }, Order::Remove]
    }
}

impl Ending {
    fn lame_until(self) -> Timestamp {
        (self.since + LAME_DUCK).min(self.until)
    }
}

#[cfg(test)]
mod tests;
