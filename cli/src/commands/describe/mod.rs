//! `wk describe`: an object in words: its fields, what belongs to it, and what happened to it.
//!
//! Kinds that people look at most have a page of their own; every other kind is told field by field.

mod autoscaler;
mod generic;
mod limits;
mod node;
mod page;
mod pod;
mod service;
mod workload;

use serde_json::Value;

use super::events;
use super::pick::{Picked, pick};
use crate::args::{DescribeArgs, PickArgs};
use crate::client::{Client, Query, Resource};
use crate::discovery::Kinds;
use crate::render::Ui;
use page::Page;

/// Most events shown of one object: the newest say why.
const EVENTS_SHOWN: usize = 25;

/// Describes what was named; all of the kind if no name is given.
pub(super) async fn run(client: &Client, args: &DescribeArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let kinds = Kinds::discover(client).await?;
    let mut select = args.pick.clone();
    let unnamed = select.targets.len() == 1 && !select.targets[0].contains('/');
    if unnamed && select.selector.is_none() && select.field_selector.is_none() {
        select.all = true;
    }
    let picked = pick(client, &kinds, &select).await?;
    if picked.is_empty() {
        nothing(client, &args.pick, ui);
    }
    for (number, one) in picked.iter().enumerate() {
        let object = one.get(client).await?;
        let page = describe(client, one, &object, !args.no_events).await?;
        ui.data(if number > 0 { format!("\n\n{page}") } else { page }.as_bytes())?;
    }
    Ok(())
}

fn nothing(client: &Client, pick: &PickArgs, ui: &mut Ui) {
    let place = if pick.all_namespaces { String::new() } else { format!(" in {} namespace.", client.namespace()) };
    ui.note(&format!("No resources found{place}"));
}

/// The page about an object.
async fn describe(client: &Client, picked: &Picked, object: &Value, with_events: bool) -> anyhow::Result<String> {
    let mut page = Page::default();
    page.head(object, picked.resource.namespaced);
    match (picked.resource.group.as_str(), picked.resource.kind.as_str()) {
        ("", "Pod") => pod::describe(&mut page, object),
        ("", "Node") => node::describe(&mut page, client, object).await?,
        ("", "Service") => service::describe(&mut page, client, object).await?,
        ("networking.k8s.io", "Ingress") => service::ingress(&mut page, object),
        ("apps" | "batch", "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" | "CronJob")
        | ("", "ReplicationController") => workload::describe(&mut page, client, object, &picked.resource.kind).await?,
        ("", "ResourceQuota") => limits::quota(&mut page, object),
        ("", "LimitRange") => limits::range(&mut page, object),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler::describe(&mut page, object),
        ("", "Secret") => service::secret(&mut page, object),
        ("", "ConfigMap") => service::config_map(&mut page, object),
        _ => generic::describe(&mut page, object),
    }
    if with_events {
        events_of(&mut page, client, picked, object).await;
    }
    Ok(page.text())
}

/// Adds the events. A server that refuses them does not hide the object.
async fn events_of(page: &mut Page, client: &Client, picked: &Picked, object: &Value) {
    let mut fields = format!("involvedObject.kind={},involvedObject.name={}", picked.resource.kind, picked.name);
    // Events about a Node carry its name, not its uid.
    if picked.resource.namespaced
        && let Some(uid) = object.pointer("/metadata/uid").and_then(Value::as_str)
    {
        fields = format!("{fields},involvedObject.uid={uid}");
    }
    let namespace = picked.resource.namespaced.then_some(picked.namespace.as_str());
    let collection = Resource::events().collection(namespace);
    let Ok(mut found) = client.list(&collection, Query::default().with("fieldSelector", &fields)).await else {
        page.line("Events", "cannot be read");
        return;
    };
    events::sort(&mut found);
    let found = &found[found.len().saturating_sub(EVENTS_SHOWN)..];
    let text =
        |event: &Value, pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let from = |event: &Value| {
        let component = text(event, "/source/component");
        if component.is_empty() { text(event, "/reportingComponent") } else { component }
    };
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|event| {
            vec![
                text(event, "/type"),
                text(event, "/reason"),
                events::age(event),
                from(event),
                text(event, "/message").trim().to_owned(),
            ]
        })
        .collect();
    page.table("Events", &["Type", "Reason", "Age", "From", "Message"], &rows);
}

/// The pods a template makes, for other commands.
pub(super) fn pod_template(template: &Value) -> String {
    let mut page = Page::default();
    page.section("Pod Template", |page| pod::template(page, template));
    page.text()
}

/// The members of a value under their names in words.
fn generic_fields(page: &mut Page, value: &Value) {
    for (key, value) in value.as_object().into_iter().flatten() {
        generic::field(page, key, value, 1);
    }
}
