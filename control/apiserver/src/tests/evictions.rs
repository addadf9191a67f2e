//! What is done to pods through their own subresources: eviction, binding, containers for debugging; and scale.

use http::Method;
use serde_json::{Value, json};
use wk_base::body::full;

use super::kit::{Answer, Harness};

const PODS: &str = "/api/v1/namespaces/default/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

fn pod(name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"nodeName": node, "containers": [{"name": "app", "image": "wk.local/app@sha256:0"}]},
    })
}

/// A pod that runs and is ready.
async fn running(api: &Harness, name: &str) {
    api.post(PODS, &pod(name, "n1")).await.expect(201);
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    api.patch(&format!("{PODS}/{name}/status"), &status).await.expect(200);
}

async fn budget(api: &Harness, name: &str, allowed: i64) {
    let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}});
    api.post(BUDGETS, &json!({"metadata": {"name": name}, "spec": spec})).await.expect(201);
    let status = json!({"status": {"disruptionsAllowed": allowed, "currentHealthy": 2, "desiredHealthy": 1,
        "expectedPods": 2, "observedGeneration": 1}});
    api.patch(&format!("{BUDGETS}/{name}/status"), &status).await.expect(200);
}

async fn evict(api: &Harness, name: &str, options: Value) -> Answer {
    let body =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}, "deleteOptions": options});
    api.post(&format!("{PODS}/{name}/eviction"), &body).await
}

#[tokio::test]
async fn a_budget_lets_one_pod_go_and_not_the_next() {
    let api = Harness::start().await;
    running(&api, "a").await;
    running(&api, "b").await;
    budget(&api, "web", 1).await;
    let tried = evict(&api, "a", json!({"dryRun": ["All"]})).await.expect(201);
    assert_eq!((&tried["kind"], &tried["status"]), (&json!("Status"), &json!("Success")));
    let of_budget = |api: Harness| async move { (api.get(&format!("{BUDGETS}/web")).await.expect(200), api) };
    let (before, api) = of_budget(api).await;
    assert_eq!(before["status"]["disruptionsAllowed"], 1);
    evict(&api, "a", json!({})).await.expect(201);
    let gone = api.get(&format!("{PODS}/a")).await.expect(200);
    assert!(gone["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(gone["status"]["conditions"][1]["type"], "DisruptionTarget");
    let (after, api) = of_budget(api).await;
    assert_eq!(after["status"]["disruptionsAllowed"], 0);
    assert!(after["status"]["disruptedPods"]["a"].is_string());
    let refused = evict(&api, "b", json!({})).await.expect(429);
    assert_eq!(refused["reason"], "TooManyRequests");
    assert_eq!(refused["message"], "Cannot evict pod as it would violate the pod's disruption budget.");
    assert_eq!(refused["details"]["causes"][0]["reason"], "DisruptionBudget");
    assert!(api.get(&format!("{PODS}/b")).await.expect(200)["metadata"]["deletionTimestamp"].is_null());
    evict(&api, "a", json!({})).await.expect(201);
    budget(&api, "second", 1).await;
    assert_eq!(evict(&api, "b", json!({})).await.code, 500);
    assert_eq!(evict(&api, "nobody", json!({})).await.code, 404);
    let other = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}});
    api.post(&format!("{PODS}/b/eviction"), &other).await.expect(400);
    let wrong = json!({"preconditions": {"uid": "other"}});
    budget_gone(&api).await;
    evict(&api, "b", wrong).await.expect(409);
    let list = api.get("/api/v1").await.expect(200);
    let resources = list["resources"].as_array().expect("resources");
    let eviction = resources.iter().find(|entry| entry["name"] == "pods/eviction").expect("pods/eviction");
    assert_eq!((&eviction["group"], &eviction["version"]), (&json!("policy"), &json!("v1")));
}

