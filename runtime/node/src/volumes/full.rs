//! Claims that are full: the pods that have one, and the claim itself, are told so.
//!
//! Nobody is evicted for it, as with the kubelet: the volume outlives its pods, and another pod would find it as full.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use wk_api::{Object, kinds};
use wk_engine::{DiskUse, disk_refused_since};

use super::Volumes;
use super::pod::PodVolumes;
use super::watch::binary;

/// Between two events about one claim: a guest may try to write without end, and each costs the cluster an fsync.
const AGAIN: Duration = Duration::from_mins(1);

/// When each directory was told to be full last.
#[derive(Default)]
pub(super) struct Told(Mutex<BTreeMap<PathBuf, Instant>>);

impl Told {
    /// Whether that was not told just before. Holds what was told within a minute: no more than there are claims.
    fn is_due(&self, root: &PathBuf, now: Instant) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now.duration_since(*at) < AGAIN);
        !told.contains_key(root) && told.insert(root.clone(), now).is_none()
    }
}

impl Volumes {
    /// Tells of claims, of one pod or of all, in which a guest was refused room.
    pub fn tell_full(&self, of: Option<&str>) {
        let mut used: BTreeMap<PathBuf, Vec<(Arc<PodVolumes>, String, String)>> = BTreeMap::new();
        let pods: Vec<_> = match of {
            Some(uid) => self.pods().get(uid).cloned().into_iter().collect(),
            None => self.pods().values().filter(|pod| pod.has_claims()).cloned().collect(),
        };
        for pod in pods {
            for (volume, claim, root) in pod.claims() {
                used.entry(root).or_default().push((Arc::clone(&pod), volume, claim));
            }
        }
        for (root, users) in used {
            let Some(disk) = disk_refused_since(&root) else { continue };
            if !self.0.full.is_due(&root, Instant::now()) {
                continue;
            }
            let mut claims = BTreeSet::new();
            for (pod, volume, claim) in users {
                let pod = pod.object();
                self.warn_full(&pod, &told(&format!("volume {volume:?} (claim {claim:?})"), disk));
                if claims.insert(claim.clone())
                    && let Some(claim) = self.claim(&pod, &claim)
                {
                    self.warn_full(&claim, &told("the volume", disk));
                }
            }
        }
    }

    fn claim(&self, pod: &Object, name: &str) -> Option<Arc<Object>> {
        self.0.parts.cluster.local_object(&kinds::PERSISTENTVOLUMECLAIM, Some(pod.namespace()), name)
    }

    fn warn_full(&self, about: &Arc<Object>, message: &str) {
        let parts = &self.0.parts;
        parts.recorder.warn(about, "VolumeFull", message, &parts.tasks);
    }
}

fn told(what: &str, disk: DiskUse) -> String {
    format!("{what} is full: it holds {} bytes of its limit of {}, and more was refused", disk.used, binary(disk.limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_claim_is_told_with_its_numbers_and_once_a_minute() {
        let (told_of, now) = (Told::default(), Instant::now());
        let root = PathBuf::from("/claims/a");
        assert!(told_of.is_due(&root, now));
        assert!(!told_of.is_due(&root, now + AGAIN / 2));
        assert!(told_of.is_due(&PathBuf::from("/claims/b"), now + AGAIN / 2));
        assert!(told_of.is_due(&root, now + AGAIN));
        let disk = DiskUse { used: 1_044_480, limit: 1 << 20, refused: true };
        assert_eq!(
            told("the volume", disk),
            "the volume is full: it holds 1044480 bytes of its limit of 1Mi, and more was refused"
        );
    }
}
