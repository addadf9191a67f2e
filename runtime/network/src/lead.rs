//! Where a name or an address leads: to a service's endpoints, to a pod, or out of the cluster.
//!
//! Names are those of Kubernetes' *DNS for Services and Pods*.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::egress::plain;
use crate::pool::Cidr;
use crate::table::{Service, ServiceName, ServicePort, Table};

/// The cluster's domain.
pub const DOMAIN: &str = "cluster.local";

/// The addresses of services and of pods, whoever has which: no such address is outside, even if nobody has it.
/// `control/cluster` and `control/plan` hand them out.
const OURS: [(Ipv4Addr, u8); 2] = [(Ipv4Addr::new(10, 96, 0, 0), 12), (Ipv4Addr::new(10, 128, 0, 0), 9)];

/// Where an address leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lead {
    /// To any of a service port's endpoints.
    Service(Arc<Service>, u16),
    /// To the pod with this address, which runs on this node if at all.
    Pod(Arc<str>),
    /// To nobody, though it is the cluster's.
    Nobody,
    /// Out of the cluster.
    Outside,
}

impl Lead {
    /// The port of the service, if it leads to one.
    pub fn port(&self) -> Option<&ServicePort> {
        match self {
            Self::Service(service, port) => service.port(*port),
            Self::Pod(_) | Self::Nobody | Self::Outside => None,
        }
    }
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// These addresses in the cluster; none where there is no such service, or nobody behind it.
    Cluster(Vec<IpAddr>),
    /// Another name, outside.
    Elsewhere(String),
    /// It is not the cluster's.
    Outside,
}

impl Table {
    /// Where an address leads.
    pub fn lead(&self, to: SocketAddr) -> Lead {
        let address = to.ip().to_canonical();
        if let Some(service) = self.at(address) {
            return match service.port(to.port()) {
                Some(_) => Lead::Service(Arc::clone(service), to.port()),
                None => Lead::Nobody,
            };
        }
        let IpAddr::V4(address) = address else { return Lead::Outside };
        let node = self.nodes().iter().find(|node| node.pods.is_some_and(|pods: Cidr| pods.contains(address)));
        match node {
            Some(node) => Lead::Pod(Arc::clone(&node.name)),
            None if is_ours(address) => Lead::Nobody,
            None => Lead::Outside,
        }
    }

    /// What `name` stands for when a pod of `namespace` says it.
    pub fn resolve(&self, name: &str, namespace: &str) -> Named {
        let name = plain(name);
        if name == DOMAIN {
            return Named::Cluster(Vec::new());
        }
        let inside = name.strip_suffix(DOMAIN).and_then(|rest| rest.strip_suffix('.'));
        let is_ours = inside.is_some();
        let rest = inside.unwrap_or(&name);
        let (rest, is_ours) = match rest.strip_suffix(".svc") {
            Some(rest) => (rest, true),
            None => (rest, is_ours),
        };
        let labels: Vec<&str> = rest.split('.').collect();
        let (host, service) = match labels[..] {
            // A name with the whole domain names its namespace too.
            [service] if !is_ours => (None, ServiceName::new(namespace, service)),
            [service, namespace] => (None, ServiceName::new(namespace, service)),
            [host, service, namespace] => (Some(host), ServiceName::new(namespace, service)),
            _ if is_ours => return Named::Cluster(Vec::new()),
            _ => return Named::Outside,
        };
        match self.service(&service) {
            Some(found) => match &found.elsewhere {
                Some(name) => Named::Elsewhere(name.clone()),
                None => Named::Cluster(found.addresses(host)),
            },
            None if is_ours => Named::Cluster(Vec::new()),
            None => Named::Outside,
        }
    }

    /// Whether a node has this address.
    pub fn is_node(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.nodes().iter().any(|node| node.addresses.contains(&address))
    }
}

impl Service {
    /// The addresses that its name stands for: its own one, or those behind it where it has none, or the one of them
    /// that has this host name.
    fn addresses(&self, host: Option<&str>) -> Vec<IpAddr> {
        if let (Some(address), None) = (self.cluster_ip, host) {
            return vec![address];
        }
        let mut all: Vec<IpAddr> = Vec::new();
        for port in &self.ports {
            let named =
                port.usable().filter(|endpoint| host.is_none_or(|host| endpoint.hostname.as_deref() == Some(host)));
            all.extend(named.map(|endpoint| endpoint.address));
            if host.is_none() {
                all.extend(port.written.iter().map(SocketAddr::ip));
            }
        }
        all.sort_unstable();
        all.dedup();
        all
    }
}

