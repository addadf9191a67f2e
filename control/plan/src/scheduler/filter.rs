//! Why a node will not do for a pod, in the words of Kubernetes' scheduler.

use serde_json::Value;
use wk_api::Object;
use wk_api::taints::{NO_EXECUTE, NO_SCHEDULE, UNSCHEDULABLE};

use crate::claims::holds_on;
use crate::nodes::STORE_HEALTHY;
use crate::{conditions, read};
use wk_api::requests::Amounts;

const PREFER_NO_SCHEDULE: &str = "PreferNoSchedule";

/// Empty when the node will do. As in Kubernetes the first obstacle is named alone, and of resources all that lack.
pub(super) fn refusals(pod: &Object, asked: &Amounts, node: &Object, has: &Amounts, promised: &Amounts) -> Vec<String> {
    match obstacle(pod, node) {
        Some(obstacle) => vec![obstacle],
        None => lacking(asked, has, promised).into_iter().map(str::to_owned).collect(),
    }
}

/// What stands against the node however much of it is free.
pub(super) fn obstacle(pod: &Object, node: &Object) -> Option<String> {
    let tolerations = pod.items("/spec/tolerations");
    let cordoned = node.at("/spec/unschedulable") == Some(&Value::Bool(true));
    if cordoned && !tolerates(tolerations, UNSCHEDULABLE, "", NO_SCHEDULE) {
        return Some("node(s) were unschedulable".to_owned());
    }
    if node.is_deleting() {
        return Some("node(s) were being deleted".to_owned());
    }
    if conditions::status(node, STORE_HEALTHY) == "False" {
        return Some("node(s) had a failed disk".to_owned());
    }
    if let Some(taint) = node.items("/spec/taints").iter().find(|taint| repels(taint, tolerations)) {
        let (key, value) = (read::text(taint, "key"), read::text(taint, "value"));
        return Some(format!("node(s) had untolerated taint {{{key}: {value}}}"));
    }
    // Whoever tolerates everything does not run where nobody is.
    if conditions::status(node, "Ready") == "Unknown" {
        return Some("node(s) were not ready".to_owned());
    }
    (!selected(pod, node)).then(|| "node(s) didn't match Pod's node affinity/selector".to_owned())
}

/// The resources of which the node has not enough.
pub(super) fn lacking(asked: &Amounts, has: &Amounts, promised: &Amounts) -> Vec<&'static str> {
    let lacks = |asked: u64, promised: u64, has: u64| asked > 0 && asked > has.saturating_sub(promised);
    let checks = [
        (lacks(asked.pods, promised.pods, has.pods), "Too many pods"),
        (lacks(asked.cpu_millis, promised.cpu_millis, has.cpu_millis), "Insufficient cpu"),
        (lacks(asked.memory_bytes, promised.memory_bytes, has.memory_bytes), "Insufficient memory"),
        (lacks(asked.storage_bytes, promised.storage_bytes, has.storage_bytes), "Insufficient ephemeral-storage"),
    ];
    checks.into_iter().filter(|(lacking, _)| *lacking).map(|(_, reason)| reason).collect()
}

/// Whether the node is one of those that the pod asks for.
pub(super) fn selected(pod: &Object, node: &Object) -> bool {
    let wanted = read::map(pod, "/spec/nodeSelector");
    let required = pod.at("/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution");
    wanted.is_none_or(|wanted| read::has_all(read::map(node, "/metadata/labels"), wanted))
        && required
            .and_then(|required| required.get("nodeSelectorTerms")?.as_array())
            .is_none_or(|it| holds_on(it, node))
}

/// How much the pod likes the node for what that is: the weights of its preferences that hold.
pub(super) fn liking(pod: &Object, node: &Object) -> i64 {
    let wishes = pod.items("/spec/affinity/nodeAffinity/preferredDuringSchedulingIgnoredDuringExecution").iter();
    let held = wishes.filter(|wish| wish.get("preference").is_some_and(|it| holds_on(std::slice::from_ref(it), node)));
    held.filter_map(|wish| wish.get("weight")?.as_i64()).sum()
}

/// How many taints the node has that the pod had better avoid and does not tolerate.
pub(super) fn avoided(pod: &Object, node: &Object) -> i64 {
    let tolerations = pod.items("/spec/tolerations");
    let is_avoided = |taint: &&Value| {
        read::text(taint, "effect") == PREFER_NO_SCHEDULE
            && !tolerates(tolerations, read::text(taint, "key"), read::text(taint, "value"), PREFER_NO_SCHEDULE)
    };
    i64::try_from(node.items("/spec/taints").iter().filter(is_avoided).count()).unwrap_or(i64::MAX / 100)
}

/// Whether the node has a taint that keeps the pod away.
pub(super) fn is_tainted(pod: &Object, node: &Object) -> bool {
    let tolerations = pod.items("/spec/tolerations");
    node.items("/spec/taints").iter().any(|taint| repels(taint, tolerations))
}

fn repels(taint: &Value, tolerations: &[Value]) -> bool {
    let effect = read::text(taint, "effect");
    matches!(effect, NO_SCHEDULE | NO_EXECUTE)
        && !tolerates(tolerations, read::text(taint, "key"), read::text(taint, "value"), effect)
}

/// `v1.Toleration.ToleratesTaint`: an empty effect or key matches all, `Exists` any value.
fn tolerates(tolerations: &[Value], key: &str, value: &str, effect: &str) -> bool {
    tolerations.iter().any(|toleration| fits(toleration, key, value, effect))
}

/// Whether this toleration is about the taint.
pub(crate) fn fits(toleration: &Value, key: &str, value: &str, effect: &str) -> bool {
    let is = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
    let exists = read::text(toleration, "operator") == "Exists";
    is(read::text(toleration, "effect"), effect)
        && is(read::text(toleration, "key"), key)
        && (exists || read::text(toleration, "key") == key && read::text(toleration, "value") == value)
}
