//! The life of one pod on this node: a pure state machine over its containers. Init containers run one after the other,
//! sidecars stay, then the others start; at the end the sidecars go last, in reverse order.
//!
//! Not here: how anything is started or written: the agent carries out the orders. What the pod's state is called:
//! `phase.rs`. How it ends: `ending.rs`.
//!
//! Source: Kubernetes' *Pod Lifecycle*, *Init Containers*, *Sidecar Containers* (KEP-753), *Ephemeral Containers*.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use wk_base::time::Timestamp;
use wk_cluster::Severity;

use crate::container::{self, Container, Notice, Why};
use crate::spec::{Hook, PodSpec, Role};

mod ending;
mod phase;

pub use ending::Ending;
pub use phase::{Phase, unmet_gates};

/// `status.reason` of a pod that was ended because it is past a limit.
pub const EVICTED: &str = "Evicted";
/// What a pod past a limit may still take to end. Kubernetes' figure.
const EVICTION_GRACE: Duration = Duration::from_secs(1);

/// What can happen to a pod.
#[derive(Debug, Clone)]
pub enum Event {
    /// Something happened to the container of this index.
    Container(usize, container::Event),
    /// The object is marked for deletion; its grace ends at this time.
    Delete(Timestamp),
    /// Its spec is now this one.
    Changed(Box<PodSpec>),
    /// These readiness gates do not hold, each with the reason for a person.
    Gates(Vec<String>),
    /// It is past a limit that a whole pod has; why, for a person.
    Evict(String),
    /// Time passed.
    Tick,
}

/// What the agent shall do for a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Start run number `restart` of the container with this index.
    Start {
        /// Index of the container.
        container: usize,
        /// 0 for the first run.
        restart: u32,
    },
    /// Call a hook of the container with this index.
    Hook(usize, Hook),
    /// Begin to probe the container with this index.
    Probe(usize),
    /// Stop the container with this index: a command ends, an HTTP container takes no request any more.
    Stop(usize),
    /// End the container with this index now, requests or not.
    Cut(usize),
    /// Write the status.
    Report,
    /// Tell people.
    Tell(Notice),
    /// Everything has ended: remove the object.
    Remove,
}

/// One pod and everything its status shows.
#[derive(Debug)]
pub struct Pod {
    /// What it should be.
    pub spec: PodSpec,
    /// Its containers, in the order of the spec: init containers and sidecars, the others, those for debugging.
    pub containers: Vec<Container>,
    /// Its address; a pod that cannot run gets none.
    pub ip: Option<IpAddr>,
    /// `status.startTime`.
    pub started: Timestamp,
    /// Set once it is coming to its end.
    pub ending: Option<Ending>,
    /// Set once it was ended as a whole, or refused: `status.reason` and `status.message`.
    pub failed: Option<(String, String)>,
    /// Readiness gates that do not hold.
    pub unmet_gates: Vec<String>,
    /// Its phase, when it had come to its end before this process of the node began.
    settled: Option<Phase>,
    /// Containers whose stop waits until every node's table has forgotten the pod.
    held: BTreeSet<usize>,
    gone: bool,
}

impl Pod {
    /// A pod that begins here, with containers in the state that the last process of this node left them in.
    pub fn new(spec: PodSpec, mut containers: Vec<Container>, ip: IpAddr, started: Timestamp) -> Self {
        if containers.iter().any(|it| matches!(it.role, Role::Init | Role::Sidecar)) {
            containers.iter_mut().filter(|it| it.role != Role::Debug).for_each(Container::waits_for_inits);
        }
        Self {
            unmet_gates: spec.gates.iter().map(|gate| phase::missing_gate(gate)).collect(),
            spec,
            containers,
            ip: Some(ip),
            started,
            ending: None,
            failed: None,
            settled: None,
            held: BTreeSet::new(),
            gone: false,
        }
    }

    /// A pod that this node cannot run: it has failed, and waits for its deletion.
    pub fn refused(spec: PodSpec, field: &str, why: &str, now: Timestamp) -> Self {
        let failed = Some(("UnsupportedSpec".to_owned(), format!("{field}: {why}")));
        Self {
            spec,
            containers: Vec::new(),
            ip: None,
            started: now,
            ending: None,
            failed,
            unmet_gates: Vec::new(),
            settled: Some(Phase::Failed),
            held: BTreeSet::new(),
            gone: false,
        }
    }

    /// The same pod, which had come to its end before this process of the node began: nothing of it starts again.
    pub fn settled(self, phase: Phase, failed: Option<(String, String)>) -> Self {
        Self { settled: Some(phase), failed, ..self }
    }

    /// The orders that begin its life.
    pub fn begin(&mut self, now: Timestamp) -> Vec<Order> {
        let mut orders = vec![Order::Report];
        orders.extend(self.advance(now));
        orders
    }

    /// Takes in what happened at `now` and tells what to do.
    pub fn handle(&mut self, event: Event, now: Timestamp) -> Vec<Order> {
        let mut orders = match event {
            Event::Container(index, event) => self.container_event(index, event, now),
            Event::Delete(until) => self.delete(until, now),
            Event::Changed(spec) => self.change(*spec, now),
            Event::Gates(unmet) if unmet != self.unmet_gates => {
                self.unmet_gates = unmet;
                vec![Order::Report]
            }
            Event::Gates(_) => Vec::new(),
            Event::Evict(message) => self.evict(message, now),
            Event::Tick => self.tick(now),
        };
        orders.extend(self.advance(now));
        orders
    }

