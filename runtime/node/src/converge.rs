//! What separates the pods that should be here from those that are: a pure comparison.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wk_api::Object;
use wk_base::time::Timestamp;

/// One step towards what should be.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Take on this pod.
    Begin(Arc<Object>),
    /// This pod is marked for deletion; its grace ends at the time given.
    End(String, Timestamp),
    /// This pod's object is gone: stop it at once.
    Forget(String),
}

/// The steps from the pods `here` (by uid) to those `assigned` to this node.
pub fn converge(assigned: &[Arc<Object>], here: &BTreeSet<String>) -> Vec<Step> {
    let wanted: BTreeMap<&str, &Arc<Object>> = assigned.iter().map(|pod| (pod.uid(), pod)).collect();
    let gone = here.iter().filter(|uid| !wanted.contains_key(uid.as_str())).map(|uid| Step::Forget(uid.clone()));
    let present = wanted.iter().flat_map(|(uid, pod)| {
        let begin = (!here.contains(*uid)).then(|| Step::Begin(Arc::clone(pod)));
        // In Kubernetes `deletionTimestamp` is when the grace period ends, not when the deletion was asked for.
        let end = pod.deletion_timestamp().map(|grace_ends| Step::End((*uid).to_owned(), grace_ends));
        begin.into_iter().chain(end)
    });
    gone.chain(present).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(uid: &str, deleted: Option<&str>) -> Arc<Object> {
        let mut object = json!({"metadata": {"name": uid, "uid": uid}});
        if let Some(time) = deleted {
            object["metadata"]["deletionTimestamp"] = json!(time);
        }
        Arc::new(Object::new(object))
    }

    #[test]
    fn new_pods_begin_deleted_ones_end_and_unknown_ones_are_forgotten() {
        let here = BTreeSet::from(["old".to_owned(), "kept".to_owned(), "dying".to_owned()]);
        let time = "2026-01-01T00:00:00Z";
        let assigned = [pod("new", None), pod("kept", None), pod("dying", Some(time))];
        let steps = converge(&assigned, &here);
        assert_eq!(
            steps,
            [
                Step::Forget("old".into()),
                Step::End("dying".into(), time.parse().unwrap()),
                Step::Begin(pod("new", None)),
            ]
        );
    }

    #[test]
    fn pod_marked_while_this_node_was_away_begins_and_ends_so_that_its_object_goes() {
        let steps = converge(&[pod("a", Some("2026-01-01T00:00:00Z"))], &BTreeSet::new());
        assert!(matches!(&steps[..], [Step::Begin(_), Step::End(..)]));
    }
}
