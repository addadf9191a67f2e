//! Services: their row, what their type implies, and which cluster IP they want. Handing out addresses is the
//! cluster crate's.

mod reach;
mod valid;

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use schemars::JsonSchema as _;
use serde_json::{Value, json};
use wk_base::time::Timestamp;

use super::ingresses::addresses;
use crate::json;
use crate::kind::{FieldLabel, Kind, Rules, Subresource};
use crate::names;
use crate::object::Object;
use crate::table::{self, AGE, NAME, NONE, or_none, text, wide};

/// `Service`.
pub static SERVICE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Service",
    plural: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    has_status: true,
    acts: true,
    subresources: &[Subresource::proxy("ServiceProxyOptions")],
    collection: "core/services",
    rules: Rules {
        schema: Service::json_schema,
        name: names::service_name,
        default,
        prepare_create: |value| json::set(value, "status", json!({"loadBalancer": {}})),
        prepare_update,
        validate: valid::service,
        validate_update: valid::update,
        fields: &[
            FieldLabel { label: "spec.clusterIP", read: |object| object.text("/spec/clusterIP").to_owned() },
            FieldLabel { label: "spec.type", read: |object| object.text("/spec/type").to_owned() },
        ],
        columns: &[
            NAME,
            text("Type", "How the service is reached."),
            text("Cluster-IP", "Its address within the cluster."),
            text("External-IP", "Its address from outside."),
            text("Port(s)", "Its ports."),
            AGE,
            wide(text("Selector", "Which pods serve it.")),
        ],
        cells,
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

/// What a service asks for as its cluster IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterIp {
    /// It has none: headless or ExternalName.
    NotWanted,
    /// Any free one.
    Any,
    /// This one.
    Given(IpAddr),
}

/// What the service `value` asks for as its cluster IP. A text that is no address counts as none wanted; validation
/// refuses it.
pub fn cluster_ip(value: &Value) -> ClusterIp {
    if json::text(value, &["spec", "type"]) == "ExternalName" {
        return ClusterIp::NotWanted;
    }
    match json::text(value, &["spec", "clusterIP"]) {
        "" => ClusterIp::Any,
        text => text.parse().map_or(ClusterIp::NotWanted, ClusterIp::Given),
    }
}

/// Gives the service its cluster IP, in both fields that name it.
pub fn set_cluster_ip(value: &mut Value, address: IpAddr) {
    let spec = json::object_at(value, "spec");
    json::set(spec, "clusterIP", address.to_string());
    json::set(spec, "clusterIPs", vec![address.to_string()]);
}

fn default(value: &mut Value) {
    let spec = json::object_at(value, "spec");
    json::default(spec, "sessionAffinity", "None");
    if json::text(spec, &["sessionAffinity"]) == "None" {
        json::remove(spec, "sessionAffinityConfig");
    } else {
        let client = json::object_at(json::object_at(spec, "sessionAffinityConfig"), "clientIP");
        json::default(client, "timeoutSeconds", 10_800);
    }
    json::default(spec, "type", "ClusterIP");
    for port in json::items_mut(spec, "ports") {
        json::default(port, "protocol", "TCP");
        let target = json::get(port, "targetPort");
        if json::is_empty(target) || target.as_i64() == Some(0) {
            let number = json::get(port, "port").clone();
            json::set(port, "targetPort", number);
        }
    }
    let external = matches!(json::text(spec, &["type"]), "NodePort" | "LoadBalancer");
    if external {
        json::default(spec, "externalTrafficPolicy", "Cluster");
    }
    if json::text(spec, &["type"]) == "LoadBalancer" {
        json::default(spec, "allocateLoadBalancerNodePorts", true);
    }
    if json::text(spec, &["type"]) != "ExternalName" {
        json::default(spec, "internalTrafficPolicy", "Cluster");
        json::default(spec, "ipFamilyPolicy", "SingleStack");
        if json::is_empty(json::get(spec, "ipFamilies")) {
            json::set(spec, "ipFamilies", vec!["IPv4"]);
        }
        let ip = json::text(spec, &["clusterIP"]).to_owned();
        if !ip.is_empty() && json::is_empty(json::get(spec, "clusterIPs")) {
            json::set(spec, "clusterIPs", vec![ip]);
        }
    }
    let reached_at = value.pointer_mut("/status/loadBalancer/ingress").and_then(Value::as_array_mut);
    for ingress in reached_at.into_iter().flatten() {
        if !json::text(ingress, &["ip"]).is_empty() {
            json::default(ingress, "ipMode", "VIP");
        }
    }
}

