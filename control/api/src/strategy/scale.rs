//! The `/scale` subresource: `autoscaling/v1` Scale of Deployments and ReplicaSets.

use serde_json::{Value, json};

use crate::custom::ScalePaths;
use crate::field::Errors;
use crate::json;
use crate::kind::Kind;
use crate::object::Object;
use crate::selector::Labels;
use crate::status::Status;

/// The Scale of an object.
pub fn scale_of(kind: &Kind, object: &Object) -> Result<Value, Status> {
    if !kind.has_scale {
        return Err(Status::no_such_resource());
    }
    let mut metadata = json!({});
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        json::copy(&mut metadata, object.metadata(), key);
    }
    if let Some(paths) = kind.custom.and_then(|custom| custom.scale.as_ref()) {
        return custom_scale(paths, &object.0, &metadata);
    }
    let given = object.at("/spec/selector").unwrap_or(&Value::Null);
    // A ReplicationController's selector is a plain map of labels.
    let is_map = *kind == crate::kinds::REPLICATIONCONTROLLER;
    let selector = if is_map { Labels::from_map(given) } else { Labels::from_label_selector(given)? };
    Ok(json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": object.int("/spec/replicas").unwrap_or(1)},
        "status": {"replicas": object.int("/status/replicas").unwrap_or_default(), "selector": selector.to_string()},
    }))
}

fn custom_scale(paths: &ScalePaths, object: &Value, metadata: &Value) -> Result<Value, Status> {
    let Some(replicas) = paths.replicas(object) else {
        let path = paths.spec.join(".");
        return Err(Status::internal(format!("the spec replicas field \".{path}\" does not exist")));
    };
    let mut status = json!({"replicas": paths.running(object)});
    if let Some(selector) = paths.selector(object) {
        json::set(&mut status, "selector", selector);
    }
    Ok(json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": replicas}, "status": status,
    }))
}

/// The object with the replicas of `scale`, for [`super::update`]. A resourceVersion in the scale goes along, so that it
/// is a precondition.
pub fn with_scale(kind: &Kind, object: &Object, scale: &Value) -> Result<Value, Status> {
    if !kind.has_scale {
        return Err(Status::no_such_resource());
    }
    let unfit =
        |why: String| Status::bad_request(format!("Scale in version \"v1\" cannot be handled as a Scale: {why}"));
    let name = json::text(scale, &["metadata", "name"]);
    if !name.is_empty() && name != object.name() {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            object.name()
        )));
    }
    let uid = json::text(scale, &["metadata", "uid"]);
    if !uid.is_empty() && uid != object.uid() {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", object.uid());
        return Err(Status::conflict(kind, object.name(), &why));
    }
    let replicas = match json::dig(scale, &["spec", "replicas"]) {
        Value::Null => 0,
        Value::Number(number) => number
            .as_i64()
            .and_then(|replicas| i32::try_from(replicas).ok())
            .ok_or_else(|| unfit(mismatch(&format!("number {number}"))))?,
        Value::String(_) => return Err(unfit(mismatch("string"))),
        Value::Bool(_) => return Err(unfit(mismatch("bool"))),
        Value::Array(_) => return Err(unfit(mismatch("array"))),
        Value::Object(_) => return Err(unfit(mismatch("object"))),
    };
    if replicas < 0 {
        let mut errors = Errors::new();
        errors.invalid("spec.replicas", &Value::from(replicas), "must be greater than or equal to 0");
        return Err(Status::invalid_named("autoscaling", "Scale", object.name(), &errors.into_vec()));
    }
    let mut value = object.0.clone();
    match kind.custom.and_then(|custom| custom.scale.as_ref()) {
        Some(paths) => paths.put(&mut value, replicas.into()),
        None => json::set(json::object_at(&mut value, "spec"), "replicas", replicas),
    }
    let version = json::text(scale, &["metadata", "resourceVersion"]);
    if !version.is_empty() {
        json::set(json::object_at(&mut value, "metadata"), "resourceVersion", version);
    }
    Ok(value)
}

fn mismatch(what: &str) -> String {
    format!("json: cannot unmarshal {what} into Go struct field ScaleSpec.spec.replicas of type int32")
}
