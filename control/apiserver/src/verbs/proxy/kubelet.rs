//! `nodes/NAME/proxy`: there is no kubelet, but the paths of one that mean something here are answered. Source:
//! `pkg/kubelet/server`.
//!
//! Not here: `run`, `checkpoint`, `logs` of the machine and `configz`, which nothing here is behind.

use http::Method;
use serde_json::{Value, json};
use wk_api::{Object, Status, kinds};
use wk_cluster::Freshness;

use crate::respond::{Content, Reply};
use crate::server::ApiServer;
use crate::verbs::connect::{exec, forward};
use crate::verbs::{Call, ask, log};

/// What is asked of a pod, and of which.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Below<'a> {
    pub act: Act<'a>,
    pub namespace: &'a str,
    pub pod: &'a str,
    pub uid: Option<&'a str>,
}

/// What is asked of a pod.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Act<'a> {
    Exec { container: &'a str },
    Attach { container: &'a str },
    Forward,
    Log { container: &'a str },
}

/// Reads a kubelet's path about a pod: `/exec/NAMESPACE/POD[/UID]/CONTAINER` and its like.
pub(crate) fn below(path: &str) -> Option<Below<'_>> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let of = |act, namespace, pod, uid| Some(Below { act, namespace, pod, uid });
    match *parts.as_slice() {
        ["exec", namespace, pod, container] => of(Act::Exec { container }, namespace, pod, None),
        ["exec", namespace, pod, uid, container] => of(Act::Exec { container }, namespace, pod, Some(uid)),
        ["attach", namespace, pod, container] => of(Act::Attach { container }, namespace, pod, None),
        ["attach", namespace, pod, uid, container] => of(Act::Attach { container }, namespace, pod, Some(uid)),
        ["portForward", namespace, pod] => of(Act::Forward, namespace, pod, None),
        ["portForward", namespace, pod, uid] => of(Act::Forward, namespace, pod, Some(uid)),
        ["containerLogs", namespace, pod, container] => of(Act::Log { container }, namespace, pod, None),
        _ => None,
    }
}

/// What a node says of itself and of its pods.
pub(super) async fn answer(server: &ApiServer, call: &Call) -> Result<Reply, Status> {
    let (name, _port) = call.name().split_once(':').unwrap_or((call.name(), ""));
    server.cluster.get(call.kind(), None, name, Freshness::Linearizable).await?;
    if let Some(below) = below(&call.target.below) {
        return of_pod(server, call, name, &below).await;
    }
    if call.method != Method::GET {
        return Err(Status::method_not_allowed(call.kind()));
    }
    match call.target.below.trim_end_matches('/') {
        path @ ("/pods" | "/runningpods") => {
            let pods = server.cluster.list(&kinds::POD, None, Freshness::Linearizable).await?;
            let wanted = |pod: &&std::sync::Arc<Object>| {
                pod.text("/spec/nodeName") == name && (path == "/pods" || pod.text("/status/phase") == "Running")
            };
            let items: Vec<Value> = pods.items.iter().filter(wanted).map(|pod| pod.0.clone()).collect();
            Ok(Reply::ok(json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})))
        }
        path => {
            let response = server.pods.node(name, path).await?;
            Ok(Reply::new(response.status(), Content::Whole(response)))
        }
    }
}

async fn of_pod(server: &ApiServer, call: &Call, node: &str, below: &Below<'_>) -> Result<Reply, Status> {
    if !matches!(below.act, Act::Log { .. }) {
        // A connection begins with a GET too, and who may look at nodes, as monitoring does, may not run what they like in
        // every pod.
        server.authorize(&call.user, &ask(&call.target, &Method::POST, &call.query)).await?;
    }
    let found = server.cluster.get(&kinds::POD, Some(below.namespace), below.pod, Freshness::Linearizable).await;
    let is_meant = |pod: &Object| {
        pod.text("/spec/nodeName") == node && below.uid.is_none_or(|uid| uid.is_empty() || uid == pod.uid())
    };
    let pod = match found {
        Ok(pod) if is_meant(&pod) => pod,
        Err(status) if status.code != 404 => return Err(status),
        Ok(_) | Err(_) => return Err(Status::not_found(&kinds::POD, below.pod)),
    };
    match below.act {
        Act::Exec { container } => exec::at_node(server, call, &pod, container, false).await,
        Act::Attach { container } => exec::at_node(server, call, &pod, container, true).await,
        Act::Forward => forward::stream(server, call, &pod, "port"),
        Act::Log { container } if call.method == Method::GET => log::stream(server, call, &pod, container).await,
        Act::Log { .. } => Err(Status::method_not_allowed(call.kind())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubelets_paths_are_read_with_and_without_the_pods_uid() {
        let read = |path| below(path).map(|below| (below.act, below.pod, below.uid));
        assert_eq!(read("/exec/a/p/c"), Some((Act::Exec { container: "c" }, "p", None)));
        assert_eq!(read("/attach/a/p/u/c"), Some((Act::Attach { container: "c" }, "p", Some("u"))));
        assert_eq!(read("/portForward/a/p"), Some((Act::Forward, "p", None)));
        assert_eq!(read("/containerLogs/a/p/c"), Some((Act::Log { container: "c" }, "p", None)));
        assert_eq!(read("/exec/a/p"), None);
        assert_eq!(read("/metrics"), None);
    }
}
