//! `wk cluster` as typed.

use clap::{Args, Subcommand};

use super::objects::StructuredFormat;

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
