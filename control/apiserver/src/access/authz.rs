//! Whether a caller may do something: masters may, nodes may do what their pods need, and the rest stands in roles.

use std::sync::{Arc, Mutex, PoisonError};

use wk_access::rbac::Rbac;
use wk_access::{Ask, Decision, NODES, User};
use wk_api::{Details, Kind, Reason, Status, kinds};
use wk_cluster::{Freshness, object};
use wk_store::{Part, View};

use super::{Access, node};
use crate::audit::Notes;
use crate::server::ApiServer;

/// Collections that decisions are made of.
fn read_kinds() -> [&'static Kind; 4] {
    [&kinds::ROLE, &kinds::CLUSTERROLE, &kinds::ROLEBINDING, &kinds::CLUSTERROLEBINDING]
}

/// The index of all roles, made anew only when one of them was written.
#[derive(Debug, Default)]
pub(super) struct Roles(Mutex<Option<([Part; 4], Arc<Rbac>)>>);

impl Roles {
    /// The roles as they are in `view`.
    fn at(&self, view: &View) -> Arc<Rbac> {
        let parts = read_kinds().map(|kind| view.part(kind.collection()));
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, rbac)) = &*made
            && *of == parts
        {
            return Arc::clone(rbac);
        }
        let mut builder = Rbac::builder();
        let [role, cluster_role, binding, cluster_binding] = read_kinds();
        for kind in [role, cluster_role] {
            view.list(kind.collection(), "").for_each(|stored| builder.role(&object(&stored)));
        }
        for kind in [binding, cluster_binding] {
            view.list(kind.collection(), "").for_each(|stored| builder.binding(&object(&stored)));
        }
        let rbac = Arc::new(builder.finish());
        *made = Some((parts, Arc::clone(&rbac)));
        rbac
    }
}

impl ApiServer {
    /// Refuses with 403 in Kubernetes' words what `user` may not do.
    pub(crate) async fn authorize(&self, user: &User, ask: &Ask<'_>) -> Result<(), Status> {
        let decision = self.decide(user, ask).await;
        if decision.allowed { Ok(()) } else { Err(refusal(user, ask, &decision)) }
    }

    /// The same of what a request is about: its record says how it was decided.
    pub(crate) async fn authorize_noted(&self, user: &User, ask: &Ask<'_>, notes: &Notes) -> Result<(), Status> {
        let decision = self.decide(user, ask).await;
        notes.decided(&decision);
        if decision.allowed { Ok(()) } else { Err(refusal(user, ask, &decision)) }
    }

    /// Whether `user` may do this. A yes is of what this peer knows; a no is of the latest, where it can be had.
    pub(crate) async fn decide(&self, user: &User, ask: &Ask<'_>) -> Decision {
        let view = self.cluster.store().view();
        let decision = self.access.decide_in(&view, user, ask);
        if decision.allowed {
            return decision;
        }
        match self.cluster.view(Freshness::Linearizable).await {
            Ok(latest) if latest.revision() > view.revision() => self.access.decide_in(&latest, user, ask),
            Ok(_) | Err(_) => decision,
        }
    }
}

impl Access {
    /// The roles as they are in `view`.
    pub(crate) fn roles_in(&self, view: &View) -> Arc<Rbac> {
        self.roles.at(view)
    }

    /// Whether `user` may do this, by the objects in `view`.
    pub(crate) fn decide_in(&self, view: &View, user: &User, ask: &Ask<'_>) -> Decision {
        if user.is_master() {
            return Decision::allow("");
        }
        let mut reasons = Vec::new();
        if let Some(node) = node_name(user) {
            let decision = node::decide(view, node, ask);
            if decision.allowed {
                return decision;
            }
            reasons.push(decision.reason);
        }
        let decision = self.roles_in(view).decide(user, ask);
        if decision.allowed {
            return decision;
        }
        reasons.push(decision.reason);
        reasons.retain(|reason| !reason.is_empty());
        Decision::deny(reasons.join("\n"))
    }
}

/// Which node `user` is.
pub(super) fn node_name(user: &User) -> Option<&str> {
    user.name.strip_prefix("system:node:").filter(|_| user.is_in(NODES))
}

/// 403 for what was decided.
pub(crate) fn refusal(user: &User, ask: &Ask<'_>, decision: &Decision) -> Status {
    let mut why = ask.refusal(&user.name);
    if !decision.reason.is_empty() {
        why = format!("{why}: {}", decision.reason);
    }
    match ask {
        Ask::Path { .. } => Status::forbidden_path(why),
        Ask::Resource(ask) => {
            let resource =
                if ask.group.is_empty() { ask.resource.to_owned() } else { format!("{}.{}", ask.resource, ask.group) };
            let what = if ask.name.is_empty() { resource } else { format!("{resource} {:?}", ask.name) };
            let mut status = Status::new(403, Reason::Forbidden, format!("{what} is forbidden: {why}"));
            let (name, group, kind) = (ask.name.to_owned(), ask.group.to_owned(), ask.resource.to_owned());
            status.details = Some(Box::new(Details { name, group, kind, ..Details::default() }));
            status
        }
    }
}
