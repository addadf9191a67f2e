//! Whether a pod may be evicted, and what that takes from its disruption budget.
//!
//! Source: `k8s.io/kubernetes/pkg/registry/core/pod/storage/eviction.go`.

use serde_json::{Value, json};
use wk_base::time::Timestamp;

use super::bind::set_condition;
use crate::json;
use crate::kinds::{PODDISRUPTIONBUDGET, pods};
use crate::object::{Object, time_text};
use crate::selector::Labels;
use crate::status::Status;

/// Evictions of one budget that its controller has not seen yet. More of them mean that it does not look.
const DISRUPTED_MAX: usize = 2000;

/// Seconds after which an eviction may be tried again while a budget's status is on its way.
const RETRY_SECONDS: u32 = 10;

const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// A pod that may be evicted.
#[derive(Debug, Clone, PartialEq)]
pub struct Eviction {
    /// The pod with the condition that says why it goes; to be deleted.
    pub pod: Object,
    /// The budget it was taken from, to be written in the same transaction; none when no budget minds.
    pub budget: Option<Object>,
}

/// Whether `budget`, of the pod's namespace, is about `pod`.
pub fn covers(budget: &Object, pod: &Object) -> bool {
    Labels::from_label_selector(budget.at("/spec/selector").unwrap_or(&Value::Null))
        .is_ok_and(|selector| selector.matches(&pod.labels()))
}

/// Whether budgets have a say: a pod that ended, waits or goes already disrupts nothing.
fn is_covered(pod: &Object) -> bool {
    !pods::is_finished(pod) && pod.text("/status/phase") != "Pending" && !pod.is_deleting()
}

/// Whether `pod` may go; `budgets` are those that cover it. 429 when its budget is used up.
pub fn evict(pod: &Object, budgets: &[&Object], now: Timestamp) -> Result<Eviction, Status> {
    let mut going = pod.clone();
    set_condition(
        &mut going,
        json!({
            "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting", "lastTransitionTime": time_text(now),
        }),
    );
    let budget = match budgets {
        _ if !is_covered(pod) => None,
        [budget] if minds(budget, pod) => Some(decremented(budget, pod, now)?),
        [] | [_] => None,
        _ => {
            let message =
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Status::new(500, crate::status::Reason::Unknown, message));
        }
    };
    Ok(Eviction { pod: going, budget })
}

/// A pod that is not ready takes nothing from a budget that is met, or that says so.
fn minds(budget: &Object, pod: &Object) -> bool {
    let number = |key: &str| budget.int(&format!("/status/{key}")).unwrap_or_default();
    let met = number("desiredHealthy") > 0 && number("currentHealthy") >= number("desiredHealthy");
    pods::is_ready(pod) || !(budget.text("/spec/unhealthyPodEvictionPolicy") == "AlwaysAllow" || met)
}

fn decremented(budget: &Object, pod: &Object, now: Timestamp) -> Result<Object, Status> {
    let number = |key: &str| budget.int(&format!("/status/{key}")).unwrap_or_default();
    let name = budget.name();
    if number("observedGeneration") < budget.generation() {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(Status::too_many_requests(REFUSED, RETRY_SECONDS).with_cause("DisruptionBudget", &why));
    }
    let allowed = number("disruptionsAllowed");
    let disrupted = json::members(&budget.0, &["status", "disruptedPods"]).count();
    if allowed < 0 {
        return Err(Status::forbidden(&PODDISRUPTIONBUDGET, name, "pdb disruptions allowed is negative"));
    }
    if disrupted > DISRUPTED_MAX {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(Status::forbidden(&PODDISRUPTIONBUDGET, name, why));
    }
    if allowed == 0 {
        let (desired, current) = (number("desiredHealthy"), number("currentHealthy"));
        let why = format!("The disruption budget {name} needs {desired} healthy pods and has {current} currently");
        return Err(Status::too_many_requests(REFUSED, 0).with_cause("DisruptionBudget", &why));
    }
    let mut taken = budget.clone();
    let status = json::object_at(&mut taken.0, "status");
    json::set(status, "disruptionsAllowed", allowed - 1);
    json::set(json::object_at(status, "disruptedPods"), pod.name(), time_text(now));
    if allowed == 1 {
        let condition = json!({
            "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
            "lastTransitionTime": time_text(now), "observedGeneration": number("observedGeneration"),
        });
        set_condition(&mut taken, condition);
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Object {
        Object::new(value)
    }

    fn pod(ready: &str) -> Object {
        object(json!({
            "metadata": {"name": "a", "labels": {"app": "web"}},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
        }))
    }

    fn budget(allowed: i64, healthy: i64) -> Object {
        object(json!({
            "metadata": {"name": "b", "generation": 1}, "spec": {"selector": {"matchLabels": {"app": "web"}}},
            "status": {"disruptionsAllowed": allowed, "currentHealthy": healthy, "desiredHealthy": 2, "observedGeneration": 1},
        }))
    }

    #[test]
    fn a_budget_gives_what_it_has_and_not_more() {
        let now = Timestamp::UNIX_EPOCH;
        let (ready, one) = (pod("True"), budget(1, 3));
        assert!(covers(&one, &ready));
        let eviction = evict(&ready, &[&one], now).unwrap();
        let taken = eviction.budget.unwrap();
        assert_eq!(taken.int("/status/disruptionsAllowed"), Some(0));
        assert_eq!(taken.text("/status/disruptedPods/a"), "1970-01-01T00:00:00Z");
        assert_eq!(taken.text("/status/conditions/0/reason"), "InsufficientPods");
        assert_eq!(eviction.pod.text("/status/conditions/1/reason"), "EvictionByEvictionAPI");
        let refused = evict(&ready, &[&taken], now).unwrap_err();
        assert_eq!((refused.code, refused.message.as_str()), (429, REFUSED));
        let cause = &refused.details.unwrap().causes[0];
        assert_eq!(cause.reason, "DisruptionBudget");
        assert_eq!(cause.message, "The disruption budget b needs 2 healthy pods and has 3 currently");
        assert_eq!(evict(&ready, &[&one, &one], now).unwrap_err().code, 500);
        let mut stale = one.clone();
        stale.0["metadata"]["generation"] = json!(2);
        assert_eq!(evict(&ready, &[&stale], now).unwrap_err().details.unwrap().retry_after_seconds, 10);
    }

    #[test]
    fn a_pod_that_serves_nobody_costs_no_budget() {
        let now = Timestamp::UNIX_EPOCH;
        let broken = pod("False");
        assert_eq!(evict(&broken, &[&budget(0, 2)], now).unwrap().budget, None);
        assert_eq!(evict(&broken, &[&budget(0, 1)], now).unwrap_err().code, 429);
        let mut generous = budget(0, 1);
        generous.0["spec"]["unhealthyPodEvictionPolicy"] = json!("AlwaysAllow");
        assert_eq!(evict(&broken, &[&generous], now).unwrap().budget, None);
        let mut ended = pod("True");
        ended.0["status"]["phase"] = json!("Succeeded");
        assert_eq!(evict(&ended, &[&budget(0, 0)], now).unwrap().budget, None);
        let nothing = object(json!({"metadata": {"name": "b"}, "spec": {}}));
        assert!(!covers(&nothing, &ended));
    }
}
