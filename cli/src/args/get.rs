//! The commands that show objects, as typed: `get`, `describe`, `events`, `explain`, `wait`, `diff`, `api-resources`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::deploy::duration;
use super::shared::{PickArgs, PrintArgs};
use crate::render::jsonpath::Path;

/// Options of `wk get`.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct GetArgs {
    /// KIND[,KIND] [NAME…], or KIND/NAME…; "all" for the usual kinds
    #[arg(required_unless_present_any = ["files", "raw", "kinds"], value_name = "KIND")]
    pub(crate) targets: Vec<String>,
    #[command(flatten)]
    pub(crate) print: PrintArgs,
    /// The objects described in this file; "-" is standard input
    #[arg(short = 'f', long = "filename", value_name = "FILE", conflicts_with = "targets")]
    pub(crate) files: Vec<PathBuf>,
    /// Only objects whose labels match, such as app=web,tier!=db
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub(crate) selector: Option<String>,
    /// Only objects whose fields match, such as status.phase=Running
    #[arg(long, value_name = "FIELDS")]
    pub(crate) field_selector: Option<String>,
    /// In all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Print changes as they happen
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// Print only changes, not what is there already
    #[arg(long)]
    pub(crate) watch_only: bool,
    /// In the order of this field, such as .metadata.creationTimestamp
    #[arg(long, value_name = ".PATH", conflicts_with_all = ["watch", "watch_only"])]
    pub(crate) sort_by: Option<Path>,
    /// A last column with all labels
    #[arg(long)]
    pub(crate) show_labels: bool,
    /// A column for each of these labels
    #[arg(short = 'L', long = "label-columns", value_name = "LABEL,…", value_delimiter = ',')]
    pub(crate) label_columns: Vec<String>,
    /// No line of headings
    #[arg(long)]
    pub(crate) no_headers: bool,
    /// It is fine if there is no such object
    #[arg(long)]
    pub(crate) ignore_not_found: bool,
    /// The subresource of the objects, such as status or scale
    #[arg(long, value_name = "NAME")]
    pub(crate) subresource: Option<String>,
    /// Print what the server answers to this path
    #[arg(long, value_name = "PATH", conflicts_with_all = ["targets", "files", "selector", "watch"])]
    pub(crate) raw: Option<String>,
    /// Print the kinds the server has, and which of them nothing acts on
    #[arg(long, conflicts_with_all = ["targets", "files", "watch"])]
    pub(crate) kinds: bool,
}

/// Options of `wk describe`.
#[derive(Debug, Clone, Args)]
pub(crate) struct DescribeArgs {
    #[command(flatten)]
    pub(crate) pick: PickArgs,
    /// Leave the events out
    #[arg(long)]
    pub(crate) no_events: bool,
}

/// Options of `wk events`.
#[derive(Debug, Clone, Args)]
pub(crate) struct EventsArgs {
    /// Only those of this object, such as deploy/web
    #[arg(long = "for", value_name = "KIND/NAME")]
    pub(crate) object: Option<String>,
    /// Only those of these types
    #[arg(long, value_name = "Normal|Warning", value_delimiter = ',', value_parser = ["Normal", "Warning"], ignore_case = true)]
    pub(crate) types: Vec<String>,
    /// In all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Go on printing what happens
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// No line of headings
    #[arg(long)]
    pub(crate) no_headers: bool,
    #[command(flatten)]
    pub(crate) print: PrintArgs,
}

/// Options of `wk explain`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ExplainArgs {
    /// KIND[.FIELD…], such as deploy.spec.strategy
    #[arg(value_name = "KIND.FIELD")]
    pub(crate) path: String,
    /// The names of all fields below, without their descriptions
    #[arg(long)]
    pub(crate) recursive: bool,
    /// In this version of the API, such as autoscaling/v1
    #[arg(long, value_name = "GROUP/VERSION")]
    pub(crate) api_version: Option<String>,
}

/// Options of `wk wait`.
#[derive(Debug, Clone, Args)]
pub(crate) struct WaitArgs {
    #[command(flatten)]
    pub(crate) pick: PickArgs,
    /// "create", "delete", "condition=NAME[=VALUE]" or "jsonpath={.path}[=VALUE]"
    #[arg(long = "for", value_name = "WHAT", required = true)]
    pub(crate) what: Vec<String>,
    /// How long to wait; 0 only looks
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) timeout: Duration,
}

/// Options of `wk diff`.
#[derive(Debug, Clone, Args)]
pub(crate) struct DiffArgs {
    /// File or directory with the objects as they should be; "-" is standard input
    #[arg(short = 'f', long = "filename", required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Who would own the fields
    #[arg(long, value_name = "NAME", default_value = "wk", hide_default_value = true)]
    pub(crate) field_manager: String,
    /// Also show who owns which field
    #[arg(long)]
    pub(crate) show_managed_fields: bool,
    /// As the server would merge it by server-side apply
    #[arg(long)]
    pub(crate) server_side: bool,
    /// With --server-side: take fields that others own
    #[arg(long)]
    pub(crate) force_conflicts: bool,
}

/// Options of `wk api-resources`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ApiResourcesArgs {
    /// Only those of this group; "" is the core group
    #[arg(long, value_name = "GROUP")]
    pub(crate) api_group: Option<String>,
    /// Only those in namespaces, or with =false those that are not
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) namespaced: Option<bool>,
    /// Only those that can do all of these
    #[arg(long, value_name = "VERB,…", value_delimiter = ',')]
    pub(crate) verbs: Vec<String>,
    /// Only those of this category, such as all
    #[arg(long, value_name = "NAME")]
    pub(crate) categories: Option<String>,
    /// wide or name
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<crate::render::Output>,
    /// No line of headings
    #[arg(long)]
    pub(crate) no_headers: bool,
}
