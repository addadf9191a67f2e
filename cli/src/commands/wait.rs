//! `wk wait`: waits until objects are made, gone, or in a state.

use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::pick::{Picked, pick};
use crate::args::WaitArgs;
use crate::client::{Client, Follow};
use crate::discovery::Kinds;
use crate::exit::{Code, ExitError, usage};
use crate::render::Ui;
use crate::render::jsonpath::{Path, shown};

/// How long a first look may take, however short the time to wait: the time of an answer.
const LOOK: Duration = Duration::from_secs(5);

/// What is waited for.
#[derive(Debug, Clone, PartialEq)]
enum What {
    Create,
    Delete,
    /// Type and status, both in lower case.
    Condition(String, String),
    /// A value, or any if none is given.
    Path(Path, Option<String>),
}

impl FromStr for What {
    type Err = ExitError;

    fn from_str(text: &str) -> Result<Self, ExitError> {
        let (word, rest) = text.split_once('=').unwrap_or((text, ""));
        match word.to_ascii_lowercase().as_str() {
            "create" if rest.is_empty() => Ok(Self::Create),
            "delete" if rest.is_empty() => Ok(Self::Delete),
            "condition" if !rest.is_empty() => {
                let (name, status) = rest.split_once('=').unwrap_or((rest, "true"));
                Ok(Self::Condition(name.to_ascii_lowercase(), status.to_ascii_lowercase()))
            }
            "jsonpath" if !rest.is_empty() => {
                let end = rest.rfind('}').map_or_else(|| rest.find('=').unwrap_or(rest.len()), |end| end + 1);
                let (path, value) = rest.split_at(end);
                let value = value.strip_prefix('=').map(|value| value.trim_matches('"').to_owned());
                let path = path.parse().map_err(|error| usage(format!("--for {text}: {error}")))?;
                Ok(Self::Path(path, value))
            }
            _ => Err(usage(format!(
                "--for {text:?} is none of create, delete, condition=NAME[=VALUE], jsonpath={{.path}}[=VALUE]"
            ))),
        }
    }
}

impl What {
    fn holds(&self, object: Option<&Value>) -> bool {
        let Some(object) = object else { return *self == Self::Delete };
        match self {
            Self::Create => true,
            Self::Delete => false,
            Self::Condition(name, wanted) => condition(object, name, wanted),
            Self::Path(path, value) => {
                let found = path.find(object);
                match value {
                    Some(value) => matches!(found.as_slice(), [one] if shown(one) == *value),
                    None => found.iter().any(|found| !found.is_null()),
                }
            }
        }
    }
}

fn condition(object: &Value, name: &str, wanted: &str) -> bool {
    let text =
        |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let found = conditions.into_iter().flatten().find(|condition| text(condition, "type") == name);
    let number = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_i64);
    found.is_some_and(|found| {
        // What was observed of an older generation says nothing about this one.
        let seen = number(found, "/observedGeneration").or_else(|| number(object, "/status/observedGeneration"));
        let fresh = seen.zip(number(object, "/metadata/generation")).is_none_or(|(seen, now)| seen >= now);
        fresh && text(found, "status") == wanted
    })
}

/// Waits for every object meant, all against one clock.
pub(super) async fn run(client: &Client, args: &WaitArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let wanted: Vec<What> = args.what.iter().map(|text| text.parse()).collect::<Result<_, ExitError>>()?;
    let kinds = Kinds::discover(client).await?;
    let deadline = Instant::now() + args.timeout;
    let picked = pick(client, &kinds, &args.pick).await?;
    if picked.is_empty() {
        if wanted.contains(&What::Delete) {
            return Ok(());
        }
        return Err(ExitError::new(Code::NotFound, "no objects match").into());
    }
    for one in &picked {
        let mut was_there = true;
        for (what, typed) in wanted.iter().zip(&args.what) {
            if !matches!(what, What::Create | What::Delete) && !wanted.contains(&What::Create) {
                // What is not there gets no condition: that is said at once, with what was meant.
                one.get(client).await?;
            }
            was_there = wait(client, one, what, typed, args, deadline, ui).await?;
        }
        let met = match wanted.as_slice() {
            // As kubectl, this is no failure: what is waited for is the case. But nobody deleted it.
            [What::Delete] if !was_there => "was not there",
            [What::Delete] => "deleted",
            _ => "condition met",
        };
        ui.line(&format!("{} {met}", one.qualified()))?;
    }
    Ok(())
}

