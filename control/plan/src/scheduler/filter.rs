//! Why a node will not do for a pod, in the words of Kubernetes' scheduler.

use serde_json::Value;
use wk_api::Object;

use crate::nodes::STORE_HEALTHY;
use crate::{conditions, read};
use wk_api::requests::Amounts;

/// Empty when the node will do. As in Kubernetes the first obstacle is named alone, and of resources all that lack.
pub(super) fn refusals(pod: &Object, asked: &Amounts, node: &Object, has: &Amounts, promised: &Amounts) -> Vec<String> {
    let tolerations = pod.items("/spec/tolerations");
    let cordoned = node.at("/spec/unschedulable") == Some(&Value::Bool(true));
    if cordoned && !tolerates(tolerations, "node.kubernetes.io/unschedulable", "", "NoSchedule") {
        return vec!["node(s) were unschedulable".to_owned()];
    }
    if node.is_deleting() {
        return vec!["node(s) were being deleted".to_owned()];
    }
    if conditions::status(node, "Ready") != "True" {
        return vec!["node(s) were not ready".to_owned()];
    }
    if conditions::status(node, STORE_HEALTHY) == "False" {
        return vec!["node(s) had a failed disk".to_owned()];
    }
    if let Some(taint) = node.items("/spec/taints").iter().find(|taint| repels(taint, tolerations)) {
        let (key, value) = (read::text(taint, "key"), read::text(taint, "value"));
        return vec![format!("node(s) had untolerated taint {{{key}: {value}}}")];
    }
    if !selected(pod, node) {
        return vec!["node(s) didn't match Pod's node affinity/selector".to_owned()];
    }
    let lacks = |asked: u64, promised: u64, has: u64| asked > 0 && asked > has.saturating_sub(promised);
    let checks = [
        (lacks(asked.pods, promised.pods, has.pods), "Too many pods"),
        (lacks(asked.cpu_millis, promised.cpu_millis, has.cpu_millis), "Insufficient cpu"),
        (lacks(asked.memory_bytes, promised.memory_bytes, has.memory_bytes), "Insufficient memory"),
    ];
    checks.into_iter().filter(|(lacking, _)| *lacking).map(|(_, reason)| reason.to_owned()).collect()
}

fn selected(pod: &Object, node: &Object) -> bool {
    let wanted = read::map(pod, "/spec/nodeSelector");
    wanted.is_none_or(|wanted| read::has_all(read::map(node, "/metadata/labels"), wanted))
}

fn repels(taint: &Value, tolerations: &[Value]) -> bool {
    let effect = read::text(taint, "effect");
    matches!(effect, "NoSchedule" | "NoExecute")
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