fn is_ours(address: Ipv4Addr) -> bool {
    OURS.iter().any(|(first, length)| (u32::from(address) ^ u32::from(*first)) >> (32 - length) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Endpoint, EndpointState, Node};

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn service(name: &str, address: Option<&str>) -> Service {
        let endpoint = |address: &str, hostname: &str| Endpoint {
            pod: hostname.into(),
            node: "n1".into(),
            address: ip(address),
            port: 8080,
            state: EndpointState::Ready,
            hostname: Some(hostname.into()),
        };
        let endpoints = vec![endpoint("10.128.0.5", "db-0"), endpoint("10.128.64.5", "db-1")];
        Service {
            name: ServiceName::new("shop", name),
            cluster_ip: address.map(ip),
            ports: vec![ServicePort { name: String::new(), port: 80, endpoints, written: Vec::new() }],
            elsewhere: None,
            node_ports: Vec::new(),
            local_traffic: false,
        }
    }

    fn table() -> Table {
        let away = Service { ports: Vec::new(), elsewhere: Some("db.example.com".into()), ..service("away", None) };
        let node =
            Node { name: "n1".into(), pods: "10.128.0.0/18".parse().ok(), addresses: vec![ip("192.0.2.1")], api: None };
        Table::new([service("web", Some("10.96.1.1")), service("db", None), away]).with_nodes(vec![node])
    }

    #[test]
    fn service_is_known_by_each_of_its_names() {
        for name in ["web", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local", "WEB.shop.svc.cluster.local."] {
            assert_eq!(table().resolve(name, "shop"), Named::Cluster(vec![ip("10.96.1.1")]), "{name}");
        }
        assert_eq!(table().resolve("web", "other"), Named::Outside);
        assert_eq!(table().resolve("web.cluster.local", "shop"), Named::Cluster(vec![]));
    }

    #[test]
    fn headless_name_stands_for_the_pods_and_each_pod_has_its_own() {
        let all = vec![ip("10.128.0.5"), ip("10.128.64.5")];
        assert_eq!(table().resolve("db", "shop"), Named::Cluster(all));
        let one = table().resolve("db-1.db.shop.svc.cluster.local", "other");
        assert_eq!(one, Named::Cluster(vec![ip("10.128.64.5")]));
        assert_eq!(table().resolve("db-2.db.shop.svc", "shop"), Named::Cluster(vec![]));
    }

    #[test]
    fn unknown_names_of_the_clusters_domain_do_not_go_outside() {
        for name in ["nope.shop.svc.cluster.local", "nope.shop.svc", "cluster.local", "a.b.c.d.cluster.local"] {
            assert_eq!(table().resolve(name, "shop"), Named::Cluster(vec![]), "{name}");
        }
        assert_eq!(table().resolve("example.com", "shop"), Named::Outside);
        assert_eq!(table().resolve("away", "shop"), Named::Elsewhere("db.example.com".into()));
    }

    #[test]
    fn address_leads_to_a_service_a_pod_nobody_or_outside() {
        let lead = |text: &str| table().lead(text.parse().expect("an address"));
        assert!(matches!(lead("10.96.1.1:80"), Lead::Service(service, 80) if service.name.name == "web"));
        assert!(matches!(lead("[::ffff:10.96.1.1]:80"), Lead::Service(..)));
        assert_eq!(lead("10.96.1.1:81"), Lead::Nobody);
        assert_eq!(lead("10.96.9.9:80"), Lead::Nobody);
        assert_eq!(lead("10.128.0.9:1"), Lead::Pod("n1".into()));
        assert_eq!(lead("10.255.0.9:1"), Lead::Nobody);
        assert_eq!(lead("10.112.0.1:1"), Lead::Outside);
        assert_eq!(lead("198.51.100.1:1"), Lead::Outside);
        assert!(table().is_node(ip("192.0.2.1")) && table().is_node(ip("::ffff:192.0.2.1")));
    }
}
