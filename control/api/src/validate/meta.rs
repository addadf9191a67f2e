//! `metadata` of every object.

use serde_json::Value;

use super::labels;
use crate::field::Errors;
use crate::json;
use crate::kind::Kind;
use crate::names;

/// All annotations of an object together, as in Kubernetes: they are read with every list.
const ANNOTATIONS_MAX: usize = 256 * 1024;
/// Finalizers that need no prefix.
const PLAIN_FINALIZERS: [&str; 3] = ["orphan", "foregroundDeletion", "kubernetes"];

/// Checks names, labels, annotations, owners and finalizers.
pub(crate) fn object(kind: &Kind, value: &Value, errors: &mut Errors) {
    let metadata = json::get(value, "metadata");
    let name = json::text(metadata, &["name"]);
    let prefix = json::text(metadata, &["generateName"]);
    if !prefix.is_empty() {
        for problem in (kind.rules.name)(prefix, true) {
            errors.invalid_str("metadata.generateName", prefix, &problem);
        }
    }
    if name.is_empty() {
        errors.required("metadata.name", "name or generateName is required");
    } else {
        // A name must fit into a path, whatever else its kind asks of it.
        for problem in names::path_segment(name).into_iter().chain((kind.rules.name)(name, false)) {
            errors.invalid_str("metadata.name", name, &problem);
        }
    }
    let namespace = json::text(metadata, &["namespace"]);
    if kind.is_namespaced() && !namespace.is_empty() {
        super::text(errors, "metadata.namespace", namespace, names::dns_label);
    }
    labels::map(errors, json::get(metadata, "labels"), "metadata.labels");
    annotations(errors, json::get(metadata, "annotations"), "metadata.annotations");
    owners(errors, metadata);
    // Of custom kinds Kubernetes only warns.
    finalizers(errors, json::items(metadata, &["finalizers"]), "metadata.finalizers", kind.custom.is_some());
}

/// Names of finalizers: qualified by a domain, unless they are `free` or Kubernetes' own.
pub(crate) fn finalizers(errors: &mut Errors, finalizers: &[Value], path: &str, free: bool) {
    for (index, finalizer) in finalizers.iter().enumerate() {
        let field = format!("{path}[{index}]");
        let finalizer = finalizer.as_str().unwrap_or_default();
        super::text(errors, &field, finalizer, names::qualified_name);
        if !free && !finalizer.contains('/') && !PLAIN_FINALIZERS.contains(&finalizer) {
            errors.invalid_str(field, finalizer, "name is neither a standard finalizer name nor is it fully qualified");
        }
    }
}

/// Checks what an update may not change.
pub(crate) fn update(new: &Value, old: &Value, errors: &mut Errors) {
    if json::text(old, &["metadata", "deletionTimestamp"]).is_empty() {
        return;
    }
    let before = json::items(old, &["metadata", "finalizers"]);
    let added: Vec<&str> = json::items(new, &["metadata", "finalizers"])
        .iter()
        .filter(|finalizer| !before.contains(finalizer))
        .filter_map(Value::as_str)
        .collect();
    if !added.is_empty() {
        let detail = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            added.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
        );
        errors.forbidden("metadata.finalizers", &detail);
    }
}

/// Keys and total size of annotations.
pub(crate) fn annotations(errors: &mut Errors, map: &Value, path: &str) {
    let mut size = 0;
    for (key, value) in json::members(map, &[]) {
        super::text(errors, path, &key.to_lowercase(), names::qualified_name);
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_MAX {
        errors.too_long(path, ANNOTATIONS_MAX);
    }
}

fn owners(errors: &mut Errors, metadata: &Value) {
    let mut controller = "";
    let mut told = false;
    for (index, owner) in json::items(metadata, &["ownerReferences"]).iter().enumerate() {
        let path = format!("metadata.ownerReferences[{index}]");
        if json::text(owner, &["apiVersion"]).is_empty() {
            errors.invalid_str(format!("{path}.apiVersion"), "", "version must not be empty");
        }
        for key in ["kind", "name", "uid"] {
            if json::text(owner, &[key]).is_empty() {
                errors.invalid_str(format!("{path}.{key}"), "", &format!("{key} must not be empty"));
            }
        }
        if json::text(owner, &["apiVersion"]) == "v1" && json::text(owner, &["kind"]) == "Event" {
            errors.invalid(&path, owner, "/v1, Kind=Event is disallowed from being an owner");
        }
        if json::flag(owner, &["controller"]) {
            let name = json::text(owner, &["name"]);
            // Once: the error shows the whole list, and there may be as many controllers as references.
            if !controller.is_empty() && !std::mem::replace(&mut told, true) {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {controller} and {name}"
                );
                errors.invalid("metadata.ownerReferences", json::get(metadata, "ownerReferences"), &detail);
            }
            controller = name;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn many_controllers_are_one_mistake() {
        let owner = |index: usize| {
            let name = format!("o{index}");
            json!({ "apiVersion": "v1", "kind": "Pod", "name": name, "uid": name, "controller": true })
        };
        let owners: Vec<Value> = (0..1_000).map(owner).collect();
        let mut errors = Errors::new();
        super::owners(&mut errors, &json!({ "ownerReferences": owners }));
        let errors = errors.into_vec();
        assert_eq!(errors.len(), 1);
        assert!(errors[0].message.contains("in references for o0 and o1") && errors[0].message.len() < 2_000);
    }
}
