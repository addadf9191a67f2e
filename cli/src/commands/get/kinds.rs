//! `wk get --kinds`: what the server has, and which of it nothing acts on.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::args::GetArgs;
use crate::client::{Client, JSON, Resource, absent_as_none};
use crate::commands::api_resources;
use crate::discovery::Kinds;
use crate::render::{Output, Ui, bare, json, plain, yaml};

/// The member of a resource's entry in discovery that says whether something acts on its objects. Only wk has it.
const ACTED: &str = "wk.dev/acted";

/// Prints the kinds.
pub(super) async fn run(client: &Client, args: &GetArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let kinds = Kinds::discover(client).await?;
    let acted = acted(client, &kinds).await?;
    let told = acted.as_ref();
    let status = |resource: &Resource| match told {
        Some(acted) if acted.contains(&key(resource)) => "yes",
        Some(_) => "nothing acts on it",
        None => "",
    };
    if let Some(output @ (Output::Json | Output::Yaml)) = &args.print.output {
        let facts: Vec<Value> = kinds
            .all()
            .iter()
            .map(|resource| fact(resource, told.map(|acted| acted.contains(&key(resource)))))
            .collect();
        let facts = Value::Array(facts);
        return ui.data(if *output == Output::Json { json(&facts)? } else { yaml(&facts)? }.as_bytes());
    }
    let row = |resource: &Resource| {
        let mut row = api_resources::row(resource);
        row.extend(told.map(|_| status(resource).to_owned()));
        row
    };
    let rows: Vec<Vec<String>> = kinds.all().iter().map(row).collect();
    let mut heading = api_resources::HEADING.to_vec();
    heading.extend(told.map(|_| "ACTED ON"));
    let text = if args.no_headers { bare(&rows) } else { plain(&heading, &rows, ui.colour()) };
    ui.data(text.as_bytes())
}

fn key(resource: &Resource) -> String {
    format!("{}/{}", resource.api_version(), resource.plural)
}

fn fact(resource: &Resource, acted: Option<bool>) -> Value {
    serde_json::json!({"name": resource.plural, "apiVersion": resource.api_version(), "kind": resource.kind, "namespaced": resource.namespaced,
        "shortNames": resource.short_names, "categories": resource.categories, "verbs": resource.verbs,
        "subresources": resource.subresources, "actedOn": acted})
}

/// The kinds that something acts on; `None` if this server does not tell.
async fn acted(client: &Client, kinds: &Kinds) -> anyhow::Result<Option<BTreeSet<String>>> {
    let versions: BTreeSet<String> = kinds.all().iter().map(Resource::api_version).collect();
    let mut acted = BTreeSet::new();
    for version in versions {
        let root = if version.contains('/') { "apis" } else { "api" };
        let list = absent_as_none(client.get(&format!("/{root}/{version}"), JSON).await)?.unwrap_or_default();
        for entry in list.get("resources").and_then(Value::as_array).into_iter().flatten() {
            if let (Some(Value::Bool(true)), Some(name)) = (entry.get(ACTED), entry.get("name").and_then(Value::as_str))
            {
                acted.insert(format!("{version}/{name}"));
            }
        }
    }
    Ok((!acted.is_empty()).then_some(acted))
}
