//! `wk scale`: sets the number of replicas through the scale subresource.

use http::Method;
use serde_json::{Value, json};

use super::pick::{Picked, hinted, pick};
use super::writing::Writing;
use crate::args::{DryRun, ScaleArgs};
use crate::client::{Client, Follow, JSON, Payload};
use crate::discovery::Kinds;
use crate::exit::{Code, ExitError};
use crate::render::Ui;

/// Scales every object meant.
pub(super) async fn run(client: &Client, args: &ScaleArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let kinds = Kinds::discover(client).await?;
    let picked = pick(client, &kinds, &args.pick).await?;
    if picked.is_empty() {
        ui.note("No resources found");
    }
    for one in &picked {
        scale(client, args, one, ui).await?;
        if let Some(timeout) = args.timeout.filter(|_| args.write.dry_run == DryRun::None) {
            wait(client, one, args.replicas, timeout, ui).await?;
        }
    }
    Ok(())
}

async fn scale(client: &Client, args: &ScaleArgs, picked: &Picked, ui: &mut Ui) -> anyhow::Result<()> {
    if !picked.resource.subresources.is_empty() && !picked.resource.subresources.iter().any(|sub| sub == "scale") {
        let message = format!("{} have no replicas to scale", picked.resource.plural);
        return Err(ExitError::new(Code::Usage, message).into());
    }
    let writing = Writing { client, args: &args.write };
    let mut patch = json!({"spec": {"replicas": args.replicas}});
    if let Some(version) = &args.resource_version {
        patch["metadata"]["resourceVersion"] = version.clone().into();
    }
    if args.current_replicas.is_some() || args.write.dry_run == DryRun::Client {
        let live = client.get(&format!("{}/scale", picked.path()), JSON).await;
        let live = hinted(client, picked, live).await?;
        let now = live.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(0);
        if let Some(wanted) = args.current_replicas.filter(|wanted| u64::from(*wanted) != now) {
            let message = format!("{} has {now} replicas, not {wanted}: nothing changed", picked.qualified());
            return Err(ExitError::new(Code::Conflict, message).into());
        }
        // What was just read holds only as long as nobody else writes.
        if patch.get("metadata").is_none() {
            patch["metadata"]["resourceVersion"] =
                live.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
        }
    }
    let now = if args.write.dry_run == DryRun::Client {
        patch
    } else {
        writing.send(picked, Method::PATCH, Some("scale"), Payload::merge_patch(&patch)).await?
    };
    writing.tell(&picked.qualified(), now, "scaled", ui)
}

/// Waits until the object has as many replicas.
async fn wait(
    client: &Client,
    picked: &Picked,
    replicas: u32,
    timeout: std::time::Duration,
    ui: &mut Ui,
) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + timeout;
    let mut follow = Follow::object(client, picked.resource.collection(Some(&picked.namespace)), &picked.name);
    loop {
        let changed = tokio::time::timeout_at(deadline, follow.changed()).await;
        let number = |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        let there = |object: &Value| {
            number(object, "/status/observedGeneration") >= number(object, "/metadata/generation")
                && number(object, "/status/replicas") == u64::from(replicas)
        };
        let Ok(changed) = changed else {
            let message = format!("{} has not {replicas} replicas after {timeout:?}", picked.qualified());
            return Err(ExitError::new(Code::TimedOut, message).into());
        };
        changed?;
        if follow.items().any(there) {
            ui.settle();
            return Ok(());
        }
        let have = follow.items().next().map_or(0, |object| number(object, "/status/replicas"));
        ui.progress(&format!("{}: {have} of {replicas} replicas", picked.qualified()));
    }
}
