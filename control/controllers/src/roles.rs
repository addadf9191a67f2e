//! The default roles, completed once at the beginning of a leadership, and ClusterRoles that are made of others.
//!
//! What they hold is in `wk-access`.

use std::sync::Arc;

use serde_json::{Value, json};
use wk_access::{defaults, rbac};
use wk_api::{Kind, Object, kinds};
use wk_base::time::Timestamp;
use wk_cluster::{key, object};
use wk_plan::{Order, Plan, Target};
use wk_store::View;

use crate::gather;
use crate::work::Desk;

/// The pass that completes the defaults. It looks until nothing is lacking and then never again in this leadership, as
/// Kubernetes does at the start of a server: what an administrator deletes on purpose stays deleted until then.
pub(crate) fn complete_defaults() -> impl FnMut(&Desk, Timestamp) -> Plan + Send {
    let mut is_whole = false;
    move |desk, _now| {
        let mut plan = Plan::default();
        if !is_whole {
            let view = desk.cluster.store().view();
            plan.orders = defaults::all().into_iter().filter_map(|body| complete(&view, body)).collect();
            is_whole = plan.orders.is_empty();
        }
        plan
    }
}

fn complete(view: &View, body: Value) -> Option<Order> {
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let kind = Kind::by_kind(text("/apiVersion"), text("/kind"))?;
    let namespace = Some(text("/metadata/namespace")).filter(|namespace| !namespace.is_empty());
    if let Some(namespace) = namespace {
        // The namespaces of a new cluster are made beside this.
        view.get(&key(&kinds::NAMESPACE, None, namespace))?;
    }
    match view.get(&key(kind, namespace, text("/metadata/name"))).map(|stored| object(&stored)) {
        None => {
            let namespace = namespace.map(str::to_owned);
            Some(Order::Create { kind, namespace, object: body, announce: None })
        }
        Some(found) => {
            let change = defaults::lacking(&body, &found)?;
            Some(Order::Update { target: Target::version(kind, &found), change })
        }
    }
}

/// Brings together the rules of ClusterRoles with an `aggregationRule`.
pub(crate) fn aggregate(desk: &Desk, _now: Timestamp) -> Plan {
    let roles: Vec<Arc<Object>> = gather::list(&desk.cluster.store().view(), &kinds::CLUSTERROLE);
    let all = gather::borrowed(&roles);
    let mut plan = Plan::default();
    for role in &all {
        if let Some(rules) = rbac::aggregated(role, &all) {
            plan.report.push(format!("{}: {} rules of others", role.name(), rules.len()));
            let target = Target::version(&kinds::CLUSTERROLE, role);
            plan.orders.push(Order::Update { target, change: json!({ "rules": rules }) });
        }
    }
    plan
}
