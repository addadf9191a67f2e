//! Cluster IPs: each is an `IPAddress` object, written together with the Service that holds it, so that two peers can
//! never hand out the same one (KEP-1880 keeps addresses the same way).

use std::net::Ipv4Addr;

use serde_json::{Value, json};
use wk_api::strategy::{self, Facts};
use wk_api::{FieldError, FieldReason, Kind, Object, Status, kinds};
use wk_base::id;
use wk_store::{Change, Expect, Op, View};

use crate::write::put;
use crate::{key, node_ports, object};

/// The addresses that Services get.
pub const SERVICE_RANGE: ServiceRange = ServiceRange { first: Ipv4Addr::new(10, 96, 0, 0), prefix: 12 };

/// A block of IPv4 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceRange {
    first: Ipv4Addr,
    prefix: u32,
}

/// Addresses tried in a row before the range counts as full: with half of a million addresses taken, the chance of
/// meeting this many taken ones is one in 2^256.
const PROBES_MAX: u32 = 256;

/// The lowest addresses are left to those who ask for one by name, so that `10.96.0.10` is free when somebody wants
/// it (KEP-3070, for a range of this size).
const RESERVED_LOW: u32 = 256;

impl ServiceRange {
    fn size(self) -> u32 {
        1 << (32 - self.prefix)
    }

    fn contains(self, address: Ipv4Addr) -> bool {
        let offset = address.to_bits().wrapping_sub(self.first.to_bits());
        // Neither the network's own address nor the broadcast one.
        offset > 0 && offset < self.size() - 1
    }

    /// The `probe`th address to try for an object with this uid.
    fn candidate(self, uid: &str, probe: u32) -> Ipv4Addr {
        // FNV-1a: a uid is random already, this only folds it to 32 bits.
        let hash = uid.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let span = self.size() - 1 - RESERVED_LOW;
        Ipv4Addr::from_bits(self.first.to_bits() + RESERVED_LOW + hash.wrapping_add(probe) % span)
    }
}

impl std::fmt::Display for ServiceRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

/// What a Service asks for or holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Address<'a> {
    /// `type: ExternalName`: it has none.
    Nothing,
    /// `clusterIP: None`.
    Headless,
    /// Any that is free.
    Any,
    /// This one.
    Given(&'a str),
}

fn address(service: &Value) -> Address<'_> {
    let field = |pointer| service.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    if field("/spec/type") == "ExternalName" {
        return Address::Nothing;
    }
    let first = match field("/spec/clusterIP") {
        "" => field("/spec/clusterIPs/0"),
        given => given,
    };
    match first {
        "" => Address::Any,
        "None" => Address::Headless,
        given => Address::Given(given),
    }
}

fn is_service(kind: &Kind) -> bool {
    kind.collection() == kinds::SERVICE.collection()
}

/// Fills in what an update left out: a client need not repeat the address that it was given.
pub(crate) fn keep_allocated(kind: &Kind, old: &Object, new: &mut Value) {
    if !is_service(kind) || address(new) != Address::Any {
        return;
    }
    let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut) else { return };
    for field in ["clusterIP", "clusterIPs"] {
        if let Some(value) = old.at(&format!("/spec/{field}")) {
            spec.insert(field.to_owned(), value.clone());
        }
    }
}

/// Gives `new` the address and node ports that it wants if it is a Service, takes back what it no longer wants, and
/// returns the writes that go with it.
pub(crate) fn allocate(
    view: &View,
    kind: &Kind,
    old: Option<&Object>,
    new: &mut Object,
    facts: &Facts<'_>,
) -> Result<Vec<Op>, Status> {
    if !is_service(kind) {
        return Ok(Vec::new());
    }
    let mut ops = allocate_address(view, kind, old, new, facts)?;
    ops.extend(node_ports::allocate(view, kind, old, new)?);
    Ok(ops)
}

