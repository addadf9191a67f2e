//! The table says what Kubernetes' documents say.

use serde_json::json;

use super::*;
use crate::kinds::{CONFIGMAP, CRD, DEPLOYMENT, POD, ROLE, SERVICE};

fn node_at<'a>(schema: &'a Schema, shape: &'a Shape, path: &[&str]) -> Node<'a> {
    path.iter().fold(schema.node(shape), |node, step| match *step {
        "[]" => node.items().expect("a list"),
        name => node.member(name).expect("a member"),
    })
}

#[test]
fn lists_have_the_keys_that_kubernetes_gives_them() {
    let schema = schema_of(&DEPLOYMENT);
    let root = schema.root_shape();
    let ports = node_at(schema, &root, &["spec", "template", "spec", "containers", "[]", "ports"]);
    let Shape::List(_, ListType::Map(keys)) = ports.shape() else { panic!("not a map list") };
    assert_eq!(keys, &["containerPort", "protocol"]);
    assert_eq!(ports.items().expect("items").key_default("protocol"), Some(json!("TCP")));
    let container = node_at(schema, &root, &["spec", "template", "spec", "containers", "[]"]);
    assert_eq!(container.field("ports").expect("ports").0.facts.patch_merge_key, "containerPort");
    assert_eq!(container.key_default("name"), Some(json!("")));
    let selector = node_at(schema, &root, &["spec", "selector"]);
    assert!(matches!(selector.shape(), Shape::Struct(_, MapType::Atomic)));
    let strategy = node_at(schema, &root, &["spec"]).field("strategy").expect("strategy").0;
    assert!(strategy.facts.retains_keys() && !strategy.facts.merges());
}

#[test]
fn every_row_of_the_table_can_be_read_and_names_a_field() {
    let schema = schema_of(&POD);
    let known: BTreeMap<&str, &Struct> = schema.structs().map(|(_, of)| (of.name.as_str(), of)).collect();
    for ((owner, field), _) in facts::table() {
        let Some(of) = known.get(owner) else { continue };
        assert!(field.is_empty() || of.fields.contains_key(field), "{owner} has no field {field}");
    }
    for kind in crate::kinds::kinds() {
        assert!(!schema_of(kind).root().name.is_empty(), "{kind:?}");
    }
    let spec = schema_of(&SERVICE).root().fields["spec"].description.as_str();
    assert!(spec.starts_with("Spec defines the behavior of a service."), "{spec}");
}

#[test]
fn a_custom_kind_says_its_own() {
    let schema = Schema::from_crd(&json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer"},
            "port": {"x-kubernetes-int-or-string": true},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "parts": {
                "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
                "items": {"type": "object", "properties": {"id": {"type": "string", "default": "a"}}},
            },
        }},
    }}));
    let root = schema.root_shape();
    assert!(node_at(&schema, &root, &["metadata", "labels", "x"]).shape().zero() == "");
    assert!(matches!(node_at(&schema, &root, &["spec", "port"]).shape(), Shape::IntOrString));
    assert!(matches!(node_at(&schema, &root, &["spec", "free", "any", "thing"]).shape(), Shape::Deduced));
    let parts = node_at(&schema, &root, &["spec", "parts"]);
    assert!(matches!(parts.shape(), Shape::List(_, ListType::Map(keys)) if keys == &["id"]));
    assert_eq!(parts.items().expect("items").key_default("id"), Some(json!("a")));
    assert!(schema.node(&root).member("nope").is_none());
}

#[test]
fn what_go_would_not_write_is_dropped_and_what_it_would_is_kept() {
    let tidy = |kind: &Kind, mut value: Value| {
        schema_of(kind).tidy(&mut value);
        value
    };
    let container = |more: Value| {
        let mut container = json!({"name": "c"});
        container.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        json!({"spec": {"containers": [container]}})
    };
    let rows = [
        (
            json!({"spec": {"hostNetwork": false, "hostPID": false, "nodeSelector": {}, "tolerations": [], "volumes": []}}),
            json!({"spec": {}}),
        ),
        (json!({"spec": {"nodeName": "", "containers": []}}), json!({"spec": {"containers": []}})),
        // Pointers: zero is a word of its own.
        (
            json!({"spec": {"shareProcessNamespace": false, "terminationGracePeriodSeconds": 0, "securityContext": {}, "priority": 0}}),
            Value::Null,
        ),
        (
            container(json!({"stdin": false, "command": [], "workingDir": "", "resources": {"requests": {}}})),
            container(json!({"resources": {}})),
        ),
        (
            container(json!({"env": [{"name": "a", "value": ""}], "ports": [{"containerPort": 0}]})),
            container(json!({"env": [{"name": "a"}], "ports": [{"containerPort": 0}]})),
        ),
        (
            container(json!({"livenessProbe": {"initialDelaySeconds": 0, "httpGet": {"port": 0, "path": ""}}})),
            container(json!({"livenessProbe": {"httpGet": {"port": 0}}})),
        ),
        (
            json!({"metadata": {"labels": {"a": ""}, "annotations": {}, "ownerReferences": [], "deletionGracePeriodSeconds": 0}}),
            json!({"metadata": {"labels": {"a": ""}, "deletionGracePeriodSeconds": 0}}),
        ),
        (
            json!({"status": {"containerStatuses": [{"name": "c", "ready": false, "restartCount": 0, "started": false, "containerID": ""}]}}),
            json!({"status": {"containerStatuses": [{"name": "c", "ready": false, "restartCount": 0, "started": false}]}}),
        ),
    ];
    for (given, expected) in rows {
        let expected = if expected.is_null() { given.clone() } else { expected };
        assert_eq!(tidy(&POD, given), expected);
    }
    let status = json!({"status": {"replicas": 0, "unavailableReplicas": 0}, "spec": {"paused": false, "replicas": 0, "strategy": {}}});
    assert_eq!(tidy(&DEPLOYMENT, status), json!({"status": {}, "spec": {"replicas": 0, "strategy": {}}}));
    let map = json!({"immutable": false, "binaryData": {}, "data": {"a": ""}});
    assert_eq!(tidy(&CONFIGMAP, map), json!({"immutable": false, "data": {"a": ""}}));
    assert_eq!(tidy(&ROLE, json!({"rules": []})), json!({"rules": []}));
    let port = json!({"spec": {"ports": [{"port": 1, "targetPort": 0, "nodePort": 0}]}});
    assert_eq!(tidy(&SERVICE, port), json!({"spec": {"ports": [{"port": 1, "targetPort": 0}]}}));
    let schema = json!({"spec": {"versions": [{"served": false, "schema": {"openAPIV3Schema": {
        "properties": {"a": {"default": false, "minimum": 0, "required": [], "nullable": false}},
    }}}]}});
    let expected = json!({"spec": {"versions": [{"served": false, "schema": {"openAPIV3Schema": {
        "properties": {"a": {"default": false, "minimum": 0}},
    }}}]}});
    assert_eq!(tidy(&CRD, schema), expected);
}
