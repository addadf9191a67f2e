//! `wk set image`: other images for containers.

use serde_json::Value;

use super::pick::{Picked, pick};
use super::writing::Writing;
use crate::args::{SetArgs, SetCommand, SetImageArgs};
use crate::client::Client;
use crate::discovery::Kinds;
use crate::exit::{Code, ExitError, usage};
use crate::render::Ui;

/// Sets what was asked.
pub(super) async fn run(client: &Client, args: SetArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let SetCommand::Image(args) = args.command;
    image(client, args, ui).await
}

async fn image(client: &Client, mut args: SetImageArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let (images, words): (Vec<String>, Vec<String>) = args.pick.targets.drain(..).partition(|word| word.contains('='));
    args.pick.targets = words;
    let images: Vec<(&str, &str)> = images.iter().filter_map(|word| word.split_once('=')).collect();
    if images.is_empty() {
        return Err(usage("say which image: CONTAINER=IMAGE, or *=IMAGE for all containers").into());
    }
    let kinds = Kinds::discover(client).await?;
    let writing = Writing { client, args: &args.write };
    for one in pick(client, &kinds, &args.pick).await? {
        let live = one.get(client).await?;
        let mut wanted = live.clone();
        change(&one, &mut wanted, &images)?;
        if wanted == live {
            ui.note(&format!("{} has these images already", one.qualified()));
            continue;
        }
        // It carries its resourceVersion, so nobody's change is undone.
        let now = writing.replace(&one, &wanted).await?;
        writing.tell(&one.qualified(), now, "image updated", ui)?;
    }
    Ok(())
}

fn change(picked: &Picked, object: &mut Value, images: &[(&str, &str)]) -> Result<(), ExitError> {
    let path = match picked.resource.kind.as_str() {
        "Pod" => "/spec",
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        _ => "/spec/template/spec",
    };
    let mut known = Vec::new();
    let mut missing: Vec<&str> = images.iter().map(|(name, _)| *name).filter(|name| *name != "*").collect();
    for list in ["containers", "initContainers"] {
        let containers = object.pointer_mut(&format!("{path}/{list}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let name = container.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            for (_, image) in images.iter().filter(|(wanted, _)| *wanted == "*" || *wanted == name) {
                container["image"] = (*image).into();
            }
            missing.retain(|wanted| *wanted != name);
            known.push(name);
        }
    }
    match missing.first() {
        Some(name) => {
            let message = format!("{} has no container {name:?}; it has {}", picked.qualified(), known.join(", "));
            Err(ExitError::new(Code::NotFound, message))
        }
        None if known.is_empty() => Err(usage(format!("{} has no containers", picked.qualified()))),
        None => Ok(()),
    }
}
