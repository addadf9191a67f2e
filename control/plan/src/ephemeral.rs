//! Generic ephemeral volumes: a claim for each, made from the template in the pod, owned by the pod and gone with it.
//! Upstream's `ephemeral-volume-controller`.
//!
//! Not here: the volume (`claims`), and removing the claim (`garbage`).

use std::collections::BTreeSet;

use serde_json::json;
use wk_api::{Object, kinds};

use crate::order::{Order, Plan};
use crate::{pod, read};

/// What the decision is made from.
pub struct Input<'a> {
    /// All pods.
    pub pods: &'a [&'a Object],
    /// All claims.
    pub claims: &'a [&'a Object],
}

/// Makes the claims that are missing. One of the name that is not the pod's is left alone: the pod waits, and says why.
pub fn plan(input: &Input<'_>) -> Plan {
    let mut plan = Plan::default();
    let there: BTreeSet<(&str, &str)> = input.claims.iter().map(|claim| (claim.namespace(), claim.name())).collect();
    for pod in input.pods.iter().filter(|pod| !pod.is_deleting() && !pod::is_finished(pod)) {
        for volume in pod.items("/spec/volumes") {
            let Some(template) = volume.get("ephemeral").and_then(|source| source.get("volumeClaimTemplate")) else {
                continue;
            };
            let name = format!("{}-{}", pod.name(), read::text(volume, "name"));
            if there.contains(&(pod.namespace(), name.as_str())) {
                continue;
            }
            plan.say(format!("{}/{}: claim {name} is missing", pod.namespace(), pod.name()));
            let owner = json!({
                "apiVersion": "v1", "kind": "Pod", "name": pod.name(), "uid": pod.uid(),
                "controller": true, "blockOwnerDeletion": true,
            });
            let mut metadata = json!({"name": name, "ownerReferences": [owner]});
            for copied in ["labels", "annotations"] {
                if let Some(value) = template.get("metadata").and_then(|metadata| metadata.get(copied)) {
                    metadata[copied] = value.clone();
                }
            }
            plan.orders.push(Order::Create {
                kind: &kinds::PERSISTENTVOLUMECLAIM,
                namespace: Some(pod.namespace().to_owned()),
                object: json!({"metadata": metadata, "spec": template.get("spec")}),
                announce: None,
            });
        }
    }
    plan
}
