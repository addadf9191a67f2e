//! What became of pods, on this node's own disk: their statuses as they were when a run of theirs last began or ended.
//!
//! After a restart without a quorum the cluster's copy is what this node knows to be agreed upon, which may be older than
//! what it was told; and while there is none, nothing can be told. This copy keeps work that was done once from being
//! done again, and restarts from being forgotten. Whichever has seen more runs begin and end is the newer
//! one.
//!
//! Not here: logs, which lie beside it and go with it.

use std::path::{Path, PathBuf};
use std::{fs, io};

use k8s_openapi::api::core::v1 as core;
use serde_json::Value;

/// The statuses on disk, one file a pod.
#[derive(Debug, Clone)]
pub struct Records {
    dir: PathBuf,
}

impl Records {
    /// Keeps them below `dir`, in a directory for each pod.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Keeps the status of a pod in place of an older one. A file of a kilobyte or two: quicker than a task for it.
    pub fn keep(&self, uid: &str, status: &Value) {
        if let Err(error) = write(&self.path(uid), status) {
            tracing::warn!(uid, %error, "status of the pod not kept on disk");
        }
    }

    /// The status kept of a pod, if it has seen more than the cluster's.
    pub fn newer(&self, uid: &str, status: Option<&core::PodStatus>) -> Option<core::PodStatus> {
        self.read(uid).filter(|kept| steps(kept) > status.map_or(0, steps))
    }

    fn read(&self, uid: &str) -> Option<core::PodStatus> {
        let text = fs::read(self.path(uid)).ok()?;
        let read = serde_json::from_slice(&text);
        read.inspect_err(|error| tracing::warn!(uid, %error, "status of the pod on disk not understood")).ok()
    }

    fn path(&self, uid: &str) -> PathBuf {
        self.dir.join(uid).join("status.json")
    }
}

/// How far the runs of the pod's containers are: each begins, ends, and may be followed by another.
fn steps(status: &core::PodStatus) -> i64 {
    let lists = [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
    let crashed = |waits: &core::ContainerStateWaiting| waits.reason.as_deref() == Some("CrashLoopBackOff");
    let of_run = |state: &core::ContainerState| match (&state.running, &state.terminated) {
        (_, Some(_)) => 2,
        (Some(_), None) => 1,
        (None, None) if state.waiting.as_ref().is_some_and(crashed) => 2,
        (None, None) => 0,
    };
    let of = |it: &core::ContainerStatus| i64::from(it.restart_count) * 3 + it.state.as_ref().map_or(0, of_run);
    lists.into_iter().flatten().flatten().map(of).sum()
}

fn write(path: &Path, status: &Value) -> io::Result<()> {
    let dir = path.parent().unwrap_or(path);
    fs::create_dir_all(dir)?;
    let new = dir.join("status.json.new");
    fs::write(&new, status.to_string())?;
    fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(restarts: i32, ended: bool) -> Value {
        let state = if ended { json!({"terminated": {"exitCode": 0}}) } else { json!({"running": {}}) };
        json!({"phase": "Running", "containerStatuses": [
            {"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": restarts, "state": state}]})
    }

    #[test]
    fn kept_status_counts_if_it_has_seen_more_of_runs_and_a_broken_one_never() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::new(dir.path().to_owned());
        let is_newer_than = |restarts, ended| {
            let other = serde_json::from_value(status(restarts, ended)).unwrap();
            records.newer("u", Some(&other)).is_some()
        };
        assert!(records.newer("u", None).is_none());
        records.keep("u", &status(0, false));
        records.keep("u", &status(1, true));
        assert!(is_newer_than(1, false) && is_newer_than(0, true));
        assert!(!is_newer_than(1, true) && !is_newer_than(2, false));
        // One that ran when the process was killed has begun: it is not to begin as the same run again.
        records.keep("u", &status(3, false));
        assert!(is_newer_than(2, true) && !is_newer_than(3, false));
        fs::write(dir.path().join("u/status.json"), "{\"phase\": ").unwrap();
        assert!(records.newer("u", None).is_none());
    }
}
