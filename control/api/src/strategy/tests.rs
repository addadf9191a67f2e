//! What the verbs do to objects.

use serde_json::json;

use super::*;
use crate::kinds::{CONFIGMAP, DEPLOYMENT, NAMESPACE, NODE, POD, SECRET, SERVICE, kinds};

fn now() -> Timestamp {
    "2025-01-01T00:00:00Z".parse().unwrap()
}

fn facts() -> Facts<'static> {
    Facts { now: now(), uid: "u1", suffix: "x7k2p" }
}

fn make(kind: &Kind, body: Value) -> Object {
    let namespace = kind.is_namespaced().then_some("default");
    create(kind, namespace, body, &facts()).unwrap()
}

fn deployment() -> Object {
    make(
        &DEPLOYMENT,
        json!({
            "metadata": {"name": "web"},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "c", "image": "web:1", "ports": [{"containerPort": 80}]}]}
                }
            }
        }),
    )
}

fn pod(extra: &Value) -> Object {
    let mut body = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "web"}]}});
    crate::patch::merge(&mut body, extra);
    make(&POD, body)
}

#[test]
fn a_created_deployment_carries_every_default_of_kubernetes() {
    assert_eq!(
        deployment().0,
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": "web", "namespace": "default", "uid": "u1", "generation": 1,
                "creationTimestamp": "2025-01-01T00:00:00Z"
            },
            "spec": {
                "replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
                "selector": {"matchLabels": {"app": "web"}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {
                        "containers": [{
                            "name": "c", "image": "web:1", "imagePullPolicy": "IfNotPresent", "resources": {},
                            "ports": [{"containerPort": 80, "protocol": "TCP"}],
                            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"
                        }],
                        "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
                        "securityContext": {}, "terminationGracePeriodSeconds": 30
                    }
                }
            },
            "status": {}
        })
    );
}

#[test]
fn an_update_that_changes_nothing_gives_the_same_object() {
    let service = make(&SERVICE, json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}));
    let namespace = make(&NAMESPACE, json!({"metadata": {"name": "team"}}));
    for (kind, object) in
        [(&DEPLOYMENT, deployment()), (&POD, pod(&json!({}))), (&SERVICE, service), (&NAMESPACE, namespace)]
    {
        assert_eq!(update(kind, &object, object.0.clone(), &facts()).unwrap(), object);
        assert_eq!(update_status(kind, &object, object.0.clone(), &facts()).unwrap(), object);
    }
}

#[test]
fn names_are_generated_and_metadata_of_the_server_is_not_the_clients() {
    let made = make(
        &CONFIGMAP,
        json!({"metadata": {
            "generateName": "a-", "uid": "mine", "deletionTimestamp": "2020-01-01T00:00:00Z", "managedFields": []
        }}),
    );
    assert_eq!((made.name(), made.uid(), made.is_deleting()), ("a-x7k2p", "u1", false));
    assert!(made.at("/metadata/managedFields").is_none());
    let long = make(&CONFIGMAP, json!({"metadata": {"generateName": "a".repeat(80)}}));
    assert_eq!(long.name().len(), 63);
    let refusal = |body| create(&CONFIGMAP, Some("default"), body, &facts()).unwrap_err();
    assert_eq!(refusal(json!({"metadata": {"name": "a", "resourceVersion": "3"}})).code, 400);
    assert_eq!(refusal(json!({"metadata": {"name": "a", "namespace": "other"}})).code, 400);
    assert_eq!(
        refusal(json!({})).message,
        "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required"
    );
}

#[test]
fn the_generation_moves_with_the_spec_and_the_status_only_through_its_own_door() {
    let old = deployment();
    let mut new = old.0.clone();
    new["spec"]["replicas"] = json!(3);
    new["status"] = json!({"replicas": 9});
    let changed = update(&DEPLOYMENT, &old, new, &facts()).unwrap();
    assert_eq!((changed.generation(), changed.at("/status")), (2, Some(&json!({}))));
    let mut annotated = old.0.clone();
    annotated["metadata"]["annotations"] = json!({"a": "b"});
    assert_eq!(update(&DEPLOYMENT, &old, annotated, &facts()).unwrap().generation(), 2);
    let mut labelled = old.0.clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    assert_eq!(update(&DEPLOYMENT, &old, labelled, &facts()).unwrap().generation(), 1);
    let mut status = old.0.clone();
    status["spec"]["replicas"] = json!(7);
    status["status"] = json!({"replicas": 1});
    let written = update_status(&DEPLOYMENT, &old, status, &facts()).unwrap();
    assert_eq!((written.int("/spec/replicas"), written.int("/status/replicas")), (Some(1), Some(1)));
    assert_eq!(written.generation(), 1);
    assert_eq!(update_status(&CONFIGMAP, &old, json!({}), &facts()).unwrap_err().code, 404);
}

