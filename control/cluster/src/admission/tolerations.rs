//! Kubernetes' plug-in `DefaultTolerationSeconds`: how long a pod stays on a node that is not ready, or that nobody hears,
//! when it says nothing of that.

use serde_json::{Value, json};
use wk_api::Object;
use wk_api::taints::{NO_EXECUTE, NOT_READY, UNREACHABLE};

/// Kubernetes' `--default-not-ready-toleration-seconds` has the first. Of the other it would be 300 s too: here a node counts as
/// unreachable only when it is, so its pods are given to others a second after whoever watches conditions has heard of it.
const SECONDS: [(&str, i64); 2] = [(NOT_READY, 300), (UNREACHABLE, 1)];

/// Adds what is not tolerated yet.
pub(super) fn fill_in(pod: &mut Object) {
    let mut tolerations = pod.items("/spec/tolerations").to_vec();
    let is = |toleration: &Value, field: &str, wanted: &str| {
        let text = toleration.get(field).and_then(Value::as_str).unwrap_or_default();
        text.is_empty() || text == wanted
    };
    for (key, seconds) in SECONDS {
        if !tolerations.iter().any(|it| is(it, "key", key) && is(it, "effect", NO_EXECUTE)) {
            tolerations
                .push(json!({"key": key, "operator": "Exists", "effect": NO_EXECUTE, "tolerationSeconds": seconds}));
        }
    }
    pod.0["spec"]["tolerations"] = tolerations.into();
}
