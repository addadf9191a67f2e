//! Endpoints: what stands behind a Service in the older form, for clients that read no slices (kubectl before 1.31, old
//! client libraries). wk itself reads slices only.
//!
//! One object holds everything, so each change of one pod writes it whole: whoever carries this out paces it, and past
//! [`ADDRESSES_MAX`] the rest is left out, as in Kubernetes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use wk_api::selector::Labels;
use wk_api::{Object, kinds};

use super::{HEADLESS_LABEL, Ports, belongs};
use crate::order::{Order, Plan, Target};
use crate::{pod, read};

/// Addresses of one object, as in Kubernetes (`maxCapacity` of its endpoints controller).
const ADDRESSES_MAX: usize = 1000;

/// Says that addresses were left out.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

const MANAGED_BY_LABEL: &str = "endpoints.kubernetes.io/managed-by";
const MANAGED_BY: &str = "endpoint-controller";

/// What the decision is made from.
pub struct Input<'a> {
    /// The service.
    pub service: &'a Object,
    /// The pods of its namespace; those that lack a label of its selector may be left out.
    pub pods: &'a [&'a Object],
    /// The Endpoints of its name, if they are there.
    pub endpoints: Option<&'a Object>,
}

/// Whether `endpoints` were made here, of a service.
pub fn is_made(endpoints: &Object) -> bool {
    endpoints.label(MANAGED_BY_LABEL) == Some(MANAGED_BY)
}

/// The order that deletes Endpoints which were made of a service that is gone.
pub fn delete(endpoints: &Object) -> Order {
    Target::version(&kinds::ENDPOINTS, endpoints).delete()
}

/// The Endpoints as they should be.
pub fn plan(input: &Input<'_>) -> Plan {
    let mut plan = Plan::default();
    let service = input.service;
    let selector = read::at(service, "/spec/selector").map(Labels::from_map).filter(|selector| !selector.is_empty());
    let Some(selector) = selector else { return plan };
    if service.is_deleting() || service.text("/spec/type") == "ExternalName" {
        return plan;
    }
    let always = service.at("/spec/publishNotReadyAddresses") == Some(&Value::Bool(true));
    let mut pods: Vec<&Object> = input.pods.iter().copied().filter(|pod| selector.matches(&pod.labels())).collect();
    // Other than slices these have no word for a pod on its way out.
    pods.retain(|pod| belongs(pod) && (always || !pod.is_deleting()));
    let is_ready = |pod: &Object| always || pod::is_ready(pod);
    pods.sort_by_key(|pod| (!is_ready(pod), pod.text("/status/podIP"), pod.name()));
    let truncated = pods.len() > ADDRESSES_MAX;
    pods.truncate(ADDRESSES_MAX);
    let mut subsets: BTreeMap<Ports, (Vec<Value>, Vec<Value>)> = BTreeMap::new();
    for pod in pods {
        let (ready, others) = subsets.entry(Ports::of(service, pod)).or_default();
        if is_ready(pod) { ready } else { others }.push(address(service, pod));
    }
    let subsets: Vec<Value> = subsets.iter().map(subset).collect();
    let labels = labels(service);
    let over = if truncated { json!("truncated") } else { Value::Null };
    let (metadata, object) = match input.endpoints {
        None => {
            let mut metadata = json!({"name": service.name(), "namespace": service.namespace(), "labels": labels});
            if truncated {
                metadata["annotations"] = json!({OVER_CAPACITY: over});
            }
            (metadata, None)
        }
        Some(there) => {
            let said = |pointer: &str| there.at(pointer).unwrap_or(&Value::Null);
            let annotated = there.annotation(OVER_CAPACITY).is_some();
            if said("/metadata/labels") == &Value::Object(labels.clone())
                && annotated == truncated
                && read::same(said("/subsets"), &Value::from(subsets.clone()))
            {
                return plan;
            }
            // A merge patch keeps the labels that it does not name.
            let gone =
                read::map(there, "/metadata/labels").into_iter().flatten().map(|(key, _)| (key.clone(), Value::Null));
            let mut all: Map<String, Value> = gone.collect();
            all.extend(labels);
            (json!({"labels": all, "annotations": {OVER_CAPACITY: over}}), Some(there))
        }
    };
    let change = json!({"metadata": metadata, "subsets": subsets});
    plan.say(format!("{}/{}: its Endpoints are written", service.namespace(), service.name()));
    plan.orders.push(match object {
        Some(there) => Order::Update { target: Target::version(&kinds::ENDPOINTS, there), change },
        None => Order::Create {
            kind: &kinds::ENDPOINTS,
            namespace: Some(service.namespace().to_owned()),
            object: change,
            announce: None,
        },
    });
    plan
}

fn subset((ports, (ready, others)): (&Ports, &(Vec<Value>, Vec<Value>))) -> Value {
    let mut subset = json!({});
    for (field, list) in [("addresses", ready), ("notReadyAddresses", others)] {
        if !list.is_empty() {
            subset[field] = list.clone().into();
        }
    }
    let ports = ports.to_value();
    if ports.as_array().is_some_and(|ports| !ports.is_empty()) {
        subset["ports"] = ports;
        for port in subset["ports"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            port.retain(|_, value| value != "");
        }
    }
    subset
}

fn address(service: &Object, pod: &Object) -> Value {
    let mut address = json!({
        "ip": pod.text("/status/podIP"),
        "targetRef": {"kind": "Pod", "namespace": pod.namespace(), "name": pod.name(), "uid": pod.uid()},
    });
    let hostname = if pod.text("/spec/subdomain") == service.name() { pod.text("/spec/hostname") } else { "" };
    for (field, text) in [("nodeName", pod::node(pod)), ("hostname", hostname)] {
        if !text.is_empty() {
            address[field] = text.into();
        }
    }
    address
}

fn labels(service: &Object) -> Map<String, Value> {
    let mut labels = read::map(service, "/metadata/labels").cloned().unwrap_or_default();
    if service.text("/spec/clusterIP") == "None" {
        labels.insert(HEADLESS_LABEL.to_owned(), "".into());
    }
    labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.into());
    labels
}
