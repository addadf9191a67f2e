//! `wk label` and `wk annotate`: sets and removes small texts on objects.

use serde_json::{Map, Value, json};

use super::pick::{Picked, pick};
use super::writing::Writing;
use crate::args::MarkArgs;
use crate::client::Client;
use crate::discovery::Kinds;
use crate::exit::{Code, ExitError, usage};
use crate::render::Ui;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Label,
    Annotation,
}

impl Mark {
    fn field(self) -> &'static str {
        match self {
            Self::Label => "labels",
            Self::Annotation => "annotations",
        }
    }

    /// What was done, as kubectl says it.
    fn done(self, changes: &Changes, changed: bool) -> &'static str {
        let only_removed = changes.values().all(Value::is_null);
        match (self, changed) {
            (Self::Label, false) => "not labeled",
            (Self::Label, true) if only_removed => "unlabeled",
            (Self::Label, true) => "labeled",
            (Self::Annotation, _) => "annotated",
        }
    }
}

/// New values by key; null removes.
type Changes = Map<String, Value>;

/// Changes what was named.
pub(super) async fn run(client: &Client, mark: Mark, args: MarkArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let mut args = args;
    let changes = split(&mut args.pick.targets)?;
    if changes.is_empty() && !args.list {
        return Err(usage("say what to set (KEY=VALUE) or to remove (KEY-), or --list").into());
    }
    let kinds = Kinds::discover(client).await?;
    let picked = pick(client, &kinds, &args.pick).await?;
    if picked.is_empty() {
        ui.note("No resources found");
    }
    for one in &picked {
        change(client, mark, &args, one, &changes, ui).await?;
    }
    Ok(())
}

async fn change(
    client: &Client,
    mark: Mark,
    args: &MarkArgs,
    picked: &Picked,
    changes: &Changes,
    ui: &mut Ui,
) -> anyhow::Result<()> {
    let live = picked.get(client).await?;
    let set =
        live.pointer(&format!("/metadata/{}", mark.field())).and_then(Value::as_object).cloned().unwrap_or_default();
    if args.list {
        for (key, value) in &set {
            ui.line(&format!("{key}={}", value.as_str().unwrap_or_default()))?;
        }
        return Ok(());
    }
    let taken = changes.iter().find(|(key, new)| !new.is_null() && set.get(*key).is_some_and(|old| old != *new));
    if let Some((key, _)) = taken.filter(|_| !args.overwrite) {
        let old = set[key].as_str().unwrap_or_default();
        let message = format!("{}: {key:?} is {old:?} already; add --overwrite to change it", picked.qualified());
        return Err(ExitError::new(Code::Conflict, message).into());
    }
    for key in changes.iter().filter(|(key, new)| new.is_null() && !set.contains_key(*key)).map(|(key, _)| key) {
        ui.note(&format!("{}: there is no {key:?} to remove", picked.qualified()));
    }
    let changed = changes.iter().any(|(key, new)| set.get(key) != Some(new).filter(|new| !new.is_null()));
    let writing = Writing { client, args: &args.write };
    let mut patch = json!({"metadata": {mark.field(): changes}});
    if let Some(version) = &args.resource_version {
        patch["metadata"]["resourceVersion"] = version.clone().into();
    }
    let now = if changed { writing.merge(picked, &live, &patch).await? } else { live };
    writing.tell(&picked.qualified(), now, mark.done(changes, changed), ui)
}

/// Takes `KEY=VALUE` and `KEY-` from the words.
fn split(words: &mut Vec<String>) -> Result<Changes, ExitError> {
    let mut changes = Changes::new();
    let mut left = Vec::new();
    // The first word is a kind, or KIND/NAME, whatever it looks like.
    for (at, word) in words.drain(..).enumerate() {
        let (key, value) = match word.split_once('=') {
            _ if at == 0 && !word.contains('=') => {
                left.push(word);
                continue;
            }
            Some((key, value)) => (key.to_owned(), Value::from(value)),
            None => {
                if let Some(key) = word.strip_suffix('-') {
                    (key.to_owned(), Value::Null)
                } else {
                    left.push(word);
                    continue;
                }
            }
        };
        if key.is_empty() {
            return Err(usage(format!("{word:?} is not KEY=VALUE")));
        }
        if changes.insert(key.clone(), value).is_some() {
            return Err(usage(format!("{key:?} is changed twice")));
        }
    }
    *words = left;
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_stand_among_the_names() {
        let mut words: Vec<String> = ["po", "a", "app=web", "b", "old-", "e=x=y"].map(str::to_owned).to_vec();
        let changes = split(&mut words).expect("splits");
        assert_eq!(words, ["po", "a", "b"]);
        assert_eq!(Value::Object(changes), json!({"app": "web", "old": null, "e": "x=y"}));
        assert!(split(&mut vec!["po".into(), "a=1".into(), "a-".into()]).is_err());
        assert!(split(&mut vec!["po".into(), "=1".into()]).is_err());
    }
}
