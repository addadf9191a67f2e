//! Kubernetes' plug-in `PodSecurity`: the Pod Security Standards by labels of the namespace.
//!
//! For WebAssembly most of what these levels forbid gives a program nothing: it shares no kernel with its node. They are
//! judged by their letter all the same, so that what passes here passes elsewhere.

mod baseline;
mod checks;
mod restricted;
#[cfg(test)]
mod tests;
mod updates;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use wk_api::{Kind, Object, Status, kinds};
use wk_store::View;

use super::beside;
use crate::guard::Write;
use crate::{Subresource, key, object};

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

/// The minor version of Kubernetes whose checks are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32);

impl Version {
    /// What `latest` means, and every later one: the version of the API.
    const LATEST: Self = Self(33);

    /// `v1.25`, or `latest`.
    fn read(text: &str) -> Self {
        let minor = text.strip_prefix("v1.").and_then(|minor| minor.parse().ok());
        minor.map_or(Self::LATEST, |minor| Self(minor).min(Self::LATEST))
    }
}

/// A level and its version as the label has it.
#[derive(PartialEq, Eq)]
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

    /// Everything in which a pod breaks it, in Kubernetes' words; empty when it keeps to it.
    fn broken_by(&self, pod: &Pod<'_>) -> Vec<Violation> {
        checks::broken(self.level, &Pod { version: Version::read(self.version), ..*pod })
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

/// The parts of a pod that checks look at, and in which version they do.
#[derive(Clone, Copy)]
struct Pod<'a> {
    annotations: &'a Value,
    spec: &'a Value,
    version: Version,
}

impl<'a> Pod<'a> {
    /// The member of the pod's own security context.
    fn context(&self, pointer: &str) -> Option<&'a Value> {
        self.spec.get("securityContext")?.pointer(pointer).filter(|value| !value.is_null())
    }

    fn is_for_windows(&self) -> bool {
        self.version >= checks::WINDOWS_IS_TOLD_APART && self.spec.pointer("/os/name").is_some_and(|os| os == "windows")
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

fn told(violations: &[Violation]) -> String {
    let texts = violations.iter().map(|one| format!("{} ({})", one.what, one.how));
    texts.collect::<Vec<_>>().join(", ")
}

/// What a kind says of its pods, if it makes any.
fn template<'a>(kind: &Kind, object: &'a Object) -> Option<Pod<'a>> {
    let at = match kind.kind {
        "Pod" => "",
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" | "ReplicationController" => "/spec/template",
        "CronJob" => "/spec/jobTemplate/spec/template",
        "PodTemplate" => "/template",
        _ => return None,
    };
    let part = |part: &str| object.at(&format!("{at}{part}")).unwrap_or(&Value::Null);
    Some(Pod { annotations: part("/metadata/annotations"), spec: part("/spec"), version: Version::LATEST })
}

/// The pod that a write is to be judged by, and its namespace. None where the write does nothing that a level looks at.
fn judged<'a>(write: &Write<'a>) -> Option<(Pod<'a>, Arc<Object>)> {
    let new = write.new?;
    let pod = template(write.kind, new)?;
    let is_judged = match write.old {
        Some(old) if *write.kind == kinds::POD => updates::may_break_a_level(&template(write.kind, old)?, &pod),
        _ => write.subresource == Subresource::None,
    };
    let namespace = is_judged.then(|| write.view.get(&key(&kinds::NAMESPACE, None, new.namespace())))??;
    Some((pod, object(&namespace)))
}

/// Refuses a pod that breaks the level its namespace enforces, when it is made and when it changes so that it may; warns
/// of what breaks the one it warns of.
pub(super) fn check(write: &Write<'_>) -> Result<Vec<String>, Status> {
    if let (Some(old), Some(new)) = (write.old, write.new)
        && *write.kind == kinds::NAMESPACE
    {
        return Ok(of_namespace(write.view, old, new));
    }
    let Some((pod, namespace)) = judged(write) else { return Ok(Vec::new()) };
    if *write.kind == kinds::POD {
        let enforced = policy(&namespace, "enforce");
        let found = enforced.broken_by(&pod);
        if !found.is_empty() {
            let why = format!("violates PodSecurity {:?}: {}", enforced.name(), told(&found));
            return Err(Status::forbidden(write.kind, write.name(), &why));
        }
    }
    let warned = policy(&namespace, "warn");
    let found = warned.broken_by(&pod);
    if found.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![format!("would violate PodSecurity {:?}: {}", warned.name(), told(&found))])
}

/// What the audit log should say of a write that is judged: the level that is enforced, and how the object breaks the one
/// that its namespace only has recorded (`audit`).
pub(crate) fn notes(write: &Write<'_>) -> Vec<(String, String)> {
    let Some((pod, namespace)) = judged(write) else { return Vec::new() };
    let note = |name: &str, text: String| (format!("pod-security.kubernetes.io/{name}"), text);
    let mut notes = Vec::new();
    if *write.kind == kinds::POD {
        notes.push(note("enforce-policy", policy(&namespace, "enforce").name()));
    }
    let audited = policy(&namespace, "audit");
    let found = audited.broken_by(&pod);
    if !found.is_empty() {
        let text = format!("would violate PodSecurity {:?}: {}", audited.name(), told(&found));
        notes.push(note("audit-violations", text));
    }
    notes
}

/// A namespace that enforces another level or version than before, unless it is plainly less: which of its pods would not be
/// let in any more.
fn of_namespace(view: &View, old: &Object, new: &Object) -> Vec<String> {
    let (before, after) = (policy(old, "enforce"), policy(new, "enforce"));
    if before.version == after.version && after.level <= before.level {
        return Vec::new();
    }
    let inside = Object::new(serde_json::json!({"metadata": {"namespace": new.name()}}));
    let pods: Vec<Arc<Object>> = beside(view, &kinds::POD, &inside);
    let mut by_problem: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for pod in pods.iter().take(PODS_MAX) {
        let found = template(&kinds::POD, pod).map(|parts| after.broken_by(&parts)).unwrap_or_default();
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
    // Pods are read in the order of their names.
    let lines = by_problem.into_iter().map(|(problems, pods)| match pods.as_slice() {
        [pod] => format!("{pod}: {problems}"),
        [pod, _] => format!("{pod} (and 1 other pod): {problems}"),
        [pod, rest @ ..] => format!("{pod} (and {} other pods): {problems}", rest.len()),
        [] => problems,
    });
    let lines: BTreeSet<String> = lines.collect();
    std::iter::once(head).chain(lines.into_iter().take(WARNINGS_MAX)).collect()
}