#[test]
fn what_may_not_change_is_refused() {
    let old = deployment();
    let mut new = old.0.clone();
    new["spec"]["selector"]["matchLabels"]["app"] = json!("other");
    let message = update(&DEPLOYMENT, &old, new, &facts()).unwrap_err().message;
    assert!(message.contains("`selector` does not match template `labels`"), "{message}");
    assert!(
        message.contains("spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"other\"}}: field is immutable")
    );

    let old = pod(&json!({}));
    let mut new = old.0.clone();
    new["spec"]["containers"][0]["image"] = json!("web:2");
    new["spec"]["nodeName"] = json!("n1");
    let bound = update(&POD, &old, new.clone(), &facts()).unwrap();
    new["spec"]["nodeName"] = json!("n2");
    let message = update(&POD, &bound, new, &facts()).unwrap_err().message;
    assert!(message.contains("spec: Forbidden: pod updates may not change fields other than"), "{message}");

    let wrong = |key: &str, value: &str| {
        let mut new = old.0.clone();
        new["metadata"][key] = json!(value);
        update(&POD, &old, new, &facts()).unwrap_err().code
    };
    assert_eq!((wrong("name", "b"), wrong("namespace", "b"), wrong("uid", "b")), (400, 400, 409));
}

#[test]
fn a_running_pod_is_given_time_and_any_other_goes_at_once() {
    let options = DeleteOptions::default();
    let waiting = pod(&json!({}));
    assert_eq!(delete(&POD, &waiting, &options, now()).unwrap(), Deletion::Remove);
    let running = pod(&json!({"spec": {"nodeName": "n1"}}));
    let Deletion::Mark(marked) = delete(&POD, &running, &options, now()).unwrap() else { panic!("not marked") };
    assert_eq!(marked.text("/metadata/deletionTimestamp"), "2025-01-01T00:00:30Z");
    assert_eq!((marked.int("/metadata/deletionGracePeriodSeconds"), marked.generation()), (Some(30), 2));
    assert!(!removes(&POD, &marked));
    assert!(marked.at("/status/conditions").is_none(), "nobody disrupted it");
    let disruption = Some(Disruption { reason: "DeletionByTaintManager", message: "Taint manager: deleting" });
    let for_others = DeleteOptions { disruption, ..DeleteOptions::default() };
    let Deletion::Mark(disrupted) = delete(&POD, &running, &for_others, now()).unwrap() else { panic!("not marked") };
    assert_eq!(disrupted.text("/status/conditions/0/type"), "DisruptionTarget");
    assert_eq!(disrupted.text("/status/conditions/0/reason"), "DeletionByTaintManager");
    assert_eq!(delete(&POD, &marked, &options, now()).unwrap(), Deletion::Nothing);
    let shorter = DeleteOptions { grace_period_seconds: Some(5), ..DeleteOptions::default() };
    let Deletion::Mark(sooner) = delete(&POD, &marked, &shorter, now()).unwrap() else { panic!("not marked") };
    assert_eq!(sooner.text("/metadata/deletionTimestamp"), "2025-01-01T00:00:05Z");
    assert_eq!(delete(&POD, &marked, &DeleteOptions::now("u1"), now()).unwrap(), Deletion::Remove);
    let other = delete(&POD, &marked, &DeleteOptions::now("u2"), now()).unwrap_err();
    assert_eq!(other.code, 409);
}

#[test]
fn finalizers_keep_an_object_until_they_are_gone() {
    let foreground = DeleteOptions::parse(&json!({"propagationPolicy": "Foreground"})).unwrap();
    let old = deployment();
    let Deletion::Mark(marked) = delete(&DEPLOYMENT, &old, &foreground, now()).unwrap() else { panic!("not marked") };
    assert_eq!(marked.finalizers(), ["foregroundDeletion"]);
    assert_eq!(delete(&DEPLOYMENT, &marked, &DeleteOptions::default(), now()).unwrap(), Deletion::Nothing);
    assert!(!removes(&DEPLOYMENT, &marked));
    let mut freed = marked.0.clone();
    freed["metadata"]["finalizers"] = json!([]);
    assert!(removes(&DEPLOYMENT, &update(&DEPLOYMENT, &marked, freed, &facts()).unwrap()));
    let mut added = marked.0.clone();
    added["metadata"]["finalizers"] = json!(["foregroundDeletion", "a.b/c"]);
    assert_eq!(update(&DEPLOYMENT, &marked, added, &facts()).unwrap_err().code, 422);
    let background = DeleteOptions::parse(&json!({"propagationPolicy": "Background"})).unwrap();
    assert_eq!(delete(&DEPLOYMENT, &old, &background, now()).unwrap(), Deletion::Remove);
    let bad = DeleteOptions::parse(&json!({"propagationPolicy": "Sideways"})).unwrap_err();
    assert!(bad.message.starts_with("DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value"));
}

