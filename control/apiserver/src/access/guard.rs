//! What may be written depends on who writes: nobody grants more than they hold, and a node writes only what is its own.
//!
//! Runs on the object as it is about to be written, in the same decision as the write.

use serde_json::Value;
use wk_access::rbac::{GROUP, Rbac, Rule, not_held};
use wk_access::{Ask, User};
use wk_api::{Kind, Object, Status, kinds};
use wk_cluster::Freshness;
use wk_store::View;

use super::authz::node_name;
use crate::server::ApiServer;
use crate::verbs::Call;

/// Labels that say where pods may run, which a node does not say of itself.
const RESTRICTED_LABELS: &str = "node-restriction.kubernetes.io/";

/// What is about to happen to one object.
pub(crate) struct Write<'a> {
    pub kind: &'static Kind,
    pub namespace: Option<&'a str>,
    pub name: &'a str,
    pub subresource: &'a str,
    /// What is there; None for a create.
    pub old: Option<&'a Object>,
    /// What is to be there; None for a deletion.
    pub new: Option<&'a Value>,
}

impl<'a> Write<'a> {
    /// What `call` is about to do.
    pub(crate) fn of(call: &'a Call, old: Option<&'a Object>, new: Option<&'a Value>) -> Self {
        let name = match (call.name(), new) {
            ("", Some(new)) => new.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default(),
            (name, _) => name,
        };
        let subresource = call.target.subresource.as_deref().unwrap_or_default();
        Self { kind: call.kind(), namespace: call.namespace(), name, subresource, old, new }
    }
}

/// Refuses what `user` may not write, by what this peer knows. For the decisions of an update, which are made again on
/// newer news before a refusal is heard.
pub(crate) fn check(server: &ApiServer, user: &User, write: &Write<'_>) -> Result<(), Status> {
    check_in(&server.cluster.store().view(), server, user, write)
}

/// The same; a refusal is of the latest news.
pub(crate) async fn check_latest(server: &ApiServer, user: &User, write: &Write<'_>) -> Result<(), Status> {
    match check(server, user, write) {
        Ok(()) => Ok(()),
        Err(refused) => match server.cluster.view(Freshness::Linearizable).await {
            Ok(view) => check_in(&view, server, user, write),
            Err(_) => Err(refused),
        },
    }
}

/// Whether what `user` deletes has to be looked at first.
pub(crate) fn concerns_deletions(user: &User) -> bool {
    node_name(user).is_some()
}

fn check_in(view: &View, server: &ApiServer, user: &User, write: &Write<'_>) -> Result<(), Status> {
    if user.is_master() {
        return Ok(());
    }
    if let Some(node) = node_name(user) {
        own_things(node, write).map_err(|why| Status::forbidden(write.kind, write.name, &why))?;
    }
    let Some(new) = write.new.filter(|_| write.kind.group == GROUP && write.subresource.is_empty()) else {
        return Ok(());
    };
    let held = |namespace: &str| server.roles_in(view).rules_of(user, namespace);
    let may = |ask: Ask<'_>| server.decide_in(view, user, &ask).allowed;
    let namespace = write.namespace.unwrap_or_default();
    let why = match write.kind.kind {
        "Role" | "ClusterRole" => {
            if may(Ask::resource("escalate", GROUP, write.kind.plural).within(namespace).named(write.name)) {
                return Ok(());
            }
            of_role(user, &held(namespace), write.old, new)
        }
        "RoleBinding" | "ClusterRoleBinding" => {
            let same = |field| write.old.is_some_and(|old| old.0.get(field) == new.get(field));
            if same("subjects") && same("roleRef") {
                return Ok(());
            }
            let text = |field: &str| new.pointer(field).and_then(Value::as_str).unwrap_or_default();
            let (kind, role) = (text("/roleRef/kind"), text("/roleRef/name"));
            let (plural, home) = if kind == "ClusterRole" { ("clusterroles", "") } else { ("roles", namespace) };
            if may(Ask::resource("bind", GROUP, plural).within(namespace).named(role)) {
                return Ok(());
            }
            of_binding(&server.roles_in(view), user, &held(namespace), (home, role))?
        }
        _ => None,
    };
    match why {
        Some(why) => Err(Status::forbidden(write.kind, write.name, &why)),
        None => Ok(()),
    }
}

fn of_role(user: &User, held: &[Rule], old: Option<&Object>, new: &Value) -> Option<String> {
    let same = |field| old.is_some_and(|old| old.0.get(field) == new.get(field));
    if new.get("aggregationRule").is_some_and(|rule| !rule.is_null()) && !same("aggregationRule") {
        let everything = [
            Rule { verbs: all(), groups: all(), resources: all(), ..Rule::default() },
            Rule { verbs: all(), paths: all(), ..Rule::default() },
        ];
        if let Some(why) = not_held(user, held, &everything) {
            return Some(format!("must have cluster-admin privileges to use the aggregationRule: {why}"));
        }
    }
    if same("rules") { None } else { not_held(user, held, &Rule::list(new.get("rules")?)) }
}

fn of_binding(roles: &Rbac, user: &User, held: &[Rule], (home, role): (&str, &str)) -> Result<Option<String>, Status> {
    let kind = if home.is_empty() { &kinds::CLUSTERROLE } else { &kinds::ROLE };
    let granted = roles.role(home, role).ok_or_else(|| Status::not_found(kind, role))?;
    Ok(not_held(user, held, granted))
}

fn all() -> Vec<String> {
    vec!["*".to_owned()]
}

/// What a node may not do to objects of kinds that it may write.
fn own_things(node: &str, write: &Write<'_>) -> Result<(), String> {
    let on_this = |object: Option<&Object>| object.is_some_and(|pod| pod.text("/spec/nodeName") == node);
    match (write.kind.plural, write.subresource, write.new) {
        ("nodes", "" | "status", Some(new)) => own_node(node, write, new),
        ("pods", "", Some(_)) if write.old.is_none() => Err(format!(
            "pod does not have \"kubernetes.io/config.mirror\" annotation, node {node:?} can only create mirror pods"
        )),
        ("pods", "status", _) if !on_this(write.old) => {
            Err(format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"))
        }
        ("pods", "eviction", _) if !on_this(write.old) => {
            Err(format!("node {node:?} can only evict pods with spec.nodeName set to itself"))
        }
        ("pods", "", None) if !on_this(write.old) => {
            Err(format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
        }
        ("leases", _, _) if write.name != node => {
            Err("can only access node lease with the same name as the requesting node".to_owned())
        }
        _ => Ok(()),
    }
}

fn own_node(node: &str, write: &Write<'_>, new: &Value) -> Result<(), String> {
    if write.name != node {
        return Err(format!("node {node:?} is not allowed to modify node {:?}", write.name));
    }
    let Some(old) = write.old else { return Ok(()) };
    if write.subresource.is_empty() && old.0.pointer("/spec/taints") != new.pointer("/spec/taints") {
        return Err(format!("node {node:?} is not allowed to modify taints"));
    }
    let restricted = |labels: Option<&Value>| -> Vec<(String, Value)> {
        let labels = labels.and_then(Value::as_object).into_iter().flatten();
        labels
            .filter(|(key, _)| key.contains(RESTRICTED_LABELS))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    if restricted(old.0.pointer("/metadata/labels")) != restricted(new.pointer("/metadata/labels")) {
        return Err(format!("is not allowed to modify labels: {RESTRICTED_LABELS}"));
    }
    Ok(())
}
