//! `wk completion`: the script a shell completes `wk` with.

use crate::args::CompletionArgs;
use crate::render::Ui;

/// Prints the script.
pub(super) fn run(args: &CompletionArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::args::command(), "wk", &mut script);
    ui.data(&script)
}
