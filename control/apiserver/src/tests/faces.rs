//! Webhooks asked about faces of objects (status, scale, evictions, connections) and about other versions of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use wk_base::body::{empty, full};

use super::kit::{CONFIG_MAPS, Harness, config_map};
use super::webhooks::{MUTATING, VALIDATING, start};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const PODS: &str = "/api/v1/namespaces/default/pods";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const SCALERS: &str = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";

/// Lets everything through but a scale of 7, and makes one of 5 a 6.
fn scales(_path: &str, request: &Value) -> Value {
    match request["object"]["spec"]["replicas"].as_i64() {
        Some(7) => json!({ "allowed": false, "status": { "message": "not seven" } }),
        Some(5) => {
            let patch = json!([{ "op": "replace", "path": "/spec/replicas", "value": 6 }]);
            json!({ "allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch.to_string()) })
        }
        _ => json!({ "allowed": true }),
    }
}

/// The rules of a webhook about one resource.
fn about(operation: &str, group: &str, version: &str, resource: &str) -> Value {
    json!({ "rules": [{
        "operations": [operation], "apiGroups": [group], "apiVersions": [version], "resources": [resource],
    }] })
}

fn template() -> Value {
    json!({
        "metadata": { "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "app", "image": "wk.local/app@sha256:0" }] },
    })
}

#[tokio::test]
async fn a_scale_is_shown_as_a_scale_and_changed_and_refused_as_one() {
    let api = Harness::start().await;
    let hook = start(scales).await;
    let rules = about("UPDATE", "apps", "v1", "deployments/scale");
    api.post(MUTATING, &hook.configuration("change", "/", "x", &rules)).await.expect(201);
    let spec = json!({ "replicas": 1, "selector": { "matchLabels": { "app": "web" } }, "template": template() });
    let made = api.post(DEPLOYMENTS, &json!({ "metadata": { "name": "web" }, "spec": spec })).await;
    made.expect(201);
    assert!(hook.requests().is_empty(), "a create of the deployment is something else");
    let path = format!("{DEPLOYMENTS}/web/scale");
    let scaled = api.patch(&path, &json!({ "spec": { "replicas": 5 } })).await.expect(200);
    assert_eq!((&scaled["kind"], &scaled["spec"]["replicas"]), (&json!("Scale"), &json!(6)));
    assert_eq!(api.get(&format!("{DEPLOYMENTS}/web")).await.expect(200)["spec"]["replicas"], 6);
    let asked = &hook.requests()[0];
    let scale = json!({ "group": "autoscaling", "version": "v1", "kind": "Scale" });
    assert_eq!((&asked["kind"], &asked["requestKind"]), (&scale, &scale));
    let resource = json!({ "group": "apps", "version": "v1", "resource": "deployments" });
    assert_eq!((&asked["resource"], &asked["subResource"]), (&resource, &json!("scale")));
    assert_eq!(asked["oldObject"]["kind"], "Scale");
    assert_eq!((&asked["oldObject"]["spec"]["replicas"], &asked["object"]["spec"]["replicas"]), (&json!(1), &json!(5)));
    let refused = api.patch(&path, &json!({ "spec": { "replicas": 7 } })).await.expect(400);
    assert_eq!(refused["message"], "admission webhook \"change.example.com\" denied the request: not seven");
    let mut scale = api.get(&path).await.expect(200);
    scale["spec"]["replicas"] = 5.into();
    assert_eq!(api.put(&path, &scale).await.expect(200)["spec"]["replicas"], 6, "a PUT is changed as a PATCH is");
    let wrong = json!({ "metadata": { "name": "web", "resourceVersion": "1" }, "spec": { "replicas": 3 } });
    assert_eq!(api.put(&path, &wrong).await.code, 409, "a version in a Scale is still a precondition");
    let media = [("content-type", "application/apply-patch+yaml")];
    let apply = async |replicas: u32| {
        let scale = json!({ "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": { "name": "web" },
            "spec": { "replicas": replicas } });
        let path = format!("{path}?fieldManager=m&force=true");
        api.send(Method::PATCH, &path, &media, full(scale.to_string())).await
    };
    assert_eq!(apply(7).await.code, 400, "whoever applies is asked about as well");
    assert_eq!(apply(5).await.expect(200)["spec"]["replicas"], 6);
    assert_eq!(apply(4).await.expect(200)["spec"]["replicas"], 4);
    assert_eq!(api.get(&format!("{DEPLOYMENTS}/web")).await.expect(200)["spec"]["replicas"], 4);
}

#[tokio::test]
async fn who_is_asked_about_status_and_evictions_sees_what_is_sent() {
    let api = Harness::start().await;
    let hook = start(|_, _| json!({ "allowed": true })).await;
    api.post(VALIDATING, &hook.configuration("status", "/", "x", &about("UPDATE", "", "v1", "pods/status")))
        .await
        .expect(201);
    api.post(VALIDATING, &hook.configuration("evict", "/", "x", &about("CREATE", "", "v1", "pods/eviction")))
        .await
        .expect(201);
    let pod = json!({ "metadata": { "name": "web" }, "spec": template()["spec"] });
    api.post(PODS, &pod).await.expect(201);
    api.patch(&format!("{PODS}/web"), &json!({ "metadata": { "labels": { "a": "b" } } })).await.expect(200);
    assert!(hook.requests().is_empty());
    api.patch(&format!("{PODS}/web/status"), &json!({ "status": { "phase": "Running" } })).await.expect(200);
    let asked = hook.requests().pop().expect("asked");
    assert_eq!((&asked["kind"]["kind"], &asked["subResource"]), (&json!("Pod"), &json!("status")));
    assert_eq!(asked["object"]["status"]["phase"], "Running");
    let eviction = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": "web" } });
    api.post(&format!("{PODS}/web/eviction"), &eviction).await.expect(201);
    let asked = hook.requests().pop().expect("asked");
    assert_eq!(asked["kind"], json!({ "group": "policy", "version": "v1", "kind": "Eviction" }));
    assert_eq!(asked["resource"], json!({ "group": "", "version": "v1", "resource": "pods" }));
}

#[tokio::test]
async fn a_resize_is_refused_with_what_to_do_instead() {
    let api = Harness::start().await;
    api.post(PODS, &json!({ "metadata": { "name": "web" }, "spec": template()["spec"] })).await.expect(201);
    assert_eq!(api.get(&format!("{PODS}/web/resize")).await.expect(200)["kind"], "Pod");
    let more = json!({ "spec": { "containers": [{ "name": "app", "resources": { "limits": { "cpu": "2" } } }] } });
    let refused = api.patch(&format!("{PODS}/web/resize"), &more).await.expect(422);
    assert!(
        refused["message"].as_str().expect("text").contains("keeps the resources it was started with"),
        "{refused}"
    );
}

#[tokio::test]
async fn connections_are_refused_by_their_options() {
    let api = Harness::start().await;
    let hook = start(|_, request| {
        let secret = request["object"]["command"].as_array().is_some_and(|words| words.contains(&json!("secret")));
        let attach = request["kind"]["kind"] == "PodAttachOptions";
        json!({ "allowed": !secret && !attach, "status": { "message": "not that" } })
    })
    .await;
    let rules = about("CONNECT", "", "v1", "pods/*");
    api.post(VALIDATING, &hook.configuration("connect", "/", "x", &rules)).await.expect(201);
    let pod = json!({ "metadata": { "name": "web" }, "spec": template()["spec"] });
    api.post(PODS, &pod).await.expect(201);
    let get = async |path: &str| api.send(Method::GET, &format!("{PODS}/web/{path}"), &[], empty()).await.json();
    let refused = get("exec?command=cat&command=secret&stdout=true&container=app").await;
    assert_eq!(refused["message"], "admission webhook \"connect.example.com\" denied the request: not that");
    let asked = hook.requests().pop().expect("asked");
    let options = json!({
        "kind": "PodExecOptions", "apiVersion": "v1", "stdout": true, "container": "app", "command": ["cat", "secret"],
    });
    assert_eq!((&asked["object"], &asked["operation"], &asked["options"]), (&options, &json!("CONNECT"), &Value::Null));
    assert_eq!(get("exec?command=ls&stdout=true").await["message"], "pod web does not have a host assigned");
    assert!(get("attach?stdout=true").await["message"].as_str().expect("text").ends_with("not that"));
    get("portforward?ports=80").await;
    assert_eq!(hook.requests().pop().expect("asked")["object"]["ports"], json!([80]));
    get("proxy/x/y").await;
    assert_eq!(hook.requests().pop().expect("asked")["object"]["path"], "/x/y");
}

#[tokio::test]
async fn a_rule_about_another_version_sees_the_object_in_it_and_its_patch_comes_back() {
    let api = Harness::start().await;
    let hook = start(|_, request| {
        let metric = json!({ "type": "Resource", "resource": {
            "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 42 } } });
        let patch = json!([{ "op": "replace", "path": "/spec/metrics", "value": [metric] }]);
        assert!(request["object"]["spec"]["metrics"].is_array(), "v2 has metrics");
        json!({ "allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch.to_string()) })
    })
    .await;
    let rules = about("*", "autoscaling", "v2", "horizontalpodautoscalers");
    let mut exact = rules.clone();
    exact["matchPolicy"] = "Exact".into();
    api.post(MUTATING, &hook.configuration("exact", "/", "x", &exact)).await.expect(201);
    let target = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" });
    let scaler = |name: &str| {
        json!({ "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": { "name": name },
            "spec": { "maxReplicas": 3, "scaleTargetRef": target, "targetCPUUtilizationPercentage": 80 } })
    };
    let made = api.post(SCALERS, &scaler("a")).await.expect(201);
    assert_eq!((made["spec"]["targetCPUUtilizationPercentage"].as_i64(), hook.requests().len()), (Some(80), 0));
    api.delete(&format!("{MUTATING}/exact"), &json!({})).await.expect(200);
    api.post(MUTATING, &hook.configuration("any", "/", "x", &rules)).await.expect(201);
    let made = api.post(SCALERS, &scaler("b")).await.expect(201);
    assert_eq!(
        (&made["apiVersion"], &made["spec"]["targetCPUUtilizationPercentage"]),
        (&json!("autoscaling/v1"), &json!(42))
    );
    let asked = hook.requests().pop().expect("asked");
    assert_eq!((&asked["kind"]["version"], &asked["requestKind"]["version"]), (&json!("v2"), &json!("v1")));
    assert_eq!((&asked["resource"]["version"], &asked["requestResource"]["version"]), (&json!("v2"), &json!("v1")));
    assert_eq!(asked["object"]["apiVersion"], "autoscaling/v2");
}

#[tokio::test]
async fn a_request_that_waits_for_a_webhook_holds_no_seat() {
    let api = Harness::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let hook = start(|_, _| json!({ "allowed": true })).await;
    let ignored = json!({ "failurePolicy": "Ignore", "timeoutSeconds": 20 });
    let mut slow = hook.configuration("slow", "/", "configmaps", &ignored);
    slow["webhooks"][0]["clientConfig"]["url"] =
        format!("https://{}", listener.local_addr().expect("an address")).into();
    api.post(VALIDATING, &slow).await.expect(201);
    let mut seats = api.server.flight.writes.take_all();
    seats.pop();
    let other = async {
        let taken = listener.accept().await.expect("the webhook is called");
        // There was one seat, and it is free.
        api.post(SECRETS, &json!({ "metadata": { "name": "quick" } })).await.expect(201);
        drop((taken, listener));
    };
    let body = config_map("slow", &[]);
    let (slow, ()) = tokio::join!(api.post(CONFIG_MAPS, &body), other);
    slow.expect(201);
    assert_eq!(api.server.flight.writes.free(), 1);
}
