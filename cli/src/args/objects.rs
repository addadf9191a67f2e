//! The commands on objects, as typed: `get`, `apply`, `delete`, `scale`, `logs`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::deploy::duration;

/// How `wk get` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The objects as JSON
    Json,
    /// The objects as YAML
    Yaml,
    /// The table with further columns
    Wide,
    /// KIND/NAME, one a line
    Name,
}

/// How commands print that print a structure or text for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StructuredFormat {
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// Options of `wk get`.
#[derive(Debug, Clone, Args)]
pub(crate) struct GetArgs {
    /// KIND[,KIND] [NAME…], or KIND/NAME…; "all" for the usual kinds
    #[arg(required = true, value_name = "KIND")]
    pub(crate) targets: Vec<String>,
    /// How to print
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Format>,
    /// Only objects whose labels match, such as app=web,tier!=db
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub(crate) selector: Option<String>,
    /// In all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Print changes as they happen
    #[arg(short, long)]
    pub(crate) watch: bool,
}

/// Options of `wk apply`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ApplyArgs {
    /// File with one or more YAML documents or JSON; "-" is standard input
    #[arg(short = 'f', long = "filename", required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

/// Options of `wk delete`.
#[derive(Debug, Clone, Args)]
pub(crate) struct DeleteArgs {
    /// KIND[,KIND] NAME…, or KIND/NAME…
    #[arg(value_name = "KIND", required_unless_present = "files", conflicts_with = "files")]
    pub(crate) targets: Vec<String>,
    /// Delete the objects described in this file; "-" is standard input
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// All objects of the kind in the namespace
    #[arg(long, conflicts_with_all = ["files", "selector"])]
    pub(crate) all: bool,
    /// The objects whose labels match
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with = "files")]
    pub(crate) selector: Option<String>,
    /// It is fine if there is no such object
    #[arg(long)]
    pub(crate) ignore_not_found: bool,
    /// Seconds a pod is given to stop
    #[arg(long, value_name = "SECONDS")]
    pub(crate) grace_period: Option<u32>,
    /// Do not wait until the objects are gone
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// How long to wait until they are gone
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(crate) timeout: Duration,
}

/// Options of `wk scale`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ScaleArgs {
    /// KIND/NAME…, or KIND NAME…
    #[arg(required = true, value_name = "KIND/NAME")]
    pub(crate) targets: Vec<String>,
    /// How many
    #[arg(long, value_name = "N")]
    pub(crate) replicas: u16,
}

/// Options of `wk logs`.
#[derive(Debug, Clone, Args)]
pub(crate) struct LogsArgs {
    /// POD, or deploy/NAME for all its pods
    #[arg(value_name = "POD")]
    pub(crate) target: String,
    /// Go on printing what is written
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Which container [default: the first]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Only the last lines
    #[arg(long, value_name = "LINES")]
    pub(crate) tail: Option<u32>,
    /// Of the run before the last restart
    #[arg(short, long)]
    pub(crate) previous: bool,
    /// With the time of each line
    #[arg(long)]
    pub(crate) timestamps: bool,
    /// Only what is younger, such as 10m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) since: Option<Duration>,
}
