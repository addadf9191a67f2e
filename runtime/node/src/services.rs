//! Service, EndpointSlice and Node objects as the network's table. It is a function of the objects, and made of what changed.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{self as discovery, EndpointSlice};
use wk_api::kinds;
use wk_cluster::{brief, label_hash};
use wk_network::{self as network, EndpointState, ServiceName, Table};
use wk_store::{Revision, Stored, View};

use crate::register::API_ANNOTATION;
use crate::typed;

/// The label that ties an EndpointSlice to its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Makes one table after the other. A service of which nothing changed is taken over from the last one: among thousands of
/// endpoints those of one change at a time.
#[derive(Default)]
pub struct Tables {
    /// By the service's name in the store, with the versions that it was made from.
    made: HashMap<String, (Vec<Revision>, Arc<network::Service>)>,
}

impl Tables {
    /// All services of `view`, the endpoints behind them, and the nodes.
    pub fn next(&mut self, view: &View) -> Table {
        let slices: Vec<Arc<Stored>> = view.list(kinds::ENDPOINTSLICE.collection(), "").collect();
        let mut by_label: HashMap<(&str, u64), Vec<&Arc<Stored>>> = HashMap::new();
        for slice in &slices {
            let namespace = slice.key().name().split_once('/').map_or("", |(namespace, _)| namespace);
            for label in brief(slice).labels() {
                by_label.entry((namespace, label)).or_default().push(slice);
            }
        }
        let mut made = HashMap::with_capacity(self.made.len());
        for stored in view.list(kinds::SERVICE.collection(), "") {
            let Some((namespace, name)) = stored.key().name().split_once('/') else { continue };
            let slices = by_label.get(&(namespace, label_hash(SERVICE_NAME, name)));
            let slices = slices.map(Vec::as_slice).unwrap_or_default();
            let versions =
                [&stored].into_iter().chain(slices.iter().copied()).map(|object| object.revision()).collect();
            let last = self.made.remove(stored.key().name());
            let same = last.filter(|(of, _)| *of == versions).map(|(_, service)| service);
            let fresh = || {
                let slices: Vec<EndpointSlice> = slices.iter().filter_map(|slice| typed(slice)).collect();
                service(&typed(&stored)?, &slices.iter().collect::<Vec<_>>()).map(Arc::new)
            };
            if let Some(service) = same.or_else(fresh) {
                made.insert(stored.key().name().to_owned(), (versions, service));
            }
        }
        self.made = made;
        let services: BTreeMap<&String, &Arc<network::Service>> =
            self.made.iter().map(|(name, (_, service))| (name, service)).collect();
        let nodes: Vec<Node> = view.list(kinds::NODE.collection(), "").filter_map(|stored| typed(&stored)).collect();
        Table::new(services.into_values().cloned()).with_nodes(nodes.iter().filter_map(node).collect())
    }
}

fn service(service: &Service, slices: &[&EndpointSlice]) -> Option<network::Service> {
    let meta = &service.metadata;
    let spec = service.spec.as_ref()?;
    let name = ServiceName::new(meta.namespace.as_deref()?, meta.name.as_deref()?);
    // Labels with one hash are one to whoever looked the slices up.
    let own = |slice: &&&EndpointSlice| {
        let of = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME));
        of == Some(&name.name)
    };
    let slices: Vec<&EndpointSlice> = slices.iter().filter(own).copied().collect();
    Some(network::Service {
        cluster_ip: spec.cluster_ip.as_deref().and_then(|ip| ip.parse().ok()),
        ports: spec.ports.iter().flatten().filter_map(|port| service_port(port, &slices)).collect(),
        node_ports: spec.ports.iter().flatten().filter_map(node_port).collect(),
        local_traffic: spec.external_traffic_policy.as_deref() == Some("Local"),
        elsewhere: spec.external_name.clone().filter(|_| spec.type_.as_deref() == Some("ExternalName")),
        name,
    })
}

