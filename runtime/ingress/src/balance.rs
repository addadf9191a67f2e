//! Which endpoint gets a request, and which are left alone for a while.
//!
//! Power of two choices: of the endpoint whose turn it is and one drawn at random, the one with fewer requests in
//! flight. With equal load this is a plain rotation, so a few requests reach every replica.
//!
//! An endpoint that failed several times in a row is *ejected*: it gets no request for a short time. Then one request
//! probes it (the compare-and-swap that extends the ejection is the ticket, so there is just one); its success brings
//! the endpoint back, its failure doubles the time up to a limit. While every endpoint is ejected, ejection means
//! nothing: trying is better than refusing.
//!
//! Time is an argument: milliseconds since the ingress began.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::{Backend, Endpoint, Limits};

/// Milliseconds since the ingress began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Millis(pub(crate) u64);

/// What is remembered of one pod, over changes of the route table.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    in_flight: AtomicU32,
    /// In a row.
    failures: AtomicU32,
    /// End of the ejection; 0 while it is in rotation.
    ejected_until: AtomicU64,
}

/// How a request came to be sent to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    InTurn,
    AsProbe,
}

/// What a failure led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Stays,
    /// It was in rotation and is now ejected for so many milliseconds.
    Ejected(u64),
}

impl Standing {
    fn in_rotation(&self) -> bool {
        self.ejected_until.load(Ordering::Relaxed) == 0
    }

    /// Takes the one ticket to probe an endpoint whose ejection is over.
    fn claim_probe(&self, now: Millis, limits: &Limits) -> bool {
        let until = self.ejected_until.load(Ordering::Relaxed);
        if until == 0 || until > now.0 {
            return false;
        }
        let next = now.0 + ejection_millis(self.failures.load(Ordering::Relaxed), limits);
        self.ejected_until.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// It answered.
    pub(crate) fn succeeded(&self) {
        // Written only when there is something to forget: this is on every request's way.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.ejected_until.store(0, Ordering::Relaxed);
        }
    }

    /// It could not be reached, or broke off.
    pub(crate) fn failed(&self, sent: Sent, now: Millis, limits: &Limits) -> Verdict {
        let before = self.ejected_until.load(Ordering::Relaxed);
        if before > now.0 && sent == Sent::InTurn {
            // One of many that were in flight when it broke: that is one breakdown, not many.
            return Verdict::Stays;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures < limits.failures_to_eject {
            return Verdict::Stays;
        }
        let length = ejection_millis(failures, limits);
        // Never 0, which means "in rotation".
        self.ejected_until.store((now.0 + length).max(1), Ordering::Relaxed);
        if before == 0 { Verdict::Ejected(length) } else { Verdict::Stays }
    }

    /// Whether dropping this loses nothing.
    fn is_blank(&self) -> bool {
        self.failures.load(Ordering::Relaxed) == 0 && self.in_flight.load(Ordering::Relaxed) == 0
    }
}

/// The length of the ejection after so many failures in a row.
fn ejection_millis(failures: u32, limits: &Limits) -> u64 {
    // More than 16 doublings are past any sensible limit, and would overflow.
    let doublings = failures.saturating_sub(limits.failures_to_eject).min(16);
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    millis(limits.ejection).saturating_mul(1 << doublings).min(millis(limits.ejection_max)).max(1)
}

/// A request in flight at an endpoint; it is counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Held(Arc<Standing>);

impl Held {
    fn new(standing: &Arc<Standing>) -> Self {
        standing.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(standing))
    }

