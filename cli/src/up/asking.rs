//! Controllers' writes, about which webhooks and admission policies are asked.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use wk_access::{AUTHENTICATED, service_account, service_account_name};
use wk_api::strategy::DeleteOptions;
use wk_api::{Kind, Object, Status};
use wk_apiserver::{ApiServer, User};
use wk_cluster::Subresource;
use wk_controllers::{Change, Writes};

/// Writes through this node's API server.
pub(crate) struct Asking(pub(crate) Arc<ApiServer>);

/// Who a controller is to those who are asked.
fn user(name: &str) -> User {
    match service_account_name(name) {
        Some((namespace, name)) => service_account(namespace, name, ""),
        None => User::new(name, [AUTHENTICATED]),
    }
}

#[async_trait]
impl Writes for Asking {
    async fn create(
        &self,
        name: &str,
        kind: &Kind,
        namespace: Option<&str>,
        body: Value,
    ) -> Result<Arc<Object>, Status> {
        self.0.create_for(&user(name), kind, namespace, body).await
    }

    async fn modify(
        &self,
        name: &str,
        kind: &Kind,
        place: (Option<&str>, &str),
        subresource: Subresource,
        change: Change<'_>,
    ) -> Result<(), Status> {
        self.0.modify_for(&user(name), kind, place, subresource, change).await.map(|_| ())
    }

    async fn delete(
        &self,
        name: &str,
        kind: &Kind,
        place: (Option<&str>, &str),
        options: &DeleteOptions,
    ) -> Result<(), Status> {
        self.0.delete_for(&user(name), kind, place, options).await
    }

    async fn bind(&self, name: &str, namespace: &str, pod: &str, binding: Value) -> Result<(), Status> {
        self.0.bind_for(&user(name), namespace, pod, binding).await
    }
}
