//! EndpointSlices: which pods stand behind a Service, and at which ports.
//!
//! Here: who belongs in; [`pack`] has how endpoints are laid into slices so that a change rewrites few of them.

pub mod endpoints;
pub mod mirror;
mod pack;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use wk_api::selector::Labels;
use wk_api::{Object, kinds};

use crate::order::{Order, Plan, Target};
use crate::{owned, pod, read};

/// The label by which a slice belongs to its Service.
pub const SERVICE_LABEL: &str = "kubernetes.io/service-name";

const MANAGED_BY_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";

/// The name that Kubernetes' own controller signs its slices with, so that clients treat ours alike.
const MANAGED_BY: &str = "endpointslice-controller.k8s.io";

/// What the decision is made from.
pub struct Input<'a> {
    /// The service.
    pub service: &'a Object,
    /// The pods of its namespace; those that lack a label of its selector may be left out.
    pub pods: &'a [&'a Object],
    /// The slices of its namespace that carry [`SERVICE_LABEL`] with its name.
    pub slices: &'a [&'a Object],
}

/// The slices as they should be.
pub fn plan(input: &Input<'_>) -> Plan {
    let service = input.service;
    let mut plan = Plan::default();
    let selector = read::at(service, "/spec/selector").map(Labels::from_map).filter(|selector| !selector.is_empty());
    let Some(selector) = selector else { return plan };
    if service.is_deleting() || service.text("/spec/type") == "ExternalName" {
        return plan;
    }
    let mut groups: BTreeMap<Ports, Vec<Value>> = BTreeMap::new();
    let eligible = input.pods.iter().filter(|pod| selector.matches(&pod.labels()) && belongs(pod));
    for pod in eligible {
        groups.entry(Ports::of(service, pod)).or_default().push(endpoint(service, pod));
    }
    let managed = input.slices.iter().copied().filter(|slice| slice.label(MANAGED_BY_LABEL) == Some(MANAGED_BY));
    // A service of the same name that was deleted has left slices behind that are about to go with it.
    let (ours, foreign): (Vec<&Object>, Vec<&Object>) =
        managed.partition(|slice| owned::controller_uid(slice) == Some(service.uid()));
    if groups.is_empty() {
        // One empty slice says that somebody looked and found none.
        let ports = ours.first().map_or_else(|| Ports::named(service), |slice| Ports::said(slice));
        groups.insert(ports, Vec::new());
    }
    let ready = groups.values().flatten().filter(|endpoint| endpoint["conditions"]["ready"] == true).count();
    let total: usize = groups.values().map(Vec::len).sum();
    let metadata = Metadata { labels: labels(service), service };
    plan.orders = pack::orders(&metadata, groups, &ours);
    plan.orders.extend(foreign.into_iter().filter(|slice| !slice.is_deleting()).map(pack::delete));
    plan.say(format!("{}/{}: {ready} of {total} endpoints are ready", service.namespace(), service.name()));
    plan
}

/// Also pods on their way out belong in: whoever has no other endpoint may still use them.
fn belongs(pod: &Object) -> bool {
    !pod::is_finished(pod) && !pod.text("/status/podIP").is_empty()
}

fn endpoint(service: &Object, pod: &Object) -> Value {
    let serving = pod::is_ready(pod);
    let terminating = pod.is_deleting();
    let always = service.at("/spec/publishNotReadyAddresses") == Some(&Value::Bool(true));
    let mut endpoint = json!({
        "addresses": [pod.text("/status/podIP")],
        "conditions": {"ready": always || serving && !terminating, "serving": serving, "terminating": terminating},
        "targetRef": {"kind": "Pod", "namespace": pod.namespace(), "name": pod.name(), "uid": pod.uid()},
    });
    let texts = [("nodeName", pod::node(pod)), ("hostname", pod.text("/spec/hostname"))];
    for (field, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        endpoint[field] = text.into();
    }
    endpoint
}

/// The ports of a slice, as text that compares: pods may have different numbers for one port's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Ports(Vec<Port>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Port {
    name: String,
    protocol: String,
    number: Option<i64>,
    app_protocol: Option<String>,
}

