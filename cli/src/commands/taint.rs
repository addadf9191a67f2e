//! `wk taint`: keeps pods off nodes unless they tolerate it.

use serde_json::{Value, json};

use super::pick::pick;
use super::writing::Writing;
use crate::args::{PickArgs, TaintArgs};
use crate::client::Client;
use crate::discovery::Kinds;
use crate::exit::{Code, ExitError, usage};
use crate::render::Ui;

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// One change to the taints of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Add {
        key: String,
        value: String,
        effect: String,
    },
    /// Of any effect if none is given.
    Remove {
        key: String,
        effect: Option<String>,
    },
}

/// Changes the taints of the nodes meant.
pub(super) async fn run(client: &Client, args: &TaintArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let (names, changes) = split(&args.words)?;
    let whole = args.all || args.selector.is_some();
    if names.is_empty() && !whole {
        return Err(usage("say which nodes: NODE…, -l LABELS or --all").into());
    }
    let targets = std::iter::once("nodes".to_owned()).chain(names).collect();
    let select = PickArgs { targets, selector: args.selector.clone(), all: args.all, ..PickArgs::default() };
    let kinds = Kinds::discover(client).await?;
    let writing = Writing { client, args: &args.write };
    for node in pick(client, &kinds, &select).await? {
        let live = node.get(client).await?;
        let taints = live.pointer("/spec/taints").and_then(Value::as_array).cloned().unwrap_or_default();
        let wanted = apply(&taints, &changes, args.overwrite)
            .map_err(|why| ExitError::new(Code::Conflict, format!("{}: {why}", node.qualified())))?;
        let only_removes = changes.iter().all(|change| matches!(change, Change::Remove { .. }));
        let done = if only_removes { "untainted" } else { "tainted" };
        // The list is replaced as a whole, so nobody may have changed it since it was read.
        let version = live.pointer("/metadata/resourceVersion");
        let taints = if wanted.is_empty() { Value::Null } else { Value::Array(wanted) };
        let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"taints": taints}});
        let now = writing.merge(&node, &live, &patch).await?;
        writing.tell(&node.qualified(), now, done, ui)?;
    }
    Ok(())
}

/// Splits the words into names of nodes and changes.
fn split(words: &[String]) -> Result<(Vec<String>, Vec<Change>), ExitError> {
    let (mut names, mut changes) = (Vec::new(), Vec::new());
    for (at, word) in words.iter().enumerate() {
        if at == 0 && matches!(word.as_str(), "node" | "nodes" | "no") {
            continue;
        }
        if let Some(removed) = word.strip_suffix('-') {
            let (key, effect) = removed.split_once(':').map_or((removed, None), |(key, effect)| (key, Some(effect)));
            let key = key.split('=').next().unwrap_or(key).to_owned();
            changes.push(Change::Remove { key, effect: effect.map(known).transpose()? });
        } else if let Some((key, effect)) = word.split_once(':') {
            let (key, value) = key.split_once('=').unwrap_or((key, ""));
            changes.push(Change::Add { key: key.to_owned(), value: value.to_owned(), effect: known(effect)? });
        } else if word.contains('=') {
            return Err(usage(format!(
                "{word:?} has no effect: write {word}:NoSchedule, :PreferNoSchedule or :NoExecute"
            )));
        } else {
            names.push(word.rsplit('/').next().unwrap_or(word).to_owned());
        }
    }
    if changes.is_empty() {
        return Err(usage("say what: KEY[=VALUE]:EFFECT to set, KEY[:EFFECT]- to remove"));
    }
    Ok((names, changes))
}

fn known(effect: &str) -> Result<String, ExitError> {
    let found = EFFECTS.into_iter().find(|known| known.eq_ignore_ascii_case(effect));
    found.map(str::to_owned).ok_or_else(|| usage(format!("{effect:?} is no effect; there are {}", EFFECTS.join(", "))))
}

fn apply(taints: &[Value], changes: &[Change], overwrite: bool) -> Result<Vec<Value>, String> {
    let mut taints = taints.to_vec();
    let is =
        |taint: &Value, field: &str, value: &str| taint.get(field).and_then(Value::as_str).unwrap_or_default() == value;
    for change in changes {
        let before = taints.len();
        match change {
            Change::Remove { key, effect } => {
                taints.retain(|taint| {
                    !(is(taint, "key", key) && effect.as_ref().is_none_or(|effect| is(taint, "effect", effect)))
                });
                if taints.len() == before {
                    return Err(format!("there is no taint {key:?} to remove"));
                }
            }
            Change::Add { key, value, effect } => {
                taints.retain(|taint| !(is(taint, "key", key) && is(taint, "effect", effect)));
                if taints.len() < before && !overwrite {
                    return Err(format!("it has the taint {key}:{effect} already; add --overwrite to change it"));
                }
                let mut taint = json!({"key": key, "effect": effect});
                if !value.is_empty() {
                    taint["value"] = value.clone().into();
                }
                taints.push(taint);
            }
        }
    }
    Ok(taints)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn taints_are_added_changed_and_removed() {
        let (names, changes) = split(&words("nodes n1 gpu=yes:noschedule old-")).expect("splits");
        assert_eq!(names, ["n1"]);
        let old = [json!({"key": "old", "effect": "NoExecute"})];
        let now = apply(&old, &changes, false).expect("applies");
        assert_eq!(now, [json!({"key": "gpu", "value": "yes", "effect": "NoSchedule"})]);
        assert!(apply(&now, &changes[..1], false).expect_err("taken").contains("--overwrite"));
        assert!(apply(&now, &changes[1..], false).expect_err("absent").contains("old"));
    }

    #[test]
    fn mistakes_say_what_is_right() {
        assert!(split(&words("n1 a=b")).expect_err("no effect").to_string().contains("a=b:NoSchedule"));
        assert!(split(&words("n1 a=b:Never")).expect_err("unknown").to_string().contains("NoExecute"));
        assert!(split(&words("n1")).is_err());
    }
}
