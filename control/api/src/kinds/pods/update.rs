//! What of a pod may change, and through which door.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/core/validation`: `ValidatePodCreate`, `ValidatePodUpdate`,
//! `ValidatePodEphemeralContainersUpdate`. Unlike there, an ordinary update may set `spec.nodeName` once.

use serde_json::Value;

use crate::field::Errors;
use crate::json;
use crate::kind::Part;
use crate::validate;

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
    // A node would refuse it for good.
    validate::annotations::check(errors, json::dig(value, &["metadata", "annotations"]), "metadata.annotations");
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
    let (new, old) = (json::get(new, "spec"), json::get(old, "spec"));
    for key in ["containers", "initContainers"] {
        let (now, before) = (json::items(new, &[key]), json::items(old, &[key]));
        if now.len() != before.len() {
            errors.forbidden(format!("spec.{key}"), "pod updates may not add or remove containers");
            return;
        }
    }
    if !deadline(errors, new, old) {
        return;
    }
    // What may change is made the same; the rest must be the same already.
    let mut rest = new.clone();
    for key in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        json::copy(&mut rest, old, key);
    }
    tolerations(errors, json::items(new, &["tolerations"]), json::items(old, &["tolerations"]));
    let gates = json::items(old, &["schedulingGates"]);
    for gate in json::items(new, &["schedulingGates"]) {
        if !gates.contains(gate) {
            let name = json::text(gate, &["name"]);
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.forbidden("spec.schedulingGates", &detail);
        }
    }
    if !gates.is_empty() {
        narrowed(errors, &mut rest, new, old);
    }
    if json::int(old, &["terminationGracePeriodSeconds"]).is_some_and(|seconds| seconds < 0)
        && json::int(new, &["terminationGracePeriodSeconds"]) == Some(1)
    {
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
        errors.forbidden("spec", &format!("{FORBIDDEN}\n{}", differences(&rest, old)));
    }
}