#[test]
fn a_deleted_namespace_terminates_and_goes_with_its_finalizer() {
    let made = make(&NAMESPACE, json!({"metadata": {"name": "team"}}));
    assert_eq!(made.text("/status/phase"), "Active");
    assert_eq!(made.label("kubernetes.io/metadata.name"), Some("team"));
    let options = DeleteOptions::default();
    let Deletion::Mark(marked) = delete(&NAMESPACE, &made, &options, now()).unwrap() else { panic!("not marked") };
    assert_eq!((marked.text("/status/phase"), marked.is_deleting()), ("Terminating", true));
    assert_eq!(delete(&NAMESPACE, &marked, &options, now()).unwrap(), Deletion::Nothing);
    let mut freed = marked.0.clone();
    freed["spec"]["finalizers"] = json!([]);
    assert!(removes(&NAMESPACE, &update(&NAMESPACE, &marked, freed.clone(), &facts()).unwrap()));
    freed["metadata"].as_object_mut().unwrap().remove("deletionTimestamp");
    let kept = update(&NAMESPACE, &made, freed, &facts()).unwrap();
    assert_eq!(kept.items("/spec/finalizers"), [json!("kubernetes")]);
    let default = make(&NAMESPACE, json!({"metadata": {"name": "default"}}));
    let refusal = delete(&NAMESPACE, &default, &options, now()).unwrap_err();
    assert_eq!(refusal.message, "namespaces \"default\" is forbidden: this namespace may not be deleted");
}

#[test]
fn scaling_changes_replicas_and_nothing_else() {
    let old = deployment();
    let scale = scale_of(&DEPLOYMENT, &old).unwrap();
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["selector"]), (&json!(1), &json!("app=web")));
    let new = with_scale(&DEPLOYMENT, &old, &json!({"spec": {"replicas": 4}})).unwrap();
    assert_eq!(update(&DEPLOYMENT, &old, new, &facts()).unwrap().int("/spec/replicas"), Some(4));
    let refusal = with_scale(&DEPLOYMENT, &old, &json!({"spec": {"replicas": -1}})).unwrap_err();
    assert_eq!(
        refusal.message,
        "Scale.autoscaling \"web\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"
    );
    assert_eq!(with_scale(&DEPLOYMENT, &old, &json!({"spec": {"replicas": "x"}})).unwrap_err().code, 400);
    assert_eq!(scale_of(&CONFIGMAP, &old).unwrap_err().code, 404);
}

#[test]
fn a_service_keeps_its_address_and_a_secret_its_type() {
    let mut body = json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}});
    assert_eq!(crate::kinds::services::cluster_ip(&body), crate::kinds::services::ClusterIp::Any);
    crate::kinds::services::set_cluster_ip(&mut body, "10.96.0.7".parse().unwrap());
    let old = make(&SERVICE, body);
    assert_eq!(old.at("/spec/ports/0"), Some(&json!({"port": 80, "protocol": "TCP", "targetPort": 80})));
    let without = json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}});
    assert_eq!(update(&SERVICE, &old, without, &facts()).unwrap().text("/spec/clusterIP"), "10.96.0.7");
    let mut moved = old.0.clone();
    crate::kinds::services::set_cluster_ip(&mut moved, "10.96.0.8".parse().unwrap());
    let refusal = update(&SERVICE, &old, moved, &facts()).unwrap_err().message;
    assert!(refusal.contains("spec.clusterIPs[0]: Invalid value: [\"10.96.0.8\"]: may not change once set"));

    let old = make(&SECRET, json!({"metadata": {"name": "s"}, "stringData": {"a": "b"}}));
    assert_eq!((old.text("/type"), old.text("/data/a")), ("Opaque", "Yg=="));
    assert!(old.at("/stringData").is_none());
    let retyped = json!({"metadata": {"name": "s"}, "type": "x.y/z"});
    assert_eq!(update(&SECRET, &old, retyped, &facts()).unwrap_err().code, 422);
}

#[test]
fn a_nodes_status_comes_with_it_and_its_allocatable_is_filled_in() {
    let node = make(
        &NODE,
        json!({
            "metadata": {"name": "n1"}, "spec": {"podCIDR": "10.128.0.0/18"}, "status": {"capacity": {"cpu": "2"}}
        }),
    );
    assert_eq!(node.text("/status/allocatable/cpu"), "2");
    assert_eq!(node.items("/spec/podCIDRs"), [json!("10.128.0.0/18")]);
}

#[test]
fn nothing_at_all_is_refused_politely_by_every_kind() {
    for kind in kinds() {
        for body in [json!({}), json!({"metadata": {"name": "a"}, "spec": {}}), json!({"spec": null, "metadata": []})] {
            let namespace = kind.is_namespaced().then_some("default");
            if let Err(status) = create(kind, namespace, body, &facts()) {
                assert!(matches!(status.code, 400 | 422), "{kind}: {status}");
            }
        }
    }
}
