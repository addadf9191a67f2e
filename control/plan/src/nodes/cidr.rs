//! `spec.podCIDR`: a /18 of 10.128.0.0/9 for each node, the lowest that is free. A Node that somebody wrote, and no machine
//! has said of what it has, gets none.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::json;
use wk_api::{Object, kinds};

use crate::order::{Order, Plan, Target};
use crate::read;

/// The first address of all pods: 10.128.0.0/9.
const FIRST: u32 = 0x0a80_0000;

/// Addresses of one node: a /18, 16,384 of them. The pods of one node, and those that ended lately, fit many times.
const SIZE: u32 = 1 << 14;

/// Ranges of this size in the /9: as many nodes can have pods.
const RANGES: u32 = 1 << 9;

pub(super) fn plan(nodes: &[&Object]) -> Plan {
    let mut plan = Plan::default();
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    for node in nodes {
        let cidr = node.text("/spec/podCIDR");
        if !cidr.is_empty()
            && let Some(other) = taken.insert(cidr, node.name())
        {
            plan.say(format!("{other} and {} both have {cidr}: drain one of them and let it join anew", node.name()));
        }
    }
    let mut free = (0..RANGES).map(cidr).filter(|cidr| !taken.contains_key(cidr.as_str()));
    let lacks = |node: &&&Object| node.text("/spec/podCIDR").is_empty() && has_machine(node) && !node.is_deleting();
    for node in nodes.iter().filter(lacks) {
        let Some(cidr) = free.next() else {
            plan.say(format!("{}: no address range is left for its pods; {RANGES} nodes have one", node.name()));
            continue;
        };
        plan.say(format!("{}: its pods get {cidr}", node.name()));
        let target = Target::version(&kinds::NODE, node);
        plan.orders.push(Order::Update { target, change: json!({"spec": {"podCIDR": cidr, "podCIDRs": [cidr]}}) });
    }
    plan
}

fn has_machine(node: &Object) -> bool {
    read::map(node, "/status/allocatable").is_some_and(|resources| !resources.is_empty())
}

fn cidr(index: u32) -> String {
    format!("{}/18", Ipv4Addr::from(FIRST + index * SIZE))
}
