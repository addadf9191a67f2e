//! Endpoints that somebody made by hand for a Service without a selector become EndpointSlices, which is what the
//! network reads.
//!
//! As Kubernetes' mirroring controller has it: not of leader election, not of those that ask to be left out, and of one
//! subset no more than a slice holds.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value, json};
use wk_api::{Object, kinds};

use super::pack::{self, ENDPOINTS_MAX};
use super::{MANAGED_BY_LABEL, Ports, SERVICE_LABEL, endpoints};
use crate::order::{Order, Plan, Target};
use crate::{owned, read};

const MANAGED_BY: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP_LABEL: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER_ANNOTATION: &str = "control-plane.alpha.kubernetes.io/leader";

/// What the decision is made from.
pub struct Input<'a> {
    /// The Endpoints.
    pub endpoints: &'a Object,
    /// The Service of their name, if it is there.
    pub service: Option<&'a Object>,
    /// The slices of their namespace that carry [`SERVICE_LABEL`] with their name.
    pub slices: &'a [&'a Object],
}

/// The slices as they should be.
pub fn plan(input: &Input<'_>) -> Plan {
    let mut plan = Plan::default();
    let mut wanted = if is_mirrored(input) { slices_of(input.endpoints) } else { BTreeMap::new() };
    let ours = input.slices.iter().filter(|slice| slice.label(MANAGED_BY_LABEL) == Some(MANAGED_BY));
    for slice in ours.filter(|slice| !slice.is_deleting()) {
        let same_owner = owned::controller_uid(slice) == Some(input.endpoints.uid());
        let key = (slice.text("/addressType").to_owned(), Ports::said(slice));
        match wanted.remove(&key).filter(|_| same_owner) {
            None => plan.orders.push(pack::delete(slice)),
            Some(list) if slice.items("/endpoints") == list.as_slice() => {}
            Some(list) => plan.orders.push(Order::Update {
                target: Target::version(&kinds::ENDPOINTSLICE, slice),
                change: json!({"endpoints": list}),
            }),
        }
    }
    plan.orders
        .extend(wanted.into_iter().map(|((family, ports), list)| create(input.endpoints, &family, &ports, &list)));
    plan
}

fn is_mirrored(Input { endpoints, service, .. }: &Input<'_>) -> bool {
    let has_selector =
        |service: &Object| read::map(service, "/spec/selector").is_some_and(|selector| !selector.is_empty());
    !endpoints.is_deleting()
        && !endpoints::is_made(endpoints)
        && endpoints.label(SKIP_LABEL) != Some("true")
        && endpoints.annotation(LEADER_ANNOTATION).is_none()
        && service.is_some_and(|service| !service.is_deleting() && !has_selector(service))
}

/// The endpoints of each slice, by address type and ports.
fn slices_of(endpoints: &Object) -> BTreeMap<(String, Ports), Vec<Value>> {
    let mut slices: BTreeMap<(String, Ports), Vec<Value>> = BTreeMap::new();
    for subset in endpoints.items("/subsets") {
        let ports = Ports::listed(subset["ports"].as_array().map(Vec::as_slice).unwrap_or_default());
        for (list, ready) in [("addresses", true), ("notReadyAddresses", false)] {
            for address in subset[list].as_array().into_iter().flatten() {
                let Ok(ip) = read::text(address, "ip").parse::<IpAddr>() else { continue };
                let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
                let slice = slices.entry((family.to_owned(), ports.clone())).or_default();
                if slice.len() < ENDPOINTS_MAX {
                    slice.push(endpoint(address, ready));
                }
            }
        }
    }
    slices
}

fn endpoint(address: &Value, ready: bool) -> Value {
    let mut endpoint = json!({"addresses": [read::text(address, "ip")], "conditions": {"ready": ready}});
    for field in ["hostname", "nodeName", "targetRef"] {
        if let Some(value) = address.get(field).filter(|value| !value.is_null()) {
            endpoint[field] = value.clone();
        }
    }
    endpoint
}

fn create(endpoints: &Object, family: &str, ports: &Ports, list: &[Value]) -> Order {
    let mut labels: Map<String, Value> = read::map(endpoints, "/metadata/labels").cloned().unwrap_or_default();
    labels.insert(SERVICE_LABEL.to_owned(), endpoints.name().into());
    labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.into());
    Order::Create {
        kind: &kinds::ENDPOINTSLICE,
        namespace: Some(endpoints.namespace().to_owned()),
        object: json!({
            "metadata": {
                "generateName": format!("{}-", endpoints.name()),
                "namespace": endpoints.namespace(),
                "labels": labels,
                "ownerReferences": [owned::controller_reference(&kinds::ENDPOINTS, endpoints)],
            },
            "addressType": family,
            "endpoints": list,
            "ports": ports.to_value(),
        }),
        announce: None,
    }
}
