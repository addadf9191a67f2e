//! `wk edit`: an object in an editor; what was changed is sent when the editor ends.
//!
//! Only the change is sent, with the version that was edited: what others wrote meanwhile is never undone. If they
//! wrote, the change is put on top of theirs and shown again; what the server refuses is shown again with its words.

use std::io::Write as _;
use std::path::PathBuf;

use http::{Method, StatusCode};
use serde_json::{Map, Value};

use super::pick::{Picked, pick};
use crate::args::EditArgs;
use crate::client::{Client, JSON, Payload, Query, refusal};
use crate::discovery::Kinds;
use crate::exit::{Code, ExitError, usage};
use crate::render::{Output, Ui, json as json_text, without_managed_fields, yaml};

/// How often an object is shown again before it is given up: a person who gets no further stops earlier.
const ROUNDS_MAX: usize = 50;

/// Variables that name an editor; the first that is set.
const EDITORS: [&str; 4] = ["WK_EDITOR", "KUBE_EDITOR", "VISUAL", "EDITOR"];

const HELP: &str = "Change the object below, save, and leave the editor. Lines that begin with # are ignored.\n\
                    An empty file, or one without changes, leaves the object as it is.";

/// Edits every object named, one after the other.
pub(super) async fn run(client: &Client, args: &EditArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let as_json = match args.print.output {
        None | Some(Output::Yaml) => false,
        Some(Output::Json) => true,
        Some(_) => return Err(usage("edit works on -o yaml or -o json").into()),
    };
    let kinds = Kinds::discover(client).await?;
    for one in pick(client, &kinds, &args.pick).await? {
        edit(client, args, &one, as_json, ui).await?;
    }
    Ok(())
}

async fn edit(client: &Client, args: &EditArgs, picked: &Picked, as_json: bool, ui: &mut Ui) -> anyhow::Result<()> {
    let path = args.subresource.as_ref().map_or_else(|| picked.path(), |sub| format!("{}/{sub}", picked.path()));
    let fetch = async || {
        picked.get(client).await?;
        let mut live = client.get(&path, JSON).await?;
        if !args.print.show_managed_fields {
            without_managed_fields(&mut live);
        }
        anyhow::Ok(live)
    };
    let mut base = fetch().await?;
    let mut shown = if as_json { json_text(&base)? } else { yaml(&base)? };
    let mut said = HELP.to_owned();
    let mut last_refused: Option<String> = None;
    for _ in 0..ROUNDS_MAX {
        let text = in_editor(&said, &shown, as_json).await?;
        if last_refused.as_ref() == Some(&text) {
            return Err(given_up(picked, &said, &text, as_json));
        }
        if text.trim().is_empty() {
            ui.note(&format!("{}: the file is empty, nothing changed", picked.qualified()));
            return Ok(());
        }
        let edited: Value = match serde_yaml::from_str(&text) {
            Ok(edited @ Value::Object(_)) => edited,
            Ok(_) => {
                (said, shown, last_refused) = ("This is no object:".to_owned(), text.clone(), Some(text));
                continue;
            }
            Err(error) => {
                (said, shown, last_refused) = (format!("This cannot be read: {error}"), text.clone(), Some(text));
                continue;
            }
        };
        let mut change = difference(&base, &edited);
        if change.is_empty() {
            ui.line(&format!("{} unchanged", picked.qualified()))?;
            return Ok(());
        }
        let version = base.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
        let metadata = change.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        metadata["resourceVersion"] = version;
        let change = Value::Object(change);
        let query = Query::default().with("fieldManager", &args.field_manager).with("fieldValidation", "Strict");
        let sent = client.send(Method::PATCH, &query.on(&path), Payload::merge_patch(&change)).await;
        let Err(error) = sent else { return ui.line(&format!("{} edited", picked.qualified())) };
        match refusal(&error).map(|refusal| refusal.status) {
            Some(StatusCode::CONFLICT) => {
                base = fetch().await?;
                let mut merged = base.clone();
                let mut change = change;
                if let Some(metadata) = change["metadata"].as_object_mut() {
                    metadata.remove("resourceVersion");
                }
                json_patch::merge(&mut merged, &change);
                shown = if as_json { json_text(&merged)? } else { yaml(&merged)? };
                "Somebody changed the object meanwhile. This is their version with your changes: save it again if it is right."
                    .clone_into(&mut said);
                last_refused = None;
            }
            Some(StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST) => {
                (said, shown, last_refused) =
                    (format!("The server refused this:\n{error:#}"), text.clone(), Some(text));
            }
            _ => {
                let kept = keep(&text, as_json)
                    .map(|kept| format!("; your text is kept in {}", kept.display()))
                    .unwrap_or_default();
                return Err(error.context(format!("edit {}{kept}", picked.qualified())));
            }
        }
    }
    Err(given_up(picked, &said, &shown, as_json))
}

