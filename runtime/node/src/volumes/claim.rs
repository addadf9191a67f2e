//! persistentVolumeClaim: the volume that a claim is bound to, which is a directory below this node's data.
//!
//! A volume outlives its pods. Its data is removed when the volume's object is to go (`wk-plan` decides that) and no pod
//! of this node has it any more; then the object may go too.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use wk_api::quantity::Quantity;
use wk_api::{Object, kinds};
use wk_cluster::{Cluster, Freshness, Subresource};

use super::{empty_dir, pod, remove};

/// What this node's volumes name as their driver.
const DRIVER: &str = "wk.dev/local";
/// Keeps a volume's object until the data is removed.
const DATA_FINALIZER: &str = "wk.dev/local-data";

/// A volume that a claim has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bound {
    /// Its directory.
    pub(super) dir: PathBuf,
    /// How much it may hold.
    pub(super) limit: Option<u64>,
    /// The volume's name.
    pub(super) volume: String,
}

/// The volume of the claim `name`, whose directory is made if it is not there. A claim that is a pod's alone is owned
/// by `owner`.
pub(super) async fn make(
    cluster: &Cluster,
    node: &str,
    root: &Path,
    namespace: &str,
    name: &str,
    owner: Option<&Object>,
) -> Result<Bound, String> {
    let claim = cluster.get(&kinds::PERSISTENTVOLUMECLAIM, Some(namespace), name, Freshness::Local).await;
    let claim = claim.map_err(|status| status.message)?;
    if let Some(pod) = owner.filter(|pod| claim.controller_of().is_none_or(|owner| owner.uid != pod.uid())) {
        return Err(format!(
            "PVC {namespace}/{name} was not created for pod {namespace}/{} (pod is not owner)",
            pod.name()
        ));
    }
    let volume = claim.text("/spec/volumeName");
    if volume.is_empty() || claim.text("/status/phase") != "Bound" {
        return Err(format!("persistentvolumeclaim {name:?} is not bound to a volume yet"));
    }
    let volume = cluster.get(&kinds::PERSISTENTVOLUME, None, volume, Freshness::Local).await;
    let volume = volume.map_err(|status| status.message)?;
    if volume.text("/spec/claimRef/uid") != claim.uid() {
        return Err(format!("volume {} belongs to another claim", volume.name()));
    }
    let handle = handle(&volume)?;
    if !is_on(&volume, node) {
        return Err(format!("volume {} is on another node", volume.name()));
    }
    let dir = root.join("claims").join(handle);
    let made = dir.clone();
    pod::blocking(move || empty_dir::make(&made)).await?;
    let limit = volume.at("/spec/capacity/storage").and_then(|amount| Quantity::from_value(amount).ok());
    let limit = limit.and_then(|amount| u64::try_from(amount.value()).ok());
    Ok(Bound { dir, limit, volume: volume.name().to_owned() })
}

/// The name of the volume's directory.
fn handle(volume: &Object) -> Result<&str, String> {
    let handle = volume.text("/spec/csi/volumeHandle");
    if volume.text("/spec/csi/driver") != DRIVER {
        return Err(format!(
            "volume {} is of a kind that this node has not: it has those of class wk-local",
            volume.name()
        ));
    }
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if handle.is_empty() || handle.len() > 253 || !handle.bytes().all(plain) {
        return Err(format!("volume {}: {handle:?} is not the name of a directory", volume.name()));
    }
    Ok(handle)
}

/// Whether a volume of ours lies on `node`: it names its node by its host name, and nothing else.
fn is_on(volume: &Object, node: &str) -> bool {
    let terms = volume.items("/spec/nodeAffinity/required/nodeSelectorTerms");
    let names = |part: &Value| {
        part["key"] == "kubernetes.io/hostname"
            && part["operator"] == "In"
            && part["values"].as_array().is_some_and(|values| values.iter().any(|value| value == node))
    };
    terms.iter().any(|term| term["matchExpressions"].as_array().is_some_and(|parts| parts.iter().any(names)))
}

/// Removes the data of volumes that are to go and that nobody in `used` has.
pub(super) async fn sweep(cluster: &Cluster, node: &str, root: &Path, used: &[String]) {
    for volume in cluster.local(&kinds::PERSISTENTVOLUME, None).items {
        let going = volume.is_deleting() && volume.finalizers().contains(&DATA_FINALIZER) && is_on(&volume, node);
        let Ok(handle) = handle(&volume) else { continue };
        if !going || used.iter().any(|name| name == volume.name()) {
            continue;
        }
        if volume.text("/spec/persistentVolumeReclaimPolicy") == "Delete" {
            let dir = root.join("claims").join(handle);
            let _ = tokio::task::spawn_blocking(move || remove::remove(&dir)).await;
        }
        if let Err(error) = release(cluster, &volume).await {
            tracing::debug!(%error, volume = volume.name(), "the volume's object stays for now");
        }
    }
}

/// Lets the volume's object go.
async fn release(cluster: &Cluster, volume: &Arc<Object>) -> Result<(), wk_api::Status> {
    let change = |old: &Object| {
        let mut new = old.0.clone();
        let rest: Vec<&str> = old.finalizers().into_iter().filter(|name| *name != DATA_FINALIZER).collect();
        new["metadata"]["finalizers"] = json!(rest);
        Ok(new)
    };
    cluster.modify(&kinds::PERSISTENTVOLUME, None, volume.name(), Subresource::None, change).await.map(|_| ())
}
