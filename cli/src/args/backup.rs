//! `wk backup` and `wk restore` as typed.

use std::path::PathBuf;

use clap::Args;

use super::up::data_dir;

/// Options of `wk backup`.
#[derive(Debug, Clone, Args)]
pub(crate) struct BackupArgs {
    /// File to write, whole or not at all; "-" is standard output
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Write over a file that is there
    #[arg(long)]
    pub(crate) force: bool,
}

/// Options of `wk restore`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RestoreArgs {
    /// A file that `wk backup` wrote
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Only say what the file holds and whether it is whole
    #[arg(long, conflicts_with_all = ["data_dir", "name", "secrets_key"])]
    pub(crate) check: bool,
    /// Where the new cluster's first node is to keep everything: an empty directory [default: $WK_HOME, else ~/.wk]
    #[arg(long = "data-dir", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Name of that node, a DNS name [default: derived from the host name]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The key of the Secrets in it: `identity/ca.key` of a node of the old cluster, or what --secrets-key-file named
    #[arg(long, value_name = "FILE")]
    pub(crate) secrets_key: Option<PathBuf>,
}

impl RestoreArgs {
    /// The data directory meant.
    pub(crate) fn data_dir(&self) -> anyhow::Result<PathBuf> {
        data_dir(self.data_dir.as_ref())
    }
}
