//! Server-side apply, and who owns what after every other write.

use http::Method;
use serde_json::{Value, json};
use wk_base::body::full;

use super::customs::{DEFINITIONS, WIDGETS, widget, widgets};
use super::kit::{Answer, CONFIG_MAPS, Harness, JSON, config_map};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const PODS: &str = "/api/v1/namespaces/default/pods";
const APPLY: &str = "application/apply-patch+yaml";

async fn apply(api: &Harness, path: &str, parameters: &str, config: &Value) -> Answer {
    let path = format!("{path}?{parameters}");
    api.send(Method::PATCH, &path, &[("content-type", APPLY)], full(config.to_string())).await
}

fn deployment(spec: &Value) -> Value {
    let mut config = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d" },
        "spec": {
            "selector": { "matchLabels": { "a": "b" } },
            "template": {
                "metadata": { "labels": { "a": "b" } },
                "spec": { "containers": [{ "name": "c", "image": "x:1" }] },
            },
        },
    });
    config["spec"].as_object_mut().expect("an object").extend(spec.as_object().cloned().unwrap_or_default());
    config
}

fn managers(object: &Value) -> Vec<(String, String)> {
    let entries = object["metadata"]["managedFields"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    entries.iter().map(|entry| (text(&entry["manager"]), text(&entry["operation"]))).collect()
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[tokio::test]
async fn an_object_is_applied_into_being_and_conflicts_name_their_managers() {
    let api = Harness::start().await;
    let path = format!("{DEPLOYMENTS}/d");
    let config = deployment(&json!({ "replicas": 1 }));
    let made = apply(&api, &path, "fieldManager=m1", &config).await.expect(201);
    assert_eq!(made["spec"]["progressDeadlineSeconds"], 600);
    assert_eq!(managers(&made), pairs(&[("m1", "Apply")]));
    let again = apply(&api, &path, "fieldManager=m1", &config).await.expect(200);
    assert_eq!(again, made, "applying twice is applying once");
    let other = deployment(&json!({ "replicas": 2 }));
    let refused = apply(&api, &path, "fieldManager=m2", &other).await;
    assert_eq!(refused.reason(), (409, "Conflict".to_owned()));
    assert_eq!(refused.json()["message"], "Apply failed with 1 conflict: conflict with \"m1\": .spec.replicas");
    assert_eq!(
        refused.json()["details"],
        json!({ "causes": [{
            "reason": "FieldManagerConflict", "message": "conflict with \"m1\"", "field": ".spec.replicas",
        }] })
    );
    let dry = apply(&api, &path, "fieldManager=m2&force=true&dryRun=All", &other).await.expect(200);
    assert_eq!(dry["spec"]["replicas"], 2);
    assert_eq!(api.get(&path).await.expect(200), made);
    let forced = apply(&api, &path, "fieldManager=m2&force=true", &other).await.expect(200);
    assert_eq!((&forced["spec"]["replicas"], &forced["metadata"]["generation"]), (&json!(2), &json!(2)));
    // Dropped by its only owner.
    let less = deployment(&json!({}));
    let dropped = apply(&api, &path, "fieldManager=m2", &less).await.expect(200);
    assert_eq!(dropped["spec"]["replicas"], 1, "the default");
}

#[tokio::test]
async fn other_writes_are_recorded_as_updates_of_their_manager() {
    let api = Harness::start().await;
    let headers = [("content-type", JSON), ("user-agent", "tool/v1.2 (linux)")];
    let body = config_map("a", &[]).to_string();
    let made = api.send(Method::POST, CONFIG_MAPS, &headers, full(body)).await.expect(201);
    assert_eq!(managers(&made), pairs(&[("tool", "Update")]));
    assert_eq!(made["metadata"]["managedFields"][0]["fieldsV1"], json!({ "f:data": { ".": {}, "f:mode": {} } }));
    let path = format!("{CONFIG_MAPS}/a");
    let patched =
        api.patch(&format!("{path}?fieldManager=other"), &json!({ "data": { "mode": "slow" } })).await.expect(200);
    let mut found = managers(&patched);
    found.sort();
    assert_eq!(found, pairs(&[("other", "Update"), ("tool", "Update")]));
    let reset = json!({ "metadata": { "managedFields": [{}] } });
    let reset = api.patch(&path, &reset).await.expect(200);
    assert_eq!(managers(&reset), []);
    let config = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" }, "data": { "x": "y" } });
    let applied = apply(&api, &path, "fieldManager=m", &config).await.expect(200);
    assert_eq!(managers(&applied), pairs(&[("m", "Apply"), ("before-first-apply", "Update")]));
    // kubectl rewrites the list when it goes over to server-side apply.
    let operations = json!([
        { "op": "replace", "path": "/metadata/managedFields", "value": [applied["metadata"]["managedFields"][0]] },
        { "op": "replace", "path": "/metadata/resourceVersion", "value": applied["metadata"]["resourceVersion"] },
    ]);
    let media = [("content-type", "application/json-patch+json")];
    let rewritten = api.send(Method::PATCH, &path, &media, full(operations.to_string())).await.expect(200);
    assert_eq!(managers(&rewritten), pairs(&[("m", "Apply")]));
}

#[tokio::test]
async fn owners_of_a_node_are_recorded_though_it_brings_nothing_but_its_status() {
    let api = Harness::start().await;
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": "plain" }, "status": { "capacity": { "memory": "1Gi" } },
    });
    let made = api.post("/api/v1/nodes?fieldManager=maker", &node).await.expect(201);
    assert_eq!(managers(&made), pairs(&[("maker", "Update")]));
    let taint = json!({ "spec": { "taints": [{ "key": "dedicated", "effect": "PreferNoSchedule" }] } });
    let tainted = api.patch("/api/v1/nodes/plain?fieldManager=kubectl-taint", &taint).await.expect(200);
    assert!(managers(&tainted).contains(&("kubectl-taint".to_owned(), "Update".to_owned())), "{tainted}");
}

