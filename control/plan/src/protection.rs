//! Claims that pods have, and volumes that claims have, stay until they are let go: both carry a finalizer for it, which
//! admission puts there. Upstream's `pvc-protection-controller` and `pv-protection-controller`.
//!
//! Not here: what becomes of the data (`claims`, and the node).

use std::collections::HashSet;

use serde_json::json;
use wk_api::strategy::protection;
use wk_api::{Kind, Object, kinds};

use crate::order::{Order, Plan, Target};
use crate::{owned, pod, read};

/// What the decision is made from.
pub struct Input<'a> {
    /// The claims and volumes to decide about.
    pub objects: &'a [(&'static Kind, &'a Object)],
    /// All pods that have claims.
    pub pods: &'a [&'a Object],
    /// All claims that volumes among the objects say they have.
    pub claims: &'a [&'a Object],
}

/// Lets go what is to be deleted and in nobody's use; what carries no finalizer gets its own.
pub fn plan(input: &Input<'_>) -> Plan {
    let mut plan = Plan::default();
    let used = Used::of(input);
    for (kind, object) in input.objects {
        let Some(own) = protection(kind) else { continue };
        let finalizers = object.finalizers();
        let protected = finalizers.contains(&own);
        let new: Vec<&str> = if object.is_deleting() && protected && !used.has(kind, object) {
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

/// What pods with a node and claims have. As Kubernetes has it, a pod that ended has its claims until it is deleted.
#[derive(Default)]
struct Used<'a> {
    /// Claims that pods name: namespace and name.
    named: HashSet<(&'a str, &'a str)>,
    /// Claims that are made for pods: the pod's uid and the claim's name.
    made: HashSet<(&'a str, String)>,
    /// The uids of claims.
    claims: HashSet<&'a str>,
}

impl<'a> Used<'a> {
    fn of(input: &Input<'a>) -> Self {
        let mut used = Self { claims: input.claims.iter().map(|claim| claim.uid()).collect(), ..Self::default() };
        for pod in input.pods.iter().filter(|pod| !pod::node(pod).is_empty()) {
            // Of one that is no more than a record, its own do not count.
            let is_record = pod.is_deleting() && pod.int("/metadata/deletionGracePeriodSeconds") == Some(0);
            for volume in pod.items("/spec/volumes") {
                if let Some(named) = volume.get("persistentVolumeClaim") {
                    used.named.insert((pod.namespace(), read::text(named, "claimName")));
                } else if volume.get("ephemeral").is_some() && !is_record {
                    used.made.insert((pod.uid(), format!("{}-{}", pod.name(), read::text(volume, "name"))));
                }
            }
        }
        used
    }

    fn has(&self, kind: &Kind, object: &Object) -> bool {
        if *kind == kinds::PERSISTENTVOLUME {
            return self.claims.contains(object.text("/spec/claimRef/uid"));
        }
        let pod = owned::controller_uid(object).map(|pod| (pod, object.name().to_owned()));
        self.named.contains(&(object.namespace(), object.name())) || pod.is_some_and(|pod| self.made.contains(&pod))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

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
