//! What became of pods while it could not be told: their statuses on this node's own disk.
//!
//! The cluster's copy of a status is the truth as soon as it takes one. Until then, and for the moment between the end
//! of a run and its being written, this copy keeps work that was done once from being done again by the next process.
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

    /// The status kept of a pod.
    pub fn read(&self, uid: &str) -> Option<core::PodStatus> {
        let text = fs::read(self.path(uid)).ok()?;
        let read = serde_json::from_slice(&text);
        read.inspect_err(|error| tracing::warn!(uid, %error, "status of the pod on disk not understood")).ok()
    }

    /// The cluster has it now.
    pub fn remove(&self, uid: &str) {
        let _ = fs::remove_file(self.path(uid));
    }

    fn path(&self, uid: &str) -> PathBuf {
        self.dir.join(uid).join("status.json")
    }
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

    #[test]
    fn kept_status_is_read_until_it_is_removed_and_a_broken_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::new(dir.path().to_owned());
        assert!(records.read("u").is_none());
        records.keep("u", &json!({"phase": "Running"}));
        records.keep("u", &json!({"phase": "Succeeded"}));
        assert_eq!(records.read("u").unwrap().phase.as_deref(), Some("Succeeded"));
        records.remove("u");
        assert!(records.read("u").is_none());
        fs::write(dir.path().join("u/status.json"), "{\"phase\": ").unwrap();
        assert!(records.read("u").is_none());
    }
}
