//! What a node was last started with: a start without the option means the same again, and one with it is the new word.
//!
//! A file beside the identity. What is missing there was never said.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wk_engine::{CompileLimits, Target};
use wk_mesh::join::Vote;
use wk_node::spec::Standard;

use super::data_dir::DataDir;
use super::secrets_keys::KeySource;

/// Where it is in the data directory.
const FILE: &str = "identity/settings.json";

/// The options that are remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Kept {
    /// `--listen`.
    pub(crate) listen: Option<IpAddr>,
    /// `--api-port`.
    pub(crate) api_port: Option<u16>,
    /// `--http-port`.
    pub(crate) http_port: Option<u16>,
    /// `--https-port`.
    pub(crate) https_port: Option<u16>,
    /// `--mesh-port`.
    pub(crate) mesh_port: Option<u16>,
    /// `--no-vote`, `--vote`, `--witness`.
    pub(crate) vote: Option<Vote>,
    /// `--zone`.
    pub(crate) zone: Option<String>,
    /// `--allow-host-path`, `--no-host-path`.
    pub(crate) host_paths: Vec<PathBuf>,
    /// `--voter-timeout`.
    pub(crate) voter_timeout: Option<Duration>,
    /// `--isolation`.
    pub(crate) isolation: Option<Standard>,
    /// `--engine`.
    pub(crate) engine: Option<Target>,
    /// `--compiled-max`.
    pub(crate) compiled_max: Option<u64>,
    /// `--compile-time`, `--compile-memory`.
    pub(crate) compile_limits: Option<CompileLimits>,
    /// `--secrets-key-file`, `--secrets-key-command`.
    pub(crate) secrets_keys: Option<KeySource>,
    /// `--token-key-age`.
    pub(crate) token_key_age: Option<Duration>,
}

impl Kept {
    /// What the node that lives in `data_dir` was started with; nothing if it is new, or older than this memory.
    pub(crate) fn read(data_dir: &Path) -> anyhow::Result<Self> {
        let path = data_dir.join(FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text)
                .map_err(|error| anyhow::Error::from(error).context(format!("read {}", path.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(anyhow::Error::from(error).context(format!("read {}", path.display()))),
        }
    }

    /// Remembers it for the next start. A disk that is full does not keep the node from starting.
    pub(crate) fn keep(&self, data_dir: &DataDir) {
        if Self::read(data_dir.root()).is_ok_and(|kept| kept == *self) {
            return;
        }
        let text = serde_json::to_string_pretty(self).expect("plain fields");
        if let Err(error) = data_dir.write(FILE, &text) {
            tracing::warn!("these settings are not remembered: {error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_back_and_a_new_directory_has_none() {
        let root = tempfile::tempdir().unwrap();
        let dir = DataDir::try_open(root.path()).unwrap();
        assert_eq!(Kept::read(root.path()).unwrap(), Kept::default());
        std::fs::create_dir(root.path().join("identity")).unwrap();
        let kept = Kept {
            listen: Some("127.0.0.9".parse().unwrap()),
            mesh_port: Some(7000),
            vote: Some(Vote::None),
            host_paths: vec!["/srv/data".into()],
            voter_timeout: Some(Duration::from_millis(1500)),
            ..Kept::default()
        };
        kept.keep(&dir);
        assert_eq!(Kept::read(root.path()).unwrap(), kept);
    }
}
