//! Kubernetes' plug-in `PodSecurity`: the Pod Security Standards by labels of the namespace. A level that is pinned to
//! a version is judged as the latest.
//!
//! For WebAssembly most of what these levels forbid gives a program nothing: it shares no kernel with its node. They are
//! judged by their letter all the same, so that what passes here passes elsewhere.

mod baseline;
mod restricted;
#[cfg(test)]
mod tests;
mod updates;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use wk_api::{Kind, Object, Status, kinds};
use wk_store::View;

use super::beside;
use crate::{key, object};

/// Pods of a namespace that are looked at when its level rises, and lines of warnings about them: Kubernetes' limits
/// are 3000 pods and one second.
const PODS_MAX: usize = 3000;
const WARNINGS_MAX: usize = 10;

/// What a pod must keep to, from nothing to much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// A level and the version of it that is printed.
struct Policy<'a> {
    level: Level,
    version: &'a str,
}

impl Policy<'_> {
    /// `restricted:latest`.
    fn name(&self) -> String {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        format!("{level}:{}", self.version)
    }
}

/// What the namespace asks for in `mode`: `enforce`, `warn` or `audit`.
fn policy<'a>(namespace: &'a Object, mode: &str) -> Policy<'a> {
    let label = |suffix: &str| namespace.label(&format!("pod-security.kubernetes.io/{mode}{suffix}"));
    let level = match label("") {
        Some("baseline") => Level::Baseline,
        Some("restricted") => Level::Restricted,
        _ => Level::Privileged,
    };
    Policy { level, version: label("-version").unwrap_or("latest") }
}

/// One way to break a level: what, and where.
struct Violation {
    what: String,
    how: String,
}

/// The parts of a pod that checks look at.
struct Pod<'a> {
    annotations: &'a Value,
    spec: &'a Value,
}

impl<'a> Pod<'a> {
    /// The member of the pod's own security context.
    fn context(&self, pointer: &str) -> Option<&'a Value> {
        self.spec.get("securityContext")?.pointer(pointer).filter(|value| !value.is_null())
    }

    fn containers(&self) -> impl Iterator<Item = Container<'a>> + use<'a> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .filter_map(|list| spec.get(list)?.as_array())
            .flatten()
            .map(Container)
    }

    fn volumes(&self) -> &'a [Value] {
        self.spec.get("volumes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    /// Names of the containers that `bad` says are bad.
    fn bad(&self, bad: impl Fn(Container<'a>) -> bool) -> Vec<&'a str> {
        self.containers().filter(|container| bad(*container)).map(Container::name).collect()
    }
}

#[derive(Clone, Copy)]
struct Container<'a>(&'a Value);

impl<'a> Container<'a> {
    fn name(self) -> &'a str {
        self.0.get("name").and_then(Value::as_str).unwrap_or_default()
    }

    /// The member of the container's security context.
    fn context(self, pointer: &str) -> Option<&'a Value> {
        self.0.get("securityContext")?.pointer(pointer).filter(|value| !value.is_null())
    }
}

/// `container "a"`, `containers "a", "b"`.
fn counted(word: &str, names: &[&str]) -> String {
    let plural = if names.len() == 1 { "" } else { "s" };
    format!("{word}{plural} {}", quoted(names))
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

/// Everything in which a pod breaks `level`, in Kubernetes' words; empty when it keeps to it.
fn violations(level: Level, pod: &Pod<'_>) -> Vec<Violation> {
    match level {
        Level::Privileged => Vec::new(),
        Level::Baseline => baseline::all(pod),
        Level::Restricted => restricted::all(pod),
    }
}

fn told(violations: &[Violation]) -> String {
    let texts = violations.iter().map(|one| format!("{} ({})", one.what, one.how));
    texts.collect::<Vec<_>>().join(", ")
}

/// Where the pods of a kind are described, if it makes pods.
fn template<'a>(kind: &Kind, object: &'a Object) -> Option<(&'a Value, &'a Value)> {
    let at = match kind.kind {
        "Pod" => "",
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" | "ReplicationController" => "/spec/template",
        "CronJob" => "/spec/jobTemplate/spec/template",
        "PodTemplate" => "/template",
        _ => return None,
    };
    let part = |part: &str| object.at(&format!("{at}{part}")).unwrap_or(&Value::Null);
    Some((part("/metadata/annotations"), part("/spec")))
}

