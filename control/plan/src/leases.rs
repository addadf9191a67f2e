//! Leases of nodes in [`NAMESPACE`], as kubelets keep them: one for each node, which goes with it. And that namespace itself.
//!
//! Heartbeats do not go through the log, so neither do renewals: whoever reads such a Lease is shown when the leader last
//! heard its node. What is written is that there is one, and, when its node falls silent, when it was heard last.

use std::collections::BTreeMap;

use serde_json::{Value, json};
pub use wk_api::kinds::leases::NODES as NAMESPACE;
use wk_api::kinds::leases::micro_time;
use wk_api::{Object, kinds};
use wk_base::time::Timestamp;

use crate::conditions;
use crate::order::{Order, Plan, Target};
use crate::read;

/// Kubernetes' default. Here a node is taken for silent long before.
const SECONDS: i64 = 40;

/// What the decision is made from.
pub struct Input<'a> {
    /// All nodes.
    pub nodes: &'a [&'a Object],
    /// The Leases of [`NAMESPACE`].
    pub leases: &'a [&'a Object],
    /// That namespace, if it is there. It may be deleted, as in Kubernetes, and comes back.
    pub namespace: Option<&'a Object>,
    /// When this leader last heard each node, by name.
    pub heard: &'a BTreeMap<String, Timestamp>,
}

/// Makes those that are missing.
pub fn plan(input: &Input<'_>) -> Plan {
    let mut plan = Plan::default();
    let Some(namespace) = input.namespace else {
        plan.say(format!("{NAMESPACE}: is missing"));
        let object = json!({"metadata": {"name": NAMESPACE}});
        plan.orders.push(Order::Create { kind: &kinds::NAMESPACE, namespace: None, object, announce: None });
        return plan;
    };
    if namespace.is_deleting() {
        return plan;
    }
    let there: BTreeMap<&str, &Object> = input.leases.iter().map(|lease| (lease.name(), *lease)).collect();
    for node in input.nodes.iter().filter(|node| !node.is_deleting()) {
        let heard = input.heard.get(node.name()).copied();
        match (there.get(node.name()), heard) {
            (None, Some(heard)) => plan.orders.push(create(node, heard)),
            // One that says itself that it is not ready is heard every moment.
            (Some(lease), Some(heard)) if conditions::status(node, "Ready") == "Unknown" && is_before(lease, heard) => {
                plan.orders.push(Order::Update {
                    target: Target::version(&kinds::LEASE, lease),
                    change: json!({"spec": {"renewTime": micro_time(heard)}}),
                });
            }
            _ => {}
        }
    }
    plan
}

/// Whether a Lease says an earlier second than `heard`.
fn is_before(lease: &Object, heard: Timestamp) -> bool {
    read::parse_time(lease.at("/spec/renewTime")).is_none_or(|said| said.as_second() < heard.as_second())
}

fn create(node: &Object, heard: Timestamp) -> Order {
    let owner: Value = json!({
        "apiVersion": "v1", "kind": "Node", "name": node.name(), "uid": node.uid(),
    });
    let object = json!({
        "metadata": {"name": node.name(), "ownerReferences": [owner]},
        "spec": {"holderIdentity": node.name(), "leaseDurationSeconds": SECONDS, "renewTime": micro_time(heard)},
    });
    Order::Create { kind: &kinds::LEASE, namespace: Some(NAMESPACE.to_owned()), object, announce: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(ready: &str) -> Object {
        Object::new(json!({
            "metadata": {"name": "n1", "uid": "u"}, "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }))
    }

    fn planned(node: &Object, leases: &[&Object], second: i64) -> Vec<Order> {
        let heard = BTreeMap::from([("n1".to_owned(), Timestamp::from_second(second).expect("a time"))]);
        plan(&Input { nodes: &[node], leases, namespace: Some(&namespace("")), heard: &heard }).orders
    }

    fn namespace(deleted: &str) -> Object {
        let deleted = Some(deleted).filter(|time| !time.is_empty());
        Object::new(json!({"metadata": {"name": NAMESPACE, "deletionTimestamp": deleted}}))
    }

    #[test]
    fn each_node_has_a_lease_that_is_written_again_only_when_it_falls_silent() {
        let (alive, silent) = (node("True"), node("Unknown"));
        let [Order::Create { object, .. }] = &planned(&alive, &[], 10)[..] else { panic!("one lease") };
        assert_eq!(object["spec"]["renewTime"], "1970-01-01T00:00:10.000000Z");
        assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], "u");
        let lease = Object::new(object.clone());
        assert_eq!(planned(&alive, &[&lease], 1000), []);
        assert_eq!(planned(&node("False"), &[&lease], 1000), [], "it is heard, and says that it is not ready");
        let [Order::Update { change, .. }] = &planned(&silent, &[&lease], 1000)[..] else { panic!("one write") };
        assert_eq!(change["spec"]["renewTime"], "1970-01-01T00:16:40.000000Z");
        assert_eq!(planned(&silent, &[&lease], 10), [], "it says so already");
        let nobody = BTreeMap::new();
        let there = namespace("");
        let input = Input { nodes: &[&alive], leases: &[], namespace: Some(&there), heard: &nobody };
        assert_eq!(plan(&input).orders, [], "a leader that has heard nobody says nothing");
    }

    #[test]
    fn their_namespace_comes_back_when_it_was_deleted() {
        let (alive, nobody, going) = (node("True"), BTreeMap::new(), namespace("2025-01-01T00:00:00Z"));
        let planned = |namespace| plan(&Input { nodes: &[&alive], leases: &[], namespace, heard: &nobody }).orders;
        assert_eq!(planned(Some(&going)), [], "it is not gone yet");
        let [Order::Create { kind, object, .. }] = &planned(None)[..] else { panic!("one namespace") };
        assert_eq!((*kind, &object["metadata"]["name"]), (&kinds::NAMESPACE, &json!(NAMESPACE)));
    }
}
