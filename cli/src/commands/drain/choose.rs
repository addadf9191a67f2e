//! Which pods of a node are evicted, which stay, and which forbid the whole. Pure.

use serde_json::Value;

use crate::args::DrainArgs;

/// Annotation of pods that a node runs without the API; they cannot be evicted.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// A pod to be evicted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

/// What becomes of the pods.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) evict: Vec<Pod>,
    /// What is told of pods that stay.
    pub(super) left: Vec<String>,
    /// Why the node cannot be drained like this, with the option that would allow it.
    pub(super) refused: Vec<String>,
}

/// Decides.
pub(super) fn choose(pods: &[Value], args: &DrainArgs) -> Choice {
    let mut choice = Choice::default();
    for pod in pods {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let named = format!("{}/{}", text("/metadata/namespace"), text("/metadata/name"));
        let ended = matches!(text("/status/phase").as_str(), "Succeeded" | "Failed");
        let annotations = pod.pointer("/metadata/annotations");
        if annotations.is_some_and(|annotations| annotations.get(MIRROR).is_some()) {
            continue;
        }
        let owner = controller(pod);
        if owner == Some("DaemonSet") && !ended {
            if args.ignore_daemonsets {
                choice.left.push(format!("leaving pod {named}: it belongs to a DaemonSet"));
            } else {
                choice.refused.push(format!(
                    "pod {named} belongs to a DaemonSet, which would make it anew: add --ignore-daemonsets to leave it"
                ));
            }
            continue;
        }
        let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array);
        let loses = volumes.into_iter().flatten().any(|volume| volume.get("emptyDir").is_some());
        if loses && !ended && !args.delete_emptydir_data {
            choice.refused.push(format!(
                "pod {named} would lose the data of its emptyDir volumes: add --delete-emptydir-data to allow it"
            ));
            continue;
        }
        if owner.is_none() && !ended && !args.force {
            choice
                .refused
                .push(format!("pod {named} has no controller, so nobody would make it anew: add --force to delete it"));
            continue;
        }
        choice.evict.push(Pod {
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name"),
            uid: text("/metadata/uid"),
        });
    }
    choice
}

/// The kind of the object that controls a pod.
fn controller(pod: &Value) -> Option<&str> {
    let owners = pod.pointer("/metadata/ownerReferences")?.as_array()?;
    let controls = |owner: &&Value| owner.get("controller") == Some(&Value::Bool(true));
    owners.iter().find(controls)?.get("kind")?.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::args::{Command, try_parse};

    fn args(line: &str) -> DrainArgs {
        match try_parse(format!("wk drain n1 {line}").split_whitespace()).expect("parses").command {
            Command::Drain(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn pod(name: &str, owner: Option<&str>) -> Value {
        let owners: Vec<Value> = owner.into_iter().map(|kind| json!({"kind": kind, "controller": true})).collect();
        json!({"metadata": {"namespace": "d", "name": name, "uid": name, "ownerReferences": owners}})
    }

    #[test]
    fn pods_of_controllers_go_and_others_need_a_word() {
        let mut scratch = pod("scratch", Some("ReplicaSet"));
        scratch["spec"]["volumes"] = json!([{"emptyDir": {}}]);
        let mut done = pod("done", None);
        done["status"]["phase"] = "Succeeded".into();
        let mirror = json!({"metadata": {"name": "m", "annotations": {MIRROR: "x"}}});
        let pods =
            [pod("web", Some("ReplicaSet")), pod("bare", None), pod("agent", Some("DaemonSet")), scratch, done, mirror];
        let names = |choice: &Choice| choice.evict.iter().map(|pod| pod.name.clone()).collect::<Vec<_>>();
        let careful = choose(&pods, &args(""));
        assert_eq!(names(&careful), ["web", "done"]);
        for (at, option) in ["--force", "--ignore-daemonsets", "--delete-emptydir-data"].iter().enumerate() {
            assert!(careful.refused[at].contains(option), "{careful:?}");
        }
        let bold = choose(&pods, &args("--force --ignore-daemonsets --delete-emptydir-data"));
        assert_eq!(names(&bold), ["web", "bare", "scratch", "done"]);
        assert_eq!(bold.left, ["leaving pod d/agent: it belongs to a DaemonSet"]);
    }
}
