//! Writing the objects of an app: create, or read, change what is ours, and write back.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use super::wasm::World;
use super::{App, objects};
use crate::client::{Client, JSON, Payload, Query, Resource, refusal};
use crate::exit::{Code, ExitError};
use crate::render::Ui;

/// How often a write is tried again that somebody else's write came before.
const TRIES: u32 = 10;

/// What writing found and made.
#[derive(Debug)]
pub(super) struct Written {
    /// Generation of the Deployment to wait for.
    pub(super) generation: i64,
    /// Uids of the pods of the revision that is being replaced.
    pub(super) old_pods: BTreeSet<String>,
}

/// What a write came to.
enum Done {
    Created(Value),
    Updated { before: Value, now: Value },
    Unchanged(Value),
}

/// A change to an object that exists; fails with why it cannot be made.
type ChangeFn<'a> = &'a (dyn Fn(&mut Value) -> Result<(), String> + Sync);

/// Writes Deployment, Service and Ingress.
pub(super) async fn write_all(client: &Client, app: &App, image: &str, ui: &mut Ui) -> anyhow::Result<Written> {
    let pods = pods(client, app).await?;
    let change = |live: &mut Value| objects::change_deployment(live, app, image);
    let deployment = write(client, &Resource::deployments(), app, objects::deployment(app, image), &change, ui).await?;
    if app.world == World::Http {
        let change = |live: &mut Value| objects::change_service(live, app);
        write(client, &Resource::services(), app, objects::service(app), &change, ui).await?;
        let change = |live: &mut Value| objects::change_ingress(live, app);
        write(client, &Resource::ingresses(), app, objects::ingress(app), &change, ui).await?;
    } else {
        // An app that served HTTP and is a command now leads nowhere any more.
        remove_ours(client, &Resource::ingresses(), app, ui).await?;
        remove_ours(client, &Resource::services(), app, ui).await?;
    }
    let (now, old_pods) = match deployment {
        Done::Updated { before, now } if template(&before) != template(&now) => (now, pods),
        // Pods left over from an app of this name that was deleted are none of the new one's.
        Done::Created(now) => (now, pods),
        Done::Updated { now, .. } | Done::Unchanged(now) => (now, BTreeSet::new()),
    };
    let generation = now.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
    Ok(Written { generation, old_pods })
}

fn template(deployment: &Value) -> Option<&Value> {
    deployment.pointer("/spec/template")
}

async fn pods(client: &Client, app: &App) -> anyhow::Result<BTreeSet<String>> {
    let labels = format!("{}={}", objects::NAME_LABEL, app.name);
    let path =
        Query::default().with("labelSelector", &labels).on(&Resource::pods().collection(Some(client.namespace())));
    let list = client.get(&path, JSON).await?;
    let items = list.get("items").and_then(Value::as_array).into_iter().flatten();
    Ok(items.filter_map(|pod| pod.pointer("/metadata/uid")?.as_str()).map(str::to_owned).collect())
}

/// Creates the object, or changes the one there is.
async fn write(
    client: &Client,
    resource: &Resource,
    app: &App,
    new: Value,
    change: ChangeFn<'_>,
    ui: &mut Ui,
) -> anyhow::Result<Done> {
    let path = resource.object(client.namespace(), &app.name);
    let collection = resource.collection(Some(client.namespace()));
    let query = || Query::default().with("fieldManager", "wk").with("fieldValidation", "Strict");
    let mut tries = 0;
    let done = loop {
        tries += 1;
        let attempt = match client.find(&path).await? {
            None => {
                let sent = client.send(Method::POST, &query().on(&collection), Payload::json(&new)).await;
                sent.map(Done::Created)
            }
            Some(before) => {
                let mut wanted = before.clone();
                refuse_if_going(&before, resource, app)?;
                change(&mut wanted).map_err(|why| ExitError::new(Code::Conflict, why))?;
                if wanted == before {
                    break Done::Unchanged(before);
                }
                // It carries its resourceVersion: if somebody wrote meanwhile, this is refused and looked at anew.
                let sent = client.send(Method::PUT, &query().on(&path), Payload::json(&wanted)).await;
                sent.map(|now| Done::Updated { before, now })
            }
        };
        match attempt {
            Ok(done) => break done,
            Err(error) if tries < TRIES && raced(&error) => {}
            Err(error) => return Err(error.context(format!("write {}", resource.qualified(&app.name)))),
        }
    };
    let word = match &done {
        Done::Created(_) => "created",
        Done::Updated { .. } => "updated",
        Done::Unchanged(_) => "unchanged",
    };
    ui.note(&format!("{} {word}", resource.qualified(&app.name)));
    Ok(done)
}

fn refuse_if_going(object: &Value, resource: &Resource, app: &App) -> anyhow::Result<()> {
    if object.pointer("/metadata/deletionTimestamp").is_none() {
        return Ok(());
    }
    let what = resource.qualified(&app.name);
    Err(ExitError::new(Code::Conflict, format!("{what} is being deleted; deploy again when it is gone")).into())
}

/// Whether somebody else's write came between our look and our write.
fn raced(error: &anyhow::Error) -> bool {
    refusal(error).is_some_and(|refusal| {
        matches!(refusal.reason.as_str(), "Conflict" | "AlreadyExists" | "NotFound")
            && !refusal.message.contains("namespace")
    })
}

async fn remove_ours(client: &Client, resource: &Resource, app: &App, ui: &mut Ui) -> anyhow::Result<()> {
    let path = resource.object(client.namespace(), &app.name);
    let Some(live) = client.find(&path).await? else { return Ok(()) };
    if !objects::is_ours(&live) {
        return Ok(());
    }
    let uid = live.pointer("/metadata/uid");
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}});
    client.send(Method::DELETE, &path, Payload::json(&options)).await?;
    ui.note(&format!("{} deleted: the app serves no HTTP any more", resource.qualified(&app.name)));
    Ok(())
}
