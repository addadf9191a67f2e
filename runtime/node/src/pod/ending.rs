//! How a pod comes to its end: because it is deleted, or because its work is done.
//!
//! Source: "Termination of Pods" of Kubernetes' *Pod Lifecycle*, "Termination with sidecars" of *Sidecar Containers*.

use std::time::Duration;

use wk_base::time::Timestamp;

use super::{Order, Pod};
use crate::container::{Container, HOOK_EXTENSION, Why};
use crate::spec::Role;

/// A pod keeps answering this long after its deletion began, so that every node's ingress has heard of it before its
/// last replica here stops taking requests. Tables follow a write within 0.2 s on a healthy cluster; a peer whose table
/// is older than this is told "gone" and picks another replica.
const LAME_DUCK: Duration = Duration::from_secs(1);

/// Why and until when a pod comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// Until when its containers are only prepared to stop.
    lame_until: Timestamp,
    /// When its containers must be gone, requests in flight or not.
    until: Timestamp,
    /// Whether its object shall go as well.
    is_deleted: bool,
}

impl Ending {
    /// The end of a pod whose work is done: what still serves it goes.
    pub(super) fn over(now: Timestamp, until: Timestamp) -> Self {
        Self { lame_until: now, until, is_deleted: false }
    }

    /// Whether its object shall go as well.
    pub fn is_deleted(self) -> bool {
        self.is_deleted
    }
}

impl Pod {
    /// The object is marked for deletion. A second deletion may bring the end forward, never back.
    pub(super) fn delete(&mut self, until: Timestamp, now: Timestamp) -> Vec<Order> {
        let lame_until = if self.is_ready() { now + LAME_DUCK } else { now };
        let before = self.ending.filter(|it| it.is_deleted);
        let until = before.map_or(until, |it| it.until.min(until));
        let lame_until = before.map_or(lame_until, |it| it.lame_until).min(until);
        let ending = Ending { lame_until, until, is_deleted: true };
        if self.ending.replace(ending) == Some(ending) {
            return Vec::new();
        }
        let mut orders = Vec::new();
        for index in 0..self.containers.len() {
            if self.containers[index].is_leaving() {
                orders.extend(self.stop(index, Why::Leave, until, now));
            }
        }
        orders.extend(self.tick(now));
        orders
    }

    /// Stops the containers in their order and, once none is left, reports the end and removes a deleted pod's object.
    pub(super) fn wind_down(&mut self, now: Timestamp) -> Vec<Order> {
        let Some(ending) = self.ending.filter(|_| !self.gone) else { return Vec::new() };
        let mut orders = Vec::new();
        let is_sidecar = |it: &Container| it.role == Role::Sidecar;
        for index in 0..self.containers.len() {
            if !is_sidecar(&self.containers[index]) && !self.containers[index].is_leaving() {
                orders.extend(self.stop(index, Why::Leave, ending.until, now));
            }
        }
        let others_run = self.containers.iter().any(|it| it.has_run() && !is_sidecar(it));
        let is_late = now >= ending.until;
        for index in (0..self.containers.len()).rev() {
            let container = &self.containers[index];
            if !is_sidecar(container) || !container.has_run() || others_run && !is_late {
                continue;
            }
            if !container.is_leaving() {
                // What the others left of the grace period, and a moment when they left nothing.
                let until = ending.until.max(now + HOOK_EXTENSION);
                orders.extend(self.stop(index, Why::Leave, until, now));
            }
            if !is_late && self.containers[index].has_run() {
                break;
            }
        }
        if self.containers.iter().any(Container::has_run) {
            return orders;
        }
        if ending.is_deleted {
            self.gone = true;
            self.containers.iter_mut().for_each(|it| it.abandon(now));
            orders.extend([Order::Report, Order::Remove]);
        }
        orders
    }

    /// When the end goes on by itself.
    pub(super) fn ending_wakes_at(&self) -> Option<Timestamp> {
        let ending = self.ending?;
        let held = (!self.held.is_empty()).then_some(ending.lame_until);
        let sidecars = self.containers.iter().any(|it| it.role == Role::Sidecar && it.has_run() && !it.is_leaving());
        held.into_iter().chain(sidecars.then_some(ending.until)).min()
    }

    /// Whether a stop of this container waits: other nodes still send requests here.
    pub(super) fn holds(&mut self, index: usize, now: Timestamp) -> bool {
        let holds = self.containers[index].is_leaving() && self.ending.is_some_and(|it| now < it.lame_until);
        if holds {
            self.held.insert(index);
        }
        holds
    }

    /// The stops that waited long enough.
    pub(super) fn release_held(&mut self, now: Timestamp) -> Vec<Order> {
        if self.ending.is_some_and(|it| now < it.lame_until) {
            return Vec::new();
        }
        std::mem::take(&mut self.held).into_iter().map(Order::Stop).collect()
    }
}
