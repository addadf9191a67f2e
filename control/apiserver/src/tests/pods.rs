//! Pods: graceful deletion and logs.

use serde_json::{Value, json};

use super::kit::Harness;

const PODS: &str = "/api/v1/namespaces/default/pods";

fn pod(name: &str, node: Option<&str>) -> Value {
    let mut body = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": { "containers": [{ "name": "app", "image": "wk.local/app@sha256:0" }] },
    });
    if let Some(node) = node {
        body["spec"]["nodeName"] = node.into();
    }
    body
}

#[tokio::test]
async fn a_pod_on_a_node_is_marked_and_goes_when_the_node_says_so() {
    let api = Harness::start().await;
    let made = api.post(PODS, &pod("web", Some("n1"))).await.expect(201);
    let path = format!("{PODS}/web");
    let marked = api.delete(&path, &json!({})).await.expect(200);
    assert_eq!(marked["kind"], "Pod");
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    let sooner = api.delete(&path, &json!({ "gracePeriodSeconds": 5 })).await.expect(200);
    assert_eq!(sooner["metadata"]["deletionGracePeriodSeconds"], 5);
    let later = api.delete(&path, &json!({ "gracePeriodSeconds": 60 })).await.expect(200);
    assert_eq!(later["metadata"]["deletionGracePeriodSeconds"], 5, "a mark is only ever brought forward");
    let other = json!({ "gracePeriodSeconds": 0, "preconditions": { "uid": "x" } });
    api.delete(&path, &other).await.expect(409);
    let node = json!({ "gracePeriodSeconds": 0, "preconditions": { "uid": made["metadata"]["uid"] } });
    api.delete(&path, &node).await.expect(200);
    api.get(&path).await.expect(404);
}

#[tokio::test]
async fn a_pod_that_is_on_no_node_goes_at_once() {
    let api = Harness::start().await;
    api.post(PODS, &pod("waiting", None)).await.expect(201);
    api.delete(&format!("{PODS}/waiting"), &json!({})).await.expect(200);
    api.get(&format!("{PODS}/waiting")).await.expect(404);
}

#[tokio::test]
async fn logs_come_from_the_node_of_the_pod() {
    let api = Harness::start().await;
    api.post(PODS, &pod("web", Some("n1"))).await.expect(201);
    api.post(PODS, &pod("waiting", None)).await.expect(201);
    let log = api.get(&format!("{PODS}/web/log?tailLines=3")).await;
    assert_eq!((log.code.as_u16(), log.text.as_str()), (200, "n1 true app 3\n"));
    assert_eq!(log.headers["content-type"], "text/plain");
    let nothing = api.get(&format!("{PODS}/waiting/log")).await;
    assert_eq!((nothing.code.as_u16(), nothing.text.as_str()), (200, ""));
    assert_eq!(api.get(&format!("{PODS}/web/log?container=x")).await.reason(), (400, "BadRequest".to_owned()));
    assert_eq!(api.get(&format!("{PODS}/none/log")).await.reason(), (404, "NotFound".to_owned()));
    assert_eq!(api.get(&format!("{PODS}/web/unknown")).await.reason(), (404, "NotFound".to_owned()));
}

#[tokio::test]
async fn a_pod_is_found_by_its_node() {
    let api = Harness::start().await;
    api.post(PODS, &pod("a", Some("n1"))).await.expect(201);
    api.post(PODS, &pod("b", Some("n2"))).await.expect(201);
    let list = api.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn2").await.expect(200);
    assert_eq!(super::kit::names(&list), ["b"]);
}
