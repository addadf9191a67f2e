//! What is asked of every object whenever something changes, in a few hundred bytes that are kept as long as the object:
//! who owns it, where it runs, what it asks for. Whoever looks at all objects looks at these, and decodes those that matter.
//!
//! Not here: decisions, and anything that an object's own planner asks.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use wk_api::requests::{self, Amounts};
use wk_api::{Object, kinds};
use wk_store::Stored;

use crate::object;

/// See the module.
#[derive(Debug)]
pub struct Brief {
    uid: Box<str>,
    owners: Box<[Box<str>]>,
    /// Which of the owners controls it.
    controller: Option<usize>,
    labels: Box<[u64]>,
    is_deleting: bool,
    has_finalizers: bool,
    pod: Option<Box<PodBrief>>,
}

/// What of a pod matters to others.
#[derive(Debug)]
pub struct PodBrief {
    /// The node that it is bound to; empty without one.
    pub node: Box<str>,
    /// The one on which room is made for it; empty without one.
    pub nominated: Box<str>,
    /// It ran and will not run again.
    pub is_finished: bool,
    /// No other scheduler is to take it, and no gate holds it.
    pub is_ours: bool,
    /// It names claims, or has volumes that become some.
    pub has_claims: bool,
    /// It keeps others away from where it is (`podAntiAffinity`).
    pub repels: bool,
    /// `spec.priority`, 0 without one.
    pub priority: i32,
    /// What it asks of its node.
    pub requests: Amounts,
}

/// The brief of an object.
pub fn brief(stored: &Stored) -> &Brief {
    let make = |stored: &Stored| {
        let collection = stored.key().collection();
        // Of most objects nobody asks for more.
        let few =
            || wk_api::outline(&stored.bytes()).filter(|_| collection != kinds::SECRET.collection()).map(Arc::new);
        let object = stored.decoded_here().or_else(few).unwrap_or_else(|| object(stored));
        Brief::of(collection == kinds::POD.collection(), &object)
    };
    stored.brief(make).expect("nobody else makes briefs")
}

/// A label as briefs know it. Two labels with one hash are one here: who finds an object by it looks at the object.
pub fn label_hash(key: &str, value: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, value).hash(&mut hasher);
    hasher.finish()
}

impl Brief {
    fn of(is_pod: bool, object: &Object) -> Self {
        let references = object.items("/metadata/ownerReferences");
        let owners = references.iter().map(|owner| owner["uid"].as_str().unwrap_or_default().into());
        Self {
            uid: object.uid().into(),
            owners: owners.collect(),
            controller: references.iter().position(|owner| owner["controller"] == true),
            labels: object.labels().into_iter().map(|(key, value)| label_hash(key, value)).collect(),
            is_deleting: object.is_deleting(),
            has_finalizers: !object.items("/metadata/finalizers").is_empty(),
            pod: is_pod.then(|| Box::new(PodBrief::of(object))),
        }
    }

    /// `metadata.uid`.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// The uids of its owners.
    pub fn owners(&self) -> impl Iterator<Item = &str> {
        self.owners.iter().map(|uid| &**uid)
    }

    /// The uid of the owner that controls it.
    pub fn controller(&self) -> Option<&str> {
        Some(&**self.owners.get(self.controller?)?)
    }

    /// Its labels, each as its [`label_hash`].
    pub fn labels(&self) -> impl Iterator<Item = u64> {
        self.labels.iter().copied()
    }

    /// Whether it is on its way out.
    pub fn is_deleting(&self) -> bool {
        self.is_deleting
    }

    /// Whether anything holds it.
    pub fn has_finalizers(&self) -> bool {
        self.has_finalizers
    }

    /// What of a pod matters to others; None for any other kind.
    pub fn pod(&self) -> Option<&PodBrief> {
        self.pod.as_deref()
    }

    /// The node that a pod is bound to.
    pub fn node(&self) -> Option<&str> {
        self.pod.as_ref().map(|pod| &*pod.node).filter(|node| !node.is_empty())
    }
}