async fn budget_gone(api: &Harness) {
    for name in ["web", "second"] {
        api.delete(&format!("{BUDGETS}/{name}"), &json!({})).await.expect(200);
    }
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let api = Harness::start().await;
    api.post(PODS, &pod("a", "")).await.expect(201);
    let binding = |node: &str| {
        let metadata = json!({"name": "a", "annotations": {"why": "room"}});
        json!({"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": {"kind": "Node", "name": node}})
    };
    let refused = api.post(&format!("{PODS}/a/binding"), &binding("")).await.expect(422);
    assert_eq!(refused["message"], "Binding \"a\" is invalid: target.name: Required value");
    api.post(&format!("{PODS}/a/binding"), &binding("n1")).await.expect(201);
    let bound = api.get(&format!("{PODS}/a")).await.expect(200);
    assert_eq!((&bound["spec"]["nodeName"], &bound["metadata"]["annotations"]["why"]), (&json!("n1"), &json!("room")));
    assert_eq!(bound["status"]["conditions"][0]["type"], "PodScheduled");
    let refused = api.post("/api/v1/namespaces/default/bindings", &binding("n2")).await.expect(409);
    assert_eq!(
        refused["message"],
        "Operation cannot be fulfilled on pods/binding \"a\": pod a is already assigned to node \"n1\""
    );
    api.get("/api/v1/namespaces/default/bindings").await.expect(405);
}

#[tokio::test]
async fn containers_for_debugging_are_added_and_stay() {
    let api = Harness::start().await;
    running(&api, "a").await;
    let path = format!("{PODS}/a/ephemeralcontainers");
    let debugger = |image: &str| json!({"spec": {"ephemeralContainers": [{"name": "debugger", "image": image}]}});
    let mut debugged = api.patch(&path, &debugger("i")).await.expect(200);
    assert_eq!(debugged["spec"]["ephemeralContainers"][0]["terminationMessagePolicy"], "File");
    assert_eq!(api.get(&path).await.expect(200), debugged);
    let refused = api.patch(&path, &debugger("j")).await.expect(422);
    assert!(
        refused["message"]
            .as_str()
            .expect("text")
            .contains("existing ephemeral containers \"debugger\" may not be changed")
    );
    debugged["spec"]["containers"][0]["image"] = json!("other");
    let put = api.put(&path, &debugged).await.expect(200);
    assert_eq!(put["spec"]["containers"][0]["image"], "wk.local/app@sha256:0", "this door is for one list only");
    let removed = api.patch(&format!("{PODS}/a"), &json!({"spec": {"ephemeralContainers": null}})).await;
    assert_eq!(removed.code, 422);
}

#[tokio::test]
async fn each_kind_with_replicas_is_scaled_alike() {
    let api = Harness::start().await;
    let template =
        json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let selector = json!({"matchLabels": {"app": "web"}});
    for (path, selector) in [
        ("/apis/apps/v1/namespaces/default/statefulsets", &selector),
        ("/apis/apps/v1/namespaces/default/replicasets", &selector),
        ("/apis/apps/v1/namespaces/default/deployments", &selector),
        ("/api/v1/namespaces/default/replicationcontrollers", &json!({"app": "web"})),
    ] {
        let spec = json!({"selector": selector, "template": template});
        api.post(path, &json!({"metadata": {"name": "web"}, "spec": spec})).await.expect(201);
        let mut scale = api.get(&format!("{path}/web/scale")).await.expect(200);
        assert_eq!((&scale["kind"], &scale["status"]["selector"]), (&json!("Scale"), &json!("app=web")), "{path}");
        scale["spec"]["replicas"] = json!(3);
        // kubectl scale --current-replicas sends no Content-Type.
        let put = api.send(Method::PUT, &format!("{path}/web/scale"), &[], full(scale.to_string())).await.expect(200);
        assert_eq!(put["spec"]["replicas"], 3);
        let patched = api.patch(&format!("{path}/web/scale"), &json!({"spec": {"replicas": 2}})).await.expect(200);
        assert_eq!(patched["spec"]["replicas"], 2);
        let whole = api.get(&format!("{path}/web")).await.expect(200);
        assert_eq!((&whole["spec"]["replicas"], &whole["metadata"]["generation"]), (&json!(2), &json!(3)));
    }
}
