//! A change of `spec.replicas` in the middle of a rollout, or while paused: spread over the sets in proportion.

use std::cmp::Reverse;

use super::{DESIRED, MAX, REPLICAS_MAX, Rollout, Set, Strategy};
use crate::order::Order;
use crate::read;

/// Whether a set was last sized for another number of replicas.
pub(super) fn is_due(rollout: &Rollout<'_>) -> bool {
    let replicas = rollout.replicas.to_string();
    rollout.all().filter(|set| set.wanted > 0).any(|set| {
        let desired = set.object.annotation(DESIRED);
        desired.is_some_and(|desired| desired != replicas)
    })
}

/// New sizes for the sets that have pods.
pub(super) fn plan(rollout: &Rollout<'_>) -> Vec<Order> {
    let mut active: Vec<&Set<'_>> = rollout.all().filter(|set| set.wanted > 0).collect();
    match active.as_slice() {
        [] => {
            let newest = rollout.new.as_ref().or(rollout.old.last());
            return newest.map(|set| rollout.resize(set, rollout.replicas)).unwrap_or_default();
        }
        [only] => return rollout.resize(only, rollout.replicas),
        _ => {}
    }
    if rollout.new.as_ref().is_some_and(|new| is_saturated(rollout, new)) {
        return rollout.old.iter().flat_map(|set| rollout.resize(set, 0)).collect();
    }
    if matches!(rollout.strategy, Strategy::Recreate) {
        return Vec::new();
    }
    let allowed = if rollout.replicas > 0 { rollout.max_replicas() } else { 0 };
    let missing = allowed - active.iter().map(|set| set.wanted).sum::<i64>();
    // The biggest takes the remainder; of equal ones the newest grows and the oldest shrinks.
    active.sort_by_key(|set| Reverse(set.wanted));
    if missing > 0 {
        active.sort_by_key(|set| (Reverse(set.wanted), Reverse(read::created(set.object))));
    }
    let mut added = 0;
    let mut sizes = Vec::new();
    for set in &active {
        let left = missing - added;
        let fraction = fraction(rollout, set);
        let part = if missing > 0 { fraction.min(left) } else { fraction.max(left) };
        let part = if missing == 0 { 0 } else { part };
        added += part;
        sizes.push(set.wanted + part);
    }
    if let Some(first) = sizes.first_mut() {
        *first = (*first + missing - added).max(0);
    }
    active.into_iter().zip(sizes).flat_map(|(set, size)| rollout.resize(set, size)).collect()
}

fn is_saturated(rollout: &Rollout<'_>, new: &Set<'_>) -> bool {
    let desired = new.object.annotation(DESIRED).and_then(|desired| desired.parse::<i64>().ok());
    [Some(new.wanted), desired, Some(new.available)].iter().all(|number| *number == Some(rollout.replicas))
}

/// How many pods more (or fewer) `set` has after the total moved from its noted maximum to today's.
fn fraction(rollout: &Rollout<'_>, set: &Set<'_>) -> i64 {
    if rollout.replicas == 0 {
        return -set.wanted;
    }
    let noted = set.object.annotation(MAX).and_then(|max| max.parse::<i64>().ok());
    let before = noted.unwrap_or_else(|| rollout.deployment.int("/status/replicas").unwrap_or_default());
    if before <= 0 {
        return 0;
    }
    // Rounded to the nearest, in whole numbers so that every machine has the same answer.
    let (wanted, max, before) = (i128::from(set.wanted), i128::from(rollout.max_replicas()), i128::from(before));
    let scaled = (2 * wanted * max + before) / (2 * before);
    i64::try_from(scaled).unwrap_or(REPLICAS_MAX).min(REPLICAS_MAX) - set.wanted
}