/// Rules by which a pod keeps others away.
const REPELS: &str = "/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution";

impl PodBrief {
    fn of(pod: &Object) -> Self {
        let claims = |volume: &serde_json::Value| {
            volume.get("persistentVolumeClaim").is_some() || volume.get("ephemeral").is_some()
        };
        Self {
            node: pod.text("/spec/nodeName").into(),
            nominated: pod.text("/status/nominatedNodeName").into(),
            is_ours: matches!(pod.text("/spec/schedulerName"), "" | "default-scheduler")
                && pod.items("/spec/schedulingGates").is_empty(),
            is_finished: matches!(pod.text("/status/phase"), "Succeeded" | "Failed"),
            has_claims: pod.items("/spec/volumes").iter().any(claims),
            repels: !pod.items(REPELS).is_empty(),
            priority: pod.int("/spec/priority").and_then(|it| i32::try_from(it).ok()).unwrap_or_default(),
            requests: requests::of_pod(pod),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn brief_of_the_outline_of_an_object_is_that_of_all_of_it() {
        let asks =
            |cpu: &str| json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu, "memory": "1Mi"}}});
        let pod = json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {
                "name": "x", "uid": "u", "labels": {"app": "web"}, "finalizers": ["a/b"], "managedFields": [{}],
                "deletionTimestamp": "2025-01-01T00:00:00Z",
                "ownerReferences": [{"uid": "other"}, {"uid": "set", "controller": true}],
            },
            "spec": {
                "nodeName": "n1", "schedulerName": "other", "schedulingGates": [{"name": "g"}],
                "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}],
                "containers": [asks("100m"), asks("1")],
                "initContainers": [{"restartPolicy": "Always", "resources": {"requests": {"cpu": "2"}}}, asks("7")],
                "overhead": {"cpu": "10m"}, "priority": 7, "affinity": {"nodeAffinity": {}, "podAntiAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}]}},
            },
            "status": {"phase": "Failed", "nominatedNodeName": "n2", "conditions": []},
        });
        let mut some = pod.clone();
        for (member, field) in
            [("metadata", "deletionTimestamp"), ("spec", "schedulerName"), ("spec", "schedulingGates")]
        {
            some[member].as_object_mut().unwrap().remove(field);
        }
        for pod in [pod, some, json!({"metadata": {}})] {
            let outline = wk_api::outline(pod.to_string().as_bytes()).unwrap();
            let [all, few] = [Brief::of(true, &Object(pod)), Brief::of(true, &outline)];
            assert_eq!(format!("{all:?}"), format!("{few:?}"));
        }
    }

    #[test]
    fn brief_says_who_owns_a_pod_where_it_runs_and_what_it_asks_for() {
        let brief = Brief::of(
            true,
            &Object(json!({
                "metadata": {
                    "uid": "u", "labels": {"app": "web"}, "finalizers": ["a/b"],
                    "ownerReferences": [{"uid": "other"}, {"uid": "set", "controller": true}],
                },
                "spec": {
                    "nodeName": "n1", "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}],
                    "containers": [{"resources": {"requests": {"cpu": "100m"}}}],
                },
                "status": {"phase": "Running"},
            })),
        );
        assert_eq!((brief.uid(), brief.controller(), brief.node()), ("u", Some("set"), Some("n1")));
        assert_eq!(brief.owners().collect::<Vec<_>>(), ["other", "set"]);
        assert_eq!(brief.labels().collect::<Vec<_>>(), [label_hash("app", "web")]);
        assert!(brief.has_finalizers() && !brief.is_deleting());
        let pod = brief.pod().unwrap();
        assert!(pod.is_ours && pod.has_claims && !pod.is_finished && pod.requests.cpu_millis == 100);
        assert!(Brief::of(false, &Object(json!({"metadata": {}}))).pod().is_none());
    }
}
