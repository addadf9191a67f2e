//! `wk rollout`: how far the newest revision is, what revisions there were, back to one, again, hold and go on.

mod change;
mod history;
mod progress;
mod status;

use serde_json::Value;

use super::pick::Picked;
use crate::args::{RolloutArgs, RolloutCommand};
use crate::client::Client;
use crate::exit::{ExitError, usage};
use crate::render::Ui;

/// What was said of a change that made a revision.
const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";

/// The number of a Deployment's revision, on it and on its ReplicaSets.
const REVISION: &str = "deployment.kubernetes.io/revision";

/// The kinds that have rollouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Workload {
    Deployment,
    StatefulSet,
    DaemonSet,
}

impl Workload {
    fn of(picked: &Picked) -> Result<Self, ExitError> {
        match (picked.resource.group.as_str(), picked.resource.kind.as_str()) {
            ("apps", "Deployment") => Ok(Self::Deployment),
            ("apps", "StatefulSet") => Ok(Self::StatefulSet),
            ("apps", "DaemonSet") => Ok(Self::DaemonSet),
            _ => {
                let what = picked.qualified();
                Err(usage(format!("{what} has no rollouts; Deployments, StatefulSets and DaemonSets have")))
            }
        }
    }
}

/// Does what was asked.
pub(super) async fn run(client: &Client, args: &RolloutArgs, ui: &mut Ui) -> anyhow::Result<()> {
    match &args.command {
        RolloutCommand::Status(args) => status::run(client, args, ui).await,
        RolloutCommand::History(args) => history::run(client, args, ui).await,
        RolloutCommand::Undo(args) => history::undo(client, args, ui).await,
        RolloutCommand::Restart(args) => change::run(client, change::Change::Restart, args, ui).await,
        RolloutCommand::Pause(args) => change::run(client, change::Change::Pause, args, ui).await,
        RolloutCommand::Resume(args) => change::run(client, change::Change::Resume, args, ui).await,
    }
}

fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.pointer("/metadata/annotations")?.get(key)?.as_str()
}
