//! `metrics.k8s.io`: what nodes tell, in the shapes that `kubectl top` reads.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use wk_api::kinds::metrics::Amounts;

use super::kit::{Harness, TABLE};
use crate::NodeUsage;

const METRICS: &str = "/apis/metrics.k8s.io/v1beta1";

async fn make(api: &Harness, name: &str, node: &str) -> String {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": { "app": name } },
        "spec": { "nodeName": node, "containers": [{ "name": "app", "image": "wk.local/app@sha256:0" }] },
    });
    let made = api.post("/api/v1/namespaces/default/pods", &pod).await.expect(201);
    made["metadata"]["uid"].as_str().expect("a uid").to_owned()
}

/// Pods `web` and `db` on n1, which tells what they use, and `far` on n2, which does not answer.
async fn cluster() -> Harness {
    let api = Harness::start().await;
    let (web, db) = (make(&api, "web", "n1").await, make(&api, "db", "n1").await);
    make(&api, "far", "n2").await;
    for node in ["n1", "n2"] {
        api.post("/api/v1/nodes", &json!({ "kind": "Node", "metadata": { "name": node } })).await.expect(201);
    }
    let app = |nanocores, memory| (Duration::from_secs(15), vec![("app".to_owned(), Amounts { nanocores, memory })]);
    *api.usage.lock().expect("no test panics here") = NodeUsage {
        machine: Amounts { nanocores: 700_000_000, memory: 1 << 30 },
        window: Duration::from_secs(15),
        pods: BTreeMap::from([(web, app(250_000_000, 5 << 20)), (db, app(1, 1))]),
    };
    api
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().into_iter().flatten().filter_map(|item| item["metadata"]["name"].as_str()).collect()
}

#[tokio::test]
async fn pods_have_the_metrics_that_their_node_tells() {
    let api = cluster().await;
    let list = api.get(&format!("{METRICS}/namespaces/default/pods")).await.expect(200);
    assert_eq!((&list["kind"], names(&list)), (&json!("PodMetricsList"), vec!["db", "web"]));
    let web = &list["items"][1];
    assert_eq!(web["containers"], json!([{ "name": "app", "usage": { "cpu": "250000000n", "memory": "5120Ki" } }]));
    assert_eq!((&web["window"], &web["metadata"]["labels"]["app"]), (&json!("15s"), &json!("web")));
    assert!(web["timestamp"].is_string());

    let selected = api.get(&format!("{METRICS}/pods?labelSelector=app%3Dweb")).await.expect(200);
    assert_eq!(names(&selected), ["web"]);
    let one = api.get(&format!("{METRICS}/namespaces/default/pods/web")).await.expect(200);
    assert_eq!((&one["kind"], &one["apiVersion"]), (&json!("PodMetrics"), &json!("metrics.k8s.io/v1beta1")));
    // On a node that does not answer: missing rather than old.
    assert_eq!(api.get(&format!("{METRICS}/namespaces/default/pods/far")).await.reason().0, 404);
    let table = api.get_as(&format!("{METRICS}/namespaces/default/pods"), TABLE).await.expect(200);
    assert_eq!(table["rows"][1]["cells"], json!(["web", "250m", "5Mi", "15s"]));
}

#[tokio::test]
async fn nodes_have_the_metrics_of_their_machines() {
    let api = cluster().await;
    let list = api.get(&format!("{METRICS}/nodes")).await.expect(200);
    assert_eq!((&list["kind"], names(&list)), (&json!("NodeMetricsList"), vec!["n1"]));
    assert_eq!(list["items"][0]["usage"], json!({ "cpu": "700000000n", "memory": "1048576Ki" }));
}

#[tokio::test]
async fn metrics_are_discovered_read_only_and_do_not_hide_pods() {
    let api = Harness::start().await;
    let groups = api.get("/apis").await.expect(200);
    let metrics = groups["groups"].as_array().into_iter().flatten().find(|group| group["name"] == "metrics.k8s.io");
    assert_eq!(metrics.expect("the group is listed")["preferredVersion"]["version"], "v1beta1");
    let resources = api.get(METRICS).await.expect(200);
    let verbs: Vec<&Value> = resources["resources"].as_array().into_iter().flatten().map(|it| &it["verbs"]).collect();
    assert_eq!(verbs, [&json!(["get", "list"]), &json!(["get", "list"])]);
    api.post(&format!("{METRICS}/namespaces/default/pods"), &json!({})).await.expect(405);
    assert_eq!(api.get("/api/v1/pods").await.expect(200)["kind"], "PodList");
}
