//! Where a pod's claims let it run: a volume has its node, and a claim without a volume gets one where its first pod is.

use std::collections::BTreeMap;

use wk_api::Object;

use super::Input;
use crate::claims::{claims_of, consumers, fits_node};

pub(super) struct Disks<'a> {
    claims: BTreeMap<(&'a str, &'a str), &'a Object>,
    volumes: BTreeMap<&'a str, &'a Object>,
    /// Nodes of the first pods of claims.
    consumers: BTreeMap<(&'a str, String), &'a str>,
}

impl<'a> Disks<'a> {
    pub(super) fn of(input: &Input<'a>) -> Self {
        Self {
            claims: input.claims.iter().map(|claim| ((claim.namespace(), claim.name()), *claim)).collect(),
            volumes: input.volumes.iter().map(|volume| (volume.name(), *volume)).collect(),
            consumers: consumers(input.pods),
        }
    }

    /// A pod gets this node.
    pub(super) fn take(&mut self, pod: &'a Object, node: &'a str) {
        for claim in claims_of(pod) {
            self.consumers.entry((pod.namespace(), claim)).or_insert(node);
        }
    }

    /// Why the node will not do, in the words of Kubernetes' scheduler.
    pub(super) fn refusal(&self, pod: &Object, node: &Object) -> Option<String> {
        for name in claims_of(pod) {
            let Some(claim) = self.claims.get(&(pod.namespace(), name.as_str())) else {
                return Some(format!("persistentvolumeclaim {name:?} not found"));
            };
            if claim.is_deleting() {
                return Some(format!("persistentvolumeclaim {name:?} is being deleted"));
            }
            let bound = claim.text("/spec/volumeName");
            let fits = if bound.is_empty() {
                let first = self.consumers.get(&(pod.namespace(), name));
                first.is_none_or(|first| *first == node.name())
            } else {
                self.volumes.get(bound).is_none_or(|volume| fits_node(volume, node))
            };
            if !fits {
                return Some("node(s) had volume node affinity conflict".to_owned());
            }
        }
        None
    }
}
