//! Which pod and port a name in a proxy's path means: `[scheme:]name[:port]`.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use wk_api::{Object, Status, kinds};
use wk_cluster::{Cluster, Freshness};

use crate::server::ApiServer;
use crate::verbs::Call;

/// A port of a running pod.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PodPort {
    pub node: String,
    pub uid: String,
    pub port: u16,
}

/// The label by which an EndpointSlice belongs to its Service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// Each request to a service goes to the next endpoint.
static TURN: AtomicUsize = AtomicUsize::new(0);
/// What a pod without declared ports is asked at, as in Kubernetes.
const PORT_DEFAULT: u16 = 80;

pub(super) async fn pod(server: &ApiServer, call: &Call) -> Result<PodPort, Status> {
    let (name, port) = split(call, "pod")?;
    let pod = server.cluster.get(call.kind(), call.namespace(), name, Freshness::Linearizable).await?;
    pod_port(&pod, port)
}

fn pod_port(pod: &Object, port: &str) -> Result<PodPort, Status> {
    let node = pod.text("/spec/nodeName");
    if node.is_empty() {
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", pod.name())));
    }
    let port = match port {
        "" => first_port(pod).unwrap_or(PORT_DEFAULT),
        port => {
            port.parse().map_err(|_| Status::bad_request(format!("invalid port {port:?} of pod {}", pod.name())))?
        }
    };
    Ok(PodPort { node: node.to_owned(), uid: pod.uid().to_owned(), port })
}

fn first_port(pod: &Object) -> Option<u16> {
    let mut ports = pod.items("/spec/containers").iter().filter_map(|container| container.pointer("/ports/0"));
    ports.next()?.get("containerPort")?.as_u64()?.try_into().ok()
}

pub(super) async fn service(server: &ApiServer, call: &Call) -> Result<PodPort, Status> {
    let (name, port) = split(call, "service")?;
    of_service(&server.cluster, call.namespace(), name, port).await
}

/// A pod that answers for a service, at one of its ports.
pub(crate) async fn of_service(
    cluster: &Cluster,
    namespace: Option<&str>,
    name: &str,
    port: &str,
) -> Result<PodPort, Status> {
    let service = cluster.get(&kinds::SERVICE, namespace, name, Freshness::Linearizable).await?;
    let asked = if port.is_empty() { name.to_owned() } else { format!("{name}:{port}") };
    let port = port_name(&service, port)?;
    let slices = cluster.list(&kinds::ENDPOINTSLICE, namespace, Freshness::Linearizable).await?.items;
    let of_service = slices.iter().filter(|slice| slice.label(SERVICE_LABEL) == Some(name));
    let ready: Vec<PodPort> = of_service.flat_map(|slice| ready(slice, port)).collect();
    let turn = TURN.fetch_add(1, Ordering::Relaxed) % ready.len().max(1);
    ready
        .into_iter()
        .nth(turn)
        .ok_or_else(|| Status::unavailable(format!("no endpoints available for service {asked:?}")))
}

/// The name of a service's port, which may be asked for by number.
fn port_name<'a>(service: &'a Object, port: &'a str) -> Result<&'a str, Status> {
    let Ok(number) = port.parse::<u64>() else { return Ok(port) };
    let mut ports = service.items("/spec/ports").iter();
    let found = ports.find(|port| port.get("port").and_then(Value::as_u64) == Some(number));
    let name = found.map(|port| port.get("name").and_then(Value::as_str).unwrap_or_default());
    name.ok_or_else(|| Status::unavailable(format!("no service port {number} found for service {:?}", service.name())))
}

fn ready(slice: &Object, port: &str) -> Vec<PodPort> {
    let named = |it: &&Value| it.get("name").and_then(Value::as_str).unwrap_or_default() == port;
    let port = slice.items("/ports").iter().find(named).and_then(|port| port.get("port")?.as_u64());
    let Some(port) = port.and_then(|port| u16::try_from(port).ok()) else { return Vec::new() };
    let endpoints = slice
        .items("/endpoints")
        .iter()
        .filter(|endpoint| endpoint.pointer("/conditions/ready").and_then(Value::as_bool).unwrap_or(true));
    let text = |endpoint: &Value, pointer: &str| endpoint.pointer(pointer)?.as_str().map(str::to_owned);
    endpoints
        .filter_map(|it| Some(PodPort { node: text(it, "/nodeName")?, uid: text(it, "/targetRef/uid")?, port }))
        .collect()
}

/// Name and port of `[scheme:]name[:port]`.
fn split<'a>(call: &'a Call, what: &str) -> Result<(&'a str, &'a str), Status> {
    let invalid = || Status::bad_request(format!("invalid {what} request {:?}", call.name()));
    let parts: Vec<&str> = call.name().split(':').collect();
    let (scheme, name, port) = match *parts.as_slice() {
        [name] => ("", name, ""),
        [name, port] => ("", name, port),
        [scheme, name, port] => (scheme, name, port),
        _ => return Err(invalid()),
    };
    match scheme {
        "" | "http" if !name.is_empty() => Ok((name, port)),
        "https" if !name.is_empty() => {
            Err(Status::unavailable("error trying to reach service: pods of this cluster speak HTTP, not HTTPS"))
        }
        _ => Err(invalid()),
    }
}
