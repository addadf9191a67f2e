//! Waiting until the replicas serve, and telling meanwhile why they do not.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::rollout::{self, Progress, Trouble};
use super::wasm::World;
use super::write::Written;
use super::{App, objects};
use crate::client::{Client, Follow, JSON, Query, Resource};
use crate::exit::{Code, ExitError};
use crate::render::Ui;

/// How many warnings of the cluster are told when it failed: the newest say why.
const WARNINGS_SHOWN: usize = 5;

/// Longest wait for those warnings: they are an extra.
const WARNINGS_DEADLINE: Duration = Duration::from_secs(3);

/// After a look at all pods comes a rest of so many times what it took: each of a thousand pods has news several times.
const RESTS: u32 = 4;

/// How many pods' troubles are told one by one; the fiftieth pod fails for the reason of the first.
const TROUBLES_SHOWN: usize = 5;

/// Returns when all replicas of the revision written are ready and older ones are gone.
pub(super) async fn until_ready(
    client: &Client,
    app: &App,
    written: &Written,
    deadline: Instant,
    ui: &mut Ui,
) -> anyhow::Result<()> {
    let namespace = Some(client.namespace());
    let mut deployment = Follow::object(client, Resource::deployments().collection(namespace), &app.name);
    let labels = format!("{}={}", objects::NAME_LABEL, app.name);
    let mut pods = Follow::labelled(client, Resource::pods().collection(namespace), &labels);
    let mut told = BTreeSet::new();
    let (mut listed, mut rested) = (false, Instant::now());
    loop {
        let Some(news) = news(&mut deployment, &mut pods, rested, deadline).await? else {
            let troubles = rollout::troubles(pods.items(), &written.old_pods);
            let waiting = deployment.items().next().map(|it| rollout::progress(it, written.generation));
            let state = match waiting {
                Some(Progress::Waiting(what)) => what + &starting(&pods, written),
                Some(Progress::Failed(what)) => what,
                Some(Progress::Ready { .. }) | None => "no answer from the cluster".to_owned(),
            };
            let message = format!("{} is not ready after {:?}: {state}", app.name, app.timeout);
            return Err(give_up(client, app, Code::TimedOut, message, (&troubles, serves(&deployment)), ui).await);
        };
        listed |= news;
        let begun = Instant::now();
        let troubles = rollout::troubles(pods.items(), &written.old_pods);
        for trouble in &troubles {
            if told.len() < TROUBLES_SHOWN && told.insert(format!("{}: {}", trouble.pod, trouble.what)) {
                ui.note(&format!("{}: {}", trouble.pod, trouble.what));
            }
        }
        let progress = match deployment.items().next() {
            Some(now) => rollout::progress(now, written.generation),
            None if listed => Progress::Failed("somebody deleted the deployment".to_owned()),
            None => continue,
        };
        rested = Instant::now() + RESTS * begun.elapsed();
        match progress {
            Progress::Ready { .. } if !still_run(client, app, written).await? => {
                ui.progress(&format!("{}: a replica has just ended", app.name));
            }
            Progress::Ready { replicas } => {
                let plural = if replicas == 1 { "replica" } else { "replicas" };
                ui.note(&format!("{} is ready: {replicas} {plural}", app.name));
                return Ok(());
            }
            Progress::Failed(why) => {
                let message = format!("{} failed: {why}", app.name);
                return Err(give_up(client, app, Code::General, message, (&troubles, serves(&deployment)), ui).await);
            }
            Progress::Waiting(what) => {
                if let Some(first) = troubles.iter().find(|trouble| trouble.hopeless) {
                    let message = format!("{} does not start: {}: {}", app.name, first.pod, first.what);
                    return Err(
                        give_up(client, app, Code::General, message, (&troubles, serves(&deployment)), ui).await
                    );
                }
                ui.progress(&format!("{}: {what}{}", app.name, starting(&pods, written)));
            }
        }
    }
}

/// Waits for news of either, and for what else comes until `rested`. Whether the deployment was among it; none if nothing came
/// by the deadline.
async fn news(
    deployment: &mut Follow,
    pods: &mut Follow,
    rested: Instant,
    deadline: Instant,
) -> anyhow::Result<Option<bool>> {
    if Instant::now() >= deadline {
        return Ok(None);
    }
    let (mut listed, mut any, rested) = (false, false, rested.min(deadline));
    // Timers are too coarse for the rest after a look at a handful of pods.
    while !any || Instant::now() < rested {
        tokio::select! {
            () = tokio::time::sleep_until(rested), if any => break,
            () = tokio::time::sleep_until(deadline), if !any => return Ok(None),
            changed = deployment.changed() => {
                changed?;
                listed = true;
            }
            changed = pods.changed() => changed?,
        }
        any = true;
    }
    Ok(Some(listed))
}

/// What replicas wait for that take long to start, as the end of a line.
fn starting(pods: &Follow, written: &Written) -> String {
    rollout::long_start(pods.items(), &written.old_pods).map_or_else(String::new, |told| format!(": {told}"))
}

/// Whether the replicas of a program run at this moment. Its Deployment tells what was a moment ago, and a program that
/// fails at once was ready for a moment. An HTTP app's replicas do not end by themselves.
async fn still_run(client: &Client, app: &App, written: &Written) -> anyhow::Result<bool> {
    if app.world != World::Command {
        return Ok(true);
    }
    let pods = Resource::pods().collection(Some(client.namespace()));
    let labels = format!("{}={}", objects::NAME_LABEL, app.name);
    let pods = client.get(&Query::default().with("labelSelector", &labels).on(&pods), JSON).await?;
    Ok(rollout::run(pods["items"].as_array().into_iter().flatten(), &written.old_pods))
}

/// Whether any replica is ready, of this revision or one before.
fn serves(deployment: &Follow) -> bool {
    let ready = |it: &Value| it.pointer("/status/readyReplicas").and_then(Value::as_u64);
    deployment.items().next().and_then(ready).is_some_and(|ready| ready > 0)
}

/// Tells the warnings of the cluster and what to look at, and makes the error.
async fn give_up(
    client: &Client,
    app: &App,
    code: Code,
    message: String,
    (troubles, serves): (&[Trouble], bool),
    ui: &mut Ui,
) -> anyhow::Error {
    let events = Resource::events().collection(Some(client.namespace()));
    let events = tokio::time::timeout(WARNINGS_DEADLINE, client.get(&events, JSON)).await;
    for line in events.into_iter().flatten().flat_map(|events| rollout::warnings(&events, &app.name, WARNINGS_SHOWN)) {
        ui.note(&format!("warning: {line}"));
    }
    let hint = match troubles.first() {
        Some(Trouble { pod, .. }) => format!("wk describe pod {pod}, wk logs {pod}"),
        None => format!("wk get deploy,po -l {}={}", objects::NAME_LABEL, app.name),
    };
    let now = if serves { "What is ready goes on serving" } else { "Nothing of it is ready; it is tried on" };
    ui.note(&format!("{now}. To see more: {hint} -n {}", client.namespace()));
    ExitError::new(code, message).into()
}