    /// Ends it as the kubelet's eviction does: failed, its containers killed, the object left for people to see.
    fn evict(&mut self, message: String, now: Timestamp) -> Vec<Order> {
        if self.failed.is_some() || self.ending.is_some() || self.is_over() {
            return Vec::new();
        }
        self.failed = Some((EVICTED.to_owned(), message));
        self.ending = Some(Ending::over(now, now + EVICTION_GRACE));
        vec![Order::Report]
    }

    /// When a tick will change something.
    pub fn wakes_at(&self) -> Option<Timestamp> {
        if self.gone {
            return None;
        }
        let deadline = self.spec.deadline.filter(|_| self.ending.is_none() && !self.is_over());
        let containers = self.containers.iter().filter_map(Container::wakes_at);
        containers.chain(self.ending_wakes_at()).chain(deadline.map(|deadline| self.started + deadline)).min()
    }

    fn container_event(&mut self, index: usize, event: container::Event, now: Timestamp) -> Vec<Order> {
        let grace = self.spec.grace;
        match (self.containers.get_mut(index), self.spec.containers.get(index)) {
            (Some(container), Some(spec)) => {
                let orders = container.handle(event, spec, grace, now);
                self.of_container(index, orders, now)
            }
            _ => Vec::new(),
        }
    }

    /// What the orders for one container are for the agent.
    fn of_container(&mut self, index: usize, orders: Vec<container::Order>, now: Timestamp) -> Vec<Order> {
        let mut result = Vec::with_capacity(orders.len());
        for order in orders {
            result.push(match order {
                container::Order::Start { restart } => Order::Start { container: index, restart },
                container::Order::Hook(hook) => Order::Hook(index, hook),
                container::Order::Probe => Order::Probe(index),
                container::Order::Stop if self.holds(index, now) => continue,
                container::Order::Stop => Order::Stop(index),
                container::Order::Cut => {
                    self.held.remove(&index);
                    Order::Cut(index)
                }
                container::Order::Report => Order::Report,
                container::Order::Tell(notice) => Order::Tell(notice),
            });
        }
        result
    }

    fn stop(&mut self, index: usize, why: Why, until: Timestamp, now: Timestamp) -> Vec<Order> {
        let orders = self.containers[index].stop(why, until, &self.spec.containers[index]);
        self.of_container(index, orders, now)
    }

    fn tick(&mut self, now: Timestamp) -> Vec<Order> {
        let overdue = self.spec.deadline.filter(|deadline| now >= self.started + *deadline);
        if overdue.is_some() && self.ending.is_none() && !self.is_over() {
            let message = "Pod was active on the node longer than the specified deadline".to_owned();
            let notice = Notice { severity: Severity::Normal, reason: "DeadlineExceeded", message: message.clone() };
            self.failed = Some(("DeadlineExceeded".to_owned(), message));
            self.ending = Some(Ending::over(now, now + self.spec.grace));
            return vec![Order::Tell(notice), Order::Report];
        }
        let mut orders = self.release_held(now);
        for index in 0..self.containers.len() {
            let due = self.containers[index].wakes_at().is_some_and(|wake| wake <= now);
            // A pod that comes to its end starts nothing anew.
            if due && (self.ending.is_none() || self.containers[index].has_run()) {
                orders.extend(self.container_event(index, container::Event::Tick, now));
            }
        }
        orders
    }

    /// Takes over a spec of which images, the deadline, or the containers for debugging changed.
    fn change(&mut self, spec: PodSpec, now: Timestamp) -> Vec<Order> {
        let old = std::mem::replace(&mut self.spec, spec);
        let mut orders = Vec::new();
        for index in 0..self.containers.len().min(self.spec.containers.len()) {
            if old.containers[index].image == self.spec.containers[index].image || self.ending.is_some() {
                continue;
            }
            self.containers[index].forget_back_off();
            orders.extend(self.stop(index, Why::Changed, now + self.spec.grace, now));
            orders.push(Order::Report);
        }
        for spec in self.spec.containers.iter().skip(self.containers.len()) {
            self.containers.push(Container::new(spec, self.spec.restart, 0, None));
            orders.push(Order::Report);
        }
        orders
    }

    /// Starts whatever may start, or goes on with the end.
    fn advance(&mut self, now: Timestamp) -> Vec<Order> {
        if self.settled.is_none() && self.ending.is_none() && self.failed.is_none() {
            if !self.is_over() {
                return self.start_next();
            }
            if self.containers.iter().any(Container::has_run) {
                self.ending = Some(Ending::over(now, now + self.spec.grace));
            }
        }
        self.wind_down(now)
    }

    fn start_next(&mut self) -> Vec<Order> {
        let mut orders = Vec::new();
        let mut initialized = true;
        for (index, container) in self.containers.iter_mut().enumerate() {
            let may_start = match container.role {
                Role::Init | Role::Sidecar | Role::Main => initialized,
                Role::Debug => true,
            };
            for order in if may_start { container.start() } else { Vec::new() } {
                if let container::Order::Start { restart } = order {
                    orders.push(Order::Start { container: index, restart });
                }
            }
            initialized &= !matches!(container.role, Role::Init | Role::Sidecar) || container.has_passed();
        }
        orders
    }
}

#[cfg(test)]
mod tests;
