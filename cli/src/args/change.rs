//! The commands that change objects, as typed: `label`, `annotate`, `patch`, `edit`, `scale`, `autoscale`, `rollout`, `set`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::deploy::duration;
use super::shared::{PickArgs, PrintArgs, WriteArgs};

/// Options of `wk label` and `wk annotate`.
#[derive(Debug, Clone, Args)]
pub(crate) struct MarkArgs {
    #[command(flatten)]
    pub(crate) pick: PickArgs,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
    /// Also change what is set already
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Print what is set
    #[arg(long)]
    pub(crate) list: bool,
    /// Only if the object is still at this version
    #[arg(long, value_name = "VERSION")]
    pub(crate) resource_version: Option<String>,
}

/// How a patch is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PatchType {
    /// Lists are merged as their kind says; for kinds with a schema
    Strategic,
    /// Lists are replaced (RFC 7386)
    Merge,
    /// A list of operations (RFC 6902)
    Json,
}

/// Options of `wk patch`.
#[derive(Debug, Clone, Args)]
pub(crate) struct PatchArgs {
    #[command(flatten)]
    pub(crate) pick: PickArgs,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
    /// The patch, as JSON or YAML
    #[arg(short, long, value_name = "PATCH", required_unless_present = "patch_file")]
    pub(crate) patch: Option<String>,
    /// File with the patch
    #[arg(long, value_name = "FILE", conflicts_with = "patch")]
    pub(crate) patch_file: Option<PathBuf>,
    /// How it is meant [default: strategic where the server can, else merge]
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    pub(crate) kind: Option<PatchType>,
    /// The subresource to patch, such as status
    #[arg(long, value_name = "NAME")]
    pub(crate) subresource: Option<String>,
}

/// Options of `wk edit`.
#[derive(Debug, Clone, Args)]
pub(crate) struct EditArgs {
    #[command(flatten)]
    pub(crate) pick: PickArgs,
    /// Who owns the fields written
    #[arg(long, value_name = "NAME", default_value = "wk", hide_default_value = true)]
    pub(crate) field_manager: String,
    #[command(flatten)]
    pub(crate) print: PrintArgs,
    /// The subresource to edit, such as status
    #[arg(long, value_name = "NAME")]
    pub(crate) subresource: Option<String>,
}

/// Options of `wk scale`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ScaleArgs {
    #[command(flatten)]
    pub(crate) pick: PickArgs,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
    /// How many
    #[arg(long, value_name = "N")]
    pub(crate) replicas: u32,
    /// Only if it has this many now
    #[arg(long, value_name = "N")]
    pub(crate) current_replicas: Option<u32>,
    /// Only if the object is still at this version
    #[arg(long, value_name = "VERSION")]
    pub(crate) resource_version: Option<String>,
    /// Wait this long until they are there
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
}

/// Options of `wk autoscale`.
#[derive(Debug, Clone, Args)]
pub(crate) struct AutoscaleArgs {
    #[command(flatten)]
    pub(crate) pick: PickArgs,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
    /// Name of the autoscaler [default: that of the object]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// At least this many
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) min: u32,
    /// At most this many
    #[arg(long, value_name = "N")]
    pub(crate) max: u32,
    /// The CPU aimed at: 80% of the request, or an amount such as 500m
    #[arg(long, visible_alias = "cpu-percent", value_name = "PERCENT|AMOUNT")]
    pub(crate) cpu: Option<String>,
    /// The memory aimed at: 80% of the request, or an amount such as 200Mi
    #[arg(long, value_name = "PERCENT|AMOUNT")]
    pub(crate) memory: Option<String>,
}

/// Options of `wk rollout`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RolloutArgs {
    #[command(subcommand)]
    pub(crate) command: RolloutCommand,
}

/// What to do with a rollout.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum RolloutCommand {
    /// Wait until the newest revision is out
    Status(RolloutStatusArgs),
    /// Show the revisions there were
    History(RolloutHistoryArgs),
    /// Go back to the revision before, or to another
    Undo(RolloutUndoArgs),
    /// Replace all pods, a few at a time
    Restart(RolloutChangeArgs),
    /// Let changes wait
    Pause(RolloutChangeArgs),
    /// Let changes that waited go out
    Resume(RolloutChangeArgs),
}

/// Options of `wk rollout status`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RolloutStatusArgs {
    #[command(flatten)]
    pub(crate) pick: PickArgs,
    /// Only look
    #[arg(long, conflicts_with = "watch")]
    pub(crate) no_watch: bool,
    /// Wait until it is done; the default, --watch=false only looks
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) watch: Option<bool>,
    /// How long to wait [default: as long as it takes]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// Fail if another revision than this is going out
    #[arg(long, value_name = "N")]
    pub(crate) revision: Option<u64>,
}

/// Options of `wk rollout history`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RolloutHistoryArgs {
    #[command(flatten)]
    pub(crate) pick: PickArgs,
    #[command(flatten)]
    pub(crate) print: PrintArgs,
    /// Show the pods of this revision
    #[arg(long, value_name = "N")]
    pub(crate) revision: Option<u64>,
}

/// Options of `wk rollout undo`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RolloutUndoArgs {
    #[command(flatten)]
    pub(crate) pick: PickArgs,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
    /// The revision to go back to [default: the one before]
    #[arg(long, value_name = "N")]
    pub(crate) to_revision: Option<u64>,
}

/// Options of `wk rollout restart`, `pause` and `resume`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RolloutChangeArgs {
    #[command(flatten)]
    pub(crate) pick: PickArgs,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
}

/// Options of `wk set`.
#[derive(Debug, Clone, Args)]
pub(crate) struct SetArgs {
    #[command(subcommand)]
    pub(crate) command: SetCommand,
}

/// What to set.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum SetCommand {
    /// The images of containers: KIND/NAME CONTAINER=IMAGE…, or *=IMAGE for all
    Image(SetImageArgs),
}

/// Options of `wk set image`.
#[derive(Debug, Clone, Args)]
pub(crate) struct SetImageArgs {
    #[command(flatten)]
    pub(crate) pick: PickArgs,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
}