/// Refuses a pod that breaks the level its namespace enforces, when it is made and when it changes so that it may; warns of what breaks the one it warns of.
pub(super) fn check(view: &View, kind: &Kind, old: Option<&Object>, new: &Object) -> Result<Vec<String>, Status> {
    if *kind == kinds::NAMESPACE {
        return Ok(old.map(|old| of_namespace(view, old, new)).unwrap_or_default());
    }
    let Some((annotations, spec)) = template(kind, new) else { return Ok(Vec::new()) };
    let before = old.and_then(|old| template(kind, old)).map(|(annotations, spec)| Pod { annotations, spec });
    let pod = Pod { annotations, spec };
    let counts = |before: &Pod<'_>| match *kind == kinds::POD {
        true => updates::may_break_a_level(before, &pod),
        false => before.spec != pod.spec,
    };
    if !before.as_ref().is_none_or(counts) {
        return Ok(Vec::new());
    }
    let Some(namespace) = view.get(&key(&kinds::NAMESPACE, None, new.namespace())).map(|stored| object(&stored)) else {
        return Ok(Vec::new());
    };
    if *kind == kinds::POD {
        let enforced = policy(&namespace, "enforce");
        let found = violations(enforced.level, &pod);
        if !found.is_empty() {
            let why = format!("violates PodSecurity {:?}: {}", enforced.name(), told(&found));
            return Err(Status::forbidden(kind, new.name(), &why));
        }
    }
    let warned = policy(&namespace, "warn");
    let found = violations(warned.level, &pod);
    if found.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![format!("would violate PodSecurity {:?}: {}", warned.name(), told(&found))])
}

/// What the audit log should say of an object that was written: the level that was enforced, and how it breaks the one that
/// its namespace only has recorded (`audit`).
pub fn notes(view: &View, kind: &Kind, object: &Object) -> Vec<(String, String)> {
    let Some((annotations, spec)) = template(kind, object) else { return Vec::new() };
    let Some(namespace) =
        view.get(&key(&kinds::NAMESPACE, None, object.namespace())).map(|stored| crate::object(&stored))
    else {
        return Vec::new();
    };
    let note = |name: &str, text: String| (format!("pod-security.kubernetes.io/{name}"), text);
    let mut notes = Vec::new();
    if *kind == kinds::POD {
        notes.push(note("enforce-policy", policy(&namespace, "enforce").name()));
    }
    let audited = policy(&namespace, "audit");
    let found = violations(audited.level, &Pod { annotations, spec });
    if !found.is_empty() {
        let text = format!("would violate PodSecurity {:?}: {}", audited.name(), told(&found));
        notes.push(note("audit-violations", text));
    }
    notes
}

/// A namespace that enforces more than before: which of its pods would not be let in any more.
fn of_namespace(view: &View, old: &Object, new: &Object) -> Vec<String> {
    let (before, after) = (policy(old, "enforce"), policy(new, "enforce"));
    if after.level <= before.level {
        return Vec::new();
    }
    let inside = Object::new(serde_json::json!({"metadata": {"namespace": new.name()}}));
    let pods: Vec<Arc<Object>> = beside(view, &kinds::POD, &inside);
    let mut by_problem: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for pod in pods.iter().take(PODS_MAX) {
        let Some((annotations, spec)) = template(&kinds::POD, pod) else { continue };
        let found = violations(after.level, &Pod { annotations, spec });
        if !found.is_empty() {
            let problems: Vec<&str> = found.iter().map(|one| one.what.as_str()).collect();
            by_problem.entry(problems.join(", ")).or_default().push(pod.name());
        }
    }
    if by_problem.is_empty() {
        return Vec::new();
    }
    let head = format!(
        "existing pods in namespace {:?} violate the new PodSecurity enforce level {:?}",
        new.name(),
        after.name()
    );
    let lines = by_problem.into_iter().take(WARNINGS_MAX).map(|(problems, pods)| match pods.as_slice() {
        [pod] => format!("{pod}: {problems}"),
        [pod, another] => format!("{pod} (and 1 other pod): {problems}", pod = (*pod).min(*another)),
        [pod, rest @ ..] => format!("{pod} (and {} other pods): {problems}", rest.len()),
        [] => problems,
    });
    std::iter::once(head).chain(lines).collect()
}
