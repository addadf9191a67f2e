//! The oldest commands on objects, as typed: `apply` and `delete`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::deploy::duration;
use super::shared::{DryRun, PickArgs, WriteArgs};
use crate::render::Output;

/// How commands print that print a structure or text for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StructuredFormat {
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// Options of `wk apply`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ApplyArgs {
    /// File or directory with YAML documents or JSON; "-" is standard input
    #[arg(short = 'f', long = "filename", required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
    /// Let the server merge (server-side apply); =false merges here, with the file kept in an annotation
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) server_side: Option<bool>,
    /// Take fields that others own
    #[arg(long)]
    pub(crate) force_conflicts: bool,
    /// Only objects of the files whose labels match
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub(crate) selector: Option<String>,
    /// Delete what was applied once, matches -l, and is in the files no more
    #[arg(long)]
    pub(crate) prune: bool,
    /// With --prune: whatever its labels
    #[arg(long, requires = "prune", conflicts_with = "selector")]
    pub(crate) all: bool,
    /// With --prune: objects of this kind, such as core/v1/ConfigMap [default: the usual ones]
    #[arg(long, requires = "prune", value_name = "GROUP/VERSION/KIND")]
    pub(crate) prune_allowlist: Vec<String>,
}

/// What becomes of the objects that a deleted one owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Cascade {
    /// They go after it
    #[default]
    Background,
    /// They go before it
    Foreground,
    /// They stay
    Orphan,
}

/// Options of `wk delete`.
#[derive(Debug, Clone, Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    pub(crate) pick: PickArgs,
    /// It is fine if there is no such object
    #[arg(long)]
    pub(crate) ignore_not_found: bool,
    /// Seconds a pod is given to stop
    #[arg(long, value_name = "SECONDS", conflicts_with = "now")]
    pub(crate) grace_period: Option<u32>,
    /// A pod is given one second to stop
    #[arg(long)]
    pub(crate) now: bool,
    /// With --grace-period 0: do not wait for the node to say that a pod has stopped
    #[arg(long)]
    pub(crate) force: bool,
    /// What becomes of the objects it owns
    #[arg(long, value_enum, value_name = "HOW", num_args = 0..=1, require_equals = true, default_value = "background", default_missing_value = "background")]
    pub(crate) cascade: Cascade,
    /// Do not wait until the objects are gone
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Wait until the objects are gone; the default, --wait=false does not
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", conflicts_with = "no_wait")]
    pub(crate) wait: Option<bool>,
    /// How long to wait until they are gone
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Only try it
    #[arg(long, value_enum, value_name = "WHERE", num_args = 0..=1, require_equals = true, default_value = "none", default_missing_value = "client", hide_default_value = true)]
    pub(crate) dry_run: DryRun,
    /// "name" prints KIND/NAME only
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<Output>,
}
