//! Service, EndpointSlice and Node objects as the network's table: a pure function of the objects.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::{Node, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{self as discovery, EndpointSlice};
use wk_network::{self as network, EndpointState, ServiceName, Table};

use crate::register::API_ANNOTATION;

/// The label that ties an EndpointSlice to its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// All services, the endpoints behind them, and the nodes.
pub fn table(services: &[Service], slices: &[EndpointSlice], nodes: &[Node]) -> Table {
    let mut by_service: BTreeMap<ServiceName, Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in slices {
        let Some(service) = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME)) else {
            continue;
        };
        let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
        by_service.entry(ServiceName::new(namespace, service)).or_default().push(slice);
    }
    let table = Table::new(services.iter().filter_map(|service| {
        let meta = &service.metadata;
        let name = ServiceName::new(meta.namespace.as_deref()?, meta.name.as_deref()?);
        let slices = by_service.get(&name).map(Vec::as_slice).unwrap_or_default();
        let spec = service.spec.as_ref()?;
        Some(network::Service {
            cluster_ip: spec.cluster_ip.as_deref().and_then(|ip| ip.parse().ok()),
            ports: spec.ports.iter().flatten().filter_map(|port| service_port(port, slices)).collect(),
            elsewhere: spec.external_name.clone().filter(|_| spec.type_.as_deref() == Some("ExternalName")),
            name,
        })
    }));
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

/// The number of the slice's port of this name.
fn port_number(slice: &EndpointSlice, port: &str) -> Option<u16> {
    let named = slice.ports.iter().flatten().find(|it| it.name.as_deref().unwrap_or_default() == port);
    named.and_then(|port| port.port).and_then(|port| u16::try_from(port).ok())
}

fn endpoints(slice: &EndpointSlice, port: &str) -> Vec<network::Endpoint> {
    let Some(port) = port_number(slice, port) else { return Vec::new() };
    slice.endpoints.iter().filter_map(|it| endpoint(it, port)).collect()
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

fn endpoint(endpoint: &discovery::Endpoint, port: u16) -> Option<network::Endpoint> {
    let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
    let conditions = endpoint.conditions.clone().unwrap_or_default();
    let state = if conditions.ready.unwrap_or(true) {
        EndpointState::Ready
    } else if conditions.serving == Some(true) && conditions.terminating == Some(true) {
        EndpointState::Terminating
    } else {
        EndpointState::NotReady
    };
    Some(network::Endpoint {
        pod: endpoint.target_ref.as_ref()?.uid.as_deref()?.into(),
        node: endpoint.node_name.as_deref()?.into(),
        address,
        port,
        state,
        hostname: endpoint.hostname.as_deref().map(Into::into),
    })
}
