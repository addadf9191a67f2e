//! persistentVolumeClaim: the volume that a claim is bound to, which is a directory below this node's data.
//!
//! A volume outlives its pods. Its data is removed when the volume's object is to go (`wk-plan` decides that) and no pod
//! of this node has it any more; then the object may go too.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use wk_api::quantity::Quantity;
use wk_api::{Object, kinds};
use wk_cluster::{Cluster, Freshness, Subresource};

use super::layout::{self, Claimed};
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
    let claimed = Claimed { namespace: namespace.to_owned(), handle: handle.to_owned() };
    let (dir, top) = (claimed.dir(root), root.to_owned());
    pod::blocking(move || settle(&top, &claimed)).await?;
    let limit = volume.at("/spec/capacity/storage").and_then(|amount| Quantity::from_value(amount).ok());
    let limit = limit.and_then(|amount| u64::try_from(amount.value()).ok());
    Ok(Bound { dir, limit, volume: volume.name().to_owned() })
}

/// What says where a volume's data is: a link to it, where no worker can write. An earlier version had the data there.
fn record(root: &Path, handle: &str) -> PathBuf {
    root.join("claims").join(handle)
}

/// Makes the volume's directory, or moves there what its record leads to: it may have been another namespace's.
fn settle(root: &Path, claimed: &Claimed) -> io::Result<()> {
    let (record, dir) = (record(root, &claimed.handle), claimed.dir(root));
    // From where the record is, so that the node's data may be moved as a whole.
    let link = Path::new("..").join(claimed.dir(Path::new("")));
    let linked = match fs::symlink_metadata(&record) {
        Ok(found) if found.is_dir() => {
            layout::move_to(&record, &dir)?;
            false
        }
        Ok(_) => {
            let before = fs::read_link(&record)?;
            if before != link {
                layout::move_to(&record.with_file_name(&before), &dir)?;
                fs::remove_file(&record)?;
            }
            before == link
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    empty_dir::make(&dir)?;
    if !linked {
        if let Some(parent) = record.parent() {
            empty_dir::make(parent)?;
        }
        match std::os::unix::fs::symlink(&link, &record) {
            // Another pod of this node that has the same claim.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && fs::read_link(&record)? == link => {}
            made => made?,
        }
    }
    Ok(())
}

/// Removes a volume's data.
fn discard(record: &Path) {
    match fs::read_link(record) {
        Ok(link) => {
            remove::remove(&record.with_file_name(link));
            let _ = fs::remove_file(record);
        }
        Err(_) => remove::remove(record),
    }
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
        if !going || used.iter().any(|name| name == volume.name()) || is_claimed(cluster, &volume) {
            continue;
        }
        if volume.text("/spec/persistentVolumeReclaimPolicy") == "Delete" {
            let record = record(root, handle);
            let _ = tokio::task::spawn_blocking(move || discard(&record)).await;
        }
        if let Err(error) = release(cluster, &volume).await {
            tracing::debug!(%error, volume = volume.name(), "the volume's object stays for now");
        }
    }
}

/// Whether its claim is there: as in Kubernetes, a volume that somebody deletes stays for as long as it is bound.
fn is_claimed(cluster: &Cluster, volume: &Object) -> bool {
    let (namespace, name) = (volume.text("/spec/claimRef/namespace"), volume.text("/spec/claimRef/name"));
    let claim = cluster.local_object(&kinds::PERSISTENTVOLUMECLAIM, Some(namespace), name);
    claim.is_some_and(|claim| !claim.uid().is_empty() && claim.uid() == volume.text("/spec/claimRef/uid"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_found_where_earlier_versions_put_it_and_follows_its_claim_to_another_namespace() {
        let top = tempfile::tempdir().unwrap();
        let root = top.path();
        let record = record(root, "pvc-1");
        fs::create_dir_all(&record).unwrap();
        fs::write(record.join("file"), "kept").unwrap();
        let claimed = |namespace: &str| Claimed { namespace: namespace.to_owned(), handle: "pvc-1".to_owned() };
        for namespace in ["shop", "shop", "bank"] {
            settle(root, &claimed(namespace)).unwrap();
            assert_eq!(fs::read_to_string(claimed(namespace).dir(root).join("file")).unwrap(), "kept");
            assert_eq!(fs::read_to_string(record.join("file")).unwrap(), "kept");
        }
        assert!(!claimed("shop").dir(root).exists());
        discard(&record);
        assert!(!claimed("bank").dir(root).exists() && fs::symlink_metadata(&record).is_err());
    }
}
