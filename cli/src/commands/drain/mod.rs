//! `wk drain`: makes a node empty: no new pods, and those there are evicted as disruption budgets allow.

mod choose;
mod together;

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::cordon;
use super::pick::Picked;
use crate::args::{DrainArgs, DryRun};
use crate::client::{Client, Payload, Query, Resource, is_not_found, refusal};
use crate::discovery::Kinds;
use crate::exit::{Code, ExitError};
use crate::render::Ui;
use choose::Choice;
use together::Turns;

/// Pause before an eviction that a budget forbade is tried again, as with kubectl.
const BUDGET_PAUSE: Duration = Duration::from_secs(5);

/// Pause between two looks at what is still there.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// A workload that has not made up for a pod by then is left behind: it may lack the room to.
const MADE_UP_MAX: Duration = Duration::from_mins(2);

/// In which order pods go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// As soon as each may.
    Together,
    /// Each after the one before is gone and its workload has as many ready pods as it had: slower, and nobody who uses the
    /// workload notices.
    OneByOne,
}

/// How pods are made to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// As disruption budgets allow.
    Evict,
    /// At once.
    Delete,
}

/// Servers without evictions have pods deleted, as with kubectl.
async fn how(client: &Client, args: &DrainArgs) -> anyhow::Result<How> {
    if args.disable_eviction {
        return Ok(How::Delete);
    }
    let kinds = Kinds::discover(client).await?;
    let evicts = kinds.find("pods")?.subresources.iter().any(|subresource| subresource == "eviction");
    Ok(if evicts { How::Evict } else { How::Delete })
}

/// Drains every node meant.
pub(super) async fn run(client: &Client, args: &DrainArgs, pace: Pace, ui: &mut Ui) -> anyhow::Result<()> {
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let how = how(client, args).await?;
    for node in cordon::nodes(client, &args.cordon).await? {
        cordon::set(client, &args.cordon, &node, true, ui).await?;
        drain(client, args, &node, (how, pace), deadline, ui).await?;
        let tried = if args.cordon.dry_run == DryRun::None { "" } else { " (dry run)" };
        ui.line(&format!("{} drained{tried}", node.qualified()))?;
    }
    Ok(())
}

async fn drain(
    client: &Client,
    args: &DrainArgs,
    node: &Picked,
    (how, pace): (How, Pace),
    deadline: Option<Instant>,
    ui: &mut Ui,
) -> anyhow::Result<()> {
    let on_node = Query::default().with("fieldSelector", &format!("spec.nodeName={}", node.name));
    let query = on_node.clone().maybe("labelSelector", args.pod_selector.as_deref());
    let pods = client.list(&Resource::pods().collection(None), query).await?;
    let Choice { evict, left, refused } = choose::choose(&pods, args);
    if !refused.is_empty() {
        // An upgrade takes that back by itself.
        let uncordon = match pace {
            Pace::Together => format!("\n{} is cordoned; `wk uncordon {}` takes that back", node.name, node.name),
            Pace::OneByOne => String::new(),
        };
        let message = format!("cannot drain {}:\n  {}{uncordon}", node.name, refused.join("\n  "));
        return Err(ExitError::new(Code::General, message).into());
    }
    for told in left {
        ui.note(&told);
    }
    if args.cordon.dry_run != DryRun::None {
        for pod in &evict {
            ui.line(&format!("would evict {}/{}", pod.namespace, pod.name))?;
        }
        return Ok(());
    }
    if pace == Pace::Together {
        return together::leave(client, args, evict, on_node, how, deadline, ui).await;
    }
    for pod in evict {
        ui.note(&format!("evicting pod {}/{}", pod.namespace, pod.name));
        let workload = workload(client, &pods, &pod).await?;
        go(client, args, &pod, how, deadline, &Turns::new(ui)).await?;
        gone(client, &pod, deadline, ui).await?;
        if let Some(workload) = workload {
            workload.made_up(client, deadline, ui).await?;
        }
    }
    ui.settle();
    Ok(())
}

