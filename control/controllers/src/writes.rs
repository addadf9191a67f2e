//! How controllers write: whoever implements it asks those who are asked about every write (webhooks, admission policies).
//!
//! Not here: that asking. A [`Cluster`] asks nobody.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use wk_api::strategy::DeleteOptions;
use wk_api::{Kind, Object, Status};
use wk_cluster::{Cluster, Subresource};

/// What becomes of an object as it is read.
pub type Change<'a> = &'a (dyn Fn(&Object) -> Result<Value, Status> + Send + Sync);

/// Writes of a controller, which `user` names as Kubernetes does.
#[async_trait]
pub trait Writes: Send + Sync + 'static {
    /// Creates an object.
    async fn create(
        &self,
        user: &str,
        kind: &Kind,
        namespace: Option<&str>,
        body: Value,
    ) -> Result<Arc<Object>, Status>;

    /// Changes the object of this namespace and name.
    async fn modify(
        &self,
        user: &str,
        kind: &Kind,
        place: (Option<&str>, &str),
        subresource: Subresource,
        change: Change<'_>,
    ) -> Result<(), Status>;

    /// Deletes the object of this namespace and name, or begins to.
    async fn delete(
        &self,
        user: &str,
        kind: &Kind,
        place: (Option<&str>, &str),
        options: &DeleteOptions,
    ) -> Result<(), Status>;

    /// Puts a pod on a node.
    async fn bind(&self, user: &str, namespace: &str, name: &str, binding: Value) -> Result<(), Status>;
}

#[async_trait]
impl Writes for Cluster {
    async fn create(
        &self,
        _user: &str,
        kind: &Kind,
        namespace: Option<&str>,
        body: Value,
    ) -> Result<Arc<Object>, Status> {
        Self::create(self, kind, namespace, body).await
    }

    async fn modify(
        &self,
        _user: &str,
        kind: &Kind,
        (namespace, name): (Option<&str>, &str),
        subresource: Subresource,
        change: Change<'_>,
    ) -> Result<(), Status> {
        Self::modify(self, kind, namespace, name, subresource, change).await.map(|_| ())
    }

    async fn delete(
        &self,
        _user: &str,
        kind: &Kind,
        (namespace, name): (Option<&str>, &str),
        options: &DeleteOptions,
    ) -> Result<(), Status> {
        Self::delete(self, kind, namespace, name, options).await.map(|_| ())
    }

    async fn bind(&self, _user: &str, namespace: &str, name: &str, binding: Value) -> Result<(), Status> {
        Self::bind(self, namespace, name, &binding).await.map(|_| ())
    }
}

/// The user that a shell is to those who are asked.
pub(crate) fn user(shell: &str) -> String {
    let account = match shell {
        "scheduler" => return "system:kube-scheduler".to_owned(),
        "autoscaler" => "horizontal-pod-autoscaler",
        "daemonset" => "daemon-set-controller",
        "replicationcontroller" => "replication-controller",
        "claims" => "persistent-volume-binder",
        "podgc" => "pod-garbage-collector",
        "protection" => "pvc-protection-controller",
        "endpoints" => "endpoint-controller",
        "ephemeral" => "ephemeral-volume-controller",
        "garbage" => "generic-garbage-collector",
        "namespaces" => "namespace-controller",
        "nodes" | "node-leases" => "node-controller",
        "resourcequotas" => "resourcequota-controller",
        "rootca" => "root-ca-cert-publisher",
        "serviceaccounts" => "service-account-controller",
        "aggregation" => "clusterrole-aggregation-controller",
        other => return format!("system:serviceaccount:kube-system:{other}-controller"),
    };
    format!("system:serviceaccount:kube-system:{account}")
}
