//! `wk diff -f`: what `wk apply` would change, as the server would do it.

use http::Method;
use serde_json::Value;
use similar::TextDiff;

use super::apply::{self, Placed};
use crate::args::DiffArgs;
use crate::client::{Client, Payload, Query};
use crate::discovery::Kinds;
use crate::exit::{Code, ExitError};
use crate::manifest;
use crate::render::{Tone, Ui, paint, without_managed_fields, yaml};

/// Lines shown around a change.
const CONTEXT: usize = 3;

/// Prints the differences; the exit code says whether there are any.
pub(super) async fn run(client: &Client, args: &DiffArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let documents = apply::read_files(&args.files)?;
    let kinds = Kinds::discover(client).await?;
    let placed = apply::place(documents, &kinds, client.namespace(), None)?;
    let mut differs = false;
    for object in placed {
        let (before, after) = sides(client, args, &object).await?;
        let text = difference(&object, before.as_ref(), &after, args, ui.colour())?;
        differs |= !text.is_empty();
        ui.data(text.as_bytes())?;
    }
    if differs { Err(ExitError::quiet(Code::Differs).into()) } else { Ok(()) }
}

/// The object as it is, and as it would be.
async fn sides(client: &Client, args: &DiffArgs, object: &Placed<'_>) -> anyhow::Result<(Option<Value>, Value)> {
    let wanted = &object.document.value;
    let path = object.resource.object(&object.namespace, &object.name);
    let query = Query::default()
        .with("dryRun", "All")
        .with("fieldManager", &args.field_manager)
        .with("fieldValidation", "Strict");
    let live = client.find(&path).await?;
    let after = match &live {
        _ if args.server_side => {
            let query = query.with("force", if args.force_conflicts { "true" } else { "false" });
            client.send(Method::PATCH, &query.on(&path), Payload::apply_patch(wanted)).await?
        }
        None => {
            let collection = object.resource.collection(Some(&object.namespace));
            client.send(Method::POST, &query.on(&collection), Payload::json(&manifest::with_annotation(wanted))).await?
        }
        Some(live) => match manifest::patch(wanted, live) {
            Some(patch) => client.send(Method::PATCH, &query.on(&path), Payload::merge_patch(&patch)).await?,
            None => live.clone(),
        },
    };
    Ok((live, after))
}

fn difference(
    object: &Placed<'_>,
    before: Option<&Value>,
    after: &Value,
    args: &DiffArgs,
    colour: bool,
) -> anyhow::Result<String> {
    let text =
        |object: Option<&Value>| object.map_or_else(|| Ok(String::new()), |object| yaml(&readable(object, args)));
    let (old, new) = (text(before)?, text(Some(after))?);
    let name = format!("{} in {}", object.resource.qualified(&object.name), object.namespace);
    let diff = TextDiff::from_lines(&old, &new);
    let mut unified = diff.unified_diff();
    let shown = unified.context_radius(CONTEXT).header(&format!("live: {name}"), &format!("file: {name}")).to_string();
    let painted = shown.lines().map(|line| {
        let tone = match line.as_bytes().first() {
            Some(b'+') => Some(Tone::Good),
            Some(b'-') => Some(Tone::Bad),
            _ => None,
        };
        tone.map_or_else(|| line.to_owned(), |tone| paint(line, tone, colour)) + "\n"
    });
    Ok(painted.collect())
}

/// The object without what differs with every write, and with the values of Secrets masked.
fn readable(object: &Value, args: &DiffArgs) -> Value {
    let mut object = object.clone();
    if !args.show_managed_fields {
        without_managed_fields(&mut object);
    }
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.remove("resourceVersion");
        if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
            annotations.remove(manifest::LAST_APPLIED);
            if annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
    }
    if object.get("kind").and_then(Value::as_str) == Some("Secret") {
        for list in ["data", "stringData"] {
            for value in object.get_mut(list).and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
                *value = masked(value).into();
            }
        }
    }
    object
}

type Map = serde_json::Map<String, Value>;

/// A fingerprint of a value: it tells whether it differs, not what it is.
fn masked(value: &Value) -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(value.to_string());
    let short = hex::encode(&digest[..4]);
    format!("*** (fingerprint {short})")
}
