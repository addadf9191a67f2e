//! `wk delete`: deletes objects and waits until they are gone.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::pick::{Picked, hinted, pick};
use crate::args::{Cascade, DeleteArgs, DryRun};
use crate::client::{Client, Follow, Payload, Query, is_not_found};
use crate::discovery::Kinds;
use crate::exit::{Code, ExitError, usage};
use crate::render::{Output, Ui};

/// Deletes what was named.
pub(super) async fn run(client: &Client, args: DeleteArgs, ui: &mut Ui) -> anyhow::Result<()> {
    if !matches!(args.output, None | Some(Output::Name)) {
        return Err(usage("delete prints nothing but names: -o name").into());
    }
    if args.force && args.grace_period.is_some_and(|seconds| seconds > 0) {
        return Err(usage("--force is for --grace-period 0").into());
    }
    let kinds = Kinds::discover(client).await?;
    let mut doomed = pick(client, &kinds, &args.pick).await?;
    if !args.pick.files.is_empty() {
        // What was made last goes first: an application before its namespace.
        doomed.reverse();
    }
    if doomed.is_empty() {
        ui.note("No resources found");
    }
    delete_all(client, &doomed, &args, ui).await
}

async fn delete_all(client: &Client, doomed: &[Picked], args: &DeleteArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let policy = match args.cascade {
        Cascade::Background => "Background",
        Cascade::Foreground => "Foreground",
        Cascade::Orphan => "Orphan",
    };
    let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy});
    let grace = args.grace_period.or(args.now.then_some(1)).or(args.force.then_some(0));
    if let Some(seconds) = grace {
        options["gracePeriodSeconds"] = seconds.into();
    }
    let query = if args.dry_run == DryRun::Server { Query::default().with("dryRun", "All") } else { Query::default() };
    let tried = match args.dry_run {
        DryRun::None => "",
        DryRun::Client => " (dry run)",
        DryRun::Server => " (server dry run)",
    };
    let mut missing: Option<anyhow::Error> = None;
    let mut going = Vec::new();
    for object in doomed {
        let answer = if args.dry_run == DryRun::Client {
            object.get(client).await
        } else {
            let sent = client.send(Method::DELETE, &query.clone().on(&object.path()), Payload::json(&options)).await;
            if args.ignore_not_found { sent } else { hinted(client, object, sent).await }
        };
        match answer {
            Ok(answer) => {
                let word = if args.force { "force deleted" } else { "deleted" };
                ui.line(&match args.output {
                    Some(_) => object.qualified(),
                    None => format!("{} {:?} {word}{tried}", object.resource.label(), object.name),
                })?;
                going.push((object, uid(&answer)));
            }
            Err(error) if is_not_found(&error) => missing = missing.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    if !args.no_wait && args.wait != Some(false) && args.dry_run == DryRun::None {
        wait(client, &going, args.timeout, ui).await?;
    }
    match missing {
        Some(error) if !args.ignore_not_found => Err(error),
        Some(_) | None => Ok(()),
    }
}

/// The uid of what was deleted, from the object or from the Status.
fn uid(answer: &Value) -> Option<String> {
    let found = answer.pointer("/metadata/uid").or_else(|| answer.pointer("/details/uid"));
    found.and_then(Value::as_str).map(str::to_owned)
}

/// Waits until exactly the objects deleted are gone; one of the same name made anew is another.
async fn wait(
    client: &Client,
    going: &[(&Picked, Option<String>)],
    timeout: Duration,
    ui: &mut Ui,
) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + timeout;
    for (object, uid) in going {
        let collection = object.resource.collection(Some(&object.namespace));
        let mut follow = Follow::object(client, collection, &object.name);
        loop {
            let changed = tokio::time::timeout_at(deadline, follow.changed()).await;
            let changed = changed.map_err(|_| {
                let what = object.qualified();
                ExitError::new(Code::TimedOut, format!("{what} is still there after {timeout:?}"))
            })?;
            changed?;
            let still = follow.items().any(|item| {
                let now = item.pointer("/metadata/uid").and_then(Value::as_str);
                uid.as_deref().is_none_or(|uid| now == Some(uid))
            });
            if !still {
                break;
            }
            ui.progress(&format!("waiting for {} to stop", object.qualified()));
        }
    }
    ui.settle();
    Ok(())
}
