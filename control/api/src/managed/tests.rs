//! What server-side apply does, as Kubernetes documents it
//! (<https://kubernetes.io/docs/reference/using-api/server-side-apply/>) and as its server was seen to answer.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::kinds::{CONFIGMAP, DEPLOYMENT, SERVICE};

fn now() -> Timestamp {
    "2025-01-01T00:00:00Z".parse().unwrap()
}

fn later() -> Timestamp {
    "2025-01-01T00:01:00Z".parse().unwrap()
}

/// Applies and answers the object with its owners.
fn applied(
    kind: &Kind,
    live: Option<&Object>,
    config: &Value,
    manager: &str,
    force: bool,
) -> Result<Object, crate::Status> {
    let what = Apply { config, manager, force, now: now(), elsewhere: &[] };
    let done = apply(&Target::object(kind), live, what)?;
    let mut object = Object::new(done.value);
    put(&mut object, done.managed_fields);
    Ok(object)
}

fn deployment(spec: &Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec})
}

fn container(image: &str, env: &Value) -> Value {
    deployment(&json!({
        "replicas": 1,
        "selector": {"matchLabels": {"a": "b"}},
        "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": image, "env": env, "ports": [{"containerPort": 80}]}]},
        },
    }))
}

fn owner<'a>(object: &'a Object, manager: &str) -> &'a Value {
    let entries = object.items("/metadata/managedFields");
    entries.iter().find(|entry| entry["manager"] == manager).map_or(&Value::Null, |entry| &entry["fieldsV1"])
}

#[test]
fn what_is_applied_is_owned_and_keys_have_their_defaults() {
    let config = container("x:1", &json!([{"name": "A", "value": "1"}]));
    let object = applied(&DEPLOYMENT, None, &config, "m1", false).unwrap();
    assert_eq!(
        object.items("/metadata/managedFields"),
        [json!({
            "manager": "m1", "operation": "Apply", "apiVersion": "apps/v1", "time": "2025-01-01T00:00:00Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": {
                "f:replicas": {},
                "f:selector": {},
                "f:template": {
                    "f:metadata": {"f:labels": {"f:a": {}}},
                    "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {
                        ".": {},
                        "f:env": {"k:{\"name\":\"A\"}": {".": {}, "f:name": {}, "f:value": {}}},
                        "f:image": {},
                        "f:name": {},
                        "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                    }}},
                },
            }},
        })]
    );
}

#[test]
fn others_are_asked_or_forced_and_equal_values_are_shared() {
    let object = applied(&DEPLOYMENT, None, &container("x:1", &json!([])), "m1", false).unwrap();
    let mut other = container("x:2", &json!([]));
    other["spec"]["replicas"] = 3.into();
    let refused = applied(&DEPLOYMENT, Some(&object), &other, "m2", false).unwrap_err();
    assert_eq!((refused.code, refused.reason), (409, crate::Reason::Conflict));
    assert_eq!(
        refused.message,
        "Apply failed with 2 conflicts: conflicts with \"m1\":\n- .spec.replicas\n\
         - .spec.template.spec.containers[name=\"c\"].image"
    );
    let causes = refused.details.unwrap().causes;
    let cause = crate::Cause {
        reason: "FieldManagerConflict".to_owned(),
        message: "conflict with \"m1\"".to_owned(),
        field: ".spec.replicas".to_owned(),
    };
    assert_eq!(causes[0], cause);
    let forced = applied(&DEPLOYMENT, Some(&object), &other, "m2", true).unwrap();
    assert_eq!(forced.int("/spec/replicas"), Some(3));
    assert_eq!(owner(&forced, "m1")["f:spec"]["f:replicas"], Value::Null);
    assert_eq!(owner(&forced, "m2")["f:spec"]["f:replicas"], json!({}));
    // The same values again, by a third: no conflict, and now there are two owners.
    let shared = applied(&DEPLOYMENT, Some(&forced), &other, "m3", false).unwrap();
    assert_eq!(owner(&shared, "m3"), owner(&shared, "m2"));
}

