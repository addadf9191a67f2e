//! When the leader last heard from each node. In memory only: liveness does not go through the log.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use wk_base::time::Timestamp;

/// Nodes remembered at most. Beats come from nodes with a certificate of this cluster, so the bound is met only by a
/// fleet that the store could not hold either.
const NODES_MAX: usize = 20_000;

/// What a node says of itself with a beat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// It is about to stop.
    pub leaving: bool,
    /// Its store gave up: why.
    pub failure: Option<String>,
}

/// The last sign of life of each node, by name, and what it said. Written by the mesh, read by the controllers of nodes
/// and voters.
#[derive(Debug, Default)]
pub struct Heartbeats(Mutex<BTreeMap<String, (Timestamp, Told)>>);

impl Heartbeats {
    /// Nothing heard yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// `node` was heard at `at`. An earlier time than the last one changes nothing.
    pub fn beat(&self, node: &str, at: Timestamp, told: Told) {
        let mut heard = self.lock();
        if let Some(last) = heard.get_mut(node) {
            if last.0 <= at {
                *last = (at, told);
            }
        } else if heard.len() < NODES_MAX {
            heard.insert(node.to_owned(), (at, told));
        }
    }

    /// When each node was heard last.
    pub fn heard(&self) -> BTreeMap<String, Timestamp> {
        self.lock().iter().map(|(node, (at, _))| (node.clone(), *at)).collect()
    }

    /// The same with what each said.
    pub fn told(&self) -> BTreeMap<String, (Timestamp, Told)> {
        self.lock().clone()
    }

    /// Forgets nodes that are not to be kept.
    pub(crate) fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.lock().retain(|node, _| keep(node));
    }

    /// Forgets everything: the clock that dated it was wrong.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (Timestamp, Told)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_that_arrive_late_do_not_turn_back_time() {
        let heartbeats = Heartbeats::new();
        let at = |second: i64| Timestamp::from_second(second).expect("in range");
        heartbeats.beat("n1", at(5), Told::default());
        heartbeats.beat("n1", at(3), Told { leaving: true, failure: None });
        assert_eq!(heartbeats.told()["n1"], (at(5), Told::default()));
    }
}
