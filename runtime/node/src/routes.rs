//! Ingresses as the route table of this node's front door: a pure function of the objects and the network's table.
//!
//! Not here: matching a request (`wk-ingress`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend, IngressSpec, ServiceBackendPort};
use wk_ingress::{Backend, Endpoint, HostRule, PathRule, Route};
use wk_network::{ServiceName, ServicePort, Table};

/// The routes of `node`. Where two Ingresses claim the same host and path, the older one keeps it.
pub fn routes(ingresses: &[Ingress], table: &Table, node: &str) -> Vec<Route> {
    let mut ingresses: Vec<&Ingress> = ingresses.iter().collect();
    ingresses.sort_by_key(|ingress| {
        let meta = &ingress.metadata;
        (meta.creation_timestamp.as_ref().map(|time| time.0), meta.namespace.clone(), meta.name.clone())
    });
    let mut backends = Backends { table, node, made: BTreeMap::new() };
    let mut taken = BTreeMap::new();
    for ingress in ingresses {
        let Some(spec) = &ingress.spec else { continue };
        let namespace = ingress.metadata.namespace.as_deref().unwrap_or_default();
        for (host, path, backend) in rules(spec) {
            let claim = format!("{host:?} {path:?}");
            taken.entry(claim).or_insert_with(|| Route { host, path, backend: backends.find(namespace, backend) });
        }
    }
    taken.into_values().collect()
}

fn rules(spec: &IngressSpec) -> Vec<(HostRule, PathRule, &IngressBackend)> {
    let everything = |host| spec.default_backend.as_ref().map(|backend| (host, PathRule::Prefix("/".into()), backend));
    let mut rules = Vec::new();
    for rule in spec.rules.iter().flatten() {
        let host = host_rule(rule.host.as_deref().unwrap_or_default());
        match &rule.http {
            Some(http) => rules.extend(http.paths.iter().map(|path| (host.clone(), path_rule(path), &path.backend))),
            None => rules.extend(everything(host)),
        }
    }
    rules.extend(everything(HostRule::Any));
    rules
}

fn host_rule(host: &str) -> HostRule {
    if host.is_empty() {
        HostRule::Any
    } else if let Some(rest) = host.strip_prefix("*.") {
        HostRule::Wildcard(rest.to_ascii_lowercase())
    } else {
        HostRule::Exact(host.to_ascii_lowercase())
    }
}

fn path_rule(path: &HTTPIngressPath) -> PathRule {
    let text = path.path.clone().filter(|path| !path.is_empty()).unwrap_or_else(|| "/".into());
    if path.path_type == "Exact" { PathRule::Exact(text) } else { PathRule::Prefix(text) }
}

/// Backends made so far: routes to the same port of the same Service share one.
struct Backends<'a> {
    table: &'a Table,
    node: &'a str,
    made: BTreeMap<String, Arc<Backend>>,
}

impl Backends<'_> {
    fn find(&mut self, namespace: &str, backend: &IngressBackend) -> Arc<Backend> {
        let Some(reference) = &backend.service else {
            let lacks = Some("the Ingress names no Service".to_owned());
            return Arc::new(Backend { name: format!("{namespace}/(no service)"), endpoints: Vec::new(), lacks });
        };
        let service = ServiceName::new(namespace, &reference.name);
        let port = reference.port.clone().unwrap_or_default();
        let name = match &port {
            ServiceBackendPort { name: Some(name), .. } => format!("{service}:{name}"),
            ServiceBackendPort { number: Some(number), .. } => format!("{service}:{number}"),
            ServiceBackendPort { .. } => format!("{service}:(no port)"),
        };
        if let Some(made) = self.made.get(&name) {
            return Arc::clone(made);
        }
        let found = self.port(&service, &port);
        let lacks = found.is_none().then(|| match self.table.service(&service) {
            Some(_) => format!("the Service {service} has no such port"),
            None => format!("there is no Service {service}"),
        });
        let endpoints = found.map(|port| self.endpoints(port)).unwrap_or_default();
        let made = Arc::new(Backend { name: name.clone(), endpoints, lacks });
        self.made.insert(name, Arc::clone(&made));
        made
    }

    fn port(&self, service: &ServiceName, port: &ServiceBackendPort) -> Option<&ServicePort> {
        let service = self.table.service(service)?;
        match &port.name {
            Some(name) => service.port_named(name),
            None => service.port(u16::try_from(port.number?).ok()?),
        }
    }

    fn endpoints(&self, port: &ServicePort) -> Vec<Endpoint> {
        let usable = port.usable().map(|endpoint| Endpoint {
            pod: Arc::clone(&endpoint.pod),
            node: Arc::clone(&endpoint.node),
            address: SocketAddr::new(endpoint.address, endpoint.port).to_string(),
            local: *endpoint.node == *self.node,
        });
        usable.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services;
    use k8s_openapi::api::core::v1::Service;
    use k8s_openapi::api::discovery::v1::EndpointSlice;
    use serde_json::json;

    fn slice(endpoints: &serde_json::Value) -> EndpointSlice {
        serde_json::from_value(json!({
            "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], "endpoints": endpoints,
        }))
        .unwrap()
    }

    fn service() -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
        }))
        .unwrap()
    }

    fn ingress(name: &str, created: &str, host: &str, service: &str) -> Ingress {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "default", "creationTimestamp": created},
            "spec": {"rules": [{"host": host, "http": {"paths": [{
                "path": "/", "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": 80}}},
            }]}}]},
        }))
        .unwrap()
    }

    #[test]
    fn route_leads_to_the_ready_endpoints_of_its_service_and_knows_which_are_local() {
        let endpoint = |uid: &str, ip: &str, node: &str, ready: bool| {
            json!({"addresses": [ip], "nodeName": node, "conditions": {"ready": ready},
                   "targetRef": {"kind": "Pod", "name": uid, "uid": uid}})
        };
        let slice = slice(&json!([
            endpoint("a", "10.128.0.2", "n1", true),
            endpoint("b", "10.128.64.2", "n2", true),
            endpoint("c", "10.128.64.3", "n2", false),
        ]));
        let table = services::table(&[service()], &[slice], &[]);
        let routes = routes(&[ingress("web", "2026-01-01T00:00:00Z", "Web.localhost", "web")], &table, "n1");
        assert_eq!(routes.len(), 1);
        assert_eq!(routes[0].host, HostRule::Exact("web.localhost".into()));
        let endpoints: Vec<_> =
            routes[0].backend.endpoints.iter().map(|it| (&*it.pod, it.address.as_str(), it.local)).collect();
        assert_eq!(endpoints, [("a", "10.128.0.2:8080", true), ("b", "10.128.64.2:8080", false)]);
    }

    #[test]
    fn older_ingress_keeps_a_host_and_path_that_two_claim() {
        let ingresses = vec![
            ingress("thief", "2026-02-01T00:00:00Z", "web.localhost", "other"),
            ingress("web", "2026-01-01T00:00:00Z", "web.localhost", "web"),
        ];
        let routes = routes(&ingresses, &services::table(&[service()], &[], &[]), "n1");
        assert_eq!(routes.len(), 1);
        assert_eq!(routes[0].backend.name, "default/web:80");
    }

    #[test]
    fn route_to_a_service_that_is_not_there_has_no_endpoints() {
        let ingresses = vec![ingress("web", "2026-01-01T00:00:00Z", "web.localhost", "gone")];
        assert!(routes(&ingresses, &Table::default(), "n1")[0].backend.endpoints.is_empty());
    }
}
