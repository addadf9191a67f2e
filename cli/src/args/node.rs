//! The commands on nodes, as typed: `node`, `cordon`, `uncordon`, `drain`, `taint`, `top`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::deploy::duration;
use super::shared::{DryRun, WriteArgs};

/// Options of `wk cordon` and `wk uncordon`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CordonArgs {
    /// The nodes
    #[arg(value_name = "NODE", required_unless_present = "selector")]
    pub(crate) nodes: Vec<String>,
    /// The nodes whose labels match
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with = "nodes")]
    pub(crate) selector: Option<String>,
    /// Only say what would be done
    #[arg(long, value_enum, value_name = "WHERE", num_args = 0..=1, require_equals = true, default_value = "none", default_missing_value = "client", hide_default_value = true)]
    pub(crate) dry_run: DryRun,
}

/// Options of `wk drain`.
#[derive(Debug, Clone, Args)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    pub(crate) cordon: CordonArgs,
    /// Leave pods of DaemonSets where they are
    #[arg(long)]
    pub(crate) ignore_daemonsets: bool,
    /// Also pods with emptyDir volumes, whose data is lost
    #[arg(long, visible_alias = "delete-local-data")]
    pub(crate) delete_emptydir_data: bool,
    /// Also pods that nobody makes anew
    #[arg(long)]
    pub(crate) force: bool,
    /// Seconds each pod is given to stop [default: what the pod says]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) grace_period: Option<u32>,
    /// How long to go on trying [default: as long as it takes]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// Only pods whose labels match
    #[arg(long, value_name = "LABELS")]
    pub(crate) pod_selector: Option<String>,
    /// Delete pods instead of evicting them: disruption budgets are not asked
    #[arg(long)]
    pub(crate) disable_eviction: bool,
}

/// Options of `wk node`.
#[derive(Debug, Clone, Args)]
pub(crate) struct NodeArgs {
    #[command(subcommand)]
    pub(crate) command: NodeCommand,
}

/// What to do with nodes.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum NodeCommand {
    /// Let no new pods come to nodes
    Cordon(CordonArgs),
    /// Let new pods come to nodes again
    Uncordon(CordonArgs),
    /// Empty nodes, as far as disruption budgets allow
    Drain(DrainArgs),
    /// Have nodes go on as the program that lies where theirs was: put the new binary there first. Their pods go elsewhere
    /// and stay there
    Upgrade(UpgradeArgs),
}

/// Options of `wk node upgrade`.
#[derive(Debug, Clone, Args)]
pub(crate) struct UpgradeArgs {
    #[command(flatten)]
    pub(crate) drain: DrainArgs,
    /// Leave the pods where they are: they end what is under way, and start again with the node
    #[arg(long)]
    pub(crate) in_place: bool,
}

/// Options of `wk taint`.
#[derive(Debug, Clone, Args)]
pub(crate) struct TaintArgs {
    /// NODE… KEY[=VALUE]:EFFECT…, KEY[:EFFECT]- to remove; "nodes" before the names is fine
    #[arg(value_name = "NODE TAINT", required = true)]
    pub(crate) words: Vec<String>,
    /// The nodes whose labels match
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub(crate) selector: Option<String>,
    /// All nodes
    #[arg(long)]
    pub(crate) all: bool,
    /// Also change taints that are there already
    #[arg(long)]
    pub(crate) overwrite: bool,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
}

/// Options of `wk top`.
#[derive(Debug, Clone, Args)]
pub(crate) struct TopArgs {
    #[command(subcommand)]
    pub(crate) command: TopCommand,
}

/// Whose use of CPU and memory.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum TopCommand {
    /// Of nodes
    #[command(visible_aliases = ["node", "no"])]
    Nodes(TopNodesArgs),
    /// Of pods
    #[command(visible_aliases = ["pod", "po"])]
    Pods(TopPodsArgs),
}

/// Options of `wk top nodes`.
#[derive(Debug, Clone, Args)]
pub(crate) struct TopNodesArgs {
    /// Only this one
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Only those whose labels match
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub(crate) selector: Option<String>,
    /// Highest first: cpu or memory
    #[arg(long, value_name = "WHAT", value_parser = ["cpu", "memory"])]
    pub(crate) sort_by: Option<String>,
    /// No line of headings
    #[arg(long)]
    pub(crate) no_headers: bool,
}

/// Options of `wk top pods`.
#[derive(Debug, Clone, Args)]
pub(crate) struct TopPodsArgs {
    #[command(flatten)]
    pub(crate) common: TopNodesArgs,
    /// In all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Each container
    #[arg(long)]
    pub(crate) containers: bool,
}
