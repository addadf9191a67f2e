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
        let (before, after) =
            sides(client, args, &object).await.map_err(|error| apply::located(&object.document, error))?;
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
    let (mut old, mut new) = (before.map_or(Value::Null, |before| readable(before, args)), readable(after, args));
    mask(&mut old, &mut new);
    let old = if old.is_null() { String::new() } else { yaml(&old)? };
    let new = yaml(&new)?;
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

/// The object without what differs with every write.
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
    object
}

type Map = serde_json::Map<String, Value>;

/// Puts stars for the values of a Secret: which of them differ is to be seen, and nothing by which they could be guessed.
fn mask(before: &mut Value, after: &mut Value) {
    if after.get("kind").and_then(Value::as_str) != Some("Secret") {
        return;
    }
    for list in ["data", "stringData"] {
        let entries = |object: &Value| object.get(list).and_then(Value::as_object).cloned().unwrap_or_default();
        let (old, new) = (entries(before), entries(after));
        star(before, list, &new, "*** (before)");
        star(after, list, &old, "*** (after)");
    }
}

/// Puts `differs` for entries that `other` has with another value.
fn star(object: &mut Value, list: &str, other: &Map, differs: &str) {
    for (key, value) in object.get_mut(list).and_then(Value::as_object_mut).into_iter().flatten() {
        let is_other = other.get(key).is_some_and(|other| other != value);
        *value = if is_other { differs } else { "***" }.into();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn which_values_of_a_secret_differ_is_shown_and_none_of_them() {
        let secret = |data: Value| json!({"kind": "Secret", "data": data});
        let mut before = secret(json!({"same": "aGlk", "other": "aGlk", "gone": "aGlk"}));
        let mut after = secret(json!({"same": "aGlk", "other": "ZGVu", "new": "ZGVu"}));
        mask(&mut before, &mut after);
        assert_eq!(before, secret(json!({"same": "***", "other": "*** (before)", "gone": "***"})));
        assert_eq!(after, secret(json!({"same": "***", "other": "*** (after)", "new": "***"})));
        let mut first = secret(json!({"new": "ZGVu"}));
        mask(&mut Value::Null, &mut first);
        assert_eq!(first, secret(json!({"new": "***"})));
    }
}
