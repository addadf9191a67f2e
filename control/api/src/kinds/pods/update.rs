//! What of a pod may change, and through which door.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/core/validation`: `ValidatePodCreate`, `ValidatePodUpdate`,
//! `ValidatePodEphemeralContainersUpdate`. Unlike there, an ordinary update may set `spec.nodeName` once.

use serde_json::Value;

use crate::field::Errors;
use crate::json;
use crate::kind::Part;

/// `pods/ephemeralcontainers`: containers for `kubectl debug` are added to a pod that runs.
pub(super) const EPHEMERAL_CONTAINERS: Part = Part {
    name: "ephemeralcontainers",
    take: |pod, new| {
        json::copy(json::object_at(pod, "spec"), json::get(new, "spec"), "ephemeralContainers");
    },
    validate: ephemeral_containers,
};

/// What a new pod may not have yet.
pub(super) fn create(value: &Value, errors: &mut Errors) {
    let spec = json::get(value, "spec");
    if !json::items(spec, &["ephemeralContainers"]).is_empty() {
        errors.forbidden("spec.ephemeralContainers", "cannot be set on create");
    }
    if !json::items(spec, &["schedulingGates"]).is_empty() && !json::text(spec, &["nodeName"]).is_empty() {
        errors.forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared");
    }
}

fn ephemeral_containers(new: &Value, old: &Value, errors: &mut Errors) {
    let list = |value| json::items(value, &["spec", "ephemeralContainers"]);
    let path = "spec.ephemeralContainers";
    for before in list(old) {
        let name = json::text(before, &["name"]);
        match list(new).iter().find(|container| json::text(container, &["name"]) == name) {
            None => errors.forbidden(path, &format!("existing ephemeral containers {name:?} may not be removed\n")),
            Some(now) if !json::same(now, before) => {
                errors.forbidden(path, &format!("existing ephemeral containers {name:?} may not be changed\n"));
            }
            Some(_) => {}
        }
    }
}

/// What an ordinary update may not change.
pub(super) fn check(new: &Value, old: &Value, errors: &mut Errors) {
    const FORBIDDEN: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
        `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
        tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
    let (new, old) = (json::get(new, "spec"), json::get(old, "spec"));
    for key in ["containers", "initContainers"] {
        if json::items(new, &[key]).len() != json::items(old, &[key]).len() {
            errors.forbidden(format!("spec.{key}"), "pod updates may not add or remove containers");
            return;
        }
    }
    let tolerations = json::items(new, &["tolerations"]);
    for (index, toleration) in json::items(old, &["tolerations"]).iter().enumerate() {
        if !tolerations.iter().any(|kept| json::same(kept, toleration)) {
            errors.forbidden(
                format!("spec.tolerations[{index}]"),
                "existing toleration can not be modified except its tolerationSeconds",
            );
        }
    }
    // What may change is made the same; the rest must be the same already.
    let mut rest = new.clone();
    for key in ["activeDeadlineSeconds", "tolerations"] {
        json::copy(&mut rest, old, key);
    }
    if json::int(old, &["terminationGracePeriodSeconds"]).is_some_and(|seconds| seconds < 0) {
        json::copy(&mut rest, old, "terminationGracePeriodSeconds");
    }
    if json::text(old, &["nodeName"]).is_empty() {
        json::remove(&mut rest, "nodeName");
    }
    for key in ["containers", "initContainers"] {
        for (container, before) in json::items_mut(&mut rest, key).zip(json::items(old, &[key])) {
            json::copy(container, before, "image");
        }
    }
    if !json::same(&rest, old) {
        errors.forbidden("spec", FORBIDDEN);
    }
}