/// What was allocated stays, unless the new type has no use for it.
fn prepare_update(new: &mut Value, old: &Value) {
    let old_spec = json::get(old, "spec");
    let spec = json::object_at(new, "spec");
    let is_external = |spec: &Value| json::text(spec, &["type"]) == "ExternalName";
    if is_external(spec) {
        for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            if json::same(json::get(spec, key), json::get(old_spec, key)) {
                json::remove(spec, key);
            }
        }
        return;
    }
    if !is_external(old_spec) && json::text(spec, &["clusterIP"]).is_empty() {
        json::copy(spec, old_spec, "clusterIP");
        json::copy(spec, old_spec, "clusterIPs");
    }
    let has_node_ports = |spec: &Value| matches!(json::text(spec, &["type"]), "NodePort" | "LoadBalancer");
    let (before, after) = (has_node_ports(old_spec), has_node_ports(spec));
    let old_ports = json::items(old_spec, &["ports"]);
    for port in json::items_mut(spec, "ports") {
        let same = old_ports
            .iter()
            .find(|old| ["port", "protocol"].iter().all(|key| json::get(old, key) == json::get(port, key)));
        let old_number = same.and_then(|old| json::int(old, &["nodePort"])).unwrap_or_default();
        if before && after && old_number != 0 {
            json::default_nonzero(port, "nodePort", old_number);
        } else if before && !after && json::int(port, &["nodePort"]) == Some(old_number) {
            json::remove(port, "nodePort");
        }
    }
    let is_balanced = |spec: &Value| json::text(spec, &["type"]) == "LoadBalancer";
    let unbalanced = is_balanced(old_spec) && !is_balanced(spec);
    let ported = if before && !after { &["externalTrafficPolicy", "healthCheckNodePort"][..] } else { &[] };
    let balanced = if unbalanced { &["allocateLoadBalancerNodePorts", "loadBalancerClass"][..] } else { &[] };
    for key in ported.iter().chain(balanced) {
        if json::same(json::get(spec, key), json::get(old_spec, key)) {
            json::remove(spec, key);
        }
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let kind = object.text("/spec/type");
    let ip = match object.items("/spec/clusterIPs").first().and_then(Value::as_str) {
        Some(ip) => ip,
        None => object.text("/spec/clusterIP"),
    };
    let selector: Vec<String> = json::members(&object.0, &["spec", "selector"])
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    vec![
        object.name().into(),
        kind.into(),
        or_none(ip).into(),
        external(object).into(),
        ports(object.items("/spec/ports")).into(),
        table::age(object, now).into(),
        or_none(&selector.join(",")).into(),
    ]
}

fn external(object: &Object) -> String {
    let given: Vec<&str> = object.items("/spec/externalIPs").iter().filter_map(Value::as_str).collect();
    match object.text("/spec/type") {
        "ClusterIP" | "NodePort" => or_none(&given.join(",")),
        "LoadBalancer" => {
            let balancer = addresses(object.items("/status/loadBalancer/ingress"));
            let all: Vec<&str> =
                Some(balancer.as_str()).filter(|text| !text.is_empty()).into_iter().chain(given).collect();
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        "ExternalName" => object.text("/spec/externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

fn ports(ports: &[Value]) -> String {
    let texts: Vec<String> = ports
        .iter()
        .map(|port| {
            let number = json::int(port, &["port"]).unwrap_or_default();
            let protocol = json::text(port, &["protocol"]);
            match json::int(port, &["nodePort"]).unwrap_or_default() {
                0 => format!("{number}/{protocol}"),
                node_port => format!("{number}:{node_port}/{protocol}"),
            }
        })
        .collect();
    if texts.is_empty() { NONE.to_owned() } else { texts.join(",") }
}
