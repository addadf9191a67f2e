//! Leases of nodes as they are read: renewed when the leader last heard the node. Heartbeats do not go through the log,
//! so what is stored is older (`wk_plan::leases`).
//!
//! Not here: watches, which deliver what is stored, and Leases of others, which are theirs.

use std::sync::Arc;

use wk_api::kinds::leases::{NODES as NAMESPACE, micro_time};
use wk_api::{Object, kinds};

use crate::server::ApiServer;
use crate::verbs::Call;

/// Whether what the call reads may be among them.
pub(crate) fn are_meant(call: &Call) -> bool {
    *call.kind() == kinds::LEASE && call.namespace().is_none_or(|namespace| namespace == NAMESPACE)
}

/// The objects with their nodes' last sign of life. Where the leader cannot be asked, as they are stored.
pub(crate) async fn renewed(server: &ApiServer, mut objects: Vec<Arc<Object>>) -> Vec<Arc<Object>> {
    if !objects.iter().any(|object| object.namespace() == NAMESPACE) {
        return objects;
    }
    let heard = server.pods.heard().await;
    for object in objects.iter_mut().filter(|object| object.namespace() == NAMESPACE) {
        let of_node = object.text("/spec/holderIdentity") == object.name();
        let Some(heard) = heard.get(object.name()).filter(|_| of_node) else { continue };
        let said = micro_time(*heard);
        // One form, so that the later text is the later time.
        if object.text("/spec/renewTime") < said.as_str() {
            Arc::make_mut(object).0["spec"]["renewTime"] = said.into();
        }
    }
    objects
}
