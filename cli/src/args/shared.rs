//! What several commands take alike: which objects, how they are written, how they are printed.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::render::Output;

/// Whether a write is only tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum DryRun {
    /// Do it
    #[default]
    None,
    /// Print what would be sent; the server is not asked to judge it
    Client,
    /// Let the server judge it and forget it
    Server,
}

/// Which objects a command is about.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PickArgs {
    /// KIND[,KIND] NAME…, or KIND/NAME…
    #[arg(value_name = "KIND")]
    pub(crate) targets: Vec<String>,
    /// The objects described in this file, in the files of this directory, or in standard input ("-")
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The objects whose labels match, such as app=web,tier!=db
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub(crate) selector: Option<String>,
    /// The objects whose fields match, such as status.phase=Running
    #[arg(long, value_name = "FIELDS")]
    pub(crate) field_selector: Option<String>,
    /// All objects of the kind
    #[arg(long)]
    pub(crate) all: bool,
    /// In all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
}

/// How a write is made and told.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct WriteArgs {
    /// Only try it: "client" prints what would be sent, "server" lets the server judge it
    #[arg(
        long,
        value_enum,
        value_name = "WHERE",
        num_args = 0..=1,
        require_equals = true,
        default_value = "none",
        default_missing_value = "client",
        hide_default_value = true
    )]
    pub(crate) dry_run: DryRun,
    /// Who owns the fields written
    #[arg(long, value_name = "NAME", default_value = "wk", hide_default_value = true)]
    pub(crate) field_manager: String,
    #[command(flatten)]
    pub(crate) print: PrintArgs,
}

/// How objects are printed.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PrintArgs {
    /// json, yaml, wide, name, jsonpath=TEMPLATE or custom-columns=HEADING:.path,…
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<Output>,
    /// Also print who owns which field
    #[arg(long)]
    pub(crate) show_managed_fields: bool,
}
