//! The commands that only tell, as typed: `status`, `token`, `version`, `completion`.

use clap::{Args, ValueEnum};
use clap_complete::Shell;

use super::objects::StructuredFormat;

/// Options of `wk status`.
#[derive(Debug, Clone, Args)]
pub(crate) struct StatusArgs {
    /// Print the facts instead of the summary
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<StructuredFormat>,
}

/// How `wk token` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TokenFormat {
    /// The whole `wk up --join … --token …` line
    Wide,
}

/// Options of `wk token`.
#[derive(Debug, Clone, Args)]
pub(crate) struct TokenArgs {
    /// "wide" prints the whole `wk up --join … --token …` line
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<TokenFormat>,
}

/// Options of `wk version`.
#[derive(Debug, Clone, Args)]
pub(crate) struct VersionArgs {
    /// Only this program's version; contacts no server
    #[arg(long)]
    pub(crate) client: bool,
    /// Print a structure
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<StructuredFormat>,
}

/// Options of `wk completion`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}