impl Ports {
    /// The service's ports on `pod`. A port name that no container has is left out.
    fn of(service: &Object, pod: &Object) -> Self {
        Self::resolved(service, |port| {
            let protocol = protocol(port);
            match port.get("targetPort") {
                Some(Value::String(name)) => pod::port(pod, name, protocol),
                Some(Value::Number(number)) if number.as_i64() != Some(0) => number.as_i64(),
                _ => port["port"].as_i64(),
            }
        })
    }

    /// The ports that need no pod to know their number.
    fn named(service: &Object) -> Self {
        Self::resolved(service, |port| match port.get("targetPort") {
            Some(Value::String(_)) => None,
            Some(target) => target.as_i64(),
            None => port["port"].as_i64(),
        })
    }

    fn resolved(service: &Object, number: impl Fn(&Value) -> Option<i64>) -> Self {
        let port = |port: &Value| {
            Some(Port {
                name: read::text(port, "name").to_owned(),
                protocol: protocol(port).to_owned(),
                number: Some(number(port)?),
                app_protocol: port.get("appProtocol").and_then(Value::as_str).map(str::to_owned),
            })
        };
        Self(service.items("/spec/ports").iter().filter_map(port).collect())
    }

    /// The ports that `slice` has.
    fn said(slice: &Object) -> Self {
        Self::listed(slice.items("/ports"))
    }

    /// These ports.
    fn listed(ports: &[Value]) -> Self {
        let port = |port: &Value| Port {
            name: read::text(port, "name").to_owned(),
            protocol: protocol(port).to_owned(),
            number: port.get("port").and_then(Value::as_i64),
            app_protocol: port.get("appProtocol").and_then(Value::as_str).map(str::to_owned),
        };
        Self(ports.iter().map(port).collect())
    }

    fn to_value(&self) -> Value {
        let port = |port: &Port| {
            let mut value = json!({"name": port.name, "protocol": port.protocol, "port": port.number});
            if let Some(app_protocol) = &port.app_protocol {
                value["appProtocol"] = app_protocol.as_str().into();
            }
            value
        };
        self.0.iter().map(port).collect()
    }
}

fn protocol(port: &Value) -> &str {
    port.get("protocol").and_then(Value::as_str).unwrap_or("TCP")
}

/// What every slice of a service carries: the service's labels and those that say whose it is.
struct Metadata<'a> {
    labels: Map<String, Value>,
    service: &'a Object,
}

impl Metadata<'_> {
    fn create(&self, ports: &Ports, endpoints: &[Value]) -> Order {
        let (namespace, name) = (self.service.namespace(), self.service.name());
        Order::Create {
            kind: &kinds::ENDPOINTSLICE,
            namespace: Some(namespace.to_owned()),
            object: json!({
                "apiVersion": kinds::ENDPOINTSLICE.api_version(),
                "kind": kinds::ENDPOINTSLICE.kind,
                "metadata": {
                    "generateName": format!("{name}-"),
                    "namespace": namespace,
                    "labels": self.labels,
                    "ownerReferences": [owned::controller_reference(&kinds::SERVICE, self.service)],
                },
                "addressType": "IPv4",
                "ports": ports.to_value(),
                "endpoints": endpoints,
            }),
            announce: None,
        }
    }

    /// Brings `slice` to `endpoints`; nothing when it is so already.
    fn update(&self, slice: &Object, endpoints: &[Value]) -> Option<Order> {
        let labels = read::map(slice, "/metadata/labels");
        let labelled = labels == Some(&self.labels);
        if labelled && slice.items("/endpoints") == endpoints {
            return None;
        }
        let mut change = json!({"endpoints": endpoints});
        if !labelled {
            let gone = labels.into_iter().flatten().map(|(key, _)| (key.clone(), Value::Null));
            let mut patch: Map<String, Value> = gone.collect();
            patch.extend(self.labels.clone());
            change["metadata"] = json!({"labels": patch});
        }
        Some(Order::Update { target: Target::version(&kinds::ENDPOINTSLICE, slice), change })
    }
}

fn labels(service: &Object) -> Map<String, Value> {
    let mut labels = read::map(service, "/metadata/labels").cloned().unwrap_or_default();
    labels.insert(SERVICE_LABEL.to_owned(), service.name().into());
    labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.into());
    if service.text("/spec/clusterIP") == "None" {
        labels.insert(HEADLESS_LABEL.to_owned(), "".into());
    }
    labels
}
