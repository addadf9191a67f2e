//! `wk up`: starts a node and runs it until it is told to stop.
//!
//! Typed -> meant ([`settings`]) -> the directory is ours ([`data_dir`]), the ports are ours ([`ports`]) -> who we are
//! ([`entry`]: first node, newcomer, or one that comes back) -> everything runs ([`node`]).

mod access;
mod admin;
mod admit;
mod age;
mod announce;
mod asking;
pub(crate) mod backup;
mod base;
mod bootstrap;
mod children;
mod cluster_status;
mod code;
mod code_metrics;
mod copies;
pub(crate) mod data_dir;
mod entry;
mod forward;
mod front;
mod gate;
mod greeting;
mod handover;
mod hearing;
mod heartbeat;
mod join;
mod kept;
mod leave;
mod measure;
pub(crate) mod members;
mod metrics;
mod node;
mod open_files;
mod ports;
mod raft_batch;
mod raft_link;
mod raft_stream;
pub(crate) mod remains;
mod remote_pods;
mod remove;
pub(crate) mod secrets_keys;
pub(crate) mod settings;
mod signer;
mod tend;
pub(crate) mod upgrade;
mod usage;
mod witness;

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::args::UpArgs;
use data_dir::DataDir;
use handover::Inherited;
use ports::Ports;
use settings::Settings;

/// Time that a stop may take: requests in flight are given ten seconds, the rest takes a moment.
const STOP_MAX: Duration = Duration::from_secs(20);

/// Runs a node until it is told to stop.
pub(crate) async fn run(args: UpArgs) -> anyhow::Result<()> {
    wk_base::trace::init("warn,raft=error");
    children::take_note();
    open_files::take_all();
    let settings = Settings::resolve(args)?;
    let data_dir = DataDir::open(&settings.data_dir).await?;
    let (ports, handover) = Ports::bind(&settings, Inherited::take()).await?;
    let mut stop = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let entry = tokio::select! {
        entry = entry::enter(&settings, &data_dir) => entry?,
        () = signalled(&mut stop) => return Ok(()),
    };
    settings.keep(&data_dir);
    let node = tokio::select! {
        node = node::Node::start(&settings, &data_dir, ports, entry) => node?,
        () = signalled(&mut stop) => return Ok(()),
    };
    if let Err(error) = greeting::print(&settings, &data_dir, &node) {
        node.stop(STOP_MAX).await;
        return Err(error);
    }
    tokio::select! {
        () = signalled(&mut stop) => {}
        () = node.removed() => {
            drop(handover);
            data_dir.note_removed();
            node.stop(STOP_MAX).await;
            return Err(entry::removed(&data_dir, &node.name).into());
        }
        () = node.upgrade.wanted() => {
            greeting::stopping();
            node.stop(STOP_MAX).await;
            let error = node.upgrade.become_it(handover);
            return Err(anyhow::Error::new(error).context("become the new program"));
        }
    }
    // Nobody takes over: who connects from now on is refused.
    drop(handover);
    greeting::stopping();
    // A second signal ends the wait: the log on disk is whole at any moment.
    tokio::select! {
        () = node.stop(STOP_MAX) => {}
        () = signalled(&mut stop) => {}
    }
    Ok(())
}

async fn signalled((interrupt, terminate): &mut (tokio::signal::unix::Signal, tokio::signal::unix::Signal)) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
