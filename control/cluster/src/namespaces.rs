//! The life cycle of namespaces, as Kubernetes' admission plugin `NamespaceLifecycle` keeps it: nothing is created in
//! a namespace that is missing or ending. (Which namespaces do not end is in the table of kinds.)

use wk_api::kinds::priorityclasses::SYSTEM_PRIORITY_CLASSES;
use wk_api::{Kind, Object, Status, kinds};
use wk_store::{Change, Expect, Op, View};

use crate::{Cluster, key, object};

/// Namespaces that every cluster has.
pub const SYSTEM_NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Checks that something may be created in `namespace`; the write holds only if the namespace has not changed since.
pub(crate) fn admit_create(view: &View, kind: &Kind, namespace: &str, name: &str) -> Result<Op, Status> {
    let namespace_key = key(&kinds::NAMESPACE, None, namespace);
    let Some(stored) = view.get(&namespace_key) else {
        return Err(Status::not_found(&kinds::NAMESPACE, namespace));
    };
    if is_ending(&object(&stored)) {
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        let cause = format!("namespace {namespace} is being terminated");
        return Err(Status::forbidden(kind, name, &why).with_cause("NamespaceTerminating", &cause));
    }
    Ok(Op { key: namespace_key, expect: Expect::Revision(stored.revision()), change: Change::Check })
}

fn is_ending(namespace: &Object) -> bool {
    namespace.is_deleting() || namespace.text("/status/phase") == "Terminating"
}

impl Cluster {
    /// Creates the namespaces and priority classes that every cluster has, where they are missing. Any peer may call it
    /// at any time.
    pub async fn ensure_namespaces(&self) -> Result<(), Status> {
        for name in SYSTEM_NAMESPACES {
            let namespace = serde_json::json!({
                "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name },
            });
            match self.create(&kinds::NAMESPACE, None, namespace).await {
                Err(status) if status.code != 409 => return Err(status),
                _ => {}
            }
        }
        self.ensure_priority_classes().await
    }

    async fn ensure_priority_classes(&self) -> Result<(), Status> {
        for (name, value, description) in SYSTEM_PRIORITY_CLASSES {
            let class = serde_json::json!({
                "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": { "name": name },
                "value": value, "description": description,
            });
            match self.create(&kinds::PRIORITYCLASS, None, class).await {
                Err(status) if status.code != 409 => return Err(status),
                _ => {}
            }
        }
        Ok(())
    }
}
