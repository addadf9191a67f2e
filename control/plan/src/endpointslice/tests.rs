//! The older form of what stands behind a service, and slices of what somebody wrote in it.

use serde_json::{Value, json};
use wk_api::{Object, patch};

use super::{endpoints, mirror};
use crate::order::{Order, Plan};

fn service(spec: Value) -> Object {
    let mut service = json!({"metadata": {"name": "web", "namespace": "default", "uid": "s"}});
    service["spec"] = spec;
    Object::new(service)
}

fn pod(name: &str, ip: &str, ready: bool) -> Object {
    Object::new(json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": "web"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
    }))
}

/// What the only order writes: an object, or a change of one.
fn written(plan: &Plan) -> Value {
    match plan.orders.as_slice() {
        [Order::Create { object, .. }] => object.clone(),
        [Order::Update { change, .. }] => change.clone(),
        other => panic!("not one write: {other:?}"),
    }
}

#[test]
fn endpoints_of_a_service_hold_its_pods_and_are_written_when_these_change() {
    let service = service(json!({"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}));
    let (one, two) = (pod("a", "10.0.0.1", true), pod("b", "10.0.0.2", false));
    let plan = |pods: &[&Object], there: Option<&Object>| {
        endpoints::plan(&endpoints::Input { service: &service, pods, endpoints: there })
    };
    let made = written(&plan(&[&two, &one], None));
    assert_eq!(made["subsets"][0]["addresses"][0]["ip"], "10.0.0.1");
    assert_eq!(made["subsets"][0]["addresses"][0]["targetRef"]["name"], "a");
    assert_eq!(made["subsets"][0]["notReadyAddresses"][0]["ip"], "10.0.0.2");
    assert_eq!(made["subsets"][0]["ports"], json!([{"port": 8080, "protocol": "TCP"}]));
    let mut there = Object::new(made);
    assert!(endpoints::is_made(&there));
    assert!(plan(&[&one, &two], Some(&there)).orders.is_empty(), "the same again");
    let change = written(&plan(&[&one], Some(&there)));
    patch::merge(&mut there.0, &change);
    assert_eq!(there.at("/subsets/0/notReadyAddresses"), None);
    assert!(plan(&[&one], Some(&there)).orders.is_empty());
    assert_eq!(written(&plan(&[], Some(&there)))["subsets"], json!([]));
}

#[test]
fn endpoints_of_very_many_pods_are_cut_and_say_so() {
    let service = service(json!({"selector": {"app": "web"}, "ports": [{"port": 80}]}));
    let pods: Vec<Object> =
        (0..1001).map(|n| pod(&format!("p{n}"), &format!("10.0.{}.{}", n / 250, n % 250), n > 0)).collect();
    let pods: Vec<&Object> = pods.iter().collect();
    let made = written(&endpoints::plan(&endpoints::Input { service: &service, pods: &pods, endpoints: None }));
    assert_eq!(made["subsets"][0]["addresses"].as_array().map(Vec::len), Some(1000));
    assert_eq!(made["subsets"][0]["notReadyAddresses"], Value::Null, "the ready ones go first");
    assert_eq!(made["metadata"]["annotations"], json!({"endpoints.kubernetes.io/over-capacity": "truncated"}));
}

#[test]
fn a_service_without_a_selector_gets_no_endpoints() {
    let service = service(json!({"ports": [{"port": 80}]}));
    let one = pod("a", "10.0.0.1", true);
    assert!(endpoints::plan(&endpoints::Input { service: &service, pods: &[&one], endpoints: None }).orders.is_empty());
}

#[test]
fn endpoints_made_by_hand_become_slices_of_each_family() {
    let bare = service(json!({"ports": [{"port": 80}]}));
    let hand = Object::new(json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "e", "labels": {"a": "b"}},
        "subsets": [{
            "addresses": [{"ip": "10.1.0.1"}, {"ip": "fd00::1"}],
            "notReadyAddresses": [{"ip": "10.1.0.2", "hostname": "two"}],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        }],
    }));
    let plan = |hand: &Object, service: &Object, slices: &[&Object]| {
        mirror::plan(&mirror::Input { endpoints: hand, service: Some(service), slices }).orders
    };
    let orders = plan(&hand, &bare, &[]);
    let slices: Vec<Object> = orders
        .iter()
        .map(|order| match order {
            Order::Create { object, .. } => Object::new(object.clone()),
            other => panic!("{other:?}"),
        })
        .collect();
    let families: Vec<&str> = slices.iter().map(|slice| slice.text("/addressType")).collect();
    assert_eq!(families, ["IPv4", "IPv6"]);
    assert_eq!(slices[0].label("kubernetes.io/service-name"), Some("web"));
    assert_eq!(
        slices[0].at("/endpoints"),
        Some(&json!([
            {"addresses": ["10.1.0.1"], "conditions": {"ready": true}},
            {"addresses": ["10.1.0.2"], "conditions": {"ready": false}, "hostname": "two"},
        ]))
    );
    let there: Vec<&Object> = slices.iter().collect();
    assert!(plan(&hand, &bare, &there).is_empty(), "the same again");
    // With a selector the pods are behind the service; what asks to be left out is.
    let selecting = service(json!({"selector": {"app": "web"}}));
    assert_eq!(plan(&hand, &selecting, &there).len(), 2, "both slices go");
    let mut skipped = hand.clone();
    skipped.0["metadata"]["labels"] = json!({"endpointslice.kubernetes.io/skip-mirror": "true"});
    assert!(plan(&skipped, &bare, &[]).is_empty());
}