fn allocate_address(
    view: &View,
    kind: &Kind,
    old: Option<&Object>,
    new: &mut Object,
    facts: &Facts<'_>,
) -> Result<Vec<Op>, Status> {
    let wanted = address(&new.0);
    if old.is_some_and(|old| address(&old.0) == wanted && wanted != Address::Any) {
        return Ok(Vec::new());
    }
    let mut ops = old.map(|old| release_address(view, old)).unwrap_or_default();
    let chosen = match wanted {
        Address::Nothing => return Ok(ops),
        Address::Headless => {
            new.0["spec"]["clusterIP"] = "None".into();
            new.0["spec"]["clusterIPs"] = json!(["None"]);
            return Ok(ops);
        }
        Address::Any => free_address(view, new.uid())
            .ok_or_else(|| Status::internal(format!("failed to allocate a serviceIP: {SERVICE_RANGE} is full")))?,
        Address::Given(text) => given_address(view, kind, new, text)?,
    };
    let text = chosen.to_string();
    ops.push(reserve(new, &text, facts)?);
    let spec = &mut new.0["spec"];
    spec["clusterIP"] = text.as_str().into();
    spec["clusterIPs"] = json!([text]);
    for (field, value) in [("ipFamilies", json!(["IPv4"])), ("ipFamilyPolicy", json!("SingleStack"))] {
        if spec.get(field).is_none_or(Value::is_null) {
            spec[field] = value;
        }
    }
    Ok(ops)
}

/// Gives back the address and the node ports of a Service that goes.
pub(crate) fn release(view: &View, kind: &Kind, old: &Object) -> Vec<Op> {
    if !is_service(kind) {
        return Vec::new();
    }
    let mut ops = release_address(view, old);
    ops.extend(node_ports::release(view, old));
    ops
}

/// Only if it still is this Service's: one that was freed by hand may be another's by now.
fn release_address(view: &View, old: &Object) -> Vec<Op> {
    let Address::Given(text) = address(&old.0) else { return Vec::new() };
    let held = view.get(&key(&kinds::IPADDRESS, None, text)).filter(|held| is_parent(&object(held), old));
    held.map(|held| Op { key: held.key().clone(), expect: Expect::Revision(held.revision()), change: Change::Delete })
        .into_iter()
        .collect()
}

/// Whether an `IPAddress` says that it is this Service's.
fn is_parent(address: &Object, service: &Object) -> bool {
    let parent = |field: &str| address.text(&format!("/spec/parentRef/{field}"));
    parent("group").is_empty()
        && parent("resource") == "services"
        && parent("namespace") == service.namespace()
        && parent("name") == service.name()
}

fn free_address(view: &View, uid: &str) -> Option<Ipv4Addr> {
    (0..PROBES_MAX)
        .map(|probe| SERVICE_RANGE.candidate(uid, probe))
        .find(|address| view.get(&key(&kinds::IPADDRESS, None, &address.to_string())).is_none())
}

fn given_address(view: &View, kind: &Kind, service: &Object, text: &str) -> Result<Ipv4Addr, Status> {
    let refuse = |why: &str| {
        let message = format!("Invalid value: [{text:?}]: failed to allocate IP {text}: {why}");
        Status::invalid(
            kind,
            service.name(),
            vec![FieldError { field: "spec.clusterIPs".to_owned(), reason: FieldReason::Invalid, message }],
        )
    };
    let range =
        || format!("the provided IP ({text}) is not in the valid range. The range of valid IPs is {SERVICE_RANGE}");
    let address: Ipv4Addr = text.parse().map_err(|_| refuse(&range()))?;
    if !SERVICE_RANGE.contains(address) {
        return Err(refuse(&range()));
    }
    if view.get(&key(&kinds::IPADDRESS, None, text)).is_some() {
        return Err(refuse("provided IP is already allocated"));
    }
    Ok(address)
}

fn reserve(service: &Object, text: &str, facts: &Facts<'_>) -> Result<Op, Status> {
    let body = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {
            "name": text,
            "labels": {
                "ipaddress.kubernetes.io/ip-family": "IPv4",
                "ipaddress.kubernetes.io/managed-by": "wk.dev",
            },
        },
        "spec": { "parentRef": {
            "group": "", "resource": "services", "namespace": service.namespace(), "name": service.name(),
        } },
    });
    // Its own: who deletes by uid, as the garbage collector does, must not take one for the other.
    let uid = id::uid();
    let object = strategy::create(&kinds::IPADDRESS, None, body, &Facts { uid: &uid, ..*facts })?;
    Ok(Op { key: key(&kinds::IPADDRESS, None, text), expect: Expect::Absent, change: put(&object) })
}
