//! `wk cluster …`: looking after the cluster itself.

mod keys;
mod members;
mod recover;

use crate::args::{ClusterArgs, ClusterCommand, GlobalArgs};
use crate::client::Client;
use crate::render::Ui;

/// Runs what was asked for.
pub(super) async fn run(global: &GlobalArgs, args: &ClusterArgs, ui: &mut Ui) -> anyhow::Result<()> {
    match &args.command {
        ClusterCommand::Status(args) => members::status(&Client::open(global, ui).await?, args, ui).await,
        ClusterCommand::Remove(args) => members::remove(&Client::open(global, ui).await?, args, ui).await,
        ClusterCommand::Keys(args) => keys::run(&Client::open(global, ui).await?, args, ui).await,
        ClusterCommand::Recover(args) => recover::run(args, ui).await,
    }
}
