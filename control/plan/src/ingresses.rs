//! `status.loadBalancer` of Ingresses: every node serves them, so it names the addresses of those that are there. Tools that
//! wait for an address (Argo CD, external-dns) find one.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::{Value, json};
use wk_api::{Object, kinds};

use crate::order::{Order, Plan, Target};

/// Where a node's ingress listens for HTTP, as its annotation says.
const LISTENS: &str = "wk.dev/ingress-http";

/// Addresses that are named: whoever resolves a name to them takes a few, and a status is written whole.
const ADDRESSES_MAX: usize = 16;

/// What the decision is made from.
pub struct Input<'a> {
    /// All Ingresses.
    pub ingresses: &'a [&'a Object],
    /// All nodes.
    pub nodes: &'a [&'a Object],
}

/// Sets right the addresses of those Ingresses that say others.
pub fn plan(input: &Input<'_>) -> Plan {
    let mut plan = Plan::default();
    let addresses: BTreeSet<_> =
        input.nodes.iter().filter(|node| is_ready(node)).filter_map(|node| address(node)).collect();
    if addresses.is_empty() {
        // Nobody knows better than what was written before.
        return plan;
    }
    let named: Vec<Value> = addresses.iter().take(ADDRESSES_MAX).map(|ip| json!({"ip": ip.to_string()})).collect();
    let named = Value::from(named);
    for ingress in input.ingresses.iter().filter(|ingress| !ingress.is_deleting()) {
        if ingress.at("/status/loadBalancer/ingress") != Some(&named) {
            plan.say(format!("{}/{}: {} nodes serve it", ingress.namespace(), ingress.name(), addresses.len()));
            let change = json!({"status": {"loadBalancer": {"ingress": named}}});
            plan.orders.push(Order::Status { target: Target::incarnation(&kinds::INGRESS, ingress), change });
        }
    }
    plan
}

fn is_ready(node: &Object) -> bool {
    let mut conditions = node.items("/status/conditions").iter();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn address(node: &Object) -> Option<std::net::IpAddr> {
    let listens: SocketAddr = node.annotation(LISTENS)?.parse().ok()?;
    if !listens.ip().is_unspecified() {
        return Some(listens.ip());
    }
    let addresses = node.items("/status/addresses").iter();
    let mut internal = addresses.filter(|address| address["type"] == "InternalIP");
    internal.find_map(|address| address["address"].as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, ip: &str, ready: &str) -> Object {
        Object(json!({"metadata": {"name": name, "annotations": {LISTENS: format!("{ip}:8080")}},
            "status": {"conditions": [{"type": "Ready", "status": ready}]}}))
    }

    fn ingress(status: &Value) -> Object {
        Object(json!({"metadata": {"name": "web", "namespace": "default", "uid": "u"}, "status": status}))
    }

    #[test]
    fn ingress_names_the_nodes_that_are_there_and_is_written_when_they_change() {
        let nodes = [node("b", "10.0.0.2", "True"), node("a", "10.0.0.1", "True"), node("c", "10.0.0.3", "Unknown")];
        let nodes: Vec<_> = nodes.iter().collect();
        let addresses = json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]}});
        let (new, old) = (ingress(&json!({})), ingress(&addresses));
        let made = plan(&Input { ingresses: &[&new, &old], nodes: &nodes });
        let [Order::Status { change, .. }] = &made.orders[..] else { panic!("{made}") };
        assert_eq!(change["status"], addresses);
        assert!(
            plan(&Input { ingresses: &[&new], nodes: &nodes[2..] }).orders.is_empty(),
            "nobody is known to be there"
        );
    }
}
