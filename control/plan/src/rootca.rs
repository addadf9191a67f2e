//! The certificate of the cluster's authority, in every living namespace as ConfigMap [`NAME`]: pods that call the API
//! find it beside their token. Upstream's `root-ca-cert-publisher`.

use std::collections::BTreeMap;

use serde_json::json;
use wk_api::{Object, kinds};

use crate::order::{Order, Plan, Target};

/// The ConfigMap's name.
pub const NAME: &str = "kube-root-ca.crt";
const KEY: &str = "ca.crt";

const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the \
     internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes \
     clusters.",
);

/// What the decision is made from.
pub struct Input<'a> {
    /// All namespaces.
    pub namespaces: &'a [&'a Object],
    /// The ConfigMaps of this name.
    pub published: &'a [&'a Object],
    /// The certificate, in PEM.
    pub certificate: &'a str,
}

/// Makes those that are missing, and sets right those that say something else.
pub fn plan(input: &Input<'_>) -> Plan {
    let mut plan = Plan::default();
    let there: BTreeMap<&str, &Object> = input.published.iter().map(|map| (map.namespace(), *map)).collect();
    let data = json!({KEY: input.certificate});
    for namespace in input.namespaces.iter().filter(|namespace| !namespace.is_deleting()) {
        match there.get(namespace.name()) {
            None => {
                plan.say(format!("{}: has no {NAME}", namespace.name()));
                plan.orders.push(Order::Create {
                    kind: &kinds::CONFIGMAP,
                    namespace: Some(namespace.name().to_owned()),
                    object: json!({"metadata": {"name": NAME, "annotations": {DESCRIPTION.0: DESCRIPTION.1}}, "data": data}),
                    announce: None,
                });
            }
            Some(map) if map.at("/data") == Some(&data) => {}
            Some(map) => {
                plan.say(format!("{}: {NAME} says something else", namespace.name()));
                // A merge patch keeps what it does not name.
                let mut change = data.clone();
                for (key, _) in map.at("/data").and_then(|data| data.as_object()).into_iter().flatten() {
                    if key != KEY {
                        change[key] = json!(null);
                    }
                }
                let target = Target::version(&kinds::CONFIGMAP, map);
                plan.orders.push(Order::Update { target, change: json!({"data": change}) });
            }
        }
    }
    plan
}
