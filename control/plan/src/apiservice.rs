//! The Service `kubernetes` in `default`: where programs in the cluster find the API, at the first service address.
//!
//! Its endpoints are the nodes that are ready, since every node answers for the API. Addresses of the loopback are among
//! them where the nodes have no others: a node leads its own pods to itself whatever is written. Beside it, the range that
//! service addresses come from, as the object `kubernetes`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};
use wk_api::{Kind, Object, kinds};
use wk_base::time::Timestamp;

use crate::conditions::{self, Condition};
use crate::endpointslice::SERVICE_LABEL;
use crate::order::{Order, Plan, Target};
use crate::read;

/// The Service's name, and its namespace.
pub const NAME: &str = "kubernetes";
/// See [`NAME`].
pub const NAMESPACE: &str = "default";
/// The first address of the service range, which nobody else is given unasked.
pub const ADDRESS: &str = "10.96.0.1";
/// Annotation of a node that says where it answers for the API.
pub const NODE_API: &str = "wk.dev/api";

/// What the decision is made from.
pub struct Input<'a> {
    /// All namespaces.
    pub namespaces: &'a [&'a Object],
    /// All nodes.
    pub nodes: &'a [&'a Object],
    /// The Service, if it is there.
    pub service: Option<&'a Object>,
    /// The Endpoints of its name.
    pub endpoints: Option<&'a Object>,
    /// The EndpointSlices of [`NAMESPACE`].
    pub slices: &'a [&'a Object],
    /// The range that service addresses come from.
    pub range: &'a str,
    /// The ServiceCIDR [`NAME`], if it is there.
    pub service_cidr: Option<&'a Object>,
}

/// Makes and mends the Service and its endpoints.
pub fn plan(input: &Input<'_>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    service_range(&mut plan, input.range, input.service_cidr, now);
    let lives = input.namespaces.iter().any(|namespace| namespace.name() == NAMESPACE && !namespace.is_deleting());
    if !lives {
        return plan;
    }
    if input.service.is_none() {
        plan.say(format!("{NAMESPACE}/{NAME}: the API has no Service"));
        plan.orders.push(create(&kinds::SERVICE, service()));
    }
    let places = places(input.nodes);
    write(&mut plan, &kinds::ENDPOINTS, input.endpoints, endpoints(&places), &["subsets"]);
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    for (index, ((is_v4, port), addresses)) in places.iter().enumerate() {
        let name = if index == 0 { NAME.to_owned() } else { format!("{NAME}-{index}") };
        let there = input.slices.iter().copied().find(|slice| slice.name() == name);
        write(&mut plan, &kinds::ENDPOINTSLICE, there, slice(&name, *is_v4, *port, addresses), &["endpoints", "ports"]);
        wanted.insert(name);
    }
    let ours = |slice: &&&Object| slice.label(SERVICE_LABEL) == Some(NAME) && !wanted.contains(slice.name());
    for slice in input.slices.iter().filter(ours) {
        plan.orders.push(Target::version(&kinds::ENDPOINTSLICE, slice).delete());
    }
    plan
}

/// The ServiceCIDR that Kubernetes has from its beginning too. Its range is fixed here.
fn service_range(plan: &mut Plan, range: &str, there: Option<&Object>, now: Timestamp) {
    let Some(there) = there else {
        let object = json!({"metadata": {"name": NAME}, "spec": {"cidrs": [range]}});
        plan.orders.push(Order::Create { kind: &kinds::SERVICECIDR, namespace: None, object, announce: None });
        return;
    };
    if there.is_deleting() || conditions::status(there, "Ready") == "True" {
        return;
    }
    let message = "Kubernetes default Service CIDR is ready".to_owned();
    let ready = Condition { kind: "Ready", status: "True", reason: "", message };
    let mut list = there.items("/status/conditions").to_vec();
    conditions::set(&mut list, &ready, None, now);
    let target = Target::version(&kinds::SERVICECIDR, there);
    plan.orders.push(Order::Status { target, change: json!({"status": {"conditions": list}}) });
}

/// Whether IPv4, and port: the addresses. One slice, and one subset, has one of each.
type Places = BTreeMap<(bool, u16), BTreeSet<IpAddr>>;

fn places(nodes: &[&Object]) -> Places {
    let mut places = Places::new();
    for node in nodes.iter().filter(|node| conditions::status(node, "Ready") == "True") {
        let place = node.annotation(NODE_API).and_then(|place| place.parse::<SocketAddr>().ok());
        if let Some(place) = place {
            places.entry((place.is_ipv4(), place.port())).or_default().insert(place.ip());
        }
    }
    places
}

fn create(kind: &'static Kind, object: Value) -> Order {
    Order::Create { kind, namespace: Some(NAMESPACE.to_owned()), object, announce: None }
}

/// Creates the object, or brings these fields of it to what is wanted.
fn write(plan: &mut Plan, kind: &'static Kind, there: Option<&Object>, wanted: Value, fields: &[&str]) {
    let Some(there) = there else {
        plan.orders.push(create(kind, wanted));
        return;
    };
    let change: serde_json::Map<String, Value> = fields
        .iter()
        .filter(|field| !read::same(there.at(&format!("/{field}")).unwrap_or(&Value::Null), &wanted[**field]))
        .map(|field| ((*field).to_owned(), wanted[*field].clone()))
        .collect();
    if !change.is_empty() {
        plan.orders.push(Order::Update { target: Target::version(kind, there), change: change.into() });
    }
}

fn service() -> Value {
    json!({
        "metadata": {"name": NAME, "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "clusterIP": ADDRESS,
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
        },
    })
}

fn ports(port: u16) -> Value {
    json!([{"name": "https", "port": port, "protocol": "TCP"}])
}

fn endpoints(places: &Places) -> Value {
    let subsets: Vec<Value> = places
        .iter()
        .map(|((_, port), addresses)| {
            let addresses: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip.to_string()})).collect();
            json!({"addresses": addresses, "ports": ports(*port)})
        })
        .collect();
    let subsets = if subsets.is_empty() { Value::Null } else { subsets.into() };
    // Its slices are made beside it.
    let labels = json!({"endpointslice.kubernetes.io/skip-mirror": "true"});
    json!({"metadata": {"name": NAME, "labels": labels}, "subsets": subsets})
}

fn slice(name: &str, is_v4: bool, port: u16, addresses: &BTreeSet<IpAddr>) -> Value {
    let endpoint = |ip: &IpAddr| json!({"addresses": [ip.to_string()], "conditions": {"ready": true}});
    json!({
        "metadata": {"name": name, "labels": {SERVICE_LABEL: NAME}},
        "addressType": if is_v4 { "IPv4" } else { "IPv6" },
        "endpoints": addresses.iter().map(endpoint).collect::<Vec<Value>>(),
        "ports": ports(port),
    })
}
