//! Bodies that fit, and bodies that do not, with Kubernetes' texts.

use serde_json::json;

use super::*;
use crate::kinds::{CONFIGMAP, DEPLOYMENT, POD, SECRET, SERVICE};

fn refusal(kind: &Kind, value: Value) -> String {
    let status = body(kind, value, FieldValidation::Strict).unwrap_err();
    assert_eq!((status.code, status.reason), (400, crate::Reason::BadRequest));
    status.message
}

#[test]
fn wrong_types_are_refused_in_kubernetes_words() {
    assert_eq!(
        refusal(&DEPLOYMENT, json!({"spec": {"replicas": "three"}})),
        "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct \
         field DeploymentSpec.spec.replicas of type int32"
    );
    for (kind, value, text) in [
        (
            &POD,
            json!({"spec": {"containers": [{"env": [{"value": 1}]}]}}),
            "number into Go struct field EnvVar.spec.containers.env.value of type string",
        ),
        (
            &POD,
            json!({"spec": {"containers": {}}}),
            "object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (&POD, json!({"spec": []}), "array into Go struct field Pod.spec of type v1.PodSpec"),
        (
            &POD,
            json!({"metadata": {"labels": {"a": 1}}}),
            "number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (&CONFIGMAP, json!({"data": {"a": true}}), "bool into Go struct field ConfigMap.data of type string"),
        (
            &DEPLOYMENT,
            json!({"spec": {"replicas": 1.5}}),
            "number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            &DEPLOYMENT,
            json!({"spec": {"replicas": 3_000_000_000_i64}}),
            "number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (&SERVICE, json!({"spec": {"ports": [{"targetPort": true}]}}), "bool into Go value of type int32"),
        (&CONFIGMAP, json!([1]), "array into Go value of type v1.ConfigMap"),
    ] {
        let message = refusal(kind, value);
        assert!(message.ends_with(&format!("json: cannot unmarshal {text}")), "{message}");
    }
    let memory = json!({"spec": {"containers": [{"resources": {"limits": {"memory": "lots"}}}]}});
    assert!(refusal(&POD, memory).contains("quantities must match the regular expression"));
    assert!(refusal(&SECRET, json!({"data": {"a": "%%"}})).ends_with("illegal base64 data at input byte 0"));
}

#[test]
fn unknown_fields_are_refused_warned_about_or_dropped() {
    let value =
        json!({"metadata": {"name": "a", "foo": 1}, "spec": {"template": {"spec": {"containers": [{"bar": 1}]}}}});
    assert_eq!(
        refusal(&DEPLOYMENT, value.clone()),
        "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \
         \"metadata.foo\", unknown field \"spec.template.spec.containers[0].bar\""
    );
    let (cleaned, warnings) = body(&DEPLOYMENT, value.clone(), FieldValidation::Warn).unwrap();
    assert_eq!(warnings, ["unknown field \"metadata.foo\"", "unknown field \"spec.template.spec.containers[0].bar\""]);
    assert_eq!(cleaned["metadata"], json!({"name": "a"}));
    assert_eq!(body(&DEPLOYMENT, value, FieldValidation::Ignore).unwrap(), (cleaned, Vec::new()));
}

#[test]
fn duplicate_fields_are_found_and_the_last_one_counts() {
    let text = br#"{"metadata":{"name":"a"},"data":{"a":"1","a":"2"}}"#;
    let (value, warnings) = bytes(&CONFIGMAP, text, FieldValidation::Warn).unwrap();
    assert_eq!(warnings, ["duplicate field \"data.a\""]);
    assert_eq!(value["data"], json!({"a": "2"}));
    assert!(bytes(&CONFIGMAP, text, FieldValidation::Strict).unwrap_err().message.contains("duplicate field"));
    assert_eq!(bytes(&CONFIGMAP, b"{", FieldValidation::Warn).unwrap_err().code, 400);
}

#[test]
fn problems_are_told_in_the_order_of_the_text() {
    let text = br#"{"spec":{"zoo":{"a":1,"a":2},"replicas":1,"replicas":2,"abc":1,"abc":2},"bar":1,
        "metadata":{"foo":1,"labels":{"x":"1","x":"2"}}}"#;
    let (_, warnings) = bytes(&DEPLOYMENT, text, FieldValidation::Warn).unwrap();
    assert_eq!(
        warnings,
        [
            "unknown field \"spec.zoo\"",
            "duplicate field \"spec.replicas\"",
            "unknown field \"spec.abc\"",
            "unknown field \"bar\"",
            "unknown field \"metadata.foo\"",
            "duplicate field \"metadata.labels.x\"",
        ]
    );
}

#[test]
fn keys_that_come_twice_in_yaml_are_one_problem_or_several_warnings() {
    let lines =
        || vec!["line 2: key \"a\" already set in map".to_owned(), "line 3: key \"b\" already set in map".to_owned()];
    let value = json!({"metadata": {"name": "x"}, "foo": 1});
    let strict = yaml(&CONFIGMAP, value.clone(), lines(), FieldValidation::Strict).unwrap_err();
    assert_eq!(
        strict.message,
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: yaml: unmarshal errors:\n  \
         line 2: key \"a\" already set in map\n  line 3: key \"b\" already set in map, unknown field \"foo\""
    );
    assert_eq!(yaml(&CONFIGMAP, value, lines(), FieldValidation::Warn).unwrap().1.len(), 3);
}

#[test]
fn bodies_that_say_nothing_are_shown_but_not_those_of_secrets() {
    let shown = |kind: &Kind, text: &[u8]| bytes(kind, text, FieldValidation::Warn).unwrap_err().message;
    assert_eq!(
        shown(&CONFIGMAP, b""),
        "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: \
         unexpected end of JSON input (<empty>)"
    );
    assert!(shown(&CONFIGMAP, br#"{"a":"#).ends_with(r#"({"a":)"#));
    assert!(shown(&SECRET, br#"{"data":{"p":"aHVudGVyMg=="}"#).ends_with("(28 bytes)"));
}

#[test]
fn nulls_say_nothing_and_amounts_become_canonical() {
    let value = json!({
        "metadata": {"name": "a", "creationTimestamp": null, "labels": {"x": null}},
        "spec": {"replicas": null, "template": {"spec": {"containers": [
            {"name": "c", "resources": {"requests": {"cpu": 0.5, "memory": "1024Mi"}}}
        ]}}},
        "status": {}
    });
    let (value, _) = body(&DEPLOYMENT, value, FieldValidation::Strict).unwrap();
    assert_eq!(value["metadata"], json!({"name": "a", "labels": {"x": ""}}));
    assert!(value["spec"].get("replicas").is_none());
    let requests = &value["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"];
    assert_eq!(*requests, json!({"cpu": "500m", "memory": "1Gi"}));
    assert_eq!((&value["apiVersion"], &value["kind"]), (&json!("apps/v1"), &json!("Deployment")));
}

#[test]
fn another_kind_or_version_is_refused() {
    assert_eq!(
        refusal(&CONFIGMAP, json!({"apiVersion": "v2", "kind": "ConfigMap"})),
        "the API version in the data (v2) does not match the expected API version (v1)"
    );
    assert_eq!(
        refusal(&CONFIGMAP, json!({"apiVersion": "v1", "kind": "Pod"})),
        "Pod in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Pod) to (v1.ConfigMap): unknown conversion"
    );
    assert!(refusal(&CONFIGMAP, json!({"kind": "Nonsense"})).contains("no kind \"Nonsense\" is registered"));
}

#[test]
fn long_paths_are_cut_in_what_is_told() {
    let key = "k".repeat(10_000);
    let text = format!(r#"{{"data":{{"{key}":"1","{key}":"2"}},"{key}":1}}"#);
    let (_, warnings) = bytes(&CONFIGMAP, text.as_bytes(), FieldValidation::Warn).unwrap();
    assert_eq!(warnings.len(), 2);
    assert!(warnings.iter().all(|warning| warning.len() < 1100), "{warnings:?}");
}
