//! `wk rollout status`: waits until the newest revision is out.

use serde_json::Value;
use tokio::time::Instant;

use super::{REVISION, Workload, annotation, progress};
use crate::args::RolloutStatusArgs;
use crate::client::{Client, Follow};
use crate::commands::deploy::rollout::{Progress, progress as deployment};
use crate::commands::pick::{Picked, pick};
use crate::discovery::Kinds;
use crate::exit::{Code, ExitError};
use crate::render::Ui;

/// Waits for every object meant, one after the other.
pub(super) async fn run(client: &Client, args: &RolloutStatusArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let kinds = Kinds::discover(client).await?;
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    for one in pick(client, &kinds, &args.pick).await? {
        // Whether it is there at all is asked first: the answer comes with a hint.
        let live = one.get(client).await?;
        if args.no_watch || args.watch == Some(false) {
            let told = match look(&one, &live)? {
                Progress::Ready { .. } => done(&one),
                Progress::Waiting(what) => format!("{}: {what}", one.qualified()),
                Progress::Failed(why) => {
                    return Err(ExitError::new(Code::General, format!("{}: {why}", one.qualified())).into());
                }
            };
            ui.line(&told)?;
        } else {
            wait(client, &one, args, deadline, ui).await?;
        }
    }
    Ok(())
}

fn done(picked: &Picked) -> String {
    let kind = picked.resource.singular.replace("set", " set");
    format!("{kind} {:?} successfully rolled out", picked.name)
}

fn look(picked: &Picked, object: &Value) -> Result<Progress, ExitError> {
    let generation = object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
    Ok(match Workload::of(picked)? {
        Workload::Deployment => deployment(object, generation),
        Workload::StatefulSet => progress::stateful_set(object),
        Workload::DaemonSet => progress::daemon_set(object),
    })
}

async fn wait(
    client: &Client,
    picked: &Picked,
    args: &RolloutStatusArgs,
    deadline: Option<Instant>,
    ui: &mut Ui,
) -> anyhow::Result<()> {
    let mut follow = Follow::object(client, picked.resource.collection(Some(&picked.namespace)), &picked.name);
    let mut told = String::new();
    loop {
        let changed = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, follow.changed()).await,
            None => Ok(follow.changed().await),
        };
        let Ok(changed) = changed else {
            let message =
                format!("{} is not out after {:?}: {told}", picked.qualified(), args.timeout.unwrap_or_default());
            return Err(ExitError::new(Code::TimedOut, message).into());
        };
        changed?;
        let Some(object) = follow.items().next() else {
            return Err(ExitError::new(Code::NotFound, format!("{} was deleted meanwhile", picked.qualified())).into());
        };
        let revision = annotation(object, REVISION).unwrap_or_default();
        if let Some(wanted) = args.revision.filter(|wanted| wanted.to_string() != revision) {
            let message = format!("{}: revision {revision} is going out, not {wanted}", picked.qualified());
            return Err(ExitError::new(Code::Conflict, message).into());
        }
        match look(picked, object)? {
            Progress::Ready { .. } => {
                ui.settle();
                return ui.line(&done(picked));
            }
            Progress::Failed(why) => {
                return Err(ExitError::new(Code::General, format!("{}: {why}", picked.qualified())).into());
            }
            Progress::Waiting(what) => {
                ui.progress(&format!("{}: {what}", picked.qualified()));
                told = what;
            }
        }
    }
}
