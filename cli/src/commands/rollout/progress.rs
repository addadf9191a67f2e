//! How far a StatefulSet or a DaemonSet is with its newest revision. Pure. Deployments: `deploy/rollout.rs`.

use serde_json::Value;

use crate::commands::deploy::rollout::Progress;
use crate::fields::{number, text};

/// How far a StatefulSet is.
pub(super) fn stateful_set(object: &Value) -> Progress {
    let wanted = object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    let (ready, updated) = (number(object, "/status/readyReplicas"), number(object, "/status/updatedReplicas"));
    let partition = number(object, "/spec/updateStrategy/rollingUpdate/partition");
    if text(object, "/spec/updateStrategy/type") == "OnDelete" {
        return Progress::Failed("it replaces pods only when they are deleted (updateStrategy OnDelete)".to_owned());
    }
    if number(object, "/status/observedGeneration") < number(object, "/metadata/generation") {
        return Progress::Waiting("waiting for the controller".to_owned());
    }
    if ready < wanted {
        return Progress::Waiting(format!("{ready} of {wanted} replicas ready"));
    }
    if partition > 0 {
        let due = wanted - partition;
        return if updated < due {
            Progress::Waiting(format!("{updated} of {due} replicas from {partition} up are new"))
        } else {
            Progress::Ready { replicas: wanted }
        };
    }
    if text(object, "/status/updateRevision") != text(object, "/status/currentRevision") {
        return Progress::Waiting(format!("{updated} of {wanted} replicas are new"));
    }
    Progress::Ready { replicas: wanted }
}

/// How far a DaemonSet is.
pub(super) fn daemon_set(object: &Value) -> Progress {
    let wanted = number(object, "/status/desiredNumberScheduled");
    let (updated, available) =
        (number(object, "/status/updatedNumberScheduled"), number(object, "/status/numberAvailable"));
    if text(object, "/spec/updateStrategy/type") == "OnDelete" {
        return Progress::Failed("it replaces pods only when they are deleted (updateStrategy OnDelete)".to_owned());
    }
    if number(object, "/status/observedGeneration") < number(object, "/metadata/generation") {
        Progress::Waiting("waiting for the controller".to_owned())
    } else if updated < wanted {
        Progress::Waiting(format!("{updated} of {wanted} pods are new"))
    } else if available < wanted {
        Progress::Waiting(format!("{available} of {wanted} new pods are available"))
    } else {
        Progress::Ready { replicas: wanted }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn stateful_set_is_out_when_both_revisions_are_one() {
        let mut set = json!({"metadata": {"generation": 2}, "spec": {"replicas": 2},
            "status": {"observedGeneration": 2, "readyReplicas": 2, "updatedReplicas": 1, "updateRevision": "b", "currentRevision": "a"}});
        assert_eq!(stateful_set(&set), Progress::Waiting("1 of 2 replicas are new".into()));
        set["status"]["currentRevision"] = "b".into();
        assert_eq!(stateful_set(&set), Progress::Ready { replicas: 2 });
        set["spec"]["updateStrategy"] = json!({"rollingUpdate": {"partition": 1}});
        assert_eq!(stateful_set(&set), Progress::Ready { replicas: 2 });
    }

    #[test]
    fn daemon_set_waits_for_pods_that_are_new_and_available() {
        let set = json!({"status": {"desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 2}});
        assert_eq!(daemon_set(&set), Progress::Waiting("2 of 3 new pods are available".into()));
    }
}
