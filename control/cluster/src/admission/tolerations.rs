//! Kubernetes' plug-in `DefaultTolerationSeconds`: what a pod says of nodes that fall silent when it says nothing.
//!
//! wk puts no such taints on nodes: it replaces the pods of a silent node after seconds, by a rule of its own
//! (`wk_plan::nodes`). The tolerations are for whoever reads pods or puts these taints on a node.

use serde_json::{Value, json};
use wk_api::Object;

/// Kubernetes' `--default-not-ready-toleration-seconds` and `--default-unreachable-toleration-seconds`.
const SECONDS: i64 = 300;

const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// Adds what is not tolerated yet.
pub(super) fn fill_in(pod: &mut Object) {
    let mut tolerations = pod.items("/spec/tolerations").to_vec();
    let is = |toleration: &Value, field: &str, wanted: &str| {
        let text = toleration.get(field).and_then(Value::as_str).unwrap_or_default();
        text.is_empty() || text == wanted
    };
    for taint in TAINTS {
        if !tolerations.iter().any(|it| is(it, "key", taint) && is(it, "effect", "NoExecute")) {
            tolerations
                .push(json!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS}));
        }
    }
    pod.0["spec"]["tolerations"] = tolerations.into();
}