#[test]
fn what_is_no_longer_applied_goes_unless_somebody_else_owns_it() {
    let both = json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]);
    let object = applied(&DEPLOYMENT, None, &container("x:1", &both), "m1", false).unwrap();
    let shares = deployment(&json!({"replicas": 1}));
    let object = applied(&DEPLOYMENT, Some(&object), &shares, "m2", false).unwrap();
    let mut less = container("x:1", &json!([{"name": "B", "value": "2"}]));
    less["spec"].as_object_mut().unwrap().remove("replicas");
    let object = applied(&DEPLOYMENT, Some(&object), &less, "m1", false).unwrap();
    assert_eq!(object.int("/spec/replicas"), Some(1), "m2 owns it");
    assert_eq!(object.items("/spec/template/spec/containers")[0]["env"], json!([{"name": "B", "value": "2"}]));
    let none = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}});
    let object = applied(&DEPLOYMENT, Some(&object), &none, "m2", false).unwrap();
    assert_eq!(object.at("/spec/replicas"), None);
    assert_eq!(object.items("/metadata/managedFields").len(), 1);
}

#[test]
fn a_write_takes_what_it_changes_from_its_owner() {
    let mut object = applied(&DEPLOYMENT, None, &container("x:1", &json!([])), "m1", false).unwrap();
    json::set(object.metadata_mut().entry("x").or_insert(json!({})), "y", 1);
    object.metadata_mut().remove("x");
    let mut new = object.clone();
    new.0["spec"]["replicas"] = 5.into();
    new.0["status"] = json!({"replicas": 5});
    track(&Target::object(&DEPLOYMENT), Some(&object), &mut new, None, "ctl", later());
    assert_eq!(owner(&new, "ctl"), &json!({"f:spec": {"f:replicas": {}}}), "the status is reset");
    assert_eq!(owner(&new, "m1")["f:spec"]["f:replicas"], Value::Null);
    let refused = applied(&DEPLOYMENT, Some(&new), &container("x:1", &json!([])), "m1", false).unwrap_err();
    assert_eq!(refused.message, "Apply failed with 1 conflict: conflict with \"ctl\" using apps/v1: .spec.replicas");
    // Writing what is there changes nothing, not even the time.
    let mut same = new.clone();
    track(&Target::object(&DEPLOYMENT), Some(&new), &mut same, None, "other", now());
    assert_eq!(same, new);
}

#[test]
fn a_created_object_is_owned_as_kubernetes_writes_it() {
    let mut object = Object::new(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "d", "uid": "1", "generation": 1, "labels": {"x": "y"}},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"a": "b"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {
                "containers": [{"name": "c", "image": "x", "resources": {}, "ports": [{"containerPort": 80, "protocol": "TCP"}]}],
                "securityContext": {},
            }},
        },
    }));
    track(&Target::object(&DEPLOYMENT), None, &mut object, None, "kubectl-create", now());
    assert_eq!(
        owner(&object, "kubectl-create"),
        &json!({
            "f:metadata": {"f:labels": {".": {}, "f:x": {}}},
            "f:spec": {
                "f:replicas": {}, "f:selector": {},
                "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}, "f:type": {}},
                "f:template": {
                    "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
                    "f:spec": {
                        "f:containers": {"k:{\"name\":\"c\"}": {
                            ".": {}, "f:image": {}, "f:name": {}, "f:resources": {},
                            "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {
                                ".": {}, "f:containerPort": {}, "f:protocol": {},
                            }},
                        }},
                        "f:securityContext": {},
                    },
                },
            },
        })
    );
}

