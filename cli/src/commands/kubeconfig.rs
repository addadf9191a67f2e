//! `wk kubeconfig`: the kubeconfig in use, in one piece.

use crate::args::GlobalArgs;
use crate::render::{Ui, yaml};

/// Prints it with the files it names embedded.
pub(super) fn run(global: &GlobalArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let kubeconfig = crate::kubeconfig::load(global)?;
    ui.data(yaml(&crate::kubeconfig::flattened(&kubeconfig)?)?.as_bytes())
}
