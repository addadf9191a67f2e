//! The one place where policy is asked: may this pod connect there?
//!
//! Today the pod's own annotation answers. NetworkPolicies will be asked here as well, of both ends.

use std::net::{IpAddr, SocketAddr};

use wk_network::{Lead, ServiceName, Table};

use super::dial;
use super::pods::Pod;

/// The Service of the API, whose endpoints are nodes.
const API: (&str, &str) = ("default", "kubernetes");

/// What a refused pod lacks: the word to add to its annotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Denied {
    pub(super) add: String,
}

/// Whether `pod` may connect to `to`, which leads to `lead`.
pub(super) fn connect(pod: &Pod, table: &Table, to: SocketAddr, lead: &Lead) -> Result<(), Denied> {
    match lead {
        Lead::Service(..) | Lead::Pod(_) | Lead::Nobody => cluster(pod),
        Lead::Outside => outside(pod, table, to),
    }
}

/// Whether `pod` may reach the cluster's services and pods.
pub(super) fn cluster(pod: &Pod) -> Result<(), Denied> {
    if pod.spec.egress.cluster() { Ok(()) } else { Err(Denied { add: "cluster".to_owned() }) }
}

/// Whether `pod` may connect to an address outside.
pub(super) fn outside(pod: &Pod, table: &Table, to: SocketAddr) -> Result<(), Denied> {
    let names = pod.names_of(to.ip());
    let allowed =
        pod.spec.egress.may_connect(to.ip(), to.port(), names.iter().map(String::as_str), || table.is_node(to.ip()));
    if allowed {
        return Ok(());
    }
    let special = wk_network::egress::is_special(to.ip()) || table.is_node(to.ip());
    Err(Denied {
        add: match names.first() {
            Some(name) if !special => format!("{name}:{}", to.port()),
            _ => block(to.ip(), to.port()),
        },
    })
}

/// Whether `pod`, which may connect to the service, may connect to an address that stands behind it and is no pod's:
/// whoever writes EndpointSlices would otherwise lead it anywhere.
pub(super) fn written(pod: &Pod, table: &Table, to: SocketAddr) -> Result<(), Denied> {
    outside(pod, table, to)?;
    this_host(pod, to)
}

/// Where the API is, when the Service is the API's: at the nodes, this one first. What is written behind that Service
/// says the same to clients, and is not believed.
pub(super) fn api(table: &Table, service: &ServiceName, this: &str) -> Vec<SocketAddr> {
    if (service.namespace.as_str(), service.name.as_str()) != API {
        return Vec::new();
    }
    let own = |node: &&wk_network::Node| *node.name == *this;
    let (own, others): (Vec<_>, Vec<_>) = table.nodes().iter().partition(own);
    own.into_iter().chain(others).filter_map(|node| node.api).take(API_NODES_MAX).collect()
}

/// Nodes asked for the API in turn: this one answers unless its process is going down.
const API_NODES_MAX: usize = 3;

/// Whether `pod`, which may connect to the address, may also if it is one of this machine's own, whatever it is called:
/// only if it was given the address itself.
pub(super) fn this_host(pod: &Pod, to: SocketAddr) -> Result<(), Denied> {
    if pod.spec.egress.gives_address(to.ip(), to.port()) || !dial::is_this_host(to) {
        return Ok(());
    }
    Err(Denied { add: block(to.ip(), to.port()) })
}

/// Whether `pod` may look up a name outside.
pub(super) fn look_up(pod: &Pod, name: &str) -> Result<(), Denied> {
    if pod.spec.egress.may_look_up(name) { Ok(()) } else { Err(Denied { add: wk_network::egress::plain(name) }) }
}

/// The Service of the pod's own namespace that `name`, which is nobody's, would mean: a name misspelt. Of other namespaces
/// nothing is said, or whoever may ask would learn which ones there are.
pub(super) fn no_service<'a>(pod: &Pod, name: &'a str) -> Option<&'a str> {
    cluster(pod).ok()?;
    let (service, namespace) = name.trim_end_matches('.').split_once('.')?;
    (namespace == pod.spec.namespace).then_some(service)
}

fn block(address: IpAddr, port: u16) -> String {
    let length = if address.is_ipv4() { 32 } else { 128 };
    format!("{address}/{length}:{port}")
}