const FORBIDDEN: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
    `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
    tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// A deadline may be set, or brought forward.
fn deadline(errors: &mut Errors, new: &Value, old: &Value) -> bool {
    const FIELD: &str = "spec.activeDeadlineSeconds";
    let value = json::get(new, "activeDeadlineSeconds");
    let detail = match (value.as_i64(), json::int(old, &["activeDeadlineSeconds"])) {
        (Some(seconds), _) if !(0..=i64::from(i32::MAX)).contains(&seconds) => {
            format!("must be between 0 and {}, inclusive", i32::MAX)
        }
        (Some(seconds), Some(before)) if before < seconds => "must be less than or equal to previous value".to_owned(),
        (None, Some(_)) => "must not update from a positive integer to nil value".to_owned(),
        _ => return true,
    };
    errors.invalid(FIELD, value, &detail);
    value.is_null()
}

/// Tolerations may be added; of those that are there only the time may change.
fn tolerations(errors: &mut Errors, new: &[Value], old: &[Value]) {
    let timeless = |toleration: &Value| {
        let mut toleration = toleration.clone();
        json::remove(&mut toleration, "tolerationSeconds");
        toleration
    };
    for toleration in old.iter().map(timeless) {
        if !new.iter().any(|kept| json::same(&timeless(kept), &toleration)) {
            let detail = "existing toleration can not be modified except its tolerationSeconds";
            errors.forbidden("spec.tolerations", detail);
            return;
        }
    }
}

/// A pod that waits behind gates may be told more narrowly where to run.
fn narrowed(errors: &mut Errors, rest: &mut Value, new: &Value, old: &Value) {
    let (labels, before) = (json::get(new, "nodeSelector"), json::get(old, "nodeSelector"));
    if json::members(before, &[]).all(|(key, value)| json::get(labels, key) == value) {
        json::copy(rest, old, "nodeSelector");
    } else {
        errors.invalid("spec.nodeSelector", labels, validate::IMMUTABLE);
    }
    // Without one before, any is narrower.
    if json::dig(old, &["affinity", "nodeAffinity"]).is_null() && !json::get(new, "affinity").is_null() {
        json::remove(json::object_at(rest, "affinity"), "nodeAffinity");
    }
}

/// The first places where the two differ, one line each way.
fn differences(new: &Value, old: &Value) -> String {
    /// Enough to see what is meant; the client has both.
    const LINES_MAX: usize = 10;
    let mut lines = Vec::new();
    compare(&mut lines, "spec", new, old);
    lines.truncate(LINES_MAX);
    lines.join("\n")
}

fn compare(lines: &mut Vec<String>, path: &str, new: &Value, old: &Value) {
    const CHARS_MAX: usize = 80;
    if json::same(new, old) {
        return;
    }
    match (new, old) {
        (Value::Object(now), Value::Object(before)) => {
            let added = now.keys().filter(|key| !before.contains_key(*key));
            for key in before.keys().chain(added) {
                compare(lines, &format!("{path}.{key}"), json::get(new, key), json::get(old, key));
            }
        }
        (Value::Array(now), Value::Array(before)) if now.len() == before.len() => {
            for (index, (now, before)) in now.iter().zip(before).enumerate() {
                compare(lines, &format!("{path}[{index}]"), now, before);
            }
        }
        _ => {
            let shown = |value: &Value| value.to_string().chars().take(CHARS_MAX).collect::<String>();
            lines.push(format!("- {path}: {}", shown(old)));
            lines.push(format!("+ {path}: {}", shown(new)));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::patch::merge;

    fn refusals(old: &Value, change: &Value) -> Vec<String> {
        let old = json!({"spec": old});
        let mut new = old.clone();
        merge(&mut new, &json!({"spec": change}));
        let mut errors = Errors::new();
        check(&new, &old, &mut errors);
        errors.into_vec().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_may_change_of_a_pod_changes_and_the_rest_is_named() {
        let container = json!({"name": "c", "image": "i"});
        let gated = json!({"containers": [container], "schedulingGates": [{"name": "a"}, {"name": "b"}], "nodeSelector": {"x": "y"}});
        let toleration = json!({"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5});
        let late = json!({"containers": [container], "tolerations": [toleration], "activeDeadlineSeconds": 9,
            "terminationGracePeriodSeconds": -3});
        for (old, change) in [
            (&late, json!({"containers": [{"name": "c", "image": "j"}]})),
            (&late, json!({"activeDeadlineSeconds": 8})),
            (&late, json!({"terminationGracePeriodSeconds": 1})),
            (&late, json!({"nodeName": "n1"})),
            (
                &late,
                json!({"tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute"}, {"operator": "Exists"}]}),
            ),
            (&gated, json!({"schedulingGates": [{"name": "b"}]})),
            (&gated, json!({"nodeSelector": {"zone": "z"}})),
            (&gated, json!({"affinity": {"nodeAffinity": {}}})),
        ] {
            assert_eq!(refusals(old, &change), Vec::<String>::new(), "{change}");
        }
        for (old, change, text) in [
            (
                &late,
                json!({"containers": []}),
                "spec.containers: Forbidden: pod updates may not add or remove containers",
            ),
            (&late, json!({"activeDeadlineSeconds": 10}), "must be less than or equal to previous value"),
            (&late, json!({"activeDeadlineSeconds": null}), "must not update from a positive integer to nil value"),
            (&late, json!({"tolerations": []}), "existing toleration can not be modified except its tolerationSeconds"),
            (
                &late,
                json!({"terminationGracePeriodSeconds": 2}),
                "- spec.terminationGracePeriodSeconds: -3\n+ spec.terminationGracePeriodSeconds: 2",
            ),
            (
                &late,
                json!({"hostNetwork": true}),
                "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`",
            ),
            (
                &late,
                json!({"containers": [{"name": "c", "image": "i", "env": [{"name": "A"}]}]}),
                "+ spec.containers[0].env: [{\"name\":\"A\"}]",
            ),
            (
                &gated,
                json!({"schedulingGates": [{"name": "c"}]}),
                "only deletion is allowed, but found new scheduling gate 'c'",
            ),
            (
                &gated,
                json!({"nodeSelector": {"x": "z"}}),
                "spec.nodeSelector: Invalid value: {\"x\":\"z\"}: field is immutable",
            ),
        ] {
            let found = refusals(old, &change).join("; ");
            assert!(found.contains(text), "{text}\nin {found}");
        }
    }
}
