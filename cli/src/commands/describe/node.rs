//! Nodes: room, pods, and how much of the room they ask for.

use serde_json::Value;
use wk_api::Quantity;

use super::page::{Page, list, pairs, text};
use crate::client::{Client, Query, Resource};

/// A Node.
pub(super) async fn describe(page: &mut Page, client: &Client, node: &Value) -> anyhow::Result<()> {
    let taints: Vec<String> = list(node, "/spec/taints")
        .map(|taint| {
            let value = text(taint, "/value");
            let value = if value.is_empty() { String::new() } else { format!("={value}") };
            format!("{}{value}:{}", text(taint, "/key"), text(taint, "/effect"))
        })
        .collect();
    page.line("Taints", &taints.join("\n"));
    page.line(
        "Unschedulable",
        if node.pointer("/spec/unschedulable") == Some(&Value::Bool(true)) { "true" } else { "false" },
    );
    page.conditions(node);
    let addresses: Vec<String> = list(node, "/status/addresses")
        .map(|address| format!("{}: {}", text(address, "/type"), text(address, "/address")))
        .collect();
    page.line("Addresses", &addresses.join("\n"));
    for (name, pointer) in [("Capacity", "/status/capacity"), ("Allocatable", "/status/allocatable")] {
        page.line(name, &pairs(node.pointer(pointer)));
    }
    if let Some(info) = node.pointer("/status/nodeInfo") {
        page.section("System Info", |page| super::generic_fields(page, info));
    }
    let fields = format!("spec.nodeName={},status.phase!=Failed,status.phase!=Succeeded", text(node, "/metadata/name"));
    let pods = client.list(&Resource::pods().collection(None), Query::default().with("fieldSelector", &fields)).await?;
    let rows: Vec<Vec<String>> = pods
        .iter()
        .map(|pod| {
            let amount =
                |what: &str, of: &str| asked(pod, what, of).map_or_else(|| "0".to_owned(), |amount| shown(of, amount));
            vec![
                text(pod, "/metadata/namespace").to_owned(),
                text(pod, "/metadata/name").to_owned(),
                amount("requests", "cpu"),
                amount("limits", "cpu"),
                amount("requests", "memory"),
                amount("limits", "memory"),
                crate::render::ago(text(pod, "/metadata/creationTimestamp")),
            ]
        })
        .collect();
    page.table(
        "Pods",
        &["Namespace", "Name", "CPU Requests", "CPU Limits", "Memory Requests", "Memory Limits", "Age"],
        &rows,
    );
    let total = |what: &str, of: &str| {
        let sum = pods.iter().filter_map(|pod| asked(pod, what, of)).fold(0_i64, i64::saturating_add);
        let room = node.pointer(&format!("/status/allocatable/{of}")).and_then(|room| Quantity::from_value(room).ok());
        let room = room.map(|room| if of == "cpu" { room.millis() } else { room.value() }).filter(|room| *room > 0);
        let percent = room.map_or_else(|| "?".to_owned(), |room| (sum.saturating_mul(100) / room).to_string());
        format!("{} ({percent}%)", shown(of, sum))
    };
    let rows: Vec<Vec<String>> =
        ["cpu", "memory"].map(|of| vec![of.to_owned(), total("requests", of), total("limits", of)]).to_vec();
    page.table("Allocated", &["Resource", "Requests", "Limits"], &rows);
    Ok(())
}

/// What the containers of a pod ask for together: thousandths of a core, or bytes.
fn asked(pod: &Value, what: &str, of: &str) -> Option<i64> {
    let amounts: Vec<Quantity> = list(pod, "/spec/containers")
        .filter_map(|container| Quantity::from_value(container.pointer(&format!("/resources/{what}/{of}"))?).ok())
        .collect();
    let number = |amount: &Quantity| if of == "cpu" { amount.millis() } else { amount.value() };
    (!amounts.is_empty()).then(|| amounts.iter().map(number).fold(0, i64::saturating_add))
}

fn shown(of: &str, amount: i64) -> String {
    const MIB: i64 = 1 << 20;
    match of {
        "cpu" => format!("{amount}m"),
        _ if amount % MIB == 0 => format!("{}Mi", amount / MIB),
        _ => amount.to_string(),
    }
}
