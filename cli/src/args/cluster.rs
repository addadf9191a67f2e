//! `wk cluster …` as typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::objects::StructuredFormat;
use super::up::data_dir;

/// Commands on the members of the cluster.
#[derive(Debug, Clone, Args)]
pub(crate) struct ClusterArgs {
    #[command(subcommand)]
    pub(crate) command: ClusterCommand,
}

/// What to do with the members.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show who leads, who votes, who lags, and why
    Status(MembersArgs),
    /// Remove a member that is gone for good, with its Node
    Remove(RemoveArgs),
    /// The keys that sign service accounts' tokens: which there are, and another one in place of that in use
    Keys(KeysArgs),
    /// On a stopped survivor: make it a cluster of its own when most voters are lost for good
    Recover(RecoverArgs),
}

/// Options of `wk cluster status`.
#[derive(Debug, Clone, Args)]
pub(crate) struct MembersArgs {
    /// Print the facts instead of the table
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<StructuredFormat>,
}

/// Options of `wk cluster remove`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RemoveArgs {
    /// Name of the member
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
    /// Remove it although it is heard from: it stops, and its pods with it
    #[arg(long)]
    pub(crate) force: bool,
}

/// `wk cluster keys`.
#[derive(Debug, Clone, Args)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    pub(crate) command: KeysCommand,
}

/// What to do with the keys for tokens.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum KeysCommand {
    /// Which keys there are: the one that signs, one to come, and old ones whose tokens are still good
    List(MembersArgs),
    /// Make a key. It is published for an hour before it signs, so that every verifier knows it by then
    Rotate(RotateArgs),
    /// Take back a key that signs no more, and with it every token that it signed
    Forget(ForgetArgs),
}

/// Options of `wk cluster keys rotate`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RotateArgs {
    /// Let it sign in ten seconds: verifiers outside the cluster that keep what they read may refuse tokens for an hour
    #[arg(long)]
    pub(crate) now: bool,
}

/// Options of `wk cluster keys forget`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ForgetArgs {
    /// The key, or as much of its beginning as no other has
    #[arg(value_name = "KEY")]
    pub(crate) key: String,
}

/// Options of `wk cluster recover`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RecoverArgs {
    /// Data directory of the survivor [default: $WK_HOME, else ~/.wk]
    #[arg(long = "data-dir", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Do it; without this it is only said what would be lost
    #[arg(long)]
    pub(crate) yes: bool,
}

impl RecoverArgs {
    /// The data directory meant.
    pub(crate) fn data_dir(&self) -> anyhow::Result<PathBuf> {
        data_dir(self.data_dir.as_ref())
    }
}