    pub(crate) fn standing(&self) -> &Standing {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The standings of all pods of an ingress. Asked once per backend after a change of the table, never per request.
#[derive(Debug, Default)]
pub(crate) struct Standings(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    pods: HashMap<Arc<str>, Arc<Standing>>,
    prune_at: usize,
}

/// Fewer pods than this are never pruned.
const PRUNE_MIN: usize = 256;

impl Standings {
    fn of(&self, endpoints: &[Endpoint]) -> Box<[Arc<Standing>]> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let standings =
            endpoints.iter().map(|endpoint| known.pods.entry(Arc::clone(&endpoint.pod)).or_default().clone());
        let standings = standings.collect();
        // Pods come and go with fresh uids. One that no table and no request holds any more, and of which there is
        // nothing bad to remember, is forgotten; doing so only when the map doubled makes it free on the whole. One
        // that failed and never came back stays until twice as many came after it: then nobody asks for it any more.
        if known.pods.len() >= known.prune_at.max(PRUNE_MIN) {
            known.pods.retain(|_, standing| Arc::strong_count(standing) > 1 || !standing.is_blank());
            if known.pods.len() * 2 > known.prune_at.max(PRUNE_MIN) {
                known.pods.retain(|_, standing| Arc::strong_count(standing) > 1);
            }
            known.prune_at = known.pods.len() * 2;
        }
        standings
    }
}

/// A backend with what the balancer knows of it.
#[derive(Debug)]
pub(crate) struct Group {
    backend: Arc<Backend>,
    /// In the order of the endpoints; looked up when the first request comes.
    standings: OnceLock<Box<[Arc<Standing>]>>,
    turn: AtomicUsize,
}

/// The endpoint chosen for a request.
#[derive(Debug)]
pub(crate) struct Choice<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) held: Held,
    pub(crate) sent: Sent,
}

impl Group {
    pub(crate) fn new(backend: Arc<Backend>) -> Self {
        Self { backend, standings: OnceLock::new(), turn: AtomicUsize::new(rand::random_range(0..1 << 16)) }
    }

    pub(crate) fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    fn standings(&self, all: &Standings) -> &[Arc<Standing>] {
        self.standings.get_or_init(|| all.of(&self.backend.endpoints))
    }

    /// An endpoint for a first attempt.
    pub(crate) fn choose(&self, all: &Standings, now: Millis, limits: &Limits) -> Option<Choice<'_>> {
        let standings = self.standings(all);
        let count = standings.len();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (first, sent) = in_turn(count, turn)
            .find_map(|index| {
                let standing = &standings[index];
                if standing.in_rotation() {
                    Some((index, Sent::InTurn))
                } else {
                    standing.claim_probe(now, limits).then_some((index, Sent::AsProbe))
                }
            })
            // All are ejected: trying is better than refusing.
            .or_else(|| in_turn(count, turn).next().map(|index| (index, Sent::InTurn)))?;
        let mut index = first;
        if sent == Sent::InTurn && count > 1 {
            let other = if count == 2 { 1 - first } else { scatter(turn) % count };
            let load = |index: usize| standings[index].in_flight.load(Ordering::Relaxed);
            if standings[other].in_rotation() && load(other) < load(first) {
                index = other;
            }
        }
        Some(self.choice(standings, index, sent))
    }

    /// An endpoint for a further attempt, none of the pods `tried`: not on the `node` that failed last if there is a
    /// choice, since it is mostly a node that fails, and one in good standing rather than an ejected one. Never a probe:
    /// this request has waited once already.
    pub(crate) fn choose_other(&self, all: &Standings, tried: &[Arc<str>], node: &str) -> Option<Choice<'_>> {
        let standings = self.standings(all);
        let endpoints = &self.backend.endpoints;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let candidates = || in_turn(standings.len(), turn).filter(|&index| !tried.contains(&endpoints[index].pod));
        // `min_by_key` keeps the first of equals, so turns are kept.
        let index = candidates().min_by_key(|&index| {
            let standing = &standings[index];
            let same_node = *endpoints[index].node == *node;
            (!standing.in_rotation(), same_node, standing.in_flight.load(Ordering::Relaxed))
        })?;
        Some(self.choice(standings, index, Sent::InTurn))
    }

    fn choice(&self, standings: &[Arc<Standing>], index: usize, sent: Sent) -> Choice<'_> {
        Choice { endpoint: &self.backend.endpoints[index], held: Held::new(&standings[index]), sent }
    }
}

/// All indices below `count`, beginning with the one whose turn it is.
fn in_turn(count: usize, turn: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |step| (turn % count + step) % count)
}

/// A number that looks random, from a counter (the finaliser of SplitMix64): no generator, no lock.
fn scatter(turn: usize) -> usize {
    let mut z = (turn as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as usize
}

#[cfg(test)]
mod tests;
