//! `wk cordon` and `wk uncordon`: whether new pods may come to a node.

use serde_json::{Value, json};

use super::pick::{Picked, pick};
use super::writing::Writing;
use crate::args::{CordonArgs, PickArgs, WriteArgs};
use crate::client::{Client, Resource};
use crate::discovery::Kinds;
use crate::render::Ui;

/// Marks or unmarks the nodes.
pub(super) async fn run(client: &Client, args: &CordonArgs, cordon: bool, ui: &mut Ui) -> anyhow::Result<()> {
    for node in nodes(client, args).await? {
        set(client, args, &node, cordon, ui).await?;
    }
    Ok(())
}

/// The nodes meant.
pub(super) async fn nodes(client: &Client, args: &CordonArgs) -> anyhow::Result<Vec<Picked>> {
    if args.selector.is_none() {
        // `node/n1` is as good as `n1`.
        let name = |word: &String| word.rsplit('/').next().unwrap_or(word).to_owned();
        let picked = |word: &String| Picked { resource: Resource::nodes(), namespace: String::new(), name: name(word) };
        return Ok(args.nodes.iter().map(picked).collect());
    }
    let select = PickArgs { targets: vec!["nodes".to_owned()], selector: args.selector.clone(), ..PickArgs::default() };
    pick(client, &Kinds::discover(client).await?, &select).await
}

/// Marks or unmarks one node.
pub(super) async fn set(
    client: &Client,
    args: &CordonArgs,
    node: &Picked,
    cordon: bool,
    ui: &mut Ui,
) -> anyhow::Result<()> {
    let live = node.get(client).await?;
    let is = live.pointer("/spec/unschedulable") == Some(&Value::Bool(true));
    let write = WriteArgs { dry_run: args.dry_run, field_manager: "wk".to_owned(), ..WriteArgs::default() };
    let writing = Writing { client, args: &write };
    let done = if cordon { "cordoned" } else { "uncordoned" };
    if is == cordon {
        return writing.tell(&node.qualified(), live, &format!("already {done}"), ui);
    }
    let patch = json!({"spec": {"unschedulable": if cordon { Value::Bool(true) } else { Value::Null }}});
    let now = writing.merge(node, &live, &patch).await?;
    writing.tell(&node.qualified(), now, done, ui)
}
