//! Writes that hang, as those do about which a webhook is asked that does not answer.

use std::sync::Arc;

use crate::lab::{Lab, deployment};
use async_trait::async_trait;
use serde_json::{Value, json};
use wk_api::strategy::DeleteOptions;
use wk_api::{Kind, Object, Status, kinds};
use wk_cluster::{Cluster, Subresource};
use wk_controllers::{Change, Writes};

/// Writes whose creations of pods in the namespace `stuck` never end.
struct Hanging(Cluster);

#[async_trait]
impl Writes for Hanging {
    async fn create(
        &self,
        user: &str,
        kind: &Kind,
        namespace: Option<&str>,
        body: Value,
    ) -> Result<Arc<Object>, Status> {
        if *kind == kinds::POD && namespace == Some("stuck") {
            std::future::pending::<()>().await;
        }
        Writes::create(&self.0, user, kind, namespace, body).await
    }

    async fn modify(
        &self,
        user: &str,
        kind: &Kind,
        place: (Option<&str>, &str),
        subresource: Subresource,
        change: Change<'_>,
    ) -> Result<(), Status> {
        Writes::modify(&self.0, user, kind, place, subresource, change).await
    }

    async fn delete(
        &self,
        user: &str,
        kind: &Kind,
        place: (Option<&str>, &str),
        options: &DeleteOptions,
    ) -> Result<(), Status> {
        Writes::delete(&self.0, user, kind, place, options).await
    }

    async fn bind(&self, user: &str, namespace: &str, name: &str, binding: Value) -> Result<(), Status> {
        Writes::bind(&self.0, user, namespace, name, binding).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn namespace_whose_writes_hang_holds_up_no_other() {
    let lab = Lab::writing(&["n1"], |cluster| Arc::new(Hanging(cluster.clone()))).await;
    lab.leads.send_replace(true);
    lab.cluster.create(&kinds::NAMESPACE, None, json!({"metadata": {"name": "stuck"}})).await.expect("namespace");
    // More than a look has under way at once.
    lab.cluster.create(&kinds::DEPLOYMENT, Some("stuck"), deployment("web", 200, "web:1")).await.expect("create");
    lab.until("its replica set", |lab| !lab.list(&kinds::REPLICASET).is_empty()).await;
    for round in 1..=2 {
        lab.create(&kinds::DEPLOYMENT, deployment(&format!("web-{round}"), 3, "web:1")).await;
        lab.until("ready beside it", |lab| lab.ready_pods().len() == 3 * round).await;
    }
    lab.stop().await;
}
