//! How far a rollout is, and what keeps pods from running. Pure: objects in, an answer out.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::fields::{list, number, text};

/// How often a pod has restarted when nobody needs to wait for more of the same.
const RESTARTS_HOPELESS: i64 = 3;

/// How far the Deployment is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::commands) enum Progress {
    /// All replicas of this revision are ready, and none of an older one is left.
    Ready { replicas: i64 },
    /// Not yet; says what is missing.
    Waiting(String),
    /// The controller gave up.
    Failed(String),
}

/// Something wrong with a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Trouble {
    /// The pod.
    pub(super) pod: String,
    /// What is wrong with it, in one line.
    pub(super) what: String,
    /// Waiting will not help.
    pub(super) hopeless: bool,
}

/// How far the Deployment is with the given generation.
pub(in crate::commands) fn progress(deployment: &Value, generation: i64) -> Progress {
    if number(deployment, "/status/observedGeneration") < generation {
        return Progress::Waiting("waiting for the controller".to_owned());
    }
    for condition in list(deployment, "/status/conditions") {
        let kind = (text(condition, "/type"), text(condition, "/reason"), text(condition, "/status"));
        if let ("Progressing", "ProgressDeadlineExceeded", _) | ("ReplicaFailure", _, "True") = kind {
            return Progress::Failed(text(condition, "/message").to_owned());
        }
    }
    let wanted = deployment.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    let updated = number(deployment, "/status/updatedReplicas");
    let all = number(deployment, "/status/replicas");
    let ready = number(deployment, "/status/readyReplicas").min(number(deployment, "/status/availableReplicas"));
    if updated < wanted {
        Progress::Waiting(format!("{updated} of {wanted} new replicas started, {ready} ready"))
    } else if all > updated {
        Progress::Waiting(format!("{ready} replicas ready, {} old ones stopping", all - updated))
    } else if ready < wanted {
        Progress::Waiting(format!("{ready} of {wanted} replicas ready"))
    } else if all > wanted {
        Progress::Waiting(format!("{} replicas too many are stopping", all - wanted))
    } else {
        Progress::Ready { replicas: wanted }
    }
}

/// Whether all pods of the new revision run.
pub(super) fn run<'a>(pods: impl Iterator<Item = &'a Value>, old: &'a BTreeSet<String>) -> bool {
    new(pods, old)
        .all(|pod| list(pod, "/status/containerStatuses").all(|status| status["state"]["running"].is_object()))
}

fn new<'a>(pods: impl Iterator<Item = &'a Value>, old: &'a BTreeSet<String>) -> impl Iterator<Item = &'a Value> {
    pods.filter(|pod| !old.contains(text(pod, "/metadata/uid")))
        .filter(|pod| pod.pointer("/metadata/deletionTimestamp").is_none())
}

/// What is wrong with the pods of the new revision.
pub(super) fn troubles<'a>(pods: impl Iterator<Item = &'a Value>, old: &'a BTreeSet<String>) -> Vec<Trouble> {
    let mut found: Vec<Trouble> = new(pods, old).filter_map(trouble).collect();
    found.sort();
    found
}

/// What the first of the new revision's pods that takes long waits for.
pub(super) fn long_start<'a>(pods: impl Iterator<Item = &'a Value>, old: &'a BTreeSet<String>) -> Option<&'a str> {
    let waits = |status: &'a Value| text(status, "/state/waiting/message");
    let starting =
        new(pods, old).flat_map(|pod| list(pod, "/status/containerStatuses")).filter(|status| is_starting(status));
    starting.map(waits).find(|told| !told.is_empty())
}

/// Whether a container is on its way, and nothing is wrong with it yet.
fn is_starting(status: &Value) -> bool {
    let waiting = status.pointer("/state/waiting");
    waiting.is_some_and(|waiting| matches!(text(waiting, "/reason"), "" | "ContainerCreating" | "PodInitializing"))
}

fn trouble(pod: &Value) -> Option<Trouble> {
    let (what, hopeless) = list(pod, "/status/containerStatuses").find_map(container).or_else(|| {
        let mut conditions = list(pod, "/status/conditions");
        let unplaced = conditions
            .find(|condition| text(condition, "/type") == "PodScheduled" && text(condition, "/status") == "False");
        let failed = (text(pod, "/status/phase") == "Failed").then_some(pod.get("status")).flatten();
        let failed = failed.map(|status| (told(text(status, "/reason"), text(status, "/message")), true));
        unplaced.map(|condition| (told(text(condition, "/reason"), text(condition, "/message")), false)).or(failed)
    })?;
    Some(Trouble { pod: text(pod, "/metadata/name").to_owned(), what, hopeless })
}

/// What is wrong with a container that is not running, and whether it will stay so.
fn container(status: &Value) -> Option<(String, bool)> {
    let restarts = number(status, "/restartCount");
    let crashed = status.pointer("/state/terminated").or_else(|| status.pointer("/lastState/terminated")).map(ended);
    if let Some(waiting) = status.pointer("/state/waiting") {
        let reason = text(waiting, "/reason");
        if is_starting(status) {
            return None;
        }
        let mut what = told(reason, text(waiting, "/message"));
        if let Some(crashed) = crashed {
            what = format!("{what} (last run: {crashed}, restarted {restarts} times)");
        }
        let final_reason = matches!(reason, "InvalidImageName" | "ErrImageNeverPull" | "CreateContainerConfigError");
        let unfit = reason == "CreateContainerError" && is_unfit(text(waiting, "/message"));
        return Some((what, final_reason || unfit || restarts >= RESTARTS_HOPELESS));
    }
    let terminated = status.pointer("/state/terminated")?;
    Some((ended(terminated), restarts >= RESTARTS_HOPELESS))
}

/// Whether a node says of a module that it is no other than it should be: it will say so of it again.
fn is_unfit(message: &str) -> bool {
    let starts =
        ["the module imports ", "the module exports no ", "the component imports ", "the component exports no "];
    starts.iter().any(|start| message.contains(start))
}

fn ended(terminated: &Value) -> String {
    let ended = format!("{}, exit code {}", text(terminated, "/reason"), number(terminated, "/exitCode"));
    told(&ended, text(terminated, "/message"))
}

fn told(reason: &str, message: &str) -> String {
    let message = message.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    match (reason, message) {
        (reason, "") => reason.to_owned(),
        ("", message) => message.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

/// The newest warnings about the app's objects, oldest first.
pub(super) fn warnings(events: &Value, name: &str, most: usize) -> Vec<String> {
    let about = |event: &&Value| {
        let object = text(event, "/involvedObject/name");
        let ours = object.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        ours && text(event, "/type") == "Warning"
    };
    let mut found: Vec<(&str, String)> = list(events, "/items")
        .filter(about)
        .map(|event| {
            let when = [text(event, "/lastTimestamp"), text(event, "/metadata/creationTimestamp")];
            let when = if when[0].is_empty() { when[1] } else { when[0] };
            let told = told(text(event, "/reason"), text(event, "/message"));
            (when, format!("{}: {told}", text(event, "/involvedObject/name")))
        })
        .collect();
    found.sort();
    let mut lines: Vec<String> = found.into_iter().map(|(_, line)| line).collect();
    lines.drain(..lines.len().saturating_sub(most));
    lines.dedup();
    lines
}
