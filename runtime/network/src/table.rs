//! Services, what stands behind them, and nodes, as of one moment.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::pool::Cidr;

/// The current table: readers load it, one writer swaps in whole new ones.
pub type SharedTable = Arc<ArcSwap<Table>>;

/// A service's namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ServiceName {
    /// A name from its parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub name: ServiceName,
    /// Its virtual address; `None` for a headless service.
    pub cluster_ip: Option<IpAddr>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// The name it stands for instead (`type: ExternalName`).
    pub elsewhere: Option<String>,
    /// Where nodes listen for it, TCP only.
    pub node_ports: Vec<NodePort>,
    /// Whether who comes by a node port is led to pods of that node only (`externalTrafficPolicy: Local`).
    pub local_traffic: bool,
}

/// A port of every node that leads to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodePort {
    /// The nodes' port.
    pub number: u16,
    /// The service's.
    pub port: u16,
}

/// One port of a service and the endpoints behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// The port's name; empty where the service has just one and does not name it.
    pub name: String,
    /// The number at the virtual address.
    pub port: u16,
    /// Behind it, in the order of the EndpointSlices. Each knows its own target port.
    pub endpoints: Vec<Endpoint>,
    /// Ready ones that are no pods: somebody wrote their addresses down.
    pub written: Vec<SocketAddr>,
}

/// What an EndpointSlice's conditions say about an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndpointState {
    /// Takes requests.
    Ready,
    /// On its way out but still serving: takes requests only while nobody is ready (KEP-1669).
    Terminating,
    /// Takes none.
    NotReady,
}

/// One pod behind a service port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The pod's uid.
    pub pod: Arc<str>,
    /// The node it runs on.
    pub node: Arc<str>,
    /// The pod's address.
    pub address: IpAddr,
    /// The port on the pod (the service's target port).
    pub port: u16,
    /// Whether it may be called.
    pub state: EndpointState,
    /// The name of its own below the service's, as a StatefulSet's pods have.
    pub hostname: Option<Arc<str>>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: Arc<str>,
    /// The addresses of its pods, once it has them.
    pub pods: Option<Cidr>,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// Where it answers for the API.
    pub api: Option<SocketAddr>,
}

impl ServicePort {
    /// The endpoints to call now: the ready ones, or those terminating when none is ready.
    pub fn usable(&self) -> impl Iterator<Item = &Endpoint> {
        let ready = self.endpoints.iter().any(|endpoint| endpoint.state == EndpointState::Ready);
        let wanted = if ready { EndpointState::Ready } else { EndpointState::Terminating };
        self.endpoints.iter().filter(move |endpoint| endpoint.state == wanted)
    }
}

impl Service {
    /// A port by number.
    pub fn port(&self, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.port == number)
    }

    /// A port by name.
    pub fn port_named(&self, name: &str) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.name == name)
    }
}

/// All services of a moment, by name and by virtual address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    services: BTreeMap<ServiceName, Arc<Service>>,
    addresses: BTreeMap<IpAddr, Arc<Service>>,
    nodes: Vec<Node>,
}

impl Table {
    /// A table of these services. Of two with one name or one address, the first stays: a reader never sees an address
    /// change hands because of the order in which somebody else's mistake arrived.
    pub fn new(services: impl IntoIterator<Item = impl Into<Arc<Service>>>) -> Self {
        let mut table = Self::default();
        for service in services {
            let service: Arc<Service> = service.into();
            if table.services.contains_key(&service.name) {
                continue;
            }
            if let Some(address) = service.cluster_ip {
                table.addresses.entry(address).or_insert_with(|| Arc::clone(&service));
            }
            table.services.insert(service.name.clone(), service);
        }
        table
    }

    /// The same with these nodes.
    #[must_use]
    pub fn with_nodes(mut self, nodes: Vec<Node>) -> Self {
        self.nodes = nodes;
        self
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A table that others can swap.
    pub fn shared(self) -> SharedTable {
        Arc::new(ArcSwap::from_pointee(self))
    }

    /// A service by name.
    pub fn service(&self, name: &ServiceName) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    /// The service at a virtual address.
    pub fn at(&self, address: IpAddr) -> Option<&Arc<Service>> {
        self.addresses.get(&address)
    }

    /// All services, in the order of their names.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }
}

#[cfg(test)]
mod tests;
