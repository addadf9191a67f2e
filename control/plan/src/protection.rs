//! Claims that pods have, and volumes that claims have, stay until they are let go: both carry a finalizer for it, which
//! admission puts there. Upstream's `pvc-protection-controller` and `pv-protection-controller`.
//!
//! Not here: what becomes of the data (`claims`, and the node).

use serde_json::{Value, json};
use wk_api::strategy::protection;
use wk_api::{Kind, Object, kinds};

use crate::order::{Order, Plan, Target};
use crate::{owned, pod, read};

/// What the decision is made from.
pub struct Input<'a> {
    /// The claims and volumes to decide about.
    pub objects: &'a [(&'static Kind, &'a Object)],
    /// All pods that name claims, of the namespaces of those claims.
    pub pods: &'a [&'a Object],
    /// All claims that volumes among the objects say they have.
    pub claims: &'a [&'a Object],
}

/// Lets go what is to be deleted and in nobody's use; what is older than this rule gets its finalizer.
pub fn plan(input: &Input<'_>) -> Plan {
    let mut plan = Plan::default();
    for (kind, object) in input.objects {
        let Some(own) = protection(kind) else { continue };
        let finalizers = object.finalizers();
        let protected = finalizers.contains(&own);
        let new: Vec<&str> = if object.is_deleting() && protected && !is_used(kind, object, input) {
            plan.say(format!("{}: nobody uses it any more", object.name()));
            finalizers.into_iter().filter(|name| *name != own).collect()
        } else if !object.is_deleting() && !protected {
            finalizers.into_iter().chain([own]).collect()
        } else {
            continue;
        };
        let target = Target::version(kind, object);
        plan.orders.push(Order::Update { target, change: json!({"metadata": {"finalizers": new}}) });
    }
    plan
}

fn is_used(kind: &Kind, object: &Object, input: &Input<'_>) -> bool {
    if *kind == kinds::PERSISTENTVOLUME {
        let uid = object.text("/spec/claimRef/uid");
        return !uid.is_empty() && input.claims.iter().any(|claim| claim.uid() == uid);
    }
    input.pods.iter().any(|pod| has(pod, object))
}

/// Whether a pod that has a node has the claim; for one that is no more than a record, its own do not count. As Kubernetes
/// has it, one that ended has its claims until it is deleted.
fn has(pod: &Object, claim: &Object) -> bool {
    let is_own = || owned::controller_uid(claim) == Some(pod.uid());
    let is_record = || pod.is_deleting() && pod.int("/metadata/deletionGracePeriodSeconds") == Some(0);
    let names = |volume: &Value| {
        if let Some(named) = volume.get("persistentVolumeClaim") {
            return read::text(named, "claimName") == claim.name();
        }
        let name = format!("{}-{}", pod.name(), read::text(volume, "name"));
        volume.get("ephemeral").is_some() && name == claim.name() && is_own() && !is_record()
    };
    pod.namespace() == claim.namespace() && !pod::node(pod).is_empty() && pod.items("/spec/volumes").iter().any(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(deleted: bool, finalizers: &[&str]) -> Object {
        let mut claim = json!({"metadata": {"name": "p-data", "namespace": "a", "uid": "c", "finalizers": finalizers,
            "ownerReferences": [{"uid": "p", "controller": true}]}});
        if deleted {
            claim["metadata"]["deletionTimestamp"] = "2025-01-01T00:00:00Z".into();
        }
        Object::new(claim)
    }

    fn pod(node: &str, volume: &Value) -> Object {
        Object::new(json!({"metadata": {"name": "p", "namespace": "a", "uid": "p"},
            "spec": {"nodeName": node, "volumes": [volume]}, "status": {"phase": "Succeeded"}}))
    }

    fn finalizers(plan: &Plan) -> Option<Value> {
        match &plan.orders[..] {
            [Order::Update { change, .. }] => Some(change["metadata"]["finalizers"].clone()),
            [] => None,
            other => panic!("one order: {other:?}"),
        }
    }

    const CLAIM: &str = "kubernetes.io/pvc-protection";

    #[test]
    fn a_claim_stays_while_a_pod_with_a_node_has_it() {
        let named = || json!({"name": "v", "persistentVolumeClaim": {"claimName": "p-data"}});
        let own = || json!({"name": "data", "ephemeral": {}});
        let planned = |claim: &Object, pod: &Object| {
            let objects = [(&kinds::PERSISTENTVOLUMECLAIM, claim)];
            finalizers(&plan(&Input { objects: &objects, pods: &[pod], claims: &[] }))
        };
        let going = claim(true, &[CLAIM, "a/b"]);
        for used in [named(), own()] {
            assert_eq!(planned(&going, &pod("n1", &used)), None);
            assert_eq!(planned(&going, &pod("", &used)), Some(json!(["a/b"])));
        }
        for other in [json!({"name": "v", "persistentVolumeClaim": {"claimName": "x"}}), json!({"name": "data"})] {
            assert_eq!(planned(&going, &pod("n1", &other)), Some(json!(["a/b"])));
        }
        let mut record = pod("n1", &own());
        record.0["metadata"]["deletionTimestamp"] = "2025-01-01T00:00:00Z".into();
        record.0["metadata"]["deletionGracePeriodSeconds"] = 0.into();
        assert_eq!(planned(&going, &record), Some(json!(["a/b"])));
        assert_eq!(planned(&claim(true, &["a/b"]), &pod("", &named())), None);
        assert_eq!(planned(&claim(false, &[CLAIM]), &pod("", &named())), None);
        assert_eq!(planned(&claim(false, &["a/b"]), &pod("", &named())), Some(json!(["a/b", CLAIM])));
    }

    #[test]
    fn a_volume_stays_while_its_claim_is_there() {
        let volume = Object::new(json!({
            "metadata": {"name": "v", "finalizers": ["kubernetes.io/pv-protection"], "deletionTimestamp": "2025-01-01T00:00:00Z"},
            "spec": {"claimRef": {"namespace": "a", "name": "p-data", "uid": "c"}}}));
        let planned = |claims: &[&Object]| {
            finalizers(&plan(&Input { objects: &[(&kinds::PERSISTENTVOLUME, &volume)], pods: &[], claims }))
        };
        assert_eq!(planned(&[&claim(true, &[])]), None);
        assert_eq!(planned(&[]), Some(json!([])));
    }
}
