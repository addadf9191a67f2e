//! `wk cluster-info`: where the API is, and which services the cluster says are its own.

use serde_json::Value;

use crate::client::{Client, JSON, Query, Resource};
use crate::render::{Tone, Ui, paint};

/// Label of Services that belong to the cluster itself, as with kubectl.
const OWN: &str = "kubernetes.io/cluster-service=true";

/// Prints the addresses.
pub(super) async fn run(client: &Client, ui: &mut Ui) -> anyhow::Result<()> {
    let version = client.get("/version", JSON).await?;
    let version = version.get("gitVersion").and_then(Value::as_str).unwrap_or("?");
    let colour = ui.colour();
    ui.line(&format!("The API is at {} ({version})", paint(client.address(), Tone::Good, colour)))?;
    let collection = Resource::services().collection(Some("kube-system"));
    for service in client.list(&collection, Query::default().with("labelSelector", OWN)).await? {
        let name = service.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let path = format!("{}/proxy", Resource::services().object("kube-system", name));
        ui.line(&format!("{name} is at {}{path}", client.address()))?;
    }
    ui.note("More: wk status, wk cluster status, wk get --kinds");
    Ok(())
}
