//! What may be written depends on who writes: nobody grants more than they hold, and a node writes only what is its own.
//!
//! Asked in the decision of each write, on the object as it would be stored, whichever verb led there.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;
use wk_access::rbac::{GROUP, Rbac, Rule, not_held};
use wk_access::{Ask, User};
use wk_api::{Object, Status, kinds};
use wk_cluster::{Cluster, Guard, Subresource, Write};

use super::Access;
use super::authz::node_name;
use crate::server::ApiServer;

/// Labels that say where pods may run, which a node does not say of itself.
const RESTRICTED_LABELS: &str = "node-restriction.kubernetes.io";

/// Labels of Kubernetes' own that a node says of itself (`kubeletapis.IsKubeletLabel`), and where others are.
const NODE_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
];
const NODE_LABEL_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

/// The cluster as `user` writes to it.
pub(crate) fn cluster_of(server: &ApiServer, user: &User) -> Cluster {
    if user.is_master() {
        return server.cluster.clone();
    }
    server.cluster.guarded(Arc::new(Writer { access: Arc::clone(&server.access), user: user.clone() }))
}

/// Who writes.
struct Writer {
    access: Arc<Access>,
    user: User,
}

impl Guard for Writer {
    fn check(&self, write: &Write<'_>) -> Result<(), Status> {
        if let Some(node) = node_name(&self.user) {
            own_things(node, write).map_err(|why| Status::forbidden(write.kind, write.name(), &why))?;
        }
        match write.new {
            Some(new) if *write.kind == kinds::CERTIFICATESIGNINGREQUEST => self.approves(write, new),
            Some(new) if write.kind.group == GROUP && write.subresource == Subresource::None => self.grants(write, new),
            Some(_) | None => Ok(()),
        }
    }
}

impl Writer {
    /// Approving and signing are permissions on the signer: `signers`, by its name or its domain.
    fn approves(&self, write: &Write<'_>, request: &Object) -> Result<(), Status> {
        let verb = match write.subresource {
            Subresource::Part("approval") => "approve",
            Subresource::Status if is_answered_anew(write.old, request) => "sign",
            _ => return Ok(()),
        };
        let signer = write.old.unwrap_or(request).text("/spec/signerName");
        let domain = format!("{}/*", signer.split('/').next().unwrap_or_default());
        let may = |name: &str| {
            let ask = Ask::resource(verb, write.kind.group, "signers").named(name);
            self.access.decide_in(write.view, &self.user, &ask).allowed
        };
        if may(signer) || may(&domain) {
            return Ok(());
        }
        let why = format!("user not permitted to {verb} requests with signerName {signer:?}");
        Err(Status::forbidden(write.kind, write.name(), &why))
    }

    /// Whether a role or a binding gives away only what its writer holds.
    fn grants(&self, write: &Write<'_>, new: &Object) -> Result<(), Status> {
        let Self { access, user } = self;
        let (view, namespace) = (write.view, write.namespace());
        let held = || access.roles_in(view).rules_of(user, namespace);
        let may = |ask: Ask<'_>| access.decide_in(view, user, &ask).allowed;
        let new = &new.0;
        let why = match write.kind.kind {
            "Role" | "ClusterRole" => {
                if may(Ask::resource("escalate", GROUP, write.kind.plural).within(namespace).named(write.name())) {
                    return Ok(());
                }
                of_role(user, &held(), write.old, new)
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
                of_binding(&access.roles_in(view), user, &held(), (home, role))?
            }
            _ => None,
        };
        match why {
            Some(why) => Err(Status::forbidden(write.kind, write.name(), &why)),
            None => Ok(()),
        }
    }
}

/// Whether a status says something else of the certificate than before: the rest of it is nobody's secret.
fn is_answered_anew(old: Option<&Object>, new: &Object) -> bool {
    ["/status/certificate", "/status/conditions"].iter().any(|field| old.and_then(|old| old.at(field)) != new.at(field))
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
    match (write.kind.plural, write.subresource, write.old, write.new) {
        ("nodes", _, _, Some(new)) => own_node(node, write, new),
        ("pods", _, None, Some(_)) => Err(format!(
            "pod does not have \"kubernetes.io/config.mirror\" annotation, node {node:?} can only create mirror pods"
        )),
        ("pods", Subresource::Status, old, Some(_)) if !on_this(old) => {
            Err(format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"))
        }
        ("pods", _, old, None) if !on_this(old) => {
            Err(format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
        }
        ("leases", ..) if write.name() != node => {
            Err("can only access node lease with the same name as the requesting node".to_owned())
        }
        _ => Ok(()),
    }
}

fn own_node(node: &str, write: &Write<'_>, new: &Object) -> Result<(), String> {
    let forbidden = forbidden_labels(write.old, new).join(", ");
    if write.old.is_none() && !forbidden.is_empty() {
        return Err(format!("is not allowed to set the following labels: {forbidden}"));
    }
    if write.name() != node {
        return Err(format!("node {node:?} is not allowed to modify node {:?}", write.name()));
    }
    let Some(old) = write.old else { return Ok(()) };
    if old.at("/spec/taints") != new.at("/spec/taints") {
        return Err(format!("node {node:?} is not allowed to modify taints"));
    }
    if old.at("/metadata/ownerReferences") != new.at("/metadata/ownerReferences") {
        return Err(format!("node {node:?} is not allowed to modify ownerReferences"));
    }
    if !forbidden.is_empty() {
        return Err(format!("is not allowed to modify labels: {forbidden}"));
    }
    Ok(())
}

/// Labels that change and are not for a node to change: those by which it could draw pods to itself.
fn forbidden_labels<'a>(old: Option<&'a Object>, new: &'a Object) -> Vec<&'a str> {
    let labels = |object: Option<&'a Object>| object.map(Object::labels).unwrap_or_default();
    let (before, after) = (labels(old), labels(Some(new)));
    let keys: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
    let changed = keys.into_iter().filter(|key| before.get(key) != after.get(key));
    changed.filter(|key| is_forbidden(key)).collect()
}

fn is_forbidden(label: &str) -> bool {
    let Some((domain, _)) = label.split_once('/') else { return false };
    let is_of = |parent: &str| domain == parent || domain.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'));
    let is_of_kubernetes = is_of("kubernetes.io") || is_of("k8s.io");
    let is_a_nodes = NODE_LABELS.contains(&label) || NODE_LABEL_DOMAINS.iter().any(|parent| is_of(parent));
    is_of(RESTRICTED_LABELS) || is_of_kubernetes && !is_a_nodes
}
