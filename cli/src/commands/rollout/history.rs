//! `wk rollout history` and `undo`: the revisions of a workload, and the way back to one.

use http::Method;
use serde_json::{Value, json};

use super::{CHANGE_CAUSE, REVISION, Workload, annotation};
use crate::args::{RolloutHistoryArgs, RolloutUndoArgs};
use crate::client::{Client, Payload, Query, Resource};
use crate::commands::describe::pod_template;
use crate::commands::pick::{Picked, pick};
use crate::commands::writing::Writing;
use crate::discovery::Kinds;
use crate::exit::{Code, ExitError};
use crate::fields::text;
use crate::render::{Ui, plain};

/// Label that ReplicaSets add to the template they were given.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// A revision there was.
#[derive(Debug, Clone)]
struct Revision {
    number: u64,
    /// Why it was made, if somebody said so.
    cause: String,
    template: Value,
    /// The ReplicaSet or ControllerRevision it is kept in.
    kept: Value,
}

/// Shows the revisions.
pub(super) async fn run(client: &Client, args: &RolloutHistoryArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let kinds = Kinds::discover(client).await?;
    for one in pick(client, &kinds, &args.pick).await? {
        let live = one.get(client).await?;
        let revisions = revisions(client, &one, &live).await?;
        let wanted = match args.revision {
            Some(number) => Some(find(&one, &revisions, number)?),
            None => None,
        };
        if let Some(output) = &args.print.output {
            let shown = wanted.map_or_else(|| revisions.iter().collect(), |one| vec![one]);
            let objects = shown.into_iter().map(|revision| (one.qualified(), revision.kept.clone())).collect();
            ui.data(output.text(objects, wanted.is_some(), ui.colour())?.as_bytes())?;
            continue;
        }
        if let Some(revision) = wanted {
            ui.line(&format!("{} with revision #{}", one.qualified(), revision.number))?;
            ui.data(pod_template(&revision.template).as_bytes())?;
            continue;
        }
        let cause =
            |revision: &Revision| if revision.cause.is_empty() { "<none>".to_owned() } else { revision.cause.clone() };
        let rows: Vec<Vec<String>> = revisions.iter().map(|it| vec![it.number.to_string(), cause(it)]).collect();
        ui.line(&one.qualified())?;
        ui.data(plain(&["REVISION", "CHANGE-CAUSE"], &rows, ui.colour()).as_bytes())?;
    }
    Ok(())
}

/// Goes back.
pub(super) async fn undo(client: &Client, args: &RolloutUndoArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let kinds = Kinds::discover(client).await?;
    let writing = Writing { client, args: &args.write };
    for one in pick(client, &kinds, &args.pick).await? {
        let live = one.get(client).await?;
        if live.pointer("/spec/paused") == Some(&Value::Bool(true)) {
            let what = one.qualified();
            return Err(ExitError::new(
                Code::Conflict,
                format!("{what} is paused: run `wk rollout resume {what}` first"),
            )
            .into());
        }
        let revisions = revisions(client, &one, &live).await?;
        let to = match args.to_revision.filter(|number| *number > 0) {
            Some(number) => find(&one, &revisions, number)?,
            None => revisions.iter().rev().nth(1).ok_or_else(|| {
                ExitError::new(Code::NotFound, format!("{} has no earlier revision", one.qualified()))
            })?,
        };
        if live.pointer("/spec/template").map(plain_template) == Some(to.template.clone()) {
            let message = format!("skipped (its pods are those of revision {} already)", to.number);
            writing.tell(&one.qualified(), live, &message, ui)?;
            continue;
        }
        let now = go_back(&writing, &one, &live, to).await?;
        writing.tell(&one.qualified(), now, "rolled back", ui)?;
    }
    Ok(())
}

async fn go_back(writing: &Writing<'_>, picked: &Picked, live: &Value, to: &Revision) -> anyhow::Result<Value> {
    if writing.args.dry_run == crate::args::DryRun::Client {
        let mut changed = live.clone();
        changed["spec"]["template"] = to.template.clone();
        return Ok(changed);
    }
    // The whole template is replaced, and only if nobody wrote since it was read.
    let mut operations = vec![
        json!({"op": "test", "path": "/metadata/resourceVersion", "value": live.pointer("/metadata/resourceVersion")}),
        json!({"op": "replace", "path": "/spec/template", "value": to.template}),
    ];
    if !to.cause.is_empty() && live.pointer("/metadata/annotations").is_some() {
        let path = format!("/metadata/annotations/{}", CHANGE_CAUSE.replace('/', "~1"));
        operations.push(json!({"op": "add", "path": path, "value": to.cause}));
    }
    writing.send(picked, Method::PATCH, None, Payload::json_patch(&Value::Array(operations))).await
}

fn find<'a>(picked: &Picked, revisions: &'a [Revision], number: u64) -> Result<&'a Revision, ExitError> {
    revisions.iter().find(|revision| revision.number == number).ok_or_else(|| {
        let known: Vec<String> = revisions.iter().map(|revision| revision.number.to_string()).collect();
        ExitError::new(
            Code::NotFound,
            format!("{} has no revision {number}; it has {}", picked.qualified(), known.join(", ")),
        )
    })
}

/// The revisions of a workload, oldest first.
async fn revisions(client: &Client, picked: &Picked, live: &Value) -> anyhow::Result<Vec<Revision>> {
    let of_deployment = Workload::of(picked)? == Workload::Deployment;
    let resource = if of_deployment {
        Resource::known("apps", "ReplicaSet", "replicasets")
    } else {
        Resource::known("apps", "ControllerRevision", "controllerrevisions")
    };
    let kept = client.list(&resource.collection(Some(&picked.namespace)), Query::default()).await?;
    let uid = text(live, "/metadata/uid");
    let owned = |object: &Value| {
        let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        owners.into_iter().flatten().any(|owner| text(owner, "/uid") == uid)
    };
    let mut revisions: Vec<Revision> = kept
        .into_iter()
        .filter(owned)
        .filter_map(|object| if of_deployment { of_replica_set(object) } else { of_record(object) })
        .collect();
    revisions.sort_by_key(|revision| revision.number);
    Ok(revisions)
}

fn of_replica_set(kept: Value) -> Option<Revision> {
    let number = annotation(&kept, REVISION)?.parse().ok()?;
    let template = plain_template(kept.pointer("/spec/template")?);
    Some(Revision { number, cause: annotation(&kept, CHANGE_CAUSE).unwrap_or_default().to_owned(), template, kept })
}

fn of_record(kept: Value) -> Option<Revision> {
    let number = kept.get("revision")?.as_u64()?;
    let mut template = kept.pointer("/data/spec/template")?.clone();
    // The record is a patch that replaces the template; the template alone has no such word.
    template.as_object_mut()?.remove("$patch");
    Some(Revision { number, cause: annotation(&kept, CHANGE_CAUSE).unwrap_or_default().to_owned(), template, kept })
}

/// The template without the label its ReplicaSet added.
fn plain_template(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(TEMPLATE_HASH);
    }
    template
}