#[tokio::test]
async fn an_applied_pod_keeps_what_the_cluster_filled_in() {
    let api = Harness::start().await;
    let config = |image: &str| {
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" },
            "spec": { "containers": [{ "name": "c", "image": image }] } })
    };
    let made = api.post(&format!("{PODS}?fieldManager=kubectl-client-side-apply"), &config("x:1")).await.expect(201);
    // So kubectl goes over to server-side apply.
    let mut entry = made["metadata"]["managedFields"][0].clone();
    entry["operation"] = "Apply".into();
    entry["manager"] = "kubectl".into();
    let operations = json!([{ "op": "replace", "path": "/metadata/managedFields", "value": [entry] }]);
    let (path, media) = (format!("{PODS}/p"), [("content-type", "application/json-patch+json")]);
    api.send(Method::PATCH, &path, &media, full(operations.to_string())).await.expect(200);
    let applied = apply(&api, &path, "fieldManager=kubectl", &config("x:2")).await.expect(200);
    assert_eq!(applied["spec"]["containers"][0]["image"], "x:2");
    assert_eq!(applied["spec"]["serviceAccountName"], "default");
}

#[tokio::test]
async fn status_and_scale_have_entries_of_their_own() {
    let api = Harness::start().await;
    let path = format!("{DEPLOYMENTS}/d");
    apply(&api, &path, "fieldManager=m1", &deployment(&json!({ "replicas": 1 }))).await.expect(201);
    let scale = json!({ "spec": { "replicas": 3 } });
    api.patch(&format!("{path}/scale?fieldManager=scaler"), &scale).await.expect(200);
    let status = json!({ "status": { "replicas": 3 } });
    api.patch(&format!("{path}/status?fieldManager=ctl"), &status).await.expect(200);
    let object = api.get(&path).await.expect(200);
    let entries = object["metadata"]["managedFields"].as_array().expect("entries");
    let of = |manager: &str| entries.iter().find(|entry| entry["manager"] == manager).expect("an entry");
    assert_eq!((&of("scaler")["subresource"], &of("ctl")["subresource"]), (&json!("scale"), &json!("status")));
    assert_eq!(of("scaler")["fieldsV1"], json!({ "f:spec": { "f:replicas": {} } }));
    assert_eq!(of("ctl")["fieldsV1"], json!({ "f:status": { "f:replicas": {} } }));
    let refused = apply(&api, &path, "fieldManager=m1", &deployment(&json!({ "replicas": 1 }))).await;
    assert_eq!(
        refused.json()["message"],
        "Apply failed with 1 conflict: conflict with \"scaler\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
    let config = json!({ "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": { "name": "d", "namespace": "default" },
        "spec": { "replicas": 5 } });
    let scaled = apply(&api, &format!("{path}/scale"), "fieldManager=m2&force=true", &config).await.expect(200);
    assert_eq!(scaled["spec"]["replicas"], 5);
    let config = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d" },
        "status": { "observedGeneration": 7 }, "spec": { "replicas": 9 } });
    let written = apply(&api, &format!("{path}/status"), "fieldManager=ctl2", &config).await.expect(200);
    assert_eq!((&written["status"]["observedGeneration"], &written["spec"]["replicas"]), (&json!(7), &json!(5)));
}