/// The editor was left without a change to what was refused; `said` is why it was.
fn given_up(picked: &Picked, said: &str, text: &str, as_json: bool) -> anyhow::Error {
    let kept = keep(text, as_json).map(|kept| format!("; your text is kept in {}", kept.display())).unwrap_or_default();
    ExitError::new(Code::General, format!("{said}\nedit of {} given up{kept}", picked.qualified())).into()
}

/// Keeps a text where its author finds it.
fn keep(text: &str, as_json: bool) -> Option<PathBuf> {
    let suffix = if as_json { ".json" } else { ".yaml" };
    let mut file = tempfile::Builder::new().prefix("wk-edit-").suffix(suffix).tempfile().ok()?;
    file.write_all(text.as_bytes()).ok()?;
    file.keep().ok().map(|(_, path)| path)
}

/// Shows a text in the person's editor; what it is afterwards, without the lines that begin with `#` at its head.
async fn in_editor(said: &str, text: &str, as_json: bool) -> anyhow::Result<String> {
    let suffix = if as_json { ".json" } else { ".yaml" };
    let mut file = tempfile::Builder::new().prefix("wk-edit-").suffix(suffix).tempfile()?;
    for line in said.lines() {
        writeln!(file, "# {line}")?;
    }
    file.write_all(text.as_bytes())?;
    file.flush()?;
    let editor = EDITORS.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.trim().is_empty()));
    let editor = editor.unwrap_or_else(|| "vi".to_owned());
    // The variable may hold options, as in `code --wait`: a shell splits it, and gets the path as an argument.
    let mut command = tokio::process::Command::new("sh");
    command.arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(file.path());
    let ended = command
        .status()
        .await
        .map_err(|error| ExitError::new(Code::General, format!("start the editor {editor:?}")).because(error))?;
    if !ended.success() {
        return Err(ExitError::new(
            Code::General,
            format!("the editor {editor:?} failed ({ended}); nothing changed. $EDITOR says which one to use"),
        )
        .into());
    }
    // Editors replace files rather than write them, so it is opened anew by its path.
    let edited = tokio::fs::read_to_string(file.path()).await?;
    let body: Vec<&str> = edited.lines().skip_while(|line| line.starts_with('#')).collect();
    Ok(body.join("\n") + "\n")
}

/// The merge patch that makes `from` to `to`.
fn difference(from: &Value, to: &Value) -> Map<String, Value> {
    let (Some(from), Some(to)) = (from.as_object(), to.as_object()) else { return Map::new() };
    let mut changes = Map::new();
    for (key, new) in to {
        match from.get(key) {
            Some(old) if old == new => {}
            Some(old @ Value::Object(_)) if new.is_object() => {
                changes.insert(key.clone(), difference(old, new).into());
            }
            _ => {
                changes.insert(key.clone(), new.clone());
            }
        }
    }
    for key in from.keys().filter(|key| !to.contains_key(*key)) {
        changes.insert(key.clone(), Value::Null);
    }
    changes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn edit_that_is_given_up_says_why() {
        let resource = crate::client::Resource::pods();
        let picked = Picked { resource, namespace: "default".to_owned(), name: "a".to_owned() };
        let error =
            given_up(&picked, "The server refused this:\nspec.x: unknown field", "spec: {}\n", false).to_string();
        let (told, kept) = error.split_once("; your text is kept in ").expect("a file");
        assert_eq!(told, "The server refused this:\nspec.x: unknown field\nedit of pod/a given up");
        assert_eq!(std::fs::read_to_string(kept).expect("read"), "spec: {}\n");
        std::fs::remove_file(kept).expect("remove");
    }

    #[test]
    fn only_what_changed_is_sent() {
        let from = json!({"a": 1, "b": {"x": 1, "y": 2}, "c": [1, 2], "d": 1});
        let to = json!({"a": 1, "b": {"x": 1, "y": 3, "z": 4}, "c": [1]});
        assert_eq!(Value::Object(difference(&from, &to)), json!({"b": {"y": 3, "z": 4}, "c": [1], "d": null}));
        assert!(difference(&from, &from).is_empty());
    }
}
