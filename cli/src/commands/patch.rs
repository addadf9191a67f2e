//! `wk patch`: changes objects by a patch that was typed or stands in a file.

use http::{Method, StatusCode};
use serde_json::Value;

use super::pick::{Picked, pick};
use super::writing::Writing;
use crate::args::{DryRun, PatchArgs, PatchType};
use crate::client::{Client, Payload, refusal};
use crate::discovery::Kinds;
use crate::exit::{Code, ExitError, usage};
use crate::manifest::Input;
use crate::render::Ui;

/// Patches what was named.
pub(super) async fn run(client: &Client, args: &PatchArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let patch = read(args)?;
    let kinds = Kinds::discover(client).await?;
    let picked = pick(client, &kinds, &args.pick).await?;
    if picked.is_empty() {
        ui.note("No resources found");
    }
    let writing = Writing { client, args: &args.write };
    for one in &picked {
        let before = one.get(client).await?;
        let now = send(&writing, one, args, &before, &patch).await?;
        let version = |object: &Value| object.pointer("/metadata/resourceVersion").cloned();
        let same = if args.write.dry_run == DryRun::None { version(&before) == version(&now) } else { before == now };
        writing.tell(&one.qualified(), now, if same { "patched (no change)" } else { "patched" }, ui)?;
    }
    Ok(())
}

fn read(args: &PatchArgs) -> anyhow::Result<Value> {
    let text = match (&args.patch, &args.patch_file) {
        (Some(text), _) => text.clone(),
        (None, Some(file)) => Input::open(file)?.text,
        (None, None) => return Err(usage("say what to change: -p PATCH or --patch-file FILE").into()),
    };
    let patch: Value =
        serde_yaml::from_str(&text).map_err(|error| usage(format!("the patch is neither JSON nor YAML: {error}")))?;
    match (&patch, args.kind) {
        (Value::Array(_), Some(PatchType::Json) | None) => Ok(patch),
        (_, Some(PatchType::Json)) => {
            Err(usage("a JSON patch is a list of operations: [{\"op\": …, \"path\": …}]").into())
        }
        (Value::Object(_), _) => Ok(patch),
        (Value::Array(_), Some(_)) => Err(usage("a list of operations needs --type json").into()),
        _ => Err(usage("a patch is an object such as {\"spec\": {\"replicas\": 2}}").into()),
    }
}

async fn send(
    writing: &Writing<'_>,
    picked: &Picked,
    args: &PatchArgs,
    before: &Value,
    patch: &Value,
) -> anyhow::Result<Value> {
    let kind = args.kind.unwrap_or(if patch.is_array() { PatchType::Json } else { PatchType::Strategic });
    if args.write.dry_run == DryRun::Client {
        return try_here(before, patch, kind);
    }
    let subresource = args.subresource.as_deref();
    let payload = |kind| match kind {
        PatchType::Json => Payload::json_patch(patch),
        PatchType::Merge => Payload::merge_patch(patch),
        PatchType::Strategic => Payload::strategic_patch(patch),
    };
    match writing.send(picked, Method::PATCH, subresource, payload(kind)).await {
        // Custom kinds cannot be merged strategically.
        Err(error) if args.kind.is_none() && unsupported(&error) => {
            writing.send(picked, Method::PATCH, subresource, payload(PatchType::Merge)).await
        }
        other => other,
    }
}

fn unsupported(error: &anyhow::Error) -> bool {
    refusal(error).is_some_and(|refusal| refusal.status == StatusCode::UNSUPPORTED_MEDIA_TYPE)
}

fn try_here(before: &Value, patch: &Value, kind: PatchType) -> anyhow::Result<Value> {
    let mut object = before.clone();
    match kind {
        PatchType::Merge => json_patch::merge(&mut object, patch),
        PatchType::Json => {
            let patch: json_patch::Patch = serde_json::from_value(patch.clone())
                .map_err(|error| usage(format!("read the JSON patch: {error}")))?;
            json_patch::patch(&mut object, &patch)
                .map_err(|error| ExitError::new(Code::General, format!("the patch does not fit: {error}")))?;
        }
        PatchType::Strategic => {
            return Err(usage(
                "only the server knows how lists of this kind are merged: use --dry-run=server, or --type merge",
            )
            .into());
        }
    }
    Ok(object)
}