/// All services, the endpoints behind them, and the nodes.
#[cfg(test)]
pub(crate) fn table(services: &[Service], slices: &[EndpointSlice], nodes: &[Node]) -> Table {
    let slices: Vec<&EndpointSlice> = slices.iter().collect();
    let table = Table::new(services.iter().filter_map(|it| service(it, &slices)));
    table.with_nodes(nodes.iter().filter_map(node).collect())
}

fn node(node: &Node) -> Option<network::Node> {
    let addresses = node.status.as_ref().and_then(|status| status.addresses.as_ref());
    let api = node.metadata.annotations.as_ref().and_then(|all| all.get(API_ANNOTATION));
    Some(network::Node {
        api: api.and_then(|place| place.parse().ok()),
        name: node.metadata.name.as_deref()?.into(),
        pods: node.spec.as_ref().and_then(|spec| spec.pod_cidr.as_deref()?.parse().ok()),
        addresses: addresses.into_iter().flatten().filter_map(|it| it.address.parse().ok()).collect(),
    })
}

fn service_port(port: &ServicePort, slices: &[&EndpointSlice]) -> Option<network::ServicePort> {
    let name = port.name.clone().unwrap_or_default();
    let endpoints = slices.iter().flat_map(|slice| endpoints(slice, &name)).collect();
    let written = slices.iter().flat_map(|slice| written(slice, &name)).collect();
    Some(network::ServicePort { port: u16::try_from(port.port).ok()?, name, endpoints, written })
}

fn node_port(port: &ServicePort) -> Option<network::NodePort> {
    let is_tcp = port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
    let number = port.node_port.filter(|number| is_tcp && *number > 0)?;
    Some(network::NodePort { number: u16::try_from(number).ok()?, port: u16::try_from(port.port).ok()? })
}

/// The number of the slice's port of this name.
fn port_number(slice: &EndpointSlice, port: &str) -> Option<u16> {
    let named = slice.ports.iter().flatten().find(|it| it.name.as_deref().unwrap_or_default() == port);
    named.and_then(|port| port.port).and_then(|port| u16::try_from(port).ok())
}

fn endpoints(slice: &EndpointSlice, port: &str) -> Vec<network::Endpoint> {
    let Some(port) = port_number(slice, port) else { return Vec::new() };
    // Most lie on the node of the one before, and there are thousands: they share its name.
    let mut node: Arc<str> = Arc::default();
    slice.endpoints.iter().filter_map(|it| endpoint(it, port, &mut node)).collect()
}

/// Addresses that are no pods'.
fn written(slice: &EndpointSlice, port: &str) -> Vec<SocketAddr> {
    let Some(port) = port_number(slice, port) else { return Vec::new() };
    let ready = |it: &&discovery::Endpoint| {
        it.target_ref.is_none() && it.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
    };
    let addresses = slice.endpoints.iter().filter(ready).filter_map(|it| it.addresses.first()?.parse().ok());
    addresses.map(|address| SocketAddr::new(address, port)).collect()
}

fn endpoint(endpoint: &discovery::Endpoint, port: u16, node: &mut Arc<str>) -> Option<network::Endpoint> {
    let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
    let conditions = endpoint.conditions.clone().unwrap_or_default();
    let state = if conditions.ready.unwrap_or(true) {
        EndpointState::Ready
    } else if conditions.serving == Some(true) && conditions.terminating == Some(true) {
        EndpointState::Terminating
    } else {
        EndpointState::NotReady
    };
    let name = endpoint.node_name.as_deref()?;
    if **node != *name {
        *node = name.into();
    }
    Some(network::Endpoint {
        pod: endpoint.target_ref.as_ref()?.uid.as_deref()?.into(),
        node: Arc::clone(node),
        address,
        port,
        state,
        hostname: endpoint.hostname.as_deref().map(Into::into),
    })
}
