//! What strategic merge patches do, as the documentation of Kubernetes says it
//! (<https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/> and the design
//! proposals it links).

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::kinds::{DEPLOYMENT, NODE, POD, SERVICE};
use crate::schema::schema_of;

fn pod(original: Value, patch: Value) -> Result<Value, StrategicError> {
    apply(schema_of(&POD), original, patch)
}

#[test]
fn lists_of_maps_merge_by_their_key() {
    let containers = json!({"spec": {"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]}});
    for (patch, expected) in [
        (json!([{"name": "b", "image": "b:2"}]), json!([{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:2"}])),
        (
            json!([{"name": "c", "image": "c:1", "tty": null}]),
            json!([{"name": "c", "image": "c:1", "tty": null}, {"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]),
        ),
        (json!([{"name": "a", "$patch": "delete"}]), json!([{"name": "b", "image": "b:1"}])),
        (json!([{"$patch": "replace"}, {"name": "z"}]), json!([{"name": "z"}])),
        (json!([{"name": "a", "image": null}]), json!([{"name": "a"}, {"name": "b", "image": "b:1"}])),
        (json!([{"name": "a", "$patch": "replace", "command": ["x"]}]), json!([])),
    ] {
        let patched = pod(containers.clone(), json!({"spec": {"containers": patch}})).unwrap();
        assert_eq!(patched["spec"]["containers"], expected, "{patch}");
    }
}

#[test]
fn the_order_of_a_patch_comes_before_that_of_the_server() {
    let original = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}, {"name": "d"}]}});
    let patch = json!({"spec": {
        "$setElementOrder/containers": [{"name": "d"}, {"name": "b"}, {"name": "a"}],
        "containers": [{"name": "b", "image": "x"}],
    }});
    let names = |value: &Value| -> Vec<String> {
        value["spec"]["containers"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&pod(original.clone(), patch).unwrap()), ["c", "d", "b", "a"]);
    let only_order = json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}});
    assert_eq!(names(&pod(original.clone(), only_order).unwrap()), ["b", "a", "c", "d"]);
    let wrong = json!({"spec": {
        "$setElementOrder/containers": [{"name": "a"}, {"name": "b"}],
        "containers": [{"name": "b"}, {"name": "a"}],
    }});
    let error = pod(original, wrong).unwrap_err().to_string();
    assert!(error.starts_with("The order in patch list:\n[map[name:b] map[name:a]]\n doesn't match"), "{error}");
}

#[test]
fn primitive_lists_merge_where_the_schema_says_so() {
    let original =
        json!({"metadata": {"finalizers": ["a", "b"]}, "spec": {"containers": [{"name": "x", "args": ["1"]}]}});
    let patch = json!({
        "metadata": {"finalizers": ["c"], "$deleteFromPrimitiveList/finalizers": ["a"]},
        "spec": {"containers": [{"name": "x", "args": ["2"]}]},
    });
    let patched = pod(original, patch).unwrap();
    assert_eq!(patched["metadata"]["finalizers"], json!(["c", "b"]));
    assert_eq!(patched["spec"]["containers"][0]["args"], json!(["2"]), "replaced");
    let ordered = json!({"metadata": {"$setElementOrder/finalizers": ["z", "a"], "finalizers": ["z"]}});
    let patched = pod(json!({"metadata": {"finalizers": ["a", "b"]}}), ordered).unwrap();
    assert_eq!(patched["metadata"]["finalizers"], json!(["z", "a", "b"]));
    let taints = json!({"spec": {"taints": [{"key": "b"}]}});
    let node = apply(schema_of(&NODE), json!({"spec": {"taints": [{"key": "a"}]}}), taints).unwrap();
    assert_eq!(node["spec"]["taints"], json!([{"key": "b"}]));
}

#[test]
fn retained_keys_clear_the_others() {
    let original = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    let patched = apply(schema_of(&DEPLOYMENT), original.clone(), patch).unwrap();
    assert_eq!(patched, json!({"spec": {"strategy": {"type": "Recreate"}}}));
    let wrong = json!({"spec": {"strategy": {"$retainKeys": ["other"], "type": "Recreate"}}});
    assert_eq!(apply(schema_of(&DEPLOYMENT), original, wrong).unwrap_err(), StrategicError::RetainKeys);
    let volumes = json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}});
    let patch =
        json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]}});
    let patched = pod(volumes, patch).unwrap();
    assert_eq!(patched["spec"]["volumes"], json!([{"name": "v", "hostPath": {"path": "/"}}]));
}

#[test]
fn maps_merge_are_replaced_or_deleted() {
    let original = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"nodeSelector": {"x": "y"}}});
    for (patch, expected) in [
        (json!({"metadata": {"labels": {"a": null, "c": "3"}}}), json!({"b": "2", "c": "3"})),
        (json!({"metadata": {"labels": {"$patch": "replace", "c": "3"}}}), json!({"c": "3"})),
        (json!({"metadata": {"labels": {"$patch": "delete"}}}), json!({})),
        (json!({"metadata": {"labels": null}}), Value::Null),
    ] {
        let patched = pod(original.clone(), patch.clone()).unwrap();
        assert_eq!(patched["metadata"]["labels"], expected, "{patch}");
    }
    let unknown = pod(original, json!({"metadata": {"$patch": "merge"}})).unwrap_err();
    assert_eq!(unknown.to_string(), "unknown patch type: merge in map: map[$patch:merge]");
    // New values come without nulls and without what a directive takes away.
    let patched =
        pod(json!({}), json!({"metadata": {"labels": {"a": null, "b": "1"}, "annotations": {"$patch": "delete"}}}));
    assert_eq!(patched.unwrap(), json!({"metadata": {"labels": {"b": "1"}}}));
}

#[test]
fn ports_of_a_service_are_told_apart_by_their_port() {
    let original = json!({"spec": {"ports": [{"port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}});
    let patch = json!({"spec": {"ports": [{"port": 80, "targetPort": 8080}]}});
    let patched = apply(schema_of(&SERVICE), original.clone(), patch).unwrap();
    assert_eq!(patched["spec"]["ports"][0], json!({"port": 80, "protocol": "TCP", "targetPort": 8080}));
    let keyless = apply(schema_of(&SERVICE), original, json!({"spec": {"ports": [{"name": "x"}]}})).unwrap_err();
    assert_eq!(keyless.to_string(), "map: map[name:x] does not contain declared merge key: port");
}

fn any_patch() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        Just(json!("replace")),
        Just(json!("delete")),
        any::<i8>().prop_map(Value::from),
        "[a-c]".prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("spec"),
        Just("containers"),
        Just("name"),
        Just("ports"),
        Just("containerPort"),
        Just("finalizers"),
        Just("metadata"),
        Just("$patch"),
        Just("$retainKeys"),
        Just("$setElementOrder/containers"),
        Just("$deleteFromPrimitiveList/finalizers"),
        Just("volumes"),
    ];
    leaf.prop_recursive(5, 48, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..4)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_patch_of_any_object_is_applied_or_refused(original in any_patch(), patch in any_patch()) {
        let _ = pod(original.clone(), json!({"spec": patch.clone()}));
        let _ = pod(json!({"spec": original}), json!({"spec": patch}));
    }

    #[test]
    fn an_empty_patch_changes_nothing(original in any_patch()) {
        let original = json!({"spec": original});
        prop_assert_eq!(pod(original.clone(), json!({})).unwrap(), original);
    }
}
