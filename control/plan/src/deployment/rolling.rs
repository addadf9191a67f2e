//! The numbers of a rolling update: never more pods than replicas + maxSurge, never fewer available ones than
//! replicas - maxUnavailable.
//!
//! Both bounds are counted from `spec.replicas` of the sets as well as from their status, because a status may be older
//! than the last order: a pod that was told to go is not counted on, a pod that was asked for counts already.

use super::{Rollout, Set};
use crate::order::Order;

/// Grows the new set, or else shrinks the old ones.
pub(super) fn plan(rollout: &Rollout<'_>) -> Vec<Order> {
    let Some(new) = &rollout.new else { return Vec::new() };
    let orders = rollout.resize(new, size_of_new(rollout));
    if orders.is_empty() { shrink_old(rollout, new) } else { orders }
}

/// How many pods the new set may have now.
pub(super) fn size_of_new(rollout: &Rollout<'_>) -> i64 {
    let size = rollout.new.as_ref().map_or(0, |new| new.wanted);
    if size >= rollout.replicas {
        return rollout.replicas;
    }
    // Unlike Kubernetes, a pod that was told to go takes up room until it goes: a small node may have no place for both.
    let taken: i64 = rollout.all().map(|set| set.wanted.max(set.present)).sum();
    let room = rollout.max_replicas() - taken;
    size + room.clamp(0, rollout.replicas - size)
}

fn total(rollout: &Rollout<'_>) -> i64 {
    rollout.all().map(|set| set.wanted).sum()
}

fn shrink_old(rollout: &Rollout<'_>, new: &Set<'_>) -> Vec<Order> {
    let min_available = rollout.replicas - rollout.unavailable();
    let new_unavailable = (new.wanted - new.available).max(0);
    let mut spare = total(rollout) - min_available - new_unavailable;
    if spare <= 0 {
        return Vec::new();
    }
    let mut sizes: Vec<i64> = rollout.old.iter().map(|set| set.wanted).collect();
    // Pods that do not serve go first: losing them costs nothing, and keeping them could block the update for ever.
    for (size, set) in sizes.iter_mut().zip(&rollout.old) {
        let unhealthy = (set.wanted - set.available).clamp(0, spare);
        *size -= unhealthy;
        spare -= unhealthy;
    }
    // What counts as available is no more than what is still asked for.
    let old_available: i64 = sizes.iter().zip(&rollout.old).map(|(size, set)| set.available.min(*size)).sum();
    let available = old_available + new.available.min(new.wanted);
    let mut spare = spare.min(available - min_available).max(0);
    for size in &mut sizes {
        let fewer = spare.min(*size);
        *size -= fewer;
        spare -= fewer;
    }
    let resized = rollout.old.iter().zip(sizes).filter(|(set, size)| set.wanted != *size);
    resized.flat_map(|(set, size)| rollout.resize(set, size)).collect()
}
