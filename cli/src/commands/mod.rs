//! What each command does, one file a command.

mod apply;
mod backup;
mod cluster;
mod completion;
mod delete;
mod deploy;
mod get;
mod kubeconfig;
mod logs;
mod restore;
mod scale;
mod status;
mod targets;
#[cfg(test)]
mod tests;
mod token;
mod user;
mod version;

use crate::args::{Cli, Command};
use crate::client::Client;
use crate::render::Ui;

/// Runs what the command line asks for.
pub(crate) async fn run(cli: Cli, ui: &mut Ui) -> anyhow::Result<()> {
    let Cli { global, command } = cli;
    match command {
        Command::Up(args) => crate::up::run(args).await,
        Command::Deploy(args) => {
            // The file is judged before the cluster is asked for anything.
            let app = deploy::resolve(args)?;
            deploy::run(&Client::open(&global).await?, app, ui).await
        }
        Command::Get(args) => get::run(&Client::open(&global).await?, args, ui).await,
        Command::Apply(args) => {
            let documents = apply::read(&args)?;
            apply::run(&Client::open(&global).await?, documents, global.namespace.as_deref(), ui).await
        }
        Command::Delete(args) => delete::run(&Client::open(&global).await?, args, ui).await,
        Command::Scale(args) => scale::run(&Client::open(&global).await?, &args, ui).await,
        Command::Logs(args) => logs::run(&Client::open(&global).await?, &args, ui).await,
        Command::Status(args) => status::run(&Client::open(&global).await?, &args, ui).await,
        Command::Cluster(args) => cluster::run(&global, &args, ui).await,
        Command::Backup(args) => backup::run(&global, &args, ui).await,
        Command::Restore(args) => restore::run(&args, ui).await,
        Command::Token(args) => token::run(&global, &args, ui).await,
        Command::User(args) => user::run(&global, &args, ui).await,
        Command::Kubeconfig => kubeconfig::run(&global, ui),
        Command::Version(args) => version::run(&global, &args, ui).await,
        Command::Completion(args) => completion::run(&args, ui),
    }
}
