//! The controllers' shells: gather facts from the local copy, ask `wk-plan`, carry its orders out.
//!
//! Not here: decisions (`wk-plan`), verbs (`wk-cluster`). Start at [`Controllers::run`]; the table of shells is in
//! `shells.rs`, the one loop that they all run in `work.rs`.
//!
//! **Guarantees.** Shells run only while this peer leads, and stop where they wait when it no longer does. Each is
//! woken *that* something changed and never told *what*: after a restart, a lost message or a change of leader the same
//! code does the same work.
//!
//! **Assumptions.** Two leaders may overlap for a moment, each on old news. Orders name the uid and version they rely
//! on, so the store refuses what no longer holds; a pod too many, made by both, is removed by the next look.
//!
//! ```
//! use wk_base::time::{Clock, SystemClock};
//! use wk_controllers::{Heartbeats, Told};
//!
//! // The mesh tells who was heard; the nodes' controller decides what silence means.
//! let heartbeats = Heartbeats::new();
//! heartbeats.beat("n1", SystemClock.now(), Told::default());
//! assert!(heartbeats.heard().contains_key("n1"));
//! ```

mod autoscale;
mod bereft;
mod electorate;
mod execute;
mod gather;
mod grouped;
mod hearing;
mod heartbeats;
mod held;
mod measured;
mod placing;
mod recorder;
mod refusals;
mod roles;
mod settled;
mod shells;
#[cfg(test)]
mod testing;
mod under_way;
mod wake;
mod work;
mod workloads;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use wk_base::backoff::Backoff;
use wk_base::error::Chain;
use wk_base::tasks::Tasks;
use wk_cluster::Cluster;

pub use electorate::{Electorate, Roll};
pub use heartbeats::{Heartbeats, Told};
pub use measured::Measured;
pub use writes::{Change, Writes};

use hearing::Hearing;
use recorder::Recorder;
use refusals::Refusals;
use wake::Wakes;
use work::{Desk, Looks};

/// All controllers of the cluster.
#[derive(Debug)]
pub struct Controllers;

impl Controllers {
    /// Runs them in `tasks`, whenever and as long as `is_leader` says that this peer leads.
    pub fn run(parts: Parts, is_leader: watch::Receiver<bool>, tasks: &Tasks) {
        tasks.spawn_until_stop("controllers", supervise(parts, is_leader));
    }
}

/// What they work with.
pub struct Parts {
    /// What they read.
    pub cluster: Cluster,
    /// How they write.
    pub writes: Arc<dyn Writes>,
    /// Which nodes were heard.
    pub heartbeats: Arc<Heartbeats>,
    /// What pods use.
    pub measured: Arc<Measured>,
    /// Who may vote.
    pub electorate: Electorate,
    /// The certificate, in PEM, by which the API's servers are known.
    pub authority: Arc<str>,
}

async fn supervise(parts: Parts, mut is_leader: watch::Receiver<bool>) {
    // What shells hear and tell by may panic too, and that is a bug that may come back at once: restarts get slower.
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
    while is_leader.wait_for(|leads| *leads).await.is_ok() {
        tokio::select! {
            () = deposed(&mut is_leader) => continue,
            () = caught_up(&parts.cluster) => {}
        }
        tracing::info!("this peer leads: controllers start");
        let mut shells = start(&parts);
        tokio::select! {
            () = deposed(&mut is_leader) => {
                shells.shutdown().await;
                tracing::info!("this peer no longer leads: controllers have stopped");
                backoff.reset();
            }
            ended = shells.join_next() => {
                shells.shutdown().await;
                tracing::error!(?ended, "what the controllers work with ended; all of them start anew");
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }
}

async fn deposed(is_leader: &mut watch::Receiver<bool>) {
    drop(is_leader.wait_for(|leads| !*leads).await);
}

/// Waits until the local copy has everything that the last leader wrote: on older news every pod that it made would be
/// made a second time.
async fn caught_up(cluster: &Cluster) {
    let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
    while let Err(error) = cluster.store().read().await {
        tracing::debug!("controllers wait for the latest state: {}", Chain(&error));
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// One leadership: every shell, what wakes them, and the recorder of their events.
fn start(parts: &Parts) -> JoinSet<()> {
    let Parts { cluster, writes, heartbeats, measured, electorate, authority } = parts;
    let clock = cluster.clock();
    // What was heard in an earlier leadership may be out of date: who was about to stop may have started again.
    heartbeats.clear();
    let mut set = JoinSet::new();
    let (recorder, recording) = Recorder::new(cluster.clone());
    set.spawn(recording);
    let mut wakes = Wakes::default();
    let hearing = Arc::new(Hearing::default());
    let (prompt, unhurried) = (Looks::default(), Looks::default());
    set.spawn(hearing::listen(Arc::clone(&hearing), Arc::clone(clock), Arc::clone(heartbeats)));
    for shell in shells::all(Arc::clone(&hearing)) {
        let wake = wakes.subscribe(&shell.reads, shell.reads_custom);
        let desk = Desk {
            cluster: cluster.clone(),
            clock: Arc::clone(clock),
            heartbeats: Arc::clone(heartbeats),
            measured: Arc::clone(measured),
            electorate: electorate.clone(),
            recorder: recorder.clone(),
            writes: Arc::clone(writes),
            user: writes::user(shell.name),
            authority: Arc::clone(authority),
            refusals: Refusals::default(),
            looks: shell.looks(&prompt, &unhurried),
        };
        let (name, desk, hearing) = (shell.name, Arc::new(desk), Arc::clone(&hearing));
        let mut first = Some(shell);
        set.spawn(work::keep(name, move || {
            // What it remembered is not to be trusted after a panic.
            let shell = first.take().unwrap_or_else(|| shells::named(name, Arc::clone(&hearing)));
            work::work(shell, Arc::clone(&desk), Arc::clone(&wake))
        }));
    }
    set.spawn(wake::follow_custom(cluster.store().clone(), wakes.custom()));
    for (kind, subscribers) in wakes.into_kinds() {
        set.spawn(wake::follow(cluster.store().clone(), kind, subscribers));
    }
    set
}
