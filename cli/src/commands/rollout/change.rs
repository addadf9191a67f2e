//! `wk rollout restart`, `pause` and `resume`.

use serde_json::{Value, json};

use super::Workload;
use crate::args::RolloutChangeArgs;
use crate::client::Client;
use crate::commands::pick::{Picked, pick};
use crate::commands::writing::Writing;
use crate::discovery::Kinds;
use crate::exit::{Code, ExitError, usage};
use crate::render::Ui;

/// Changes a pod template without changing what runs; kubectl's own, so that both count as one.
const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";

/// What is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Restart,
    Pause,
    Resume,
}

/// Changes every object meant.
pub(super) async fn run(client: &Client, change: Change, args: &RolloutChangeArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let kinds = Kinds::discover(client).await?;
    let writing = Writing { client, args: &args.write };
    for one in pick(client, &kinds, &args.pick).await? {
        let live = one.get(client).await?;
        let (patch, done) = decide(change, &one, &live)?;
        let now = writing.merge(&one, &live, &patch).await?;
        writing.tell(&one.qualified(), now, done, ui)?;
    }
    Ok(())
}

fn decide(change: Change, picked: &Picked, live: &Value) -> Result<(Value, &'static str), ExitError> {
    let what = picked.qualified();
    let paused = live.pointer("/spec/paused") == Some(&Value::Bool(true));
    let workload = Workload::of(picked)?;
    if change != Change::Restart && workload != Workload::Deployment {
        return Err(usage(format!("{what} cannot be paused: only Deployments can")));
    }
    match change {
        Change::Restart if paused => {
            Err(ExitError::new(Code::Conflict, format!("{what} is paused: run `wk rollout resume {what}` first")))
        }
        Change::Restart => {
            let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            Ok((json!({"spec": {"template": {"metadata": {"annotations": {RESTARTED: now}}}}}), "restarted"))
        }
        Change::Pause if paused => Err(ExitError::new(Code::Conflict, format!("{what} is paused already"))),
        Change::Pause => Ok((json!({"spec": {"paused": true}}), "paused")),
        Change::Resume if !paused => Err(ExitError::new(Code::Conflict, format!("{what} is not paused"))),
        Change::Resume => Ok((json!({"spec": {"paused": null}}), "resumed")),
    }
}