#[test]
fn what_nobody_tracked_belongs_to_before_the_first_apply() {
    let live = Object::new(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "uid": "1"}, "data": {"a": "1", "b": "2"},
    }));
    let mut untracked = live.clone();
    untracked.0["data"]["a"] = "3".into();
    track(&Target::object(&CONFIGMAP), Some(&live), &mut untracked, None, "ctl", now());
    assert_eq!(untracked.metadata().get("managedFields"), None);
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"b": "9"}});
    let refused = applied(&CONFIGMAP, Some(&live), &config, "m", false).unwrap_err();
    assert!(refused.message.contains("conflict with \"before-first-apply\" using v1: .data.b"), "{refused}");
    let forced = applied(&CONFIGMAP, Some(&live), &config, "m", true).unwrap();
    assert_eq!(owner(&forced, "before-first-apply"), &json!({"f:data": {".": {}, "f:a": {}}}));
}

#[test]
fn a_configuration_that_does_not_fit_is_refused_with_where_and_why() {
    let port = |port: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": port}});
    for (config, code, message) in [
        (
            port(json!([{"port": 80, "nope": 1}])),
            500,
            "failed to create typed patch object (/s; /v1, Kind=Service): .spec.ports[port=80,protocol=\"TCP\"].nope: \
             field not declared in schema",
        ),
        (
            port(json!([{"port": 80}, {"port": 80, "protocol": "TCP"}])),
            500,
            "failed to create typed patch object (/s; /v1, Kind=Service): .spec.ports: duplicate entries for key \
             [port=80,protocol=\"TCP\"]",
        ),
        (
            port(json!({})),
            500,
            "failed to create typed patch object (/s; /v1, Kind=Service): .spec.ports: expected list, got &{map[]}",
        ),
        (
            json!({"apiVersion": "v2", "kind": "Service", "metadata": {"name": "s"}}),
            400,
            "invalid object type: /v2, Kind=Service",
        ),
        (
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "managedFields": []}}),
            400,
            "metadata.managedFields must be nil",
        ),
    ] {
        let refused = applied(&SERVICE, None, &config, "m", false).unwrap_err();
        assert_eq!((refused.code, refused.message.as_str()), (code, message));
    }
}

#[test]
fn the_oldest_of_many_updaters_are_joined() {
    let mut object =
        Object::new(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {}}));
    track(&Target::object(&CONFIGMAP), None, &mut object, None, "m00", now());
    for index in 0..15 {
        let mut new = object.clone();
        new.0["data"][format!("k{index:02}")] = "x".into();
        let manager = format!("m{index:02}");
        let time = now() + jiff::SignedDuration::from_secs(index);
        track(&Target::object(&CONFIGMAP), Some(&object), &mut new, None, &manager, time);
        object = new;
    }
    assert_eq!(object.items("/metadata/managedFields").len(), 10);
    let ancient = owner(&object, "ancient-changes");
    assert_eq!(ancient["f:data"]["f:k00"], json!({}));
    assert_eq!(owner(&object, "m14"), &json!({"f:data": {"f:k14": {}}}));
}

#[test]
fn owners_are_reset_and_rewritten_by_writes() {
    let object = applied(&CONFIGMAP, None, &config_map(&[("a", "1")]), "m", false).unwrap();
    for given in [json!([]), json!([{}])] {
        let mut new = object.clone();
        track(&Target::object(&CONFIGMAP), Some(&object), &mut new, Some(&given), "x", now());
        assert_eq!(new.metadata().get("managedFields"), None, "{given}");
    }
    let mut entries = object.metadata()["managedFields"].clone();
    entries[0]["manager"] = "renamed".into();
    let mut new = object.clone();
    track(&Target::object(&CONFIGMAP), Some(&object), &mut new, Some(&entries), "x", now());
    assert_eq!(owner(&new, "renamed"), &json!({"f:data": {"f:a": {}}}));
    let broken = json!([{"manager": "x", "operation": "Delete"}]);
    let mut new = object.clone();
    track(&Target::object(&CONFIGMAP), Some(&object), &mut new, Some(&broken), "x", now());
    assert_eq!(new, object, "what cannot be read is left aside");
}

