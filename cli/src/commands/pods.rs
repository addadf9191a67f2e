//! The pods a word means: one by its name, or those of a workload or a Service; and which container of them.

use serde_json::Value;

use super::pick::{Picked, hinted};
use crate::client::{Client, JSON, Query, Resource};
use crate::discovery::Kinds;
use crate::exit::{Code, ExitError, usage};

/// Annotation that names the container meant when none is given.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// What a word means.
pub(super) struct Meant {
    pub(super) pods: Vec<Value>,
    /// The Service, if the word named one: its ports have other numbers than those of its pods.
    pub(super) service: Option<Value>,
}

/// The pods of `POD` or `KIND/NAME`; at least one.
pub(super) async fn meant(client: &Client, target: &str) -> anyhow::Result<Meant> {
    let (kind, name) = match target.split_once('/') {
        None => ("pods", target),
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() => (kind, name),
        Some(_) => return Err(usage(format!("{target:?} is neither POD nor KIND/NAME")).into()),
    };
    let resource = if kind == "pods" { Resource::pods() } else { Kinds::discover(client).await?.find(kind)?.clone() };
    let picked = Picked { resource, namespace: client.namespace().to_owned(), name: name.to_owned() };
    let object = client.get(&picked.path(), JSON).await;
    let object = hinted(client, &picked, object).await?;
    if picked.resource.plural == "pods" {
        return Ok(Meant { pods: vec![object], service: None });
    }
    let labels = selector(&object).ok_or_else(|| usage(format!("{target} selects no pods")))?;
    let pods = labelled(client, &labels).await?;
    if pods.is_empty() {
        return Err(ExitError::new(Code::NotFound, format!("{target} has no pods")).into());
    }
    Ok(Meant { pods, service: (picked.resource.kind == "Service").then_some(object) })
}

/// The pods with these labels.
pub(super) async fn labelled(client: &Client, labels: &str) -> anyhow::Result<Vec<Value>> {
    let collection = Resource::pods().collection(Some(client.namespace()));
    client.list(&collection, Query::default().with("labelSelector", labels)).await
}

/// The one of the pods that can be talked to: a running one if there is any.
pub(super) fn one(mut pods: Vec<Value>) -> Option<Value> {
    let runs = |pod: &Value| {
        pod.pointer("/status/phase").and_then(Value::as_str) == Some("Running")
            && pod.pointer("/metadata/deletionTimestamp").is_none()
    };
    let at = pods.iter().position(runs).unwrap_or(0);
    (at < pods.len()).then(|| pods.swap_remove(at))
}

/// The container meant when none is named.
pub(super) fn container(pod: &Value) -> Option<&str> {
    let preferred = pod.pointer("/metadata/annotations").and_then(|all| all.get(DEFAULT_CONTAINER)?.as_str());
    preferred.or_else(|| pod.pointer("/spec/containers/0/name").and_then(Value::as_str))
}

/// The names of all containers, in the order they start.
pub(super) fn containers(pod: &Value) -> Vec<&str> {
    let of = |pointer: &str| pod.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let all = of("/spec/initContainers").chain(of("/spec/containers")).chain(of("/spec/ephemeralContainers"));
    all.filter_map(|container| container.get("name")?.as_str()).collect()
}

/// The labels a Deployment, ReplicaSet or Service selects pods by.
fn selector(object: &Value) -> Option<String> {
    let selector = object.pointer("/spec/selector")?;
    let labels = selector.get("matchLabels").unwrap_or(selector).as_object()?;
    let pairs: Option<Vec<String>> =
        labels.iter().map(|(key, value)| Some(format!("{key}={}", value.as_str()?))).collect();
    pairs.filter(|pairs| !pairs.is_empty()).map(|pairs| pairs.join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_are_selected_as_deployments_and_services_do() {
        let deployment = json!({"spec": {"selector": {"matchLabels": {"a": "1", "b": "2"}}}});
        assert_eq!(selector(&deployment).as_deref(), Some("a=1,b=2"));
        assert_eq!(selector(&json!({"spec": {"selector": {"a": "1"}}})).as_deref(), Some("a=1"));
        assert_eq!(selector(&json!({"spec": {}})), None);
        assert_eq!(selector(&json!({"spec": {"selector": {}}})), None);
    }

    #[test]
    fn running_pod_is_preferred() {
        let pod = |name: &str, phase: &str| json!({"metadata": {"name": name}, "status": {"phase": phase}});
        let chosen = one(vec![pod("a", "Pending"), pod("b", "Running")]).expect("one");
        assert_eq!(crate::fields::name(&chosen), "b");
        assert!(one(Vec::new()).is_none());
    }
}
