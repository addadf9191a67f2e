//! `wk top`: how much CPU and memory nodes and pods use, as metrics.k8s.io tells.

use serde_json::Value;
use wk_api::Quantity;

use crate::args::{TopArgs, TopCommand, TopNodesArgs, TopPodsArgs};
use crate::client::{Client, JSON, Query, Resource, is_not_found, refusal};
use crate::exit::{Code, ExitError};
use crate::fields::name;
use crate::render::{Ui, bare, plain};

const MIB: u64 = 1 << 20;

/// What something uses.
#[derive(Debug, Clone, Copy, Default)]
struct Usage {
    /// Thousandths of a core.
    cpu: i64,
    /// Bytes.
    memory: u64,
}

/// Prints the table.
pub(super) async fn run(client: &Client, args: &TopArgs, ui: &mut Ui) -> anyhow::Result<()> {
    match &args.command {
        TopCommand::Nodes(args) => nodes(client, args, ui).await,
        TopCommand::Pods(args) => pods(client, args, ui).await,
    }
}

fn metrics(kind: &str, plural: &str, namespaced: bool) -> Resource {
    Resource { version: "v1beta1".to_owned(), namespaced, ..Resource::known("metrics.k8s.io", kind, plural) }
}

/// The metrics of one object or of all. Servers without metrics are told apart from objects without.
async fn ask(
    client: &Client,
    resource: &Resource,
    namespace: Option<&str>,
    args: &TopNodesArgs,
) -> anyhow::Result<Vec<Value>> {
    let asked = match &args.name {
        Some(name) => {
            client.get(&resource.object(namespace.unwrap_or_default(), name), JSON).await.map(|one| vec![one])
        }
        None => {
            client
                .list(
                    &resource.collection(namespace),
                    Query::default().maybe("labelSelector", args.selector.as_deref()),
                )
                .await
        }
    };
    asked.map_err(|error| match refusal(&error).map(|refusal| refusal.reason.clone()) {
        Some(reason) if is_not_found(&error) && (reason.is_empty() || args.name.is_none()) => {
            ExitError::new(Code::NotFound, "the server has no metrics (metrics.k8s.io is not served)").into()
        }
        _ => error,
    })
}

fn usage(metrics: &Value) -> Usage {
    let amount = |name: &str| metrics.pointer("/usage")?.get(name).and_then(|value| Quantity::from_value(value).ok());
    Usage { cpu: amount("cpu").map_or(0, Quantity::millis), memory: amount("memory").map_or(0, Quantity::bytes) }
}

fn shown(usage: Usage) -> [String; 2] {
    [format!("{}m", usage.cpu), format!("{}Mi", usage.memory / MIB)]
}

async fn nodes(client: &Client, args: &TopNodesArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let metrics = ask(client, &metrics("NodeMetrics", "nodes", false), None, args).await?;
    let nodes = client.list(&Resource::nodes().collection(None), Query::default()).await?;
    let mut rows: Vec<(Usage, Vec<String>)> = Vec::new();
    for entry in &metrics {
        let name = name(entry);
        let used = usage(entry);
        let node = nodes.iter().find(|node| crate::fields::name(node) == name);
        let room = |what: &str| Quantity::from_value(node?.pointer(&format!("/status/allocatable/{what}"))?).ok();
        let percent = |used: i64, room: Option<i64>| match room.filter(|room| *room > 0) {
            Some(room) => format!("{}%", used.saturating_mul(100) / room),
            None => "<unknown>".to_owned(),
        };
        let [cpu, memory] = shown(used);
        let memory_used = i64::try_from(used.memory).unwrap_or(i64::MAX);
        rows.push((
            used,
            vec![
                name.to_owned(),
                cpu,
                percent(used.cpu, room("cpu").map(Quantity::millis)),
                memory,
                percent(memory_used, room("memory").map(Quantity::value)),
            ],
        ));
    }
    print(&["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"], rows, args, ui)
}

async fn pods(client: &Client, args: &TopPodsArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let namespace = (!args.all_namespaces).then(|| client.namespace());
    let metrics = ask(client, &metrics("PodMetrics", "pods", true), namespace, &args.common).await?;
    let mut rows: Vec<(Usage, Vec<String>)> = Vec::new();
    for pod in &metrics {
        let containers = pod.get("containers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let first = args
            .all_namespaces
            .then(|| pod.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default().to_owned());
        let row = |container: Option<&Value>, used: Usage| {
            let own =
                container.map(|container| container.get("name").and_then(Value::as_str).unwrap_or_default().to_owned());
            first.iter().cloned().chain([name(pod).to_owned()]).chain(own).chain(shown(used)).collect()
        };
        if args.containers {
            rows.extend(containers.iter().map(|container| (usage(container), row(Some(container), usage(container)))));
        } else {
            let sum = containers.iter().map(usage).fold(Usage::default(), |sum, one| Usage {
                cpu: sum.cpu.saturating_add(one.cpu),
                memory: sum.memory.saturating_add(one.memory),
            });
            rows.push((sum, row(None, sum)));
        }
    }
    let mut heading = vec!["NAME", "CPU(cores)", "MEMORY(bytes)"];
    if args.containers {
        heading[0] = "POD";
        heading.insert(1, "NAME");
    }
    if args.all_namespaces {
        heading.insert(0, "NAMESPACE");
    }
    if rows.is_empty() {
        ui.note("No resources found");
        return Ok(());
    }
    print(&heading, rows, &args.common, ui)
}

fn print(
    heading: &[&str],
    mut rows: Vec<(Usage, Vec<String>)>,
    args: &TopNodesArgs,
    ui: &mut Ui,
) -> anyhow::Result<()> {
    match args.sort_by.as_deref() {
        Some("cpu") => rows.sort_by_key(|(usage, _)| std::cmp::Reverse(usage.cpu)),
        Some(_) => rows.sort_by_key(|(usage, _)| std::cmp::Reverse(usage.memory)),
        None => rows.sort_by(|left, right| left.1.cmp(&right.1)),
    }
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(_, row)| row).collect();
    let text = if args.no_headers { bare(&rows) } else { plain(heading, &rows, ui.colour()) };
    ui.data(text.as_bytes())
}
