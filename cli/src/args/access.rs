//! `wk auth` as typed.

use clap::{Args, Subcommand};

use super::shared::PrintArgs;

/// Options of `wk auth`.
#[derive(Debug, Clone, Args)]
pub(crate) struct AuthArgs {
    #[command(subcommand)]
    pub(crate) command: AuthCommand,
}

/// What is asked.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum AuthCommand {
    /// Whether something may be done; the exit code says it too
    CanI(CanIArgs),
    /// Who the server takes us for
    Whoami(WhoamiArgs),
}

/// Options of `wk auth can-i`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CanIArgs {
    /// Such as get, list, create, or *
    #[arg(value_name = "VERB", required_unless_present = "list")]
    pub(crate) verb: Option<String>,
    /// Such as pods, deploy/web, or a path such as /metrics
    #[arg(value_name = "KIND[/NAME]", required_unless_present = "list")]
    pub(crate) what: Option<String>,
    /// The name of one object
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Everything that may be done
    #[arg(long, conflicts_with = "verb")]
    pub(crate) list: bool,
    /// Of a subresource, such as log
    #[arg(long, value_name = "NAME")]
    pub(crate) subresource: Option<String>,
    /// In all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Say nothing; only the exit code
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// No line of headings
    #[arg(long)]
    pub(crate) no_headers: bool,
}

/// Options of `wk auth whoami`.
#[derive(Debug, Clone, Args)]
pub(crate) struct WhoamiArgs {
    #[command(flatten)]
    pub(crate) print: PrintArgs,
}