#[tokio::test]
async fn requests_that_cannot_be_applied_are_refused_in_kubernetes_words() {
    let api = Harness::start().await;
    let path = format!("{DEPLOYMENTS}/d");
    let config = deployment(&json!({}));
    let nameless = apply(&api, &path, "", &config).await;
    assert_eq!(nameless.code, 422);
    assert_eq!(
        nameless.json()["message"],
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
    );
    let unknown = apply(&api, &path, "fieldManager=m", &deployment(&json!({ "nope": 1 }))).await;
    assert_eq!(unknown.code, 500);
    assert_eq!(
        unknown.json()["message"],
        "failed to create typed patch object (/d; apps/v1, Kind=Deployment): .spec.nope: field not declared in schema"
    );
    assert_eq!(unknown.json()["reason"], Value::Null);
    let forced = api.patch(&format!("{path}?force=true"), &json!({})).await;
    assert_eq!(forced.code, 422);
    let mut elsewhere = config.clone();
    elsewhere["metadata"]["name"] = "e".into();
    let answer = apply(&api, &path, "fieldManager=m", &elsewhere).await;
    assert_eq!(answer.json()["message"], "the name of the object (e) does not match the name on the URL (d)");
    let invalid = apply(&api, &path, "fieldManager=m", &deployment(&json!({ "replicas": -1 }))).await;
    assert_eq!(invalid.reason(), (422, "Invalid".to_owned()));
    apply(&api, &format!("{path}/status"), "fieldManager=m", &config).await.expect(404);
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: y}\ndata: {a: b}\n";
    let path = format!("{CONFIG_MAPS}/y?fieldManager=m");
    let made = api.send(Method::PATCH, &path, &[("content-type", APPLY)], full(yaml)).await.expect(201);
    assert_eq!(made["data"]["a"], "b");
}

#[tokio::test]
async fn custom_resources_merge_by_the_keys_of_their_definition_and_only_by_them() {
    let api = Harness::start().await;
    api.post(DEFINITIONS, &widgets()).await.expect(201);
    let path = format!("{WIDGETS}/w");
    let parts = |names: &[&str]| -> Value { names.iter().map(|name| json!({ "name": name, "count": 1 })).collect() };
    let one = widget("w", &json!({ "size": "small", "parts": parts(&["a"]), "free": { "x": { "y": 1 } } }));
    apply(&api, &path, "fieldManager=m1", &one).await.expect(201);
    let two = widget("w", &json!({ "parts": parts(&["b"]), "free": { "x": { "z": 2 } } }));
    let both = apply(&api, &path, "fieldManager=m2", &two).await.expect(200);
    assert_eq!(both["spec"]["parts"], parts(&["a", "b"]));
    assert_eq!(both["spec"]["free"], json!({ "x": { "y": 1, "z": 2 } }));
    let three = widget("w", &json!({ "size": "small", "parts": parts(&["b"]) }));
    let refused = apply(&api, &path, "fieldManager=m3", &widget("w", &json!({ "size": "large" }))).await;
    assert_eq!(refused.json()["message"], "Apply failed with 1 conflict: conflict with \"m1\": .spec.size");
    let less = apply(&api, &path, "fieldManager=m1", &three).await.expect(200);
    assert_eq!(less["spec"]["parts"], parts(&["b"]));
    assert_eq!(less["spec"]["free"], json!({ "x": { "z": 2 } }));
    let unknown = apply(&api, &path, "fieldManager=m1", &widget("w", &json!({ "nope": 1 }))).await;
    assert_eq!(
        unknown.json()["message"],
        "failed to create typed patch object (/w; example.com/v1, Kind=Widget): .spec.nope: field not declared in schema"
    );
    let strategic = [("content-type", "application/strategic-merge-patch+json")];
    let answer = api.send(Method::PATCH, &path, &strategic, full("{}")).await;
    assert_eq!(answer.reason(), (415, "UnsupportedMediaType".to_owned()));
}
