//! What a new cluster begins with: its namespaces, a join token, and the first member's record.
//!
//! The record is written last: where it is missing, the beginning was interrupted and is made again.

use anyhow::Context as _;
use serde_json::json;
use wk_api::{Status, kinds};
use wk_cluster::Cluster;
use wk_mesh::{Fingerprint, NodeName, Token};
use wk_store::{Expect, WriteError};

use super::join::{TOKEN_NAMESPACE, TOKEN_PREFIX};
use super::members::{self, Record};

/// Makes what is missing.
pub(crate) async fn begin(cluster: &Cluster, ca: Fingerprint, name: &NodeName, record: &Record) -> anyhow::Result<()> {
    if cluster.store().view().get(&members::key(name)).is_some() {
        return Ok(());
    }
    cluster.ensure_namespaces().await.context("make the first namespaces")?;
    if join_token(cluster, ca).is_none() {
        make_token(cluster, ca).await.context("make the first join token")?;
    }
    match cluster.store().write(members::put(name, record, Expect::Absent)).await {
        Ok(_) | Err(WriteError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error).context("write the first member's record"),
    }
}

/// A token that lets nodes join for as long as its Secret is there: kubeadm's expire in a day, but those of a small
/// cluster are handed out by its owner, who can delete the Secret.
async fn make_token(cluster: &Cluster, ca: Fingerprint) -> Result<(), Status> {
    let token = Token::generate(ca);
    let secret = json!({
        "metadata": {"name": format!("{TOKEN_PREFIX}{}", token.id), "namespace": TOKEN_NAMESPACE},
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "token-id": token.id,
            "token-secret": token.secret.expose(),
            "description": "Lets nodes join this cluster: wk up --join.",
        },
    });
    cluster.create(&kinds::SECRET, Some(TOKEN_NAMESPACE), secret).await.map(|_| ())
}

/// A join token of the cluster, from the local copy.
pub(crate) fn join_token(cluster: &Cluster, ca: Fingerprint) -> Option<Token> {
    let secrets = cluster.local(&kinds::SECRET, Some(TOKEN_NAMESPACE)).items;
    secrets.iter().filter(|secret| secret.name().starts_with(TOKEN_PREFIX)).find_map(|secret| {
        let secret: k8s_openapi::api::core::v1::Secret = secret.read().ok()?;
        let data = secret.data?;
        let text = |key: &str| String::from_utf8(data.get(key)?.0.clone()).ok();
        format!("wk1.{}.{}.{ca}", text("token-id")?, text("token-secret")?).parse().ok()
    })
}