/// Waits for one thing of one object; whether the object was there at any time.
async fn wait(
    client: &Client,
    picked: &Picked,
    what: &What,
    typed: &str,
    args: &WaitArgs,
    deadline: Instant,
    ui: &mut Ui,
) -> anyhow::Result<bool> {
    let mut follow = Follow::object(client, picked.resource.collection(Some(&picked.namespace)), &picked.name);
    // Deletion is that of the object there is now; one made anew under its name is another.
    let mut first: Option<Value> = None;
    let mut until = deadline.max(Instant::now() + LOOK);
    let mut seen = Seen::Nothing;
    loop {
        let changed = tokio::time::timeout_at(until, follow.changed()).await;
        let Ok(changed) = changed else { return Err(late(picked, what, typed, args, &seen).into()) };
        changed?;
        until = deadline;
        let now = follow.items().next();
        let uid = now.and_then(|now| now.pointer("/metadata/uid").cloned());
        let is_other = first.is_some() && uid.is_some() && uid != first;
        if what.holds(now) || (*what == What::Delete && is_other) {
            ui.settle();
            return Ok(first.is_some() || now.is_some());
        }
        if now.is_none() && matches!(what, What::Condition(..) | What::Path(..)) {
            return Err(ExitError::new(Code::NotFound, format!("{} was deleted meanwhile", picked.qualified())).into());
        }
        seen = now.cloned().map_or(Seen::Absent, Seen::There);
        first = first.or(uid);
    }
}

/// What the last look found.
enum Seen {
    /// Nothing was told in time.
    Nothing,
    Absent,
    There(Value),
}

/// Says what kept it, as far as the object tells.
fn late(picked: &Picked, what: &What, typed: &str, args: &WaitArgs, seen: &Seen) -> ExitError {
    let state = match seen {
        Seen::Nothing => "; the server did not say in time how it is".to_owned(),
        Seen::Absent => "; there is no such object".to_owned(),
        Seen::There(now) => state(what, now),
    };
    let place = if args.pick.all_namespaces && picked.resource.namespaced {
        format!(" in namespace {}", picked.namespace)
    } else {
        String::new()
    };
    ExitError::new(
        Code::TimedOut,
        format!("timed out waiting for {typed} on {}{place} after {:?}{state}", picked.qualified(), args.timeout),
    )
}

fn state(what: &What, now: &Value) -> String {
    if let What::Path(path, _) = what {
        let found: Vec<String> = path.find(now).into_iter().filter(|found| !found.is_null()).map(shown).collect();
        return if found.is_empty() {
            "; it has no such field".to_owned()
        } else {
            format!("; it is {}", found.join(" "))
        };
    }
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let conditions = now.pointer("/status/conditions").and_then(Value::as_array);
    let told: Vec<String> =
        conditions.into_iter().flatten().map(|one| format!("{}={}", text(one, "type"), text(one, "status"))).collect();
    if told.is_empty() { String::new() } else { format!("; its conditions are {}", told.join(", ")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn what(text: &str) -> What {
        text.parse().expect(text)
    }

    #[test]
    fn conditions_are_judged_without_regard_to_case() {
        let pod = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}], "phase": "Running", "n": 2}});
        assert!(what("condition=ready").holds(Some(&pod)));
        assert!(!what("condition=Ready=False").holds(Some(&pod)));
        assert!(!what("condition=Other").holds(Some(&pod)));
        assert!(what("jsonpath={.status.phase}=Running").holds(Some(&pod)));
        assert!(what("jsonpath='{.status.n}'=2".replace('\'', "").as_str()).holds(Some(&pod)));
        assert!(what("jsonpath=.status.phase").holds(Some(&pod)));
        assert!(!what("jsonpath={.status.nope}").holds(Some(&pod)));
        assert!(what("delete").holds(None) && what("create").holds(Some(&pod)) && !what("create").holds(None));
        for wrong in ["ready", "condition", "jsonpath=", "delete=now"] {
            assert!(wrong.parse::<What>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn condition_of_an_older_generation_does_not_count() {
        let mut object = json!({"metadata": {"generation": 2},
            "status": {"observedGeneration": 1, "conditions": [{"type": "Available", "status": "True"}]}});
        assert!(!what("condition=Available").holds(Some(&object)));
        object["status"]["observedGeneration"] = 2.into();
        assert!(what("condition=Available").holds(Some(&object)));
    }
}
