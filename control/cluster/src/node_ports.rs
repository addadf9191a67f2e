//! Node ports: each number that a Service holds for a protocol has a record of its own, written together with the
//! Service, so that two peers can never give the same one to two Services. Records are not objects of the API.
//!
//! Not here: who listens on them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wk_api::{FieldError, FieldReason, Kind, Object, Status};
use wk_store::{Change, Expect, Key, Op, View};

use crate::object;
use crate::write::put;

/// Kubernetes' default `--service-node-port-range`.
const FIRST: i64 = 30_000;
const LAST: i64 = 32_767;
/// The lowest ones are left to those who ask for one by number: KEP-3668's band for a range of this size.
const RESERVED_LOW: i64 = 86;
/// Where the records lie in the store.
const COLLECTION: &str = "wk.dev/nodeports";

/// A number and the protocol it is for.
type Port = (i64, String);

fn record(view: &View, port: &Port) -> Option<(Op, Object)> {
    let held = view.get(&place(port))?;
    let op = Op { key: held.key().clone(), expect: Expect::Revision(held.revision()), change: Change::Delete };
    Some((op, Object::clone(&object(&held))))
}

fn place((number, protocol): &Port) -> Key {
    Key::new(COLLECTION, format!("{protocol}-{number}"))
}

fn owner(service: &Object) -> Value {
    json!({ "metadata": { "namespace": service.namespace(), "name": service.name(), "uid": service.uid() } })
}

fn is_owner(record: &Object, service: &Object) -> bool {
    record.uid() == service.uid()
}

/// The ports that a Service has, by their place in it.
fn held(service: &Object) -> BTreeMap<Port, usize> {
    let ports = service.items("/spec/ports").iter().enumerate();
    ports.filter_map(|(index, port)| Some((number(port)?, index))).collect()
}

fn number(port: &Value) -> Option<Port> {
    let number = int(port, "nodePort").filter(|number| *number != 0)?;
    Some((number, protocol(port)))
}

fn protocol(port: &Value) -> String {
    match port["protocol"].as_str() {
        None | Some("") => "TCP".to_owned(),
        Some(given) => given.to_owned(),
    }
}

fn int(port: &Value, field: &str) -> Option<i64> {
    port.get(field)?.as_i64()
}

/// Whether its ports get numbers that nobody asked for.
fn wants_any(service: &Object) -> bool {
    match service.text("/spec/type") {
        "NodePort" => true,
        "LoadBalancer" => service.at("/spec/allocateLoadBalancerNodePorts") != Some(&Value::Bool(false)),
        _ => false,
    }
}

/// Gives the ports of `new` their numbers, takes back those that it no longer has, and returns the writes for both.
pub(crate) fn allocate(view: &View, kind: &Kind, old: Option<&Object>, new: &mut Object) -> Result<Vec<Op>, Status> {
    let mut ops = Vec::new();
    let mut taken = BTreeMap::new();
    for (port, index) in held(new) {
        match record(view, &port) {
            Some((_, record)) if is_owner(&record, new) => {}
            Some(_) => return Err(refuse(kind, new, index, port.0, "provided port is already allocated")),
            None if (FIRST..=LAST).contains(&port.0) => ops.push(reserve(&port, new)),
            None => {
                let why =
                    format!("provided port is not in the valid range. The range of valid ports is {FIRST}-{LAST}");
                return Err(refuse(kind, new, index, port.0, &why));
            }
        }
        taken.insert(port, index);
    }
    if wants_any(new) {
        for index in 0..new.items("/spec/ports").len() {
            let port = &new.items("/spec/ports")[index];
            if number(port).is_some() {
                continue;
            }
            let (protocol, shown) = (protocol(port), int(port, "port"));
            let same = new.items("/spec/ports").iter().filter(|other| int(other, "port") == shown);
            // One number for all protocols of a port where that is possible, as for DNS.
            let twins: Vec<i64> = same.filter_map(|other| Some(number(other)?.0)).collect();
            let free = |number: &i64| {
                let port = (*number, protocol.clone());
                !taken.contains_key(&port) && record(view, &port).is_none()
            };
            let chosen = twins.into_iter().chain(candidates(new.uid(), index)).find(free).ok_or_else(|| {
                Status::internal(format!("failed to allocate a nodePort: the range {FIRST}-{LAST} is full"))
            })?;
            let port = (chosen, protocol);
            ops.push(reserve(&port, new));
            new.0["spec"]["ports"][index]["nodePort"] = chosen.into();
            taken.insert(port, index);
        }
    }
    let gone = old.into_iter().flat_map(held).filter(|(port, _)| !taken.contains_key(port));
    ops.extend(gone.filter_map(|(port, _)| freed(view, &port, new)));
    Ok(ops)
}

/// Gives back the ports of a Service that goes.
pub(crate) fn release(view: &View, old: &Object) -> Vec<Op> {
    held(old).into_keys().filter_map(|port| freed(view, &port, old)).collect()
}

/// Only what still is this Service's.
fn freed(view: &View, port: &Port, service: &Object) -> Option<Op> {
    record(view, port).filter(|(_, record)| is_owner(record, service)).map(|(op, _)| op)
}

fn reserve(port: &Port, service: &Object) -> Op {
    Op { key: place(port), expect: Expect::Absent, change: put(&Object(owner(service))) }
}

/// All numbers that are given unasked, each once, from a place that the uid picks.
fn candidates(uid: &str, index: usize) -> impl Iterator<Item = i64> {
    let span = LAST - FIRST + 1 - RESERVED_LOW;
    // FNV-1a: a uid is random already, this only folds it.
    let hash = uid.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let start = i64::from(hash) + i64::try_from(index).unwrap_or_default();
    (0..span).map(move |step| FIRST + RESERVED_LOW + (start + step) % span)
}

fn refuse(kind: &Kind, service: &Object, index: usize, number: i64, why: &str) -> Status {
    let error = FieldError {
        field: format!("spec.ports[{index}].nodePort"),
        reason: FieldReason::Invalid,
        message: format!("Invalid value: {number}: {why}"),
    };
    Status::invalid(kind, service.name(), vec![error])
}
