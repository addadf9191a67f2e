//! The history of a deployment: numbered revisions, and how many of them are kept.

use serde_json::{Map, Value, json};
use wk_api::{Object, kinds};

use super::{Rollout, Set};
use crate::order::{Order, Target};
use crate::read;

pub(super) const ANNOTATION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";

/// What a ReplicaSet does not take from its Deployment's annotations.
const NOT_INHERITED: [&str; 6] =
    [wk_api::LAST_APPLIED, "deprecated.deployment.rollback.to", ANNOTATION, HISTORY, super::DESIRED, super::MAX];

/// ReplicaSets without pods that are kept for `kubectl rollout undo` (the default of `spec.revisionHistoryLimit`).
const HISTORY_LIMIT: i64 = 10;

/// Text of earlier revisions that a set keeps (`maxRevHistoryLengthInChars` of Kubernetes): each undo adds one, and
/// annotations have a limit in sum.
const HISTORY_BYTES_MAX: usize = 2000;

pub(super) fn of(set: &Object) -> u64 {
    set.annotation(ANNOTATION).and_then(|revision| revision.parse().ok()).unwrap_or_default()
}

/// The number after the highest of `old`.
pub(super) fn next(old: &[Set<'_>]) -> u64 {
    old.iter().map(|set| of(set.object)).max().unwrap_or_default() + 1
}

pub(super) fn inherited_annotations(deployment: &Object) -> Map<String, Value> {
    let annotations = read::map(deployment, "/metadata/annotations").cloned().unwrap_or_default();
    annotations.into_iter().filter(|(key, _)| !NOT_INHERITED.contains(&key.as_str())).collect()
}

/// The revisions that `set` had before, `last` the latest of them; the first ones go when there are too many.
fn history(set: &Object, last: u64) -> String {
    let said = set.annotation(HISTORY).map_or_else(|| last.to_string(), |history| format!("{history},{last}"));
    let mut rest = said.as_str();
    while rest.len() > HISTORY_BYTES_MAX {
        // A history without commas is none of ours.
        rest = rest.split_once(',').map_or("", |(_, later)| later);
    }
    rest.to_owned()
}

/// Keeps revision, annotations and `minReadySeconds` of the new set current: it may have been an old one until an undo.
pub(super) fn upkeep(rollout: &Rollout<'_>) -> Vec<Order> {
    let Some(new) = &rollout.new else { return Vec::new() };
    let mut annotations = inherited_annotations(rollout.deployment);
    annotations.retain(|key, value| new.object.annotation(key) != value.as_str());
    let (current, wanted) = (of(new.object), next(&rollout.old));
    if current < wanted {
        annotations.insert(ANNOTATION.to_owned(), wanted.to_string().into());
        if current > 0 {
            annotations.insert(HISTORY.to_owned(), history(new.object, current).into());
        }
    }
    let min_ready = rollout.min_ready_seconds();
    let min_ready_moved = new.object.int("/spec/minReadySeconds").unwrap_or_default() != min_ready;
    if annotations.is_empty() && !min_ready_moved {
        return Vec::new();
    }
    let mut change = json!({"metadata": {"annotations": annotations}});
    if min_ready_moved {
        change["spec"] = json!({"minReadySeconds": min_ready});
    }
    vec![Order::Update { target: Target::version(&kinds::REPLICASET, new.object), change }]
}

/// Deletes the oldest sets without pods beyond `spec.revisionHistoryLimit`.
pub(super) fn surplus(rollout: &Rollout<'_>) -> Vec<Order> {
    let limit = rollout.deployment.int("/spec/revisionHistoryLimit").unwrap_or(HISTORY_LIMIT);
    let idle = |set: &&Set<'_>| {
        let observed = set.object.int("/status/observedGeneration").unwrap_or_default();
        set.wanted == 0 && set.existing == 0 && observed >= set.object.generation() && !set.object.is_deleting()
    };
    let surplus = rollout.old.len().saturating_sub(usize::try_from(limit).unwrap_or_default());
    let mut oldest: Vec<&Set<'_>> = rollout.old.iter().collect();
    oldest.sort_by_key(|set| of(set.object));
    let victims = oldest.into_iter().take(surplus).filter(idle);
    victims.map(|set| Target::version(&kinds::REPLICASET, set.object).delete()).collect()
}