#[test]
fn replicas_have_one_owner_through_both_doors() {
    let object = applied(&DEPLOYMENT, None, &container("x:1", &json!([])), "m1", false).unwrap();
    let entries = object.metadata()["managedFields"].clone();
    let scale = to_scale(&DEPLOYMENT, &entries);
    assert_eq!(scale[0]["apiVersion"], "autoscaling/v1");
    assert_eq!(scale[0]["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
    let mut before = Object::new(json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 1}}));
    put(&mut before, scale);
    let mut after = before.clone();
    after.0["spec"]["replicas"] = 4.into();
    track(&Target::scale(), Some(&before), &mut after, None, "hpa", now());
    let joined = from_scale(&DEPLOYMENT, &entries, &after.metadata()["managedFields"]);
    let mut object = object;
    put(&mut object, joined);
    assert_eq!(owner(&object, "m1")["f:spec"]["f:replicas"], Value::Null);
    let hpa = object.items("/metadata/managedFields").iter().find(|entry| entry["manager"] == "hpa").unwrap();
    assert_eq!((&hpa["apiVersion"], &hpa["subresource"]), (&json!("apps/v1"), &json!("scale")));
    assert_eq!(hpa["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
}

#[test]
fn server_side_apply_goes_on_where_client_side_apply_ended() {
    let last = config_map(&[("a", "1"), ("b", "2")]);
    let mut live = Object::new(last.clone());
    live.0["metadata"]["uid"] = "1".into();
    live.0["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": last.to_string()});
    track(&Target::object(&CONFIGMAP), None, &mut live, None, "kubectl-client-side-apply", now());
    let wanted = config_map(&[("a", "9")]);
    assert!(applied(&CONFIGMAP, Some(&live), &wanted, "else", false).is_err());
    let object = applied(&CONFIGMAP, Some(&live), &wanted, "kubectl", false).unwrap();
    assert_eq!(object.text("/data/a"), "9");
    let kept = object.annotation("kubectl.kubernetes.io/last-applied-configuration").unwrap();
    assert_eq!(serde_json::from_str::<Value>(kept).unwrap(), wanted);
}