/// Asks until the pod may go.
async fn go(
    client: &Client,
    args: &DrainArgs,
    pod: &choose::Pod,
    how: How,
    deadline: Option<Instant>,
    turns: &Turns<'_>,
) -> anyhow::Result<()> {
    let path = Resource::pods().object(&pod.namespace, &pod.name);
    let mut options = json!({"preconditions": {"uid": pod.uid}});
    if let Some(seconds) = args.grace_period {
        options["gracePeriodSeconds"] = seconds.into();
    }
    loop {
        let sent = if how == How::Delete {
            options["apiVersion"] = "v1".into();
            options["kind"] = "DeleteOptions".into();
            turns.request(client.send(Method::DELETE, &path, Payload::json(&options))).await
        } else {
            let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction",
                "metadata": {"name": pod.name, "namespace": pod.namespace}, "deleteOptions": options});
            let path = format!("{path}/eviction");
            turns.request(client.send_once(Method::POST, &path, Payload::json(&eviction))).await
        };
        match sent {
            Ok(_) => return Ok(()),
            // Another one of that name is not the one that was on this node.
            Err(error) if is_not_found(&error) || is_conflict(&error) => return Ok(()),
            Err(error) if is_forbidden_now(&error) => {
                let why = refusal(&error).map(|refusal| refusal.message.clone()).unwrap_or_default();
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    let message = format!("pod {}/{} may not go: {why}", pod.namespace, pod.name);
                    return Err(ExitError::new(Code::TimedOut, message).into());
                }
                let said = format!("pod {}/{} may not go yet: {why}", pod.namespace, pod.name);
                turns.tell(|ui| ui.progress(&format!("{said}; again in {} s", BUDGET_PAUSE.as_secs())));
                // All of the time that was given is used: the last try is at its end.
                let again = Instant::now() + BUDGET_PAUSE;
                tokio::time::sleep_until(deadline.map_or(again, |deadline| deadline.min(again))).await;
            }
            Err(error) => return Err(error.context(format!("evict pod {}/{}", pod.namespace, pod.name))),
        }
    }
}

fn is_conflict(error: &anyhow::Error) -> bool {
    refusal(error).is_some_and(|refusal| refusal.status == StatusCode::CONFLICT)
}

fn is_forbidden_now(error: &anyhow::Error) -> bool {
    refusal(error).is_some_and(|refusal| refusal.status == StatusCode::TOO_MANY_REQUESTS)
}

/// The workload of a pod that is to go, as it was before.
struct Workload {
    named: String,
    path: String,
    /// Ready pods it had. A pod that was not ready served nobody, so nobody waits for another in its place.
    ready: i64,
}

/// The workload of a pod that is ready; none of one that is not, or that nobody makes anew.
async fn workload(client: &Client, pods: &[Value], pod: &choose::Pod) -> anyhow::Result<Option<Workload>> {
    let Some(object) = pods.iter().find(|object| object["metadata"]["uid"] == pod.uid.as_str()) else {
        return Ok(None);
    };
    let owners = object["metadata"]["ownerReferences"].as_array();
    let Some(owner) = owners.into_iter().flatten().find(|owner| owner["controller"] == true) else { return Ok(None) };
    let (kind, name) = (owner["kind"].as_str().unwrap_or_default(), owner["name"].as_str().unwrap_or_default());
    if !matches!(kind, "ReplicaSet" | "StatefulSet" | "ReplicationController") || !is_ready(object) {
        return Ok(None);
    }
    let path = Kinds::discover(client).await?.find(&kind.to_lowercase())?.object(&pod.namespace, name);
    let Some(now) = client.find(&path).await? else { return Ok(None) };
    Ok(Some(Workload { named: format!("{kind} {}/{name}", pod.namespace), ready: count(&now, READY), path }))
}

const READY: &str = "/status/readyReplicas";
const WANTED: &str = "/spec/replicas";

fn count(workload: &Value, pointer: &str) -> i64 {
    workload.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// Whether a pod, or a node, is.
pub(super) fn is_ready(object: &Value) -> bool {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|it| it["type"] == "Ready" && it["status"] == "True")
}

impl Workload {
    /// Waits until it has as many ready pods again as it had, or as it wants by now.
    async fn made_up(self, client: &Client, deadline: Option<Instant>, ui: &mut Ui) -> anyhow::Result<()> {
        let Self { named, path, ready: before } = self;
        let patience = Instant::now() + MADE_UP_MAX;
        loop {
            let Some(now) = client.find(&path).await? else { return Ok(()) };
            let (ready, wanted) = (count(&now, READY), count(&now, WANTED).min(before));
            if ready >= wanted {
                return Ok(());
            }
            if deadline.is_some_and(|deadline| Instant::now() > deadline) {
                let message = format!("{named} has {ready} of {wanted} ready pods, and the time is over");
                return Err(ExitError::new(Code::TimedOut, message).into());
            }
            if Instant::now() > patience {
                ui.note(&format!("{named} has {ready} of {wanted} ready pods; going on"));
                return Ok(());
            }
            ui.progress(&format!("waiting for {named}: {ready} of {wanted} pods are ready"));
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }
}

/// Waits until exactly this pod is gone.
async fn gone(client: &Client, pod: &choose::Pod, deadline: Option<Instant>, ui: &mut Ui) -> anyhow::Result<()> {
    let path = Resource::pods().object(&pod.namespace, &pod.name);
    loop {
        let now = client.find(&path).await?;
        let still =
            now.is_some_and(|now| now.pointer("/metadata/uid").and_then(Value::as_str) == Some(pod.uid.as_str()));
        if !still {
            return Ok(());
        }
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            let message = format!("pod {}/{} has not stopped in time", pod.namespace, pod.name);
            return Err(ExitError::new(Code::TimedOut, message).into());
        }
        ui.progress(&format!("waiting for pod {}/{} to stop", pod.namespace, pod.name));
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}
