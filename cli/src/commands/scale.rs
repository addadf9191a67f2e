//! `wk scale`: sets the number of replicas through the scale subresource.

use http::Method;
use serde_json::json;

use super::targets;
use crate::args::ScaleArgs;
use crate::client::{Client, Payload, Query};
use crate::discovery::Kinds;
use crate::exit::usage;
use crate::render::Ui;

/// Scales every object named.
pub(super) async fn run(client: &Client, args: &ScaleArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let targets = targets::parse(&args.targets)?;
    if targets.iter().any(|target| target.names.is_empty()) {
        return Err(usage("say which: KIND/NAME, such as deploy/web").into());
    }
    let kinds = Kinds::discover(client).await?;
    let payload = json!({"spec": {"replicas": args.replicas}});
    for target in targets {
        let resource = kinds.find(&target.kinds)?;
        for name in &target.names {
            let path = format!("{}/scale", resource.object(client.namespace(), name));
            let path = Query::default().with("fieldManager", "wk").on(&path);
            client.send(Method::PATCH, &path, Payload::merge_patch(&payload)).await?;
            ui.line(&format!("{} scaled", resource.qualified(name)))?;
        }
    }
    Ok(())
}
