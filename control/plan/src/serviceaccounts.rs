//! Every living namespace has its default service account: it is made with the namespace, and again if it was deleted
//! or the namespace is older than service accounts.

use std::collections::BTreeSet;

use serde_json::json;
use wk_api::{Object, kinds};

use crate::order::{Order, Plan};

/// What the decision is made from.
pub struct Input<'a> {
    /// All namespaces.
    pub namespaces: &'a [&'a Object],
    /// All service accounts.
    pub accounts: &'a [&'a Object],
    /// The name of the account that every namespace has.
    pub name: &'static str,
}

/// Makes those that are missing.
pub fn plan(input: &Input<'_>) -> Plan {
    let mut plan = Plan::default();
    let named = input.accounts.iter().filter(|account| account.name() == input.name);
    let there: BTreeSet<&str> = named.map(|account| account.namespace()).collect();
    let living = input.namespaces.iter().filter(|namespace| !namespace.is_deleting());
    for namespace in living.filter(|namespace| !there.contains(namespace.name())) {
        plan.say(format!("{}: has no service account {:?}", namespace.name(), input.name));
        plan.orders.push(Order::Create {
            kind: &kinds::SERVICEACCOUNT,
            namespace: Some(namespace.name().to_owned()),
            object: json!({"metadata": {"name": input.name}}),
            announce: None,
        });
    }
    plan
}