#[test]
fn owners_of_a_deep_object_can_be_read_back() {
    let mut deep = json!(1);
    for _ in 0..110 {
        deep = json!({"k": deep});
    }
    let schema = Schema::from_crd(&json!({"type": "object", "properties": {
        "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }}));
    let target = Target { schema: Box::leak(Box::new(schema)), ..Target::object(&CONFIGMAP) };
    let mut object = Object::new(json!({"metadata": {"name": "a"}, "spec": deep}));
    track(&target, None, &mut object, None, "m", now());
    let text = object.0.to_string();
    let read: Value = serde_json::from_str(&text).expect("no deeper than JSON is read");
    assert_eq!(read, object.0);
    let mut new = object.clone();
    track(&target, Some(&object), &mut new, None, "m", later());
    assert_eq!(new, object);
}

fn config_map(data: &[(&str, &str)]) -> Value {
    let data: std::collections::BTreeMap<_, _> = data.iter().copied().collect();
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

/// Any sound part of a Deployment.
fn any_config() -> impl Strategy<Value = Value> {
    let env = prop::collection::btree_map("[A-D]", "[x-z]", 0..3);
    let containers = prop::collection::btree_map("[a-c]", (prop::option::of("[i-k]"), env), 0..3);
    (prop::option::of(0..4_i64), containers, prop::collection::btree_map("[l-n]", "[0-2]", 0..3)).prop_map(
        |(replicas, containers, labels)| {
            let containers: Vec<Value> = containers
                .into_iter()
                .map(|(name, (image, env))| {
                    let env: Vec<Value> =
                        env.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
                    let mut container = json!({"name": name});
                    if !env.is_empty() {
                        json::set(&mut container, "env", env);
                    }
                    if let Some(image) = image {
                        json::set(&mut container, "image", image);
                    }
                    container
                })
                .collect();
            // Nobody owns an empty list or map, as in Kubernetes: such a thing is not part of the algebra.
            let mut config = deployment(&json!({"paused": true}));
            if !containers.is_empty() {
                config["spec"]["template"]["spec"]["containers"] = containers.into();
            }
            if let Some(replicas) = replicas {
                config["spec"]["replicas"] = replicas.into();
            }
            if !labels.is_empty() {
                config["metadata"]["labels"] = json!(labels);
            }
            config
        },
    )
}

/// Whatever may come.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i8>().prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("spec"),
        Just("template"),
        Just("containers"),
        Just("name"),
        Just("env"),
        Just("ports"),
        Just("replicas"),
        Just("containerPort"),
        Just("metadata"),
        Just("labels"),
        Just("selector"),
        Just("f:spec"),
        Just("."),
    ];
    leaf.prop_recursive(5, 48, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..4)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

fn without_times(mut object: Object) -> Value {
    for entry in object.0["metadata"]["managedFields"].as_array_mut().into_iter().flatten() {
        json::remove(entry, "time");
    }
    object.0
}

proptest! {
    #[test]
    fn applying_twice_is_applying_once(first in any_config(), second in any_config()) {
        let object = applied(&DEPLOYMENT, None, &first, "a", false).unwrap();
        let once = applied(&DEPLOYMENT, Some(&object), &second, "a", false).unwrap();
        let twice = applied(&DEPLOYMENT, Some(&once), &second, "a", false).unwrap();
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn only_the_last_configuration_of_one_manager_remains(first in any_config(), second in any_config()) {
        let object = applied(&DEPLOYMENT, None, &first, "a", false).unwrap();
        let after = applied(&DEPLOYMENT, Some(&object), &second, "a", false).unwrap();
        let fresh = applied(&DEPLOYMENT, None, &second, "a", false).unwrap();
        prop_assert_eq!(owner(&after, "a"), owner(&fresh, "a"));
        let names = |object: &Object| -> std::collections::BTreeSet<String> {
            let containers = object.items("/spec/template/spec/containers");
            containers.iter().map(|container| container["name"].to_string()).collect()
        };
        prop_assert_eq!(names(&after), names(&fresh));
    }

    #[test]
    fn managers_of_disjoint_fields_commute(replicas in 0..9_i64, labels in prop::collection::btree_map("[a-c]", "[0-2]", 0..3)) {
        let one = deployment(&json!({"replicas": replicas}));
        let mut two = deployment(&json!({"paused": true}));
        if !labels.is_empty() {
            two["metadata"]["labels"] = json!(labels);
        }
        let ab = applied(&DEPLOYMENT, None, &one, "a", false).unwrap();
        let ab = applied(&DEPLOYMENT, Some(&ab), &two, "b", false).unwrap();
        let ba = applied(&DEPLOYMENT, None, &two, "b", false).unwrap();
        let ba = applied(&DEPLOYMENT, Some(&ba), &one, "a", false).unwrap();
        prop_assert_eq!(without_times(ab), without_times(ba));
    }

    #[test]
    fn a_forced_configuration_is_what_the_object_then_says(first in any_config(), second in any_config()) {
        let object = applied(&DEPLOYMENT, None, &first, "a", false).unwrap();
        let after = applied(&DEPLOYMENT, Some(&object), &second, "b", true).unwrap();
        let again = applied(&DEPLOYMENT, Some(&after), &second, "b", false).unwrap();
        prop_assert_eq!(after, again);
    }

    #[test]
    fn whatever_is_applied_or_tracked_nothing_panics(live in any_value(), config in any_value(), given in any_value()) {
        let live = Object::new(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"uid": "1"}, "spec": live}));
        let _ = applied(&DEPLOYMENT, Some(&live), &deployment(&config), "m", true);
        let mut new = Object::new(deployment(&config));
        track(&Target::object(&DEPLOYMENT), None, &mut new, Some(&given), "m", now());
        let mut changed = live.clone();
        track(&Target::object(&DEPLOYMENT), Some(&new), &mut changed, Some(&given), "n", now());
        let read = Set::read(&given).map(|set| set.write());
        prop_assert_eq!(read.as_ref().and_then(Set::read).map(|set| set.write()), read);
    }
}
