//! Failures as clients get them.

use super::*;
use crate::field::Errors;
use crate::kinds::{CONFIGMAP, DEPLOYMENT};

#[test]
fn failures_are_told_as_kubernetes_tells_them() {
    assert_eq!(
        Status::not_found(&DEPLOYMENT, "web").to_value(),
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "deployments.apps \"web\" not found", "reason": "NotFound",
            "details": {"name": "web", "group": "apps", "kind": "deployments"}, "code": 404
        })
    );
    assert_eq!(
        Status::modified(&CONFIGMAP, "w2").message,
        "Operation cannot be fulfilled on configmaps \"w2\": the object has been modified; please apply your \
         changes to the latest version and try again"
    );
    let late = Status::too_large_resource_version(99_999_999, 1272);
    assert_eq!(late.message, "Timeout: Too large resource version: 99999999, current: 1272");
    assert_eq!(late.to_value()["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    assert_eq!(late.to_value()["details"]["retryAfterSeconds"], 1);
}

#[test]
fn every_field_error_is_a_cause() {
    let mut errors = Errors::new();
    errors.required("spec.selector", "");
    errors.invalid("spec.replicas", &Value::from(-1), "must be greater than or equal to 0");
    let status = Status::invalid(&DEPLOYMENT, "web", errors);
    assert_eq!(
        status.message,
        "Deployment.apps \"web\" is invalid: [spec.selector: Required value, spec.replicas: Invalid value: -1: must \
         be greater than or equal to 0]"
    );
    let details = &status.to_value()["details"];
    assert_eq!((&details["kind"], &details["group"]), (&json!("Deployment"), &json!("apps")));
    assert_eq!(
        details["causes"][0],
        json!({"reason": "FieldValueRequired", "message": "Required value", "field": "spec.selector"})
    );
}
