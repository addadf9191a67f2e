//! What each command does, one file a command.

mod api_resources;
mod apply;
mod attach;
mod auth;
mod autoscale;
mod backup;
mod cluster;
mod cluster_info;
mod compile;
mod completion;
mod copy;
mod cordon;
mod create;
mod debug;
mod delete;
mod deploy;
mod describe;
mod diff;
mod drain;
mod edit;
mod events;
mod explain;
mod forward;
mod get;
mod kubeconfig;
mod logs;
mod mark;
mod node;
mod patch;
mod pick;
mod pods;
mod restore;
mod rollout;
mod scale;
mod set;
mod status;
mod taint;
mod targets;
#[cfg(test)]
mod tests;
mod token;
mod top;
mod user;
mod version;
mod wait;
mod writing;

use crate::args::{Cli, Command};
use crate::client::Client;
use crate::render::Ui;

/// Runs what the command line asks for.
pub(crate) async fn run(cli: Cli, ui: &mut Ui) -> anyhow::Result<()> {
    let Cli { global, command } = cli;
    match command {
        Command::Up(args) => crate::up::run(*args).await,
        Command::Deploy(args) => {
            // The file is judged before the cluster is asked for anything.
            let app = deploy::resolve(args)?;
            deploy::run(&Client::open(&global, ui).await?, app, ui).await
        }
        Command::Get(args) => get::run(&Client::open(&global, ui).await?, args, ui).await,
        Command::Apply(args) => {
            let documents = apply::read(&args)?;
            apply::run(&Client::open(&global, ui).await?, &args, documents, global.namespace.as_deref(), ui).await
        }
        Command::Describe(args) => describe::run(&Client::open(&global, ui).await?, &args, ui).await,
        Command::Create(args) => create::run(&Client::open(&global, ui).await?, args, ui).await,
        Command::Edit(args) => edit::run(&Client::open(&global, ui).await?, &args, ui).await,
        Command::Set(args) => set::run(&Client::open(&global, ui).await?, args, ui).await,
        Command::Diff(args) => diff::run(&Client::open(&global, ui).await?, &args, ui).await,
        Command::Explain(args) => explain::run(&Client::open(&global, ui).await?, &args, ui).await,
        Command::Debug(args) => debug::run(&Client::open(&global, ui).await?, &args, ui).await,
        Command::Exec(args) => attach::exec(&Client::open(&global, ui).await?, &args, ui).await,
        Command::Attach(args) => attach::attach(&Client::open(&global, ui).await?, &args, ui).await,
        Command::PortForward(args) => forward::run(&Client::open(&global, ui).await?, &args, ui).await,
        Command::Cp(args) => copy::run(&Client::open(&global, ui).await?, &args, ui).await,
        Command::Auth(args) => auth::run(&Client::open(&global, ui).await?, &args, ui).await,
        Command::ClusterInfo => cluster_info::run(&Client::open(&global, ui).await?, ui).await,
        Command::Patch(args) => patch::run(&Client::open(&global, ui).await?, &args, ui).await,
        Command::Label(args) => mark::run(&Client::open(&global, ui).await?, mark::Mark::Label, args, ui).await,
        Command::Annotate(args) => mark::run(&Client::open(&global, ui).await?, mark::Mark::Annotation, args, ui).await,
        Command::Autoscale(args) => autoscale::run(&Client::open(&global, ui).await?, &args, ui).await,
        Command::Rollout(args) => rollout::run(&Client::open(&global, ui).await?, &args, ui).await,
        Command::Wait(args) => wait::run(&Client::open(&global, ui).await?, &args, ui).await,
        Command::Events(args) => events::run(&Client::open(&global, ui).await?, &args, ui).await,
        Command::Top(args) => top::run(&Client::open(&global, ui).await?, &args, ui).await,
        Command::Cordon(args) => cordon::run(&Client::open(&global, ui).await?, &args, true, ui).await,
        Command::Uncordon(args) => cordon::run(&Client::open(&global, ui).await?, &args, false, ui).await,
        Command::Drain(args) => drain::run(&Client::open(&global, ui).await?, &args, drain::Pace::Together, ui).await,
        Command::Node(args) => node::run(&Client::open(&global, ui).await?, args, ui).await,
        Command::Taint(args) => taint::run(&Client::open(&global, ui).await?, &args, ui).await,
        Command::ApiResources(args) => api_resources::run(&Client::open(&global, ui).await?, &args, ui).await,
        Command::ApiVersions => api_resources::versions(&Client::open(&global, ui).await?, ui).await,
        Command::Delete(args) => delete::run(&Client::open(&global, ui).await?, args, ui).await,
        Command::Scale(args) => scale::run(&Client::open(&global, ui).await?, &args, ui).await,
        Command::Logs(args) => logs::run(&Client::open(&global, ui).await?, &args, ui).await,
        Command::Status(args) => status::run(&Client::open(&global, ui).await?, &args, ui).await,
        Command::Cluster(args) => cluster::run(&global, &args, ui).await,
        Command::Backup(args) => backup::run(&global, &args, ui).await,
        Command::Restore(args) => restore::run(&args, ui).await,
        Command::Compile(args) => compile::run(args, ui).await,
        Command::CompileWorker => Ok(wk_engine::compile_worker()?),
        Command::DataFormats => ui.line(&serde_json::to_string(&wk_store::FORMATS)?),
        Command::Token(args) => token::run(&global, &args, ui).await,
        Command::User(args) => user::run(&global, &args, ui).await,
        Command::Kubeconfig => kubeconfig::run(&global, ui),
        Command::Version(args) => version::run(&global, &args, ui).await,
        Command::Completion(args) => completion::run(&args, ui),
    }
}
