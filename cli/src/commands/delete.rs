//! `wk delete`: deletes objects and waits until they are gone.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::{apply, targets};
use crate::args::DeleteArgs;
use crate::client::{Client, Follow, JSON, Payload, Query, Resource, is_not_found};
use crate::discovery::Kinds;
use crate::exit::{Code, ExitError, usage};
use crate::render::Ui;

/// One object to delete.
struct Doomed<'a> {
    resource: &'a Resource,
    namespace: String,
    name: String,
}

/// Deletes what was named.
pub(super) async fn run(client: &Client, args: DeleteArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let documents = if args.files.is_empty() { Vec::new() } else { apply::read_files(&args.files)? };
    let targets = if args.files.is_empty() { targets::parse(&args.targets)? } else { Vec::new() };
    let by_name = targets.iter().any(|target| !target.names.is_empty());
    let wholesale = args.all || args.selector.is_some();
    if by_name && wholesale {
        return Err(usage("a name cannot be combined with --all or -l").into());
    }
    if args.files.is_empty() && !by_name && !wholesale {
        return Err(usage("say which: KIND NAME, KIND/NAME, -l LABELS or --all").into());
    }
    let kinds = Kinds::discover(client).await?;
    let mut doomed = Vec::new();
    // What was made last goes first: an application before its namespace.
    for placed in apply::place(documents, &kinds, client.namespace(), None)?.into_iter().rev() {
        doomed.push(Doomed { resource: placed.resource, namespace: placed.namespace, name: placed.name });
    }
    for target in &targets {
        for resource in kinds.find_all(&target.kinds)? {
            let names = if wholesale { list(client, resource, &args).await? } else { target.names.clone() };
            let namespace = client.namespace();
            doomed.extend(names.into_iter().map(|name| Doomed { resource, namespace: namespace.to_owned(), name }));
        }
    }
    if doomed.is_empty() {
        ui.note("No resources found");
    }
    delete_all(client, &doomed, &args, ui).await
}

async fn list(client: &Client, resource: &Resource, args: &DeleteArgs) -> anyhow::Result<Vec<String>> {
    let query = Query::default().maybe("labelSelector", args.selector.as_deref());
    let answer = client.get(&query.on(&resource.collection(Some(client.namespace()))), JSON).await?;
    let items = answer.get("items").and_then(Value::as_array).into_iter().flatten();
    Ok(items.filter_map(|item| item.pointer("/metadata/name")?.as_str()).map(str::to_owned).collect())
}

async fn delete_all(client: &Client, doomed: &[Doomed<'_>], args: &DeleteArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
    if let Some(seconds) = args.grace_period {
        options["gracePeriodSeconds"] = seconds.into();
    }
    let mut missing: Option<anyhow::Error> = None;
    let mut going = Vec::new();
    for object in doomed {
        let path = object.resource.object(&object.namespace, &object.name);
        match client.send(Method::DELETE, &path, Payload::json(&options)).await {
            Ok(answer) => {
                ui.line(&format!("{} {:?} deleted", object.resource.label(), object.name))?;
                going.push((object, uid(&answer)));
            }
            Err(error) if is_not_found(&error) => missing = missing.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    if !args.no_wait {
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
    going: &[(&Doomed<'_>, Option<String>)],
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
                let what = object.resource.qualified(&object.name);
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
            ui.progress(&format!("waiting for {} to stop", object.resource.qualified(&object.name)));
        }
    }
    ui.settle();
    Ok(())
}
