//! `wk drain`: makes a node empty: no new pods, and those there are evicted as disruption budgets allow.

mod choose;

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
    /// Each after the one before is gone and its workload has as many ready pods as it wants: slower, and nobody who uses
    /// the workload notices.
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
    let query = Query::default()
        .with("fieldSelector", &format!("spec.nodeName={}", node.name))
        .maybe("labelSelector", args.pod_selector.as_deref());
    let pods = client.list(&Resource::pods().collection(None), query).await?;
    let Choice { evict, left, refused } = choose::choose(&pods, args);
    if !refused.is_empty() {
        let uncordon = format!("{} is cordoned; `wk uncordon {}` takes that back", node.name, node.name);
        let message = format!("cannot drain {}:\n  {}\n{uncordon}", node.name, refused.join("\n  "));
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
    let mut going = Vec::new();
    for pod in evict {
        ui.note(&format!("evicting pod {}/{}", pod.namespace, pod.name));
        let uid = pod.uid.clone();
        go(client, args, &pod, how, deadline, ui).await?;
        if pace == Pace::OneByOne {
            gone(client, &pod, &uid, deadline, ui).await?;
            made_up(client, &pods, &pod, ui).await?;
            continue;
        }
        going.push((pod, uid));
    }
    for (pod, uid) in going {
        gone(client, &pod, &uid, deadline, ui).await?;
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
    ui: &mut Ui,
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
            client.send(Method::DELETE, &path, Payload::json(&options)).await
        } else {
            let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction",
                "metadata": {"name": pod.name, "namespace": pod.namespace}, "deleteOptions": options});
            client.send_once(Method::POST, &format!("{path}/eviction"), Payload::json(&eviction)).await
        };
        match sent {
            Ok(_) => return Ok(()),
            // Another one of that name is not the one that was on this node.
            Err(error) if is_not_found(&error) || is_conflict(&error) => return Ok(()),
            Err(error) if is_forbidden_now(&error) => {
                let why = refusal(&error).map(|refusal| refusal.message.clone()).unwrap_or_default();
                if deadline.is_some_and(|deadline| Instant::now() + BUDGET_PAUSE > deadline) {
                    let message = format!("pod {}/{} may not go: {why}", pod.namespace, pod.name);
                    return Err(ExitError::new(Code::TimedOut, message).into());
                }
                ui.progress(&format!(
                    "pod {}/{} may not go yet: {why}; again in {} s",
                    pod.namespace,
                    pod.name,
                    BUDGET_PAUSE.as_secs()
                ));
                tokio::time::sleep(BUDGET_PAUSE).await;
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

/// Waits until the workload of a pod that is gone has as many ready pods as it wants.
async fn made_up(client: &Client, pods: &[Value], pod: &choose::Pod, ui: &mut Ui) -> anyhow::Result<()> {
    let object = pods.iter().find(|object| object["metadata"]["uid"] == pod.uid.as_str());
    let owners = object.map(|object| &object["metadata"]["ownerReferences"]).and_then(Value::as_array);
    let Some(owner) = owners.into_iter().flatten().find(|owner| owner["controller"] == true) else { return Ok(()) };
    let (kind, name) = (owner["kind"].as_str().unwrap_or_default(), owner["name"].as_str().unwrap_or_default());
    if !matches!(kind, "ReplicaSet" | "StatefulSet" | "ReplicationController") {
        return Ok(());
    }
    let path = Kinds::discover(client).await?.find(&kind.to_lowercase())?.object(&pod.namespace, name);
    let deadline = Instant::now() + MADE_UP_MAX;
    loop {
        let Some(now) = client.find(&path).await? else { return Ok(()) };
        let count = |pointer: &str| now.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
        let (ready, wanted) = (count("/status/readyReplicas"), count("/spec/replicas"));
        if ready >= wanted {
            return Ok(());
        }
        if Instant::now() > deadline {
            ui.note(&format!("{kind} {}/{name} has {ready} of {wanted} ready pods; going on", pod.namespace));
            return Ok(());
        }
        ui.progress(&format!("waiting for {kind} {}/{name}: {ready} of {wanted} pods are ready", pod.namespace));
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// Waits until exactly this pod is gone.
async fn gone(
    client: &Client,
    pod: &choose::Pod,
    uid: &str,
    deadline: Option<Instant>,
    ui: &mut Ui,
) -> anyhow::Result<()> {
    let path = Resource::pods().object(&pod.namespace, &pod.name);
    loop {
        let now = client.find(&path).await?;
        let still = now.is_some_and(|now| now.pointer("/metadata/uid").and_then(Value::as_str) == Some(uid));
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
