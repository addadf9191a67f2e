//! Create, read, replace, patch and delete, and the subresources.

use http::Method;
use serde_json::{Value, json};
use wk_base::body::{empty, full};

use super::kit::{CONFIG_MAPS, Harness, JSON, TABLE, config_map};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "app", "image": "wk.local/app@sha256:0" }] },
            },
        },
    })
}

#[tokio::test]
async fn an_object_reads_as_it_was_written() {
    let api = Harness::start().await;
    let made = api.post(CONFIG_MAPS, &config_map("settings", &[])).await.expect(201);
    assert_eq!(made["data"]["mode"], "fast");
    for field in ["uid", "resourceVersion", "creationTimestamp"] {
        assert!(made["metadata"][field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {made}");
    }
    let path = format!("{CONFIG_MAPS}/settings");
    let read = api.get(&path).await.expect(200);
    assert_eq!(read, made);

    let mut changed = read.clone();
    changed["data"]["mode"] = "slow".into();
    let put = api.put(&path, &changed).await.expect(200);
    assert_eq!(put["data"]["mode"], "slow");
    assert_ne!(put["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    assert_eq!(put["metadata"]["uid"], made["metadata"]["uid"]);

    let same = api.put(&path, &put).await.expect(200);
    assert_eq!(same, put, "a write that changes nothing writes nothing");

    let patched = api.patch(&path, &json!({ "data": { "mode": null, "size": "9" } })).await.expect(200);
    assert_eq!(patched["data"], json!({ "size": "9" }));

    let gone = api.delete(&path, &json!({ "propagationPolicy": "Background" })).await.expect(200);
    assert_eq!((&gone["status"], &gone["details"]["uid"]), (&json!("Success"), &made["metadata"]["uid"]));
    api.get(&path).await.expect(404);
}

#[tokio::test]
async fn answers_carry_the_headers_of_kubernetes() {
    let api = Harness::start().await;
    let answer = api.get("/api/v1/namespaces/default").await;
    assert_eq!(answer.headers["content-type"], JSON);
    assert_eq!(answer.headers["cache-control"], "no-cache, private");
    assert!(!answer.headers["audit-id"].is_empty());
    let curl = api.send(Method::GET, "/api/v1/namespaces/default", &[("user-agent", "curl/8")], empty()).await;
    assert!(curl.text.contains("\n  \""), "{}", curl.text);
}

#[tokio::test]
async fn bodies_and_answers_may_be_yaml() {
    let api = Harness::start().await;
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y\ndata:\n  a: b\n";
    let headers = [("content-type", "application/yaml"), ("accept", "application/yaml")];
    let made = api.send(Method::POST, CONFIG_MAPS, &headers, full(yaml)).await;
    assert_eq!((made.code.as_u16(), made.headers["content-type"].as_bytes()), (201, b"application/yaml".as_slice()));
    assert!(made.text.contains("data:\n  a: b\n"), "{}", made.text);
}

#[tokio::test]
async fn a_generated_name_begins_with_its_prefix() {
    let api = Harness::start().await;
    let body = json!({ "metadata": { "generateName": "job-" } });
    let first = api.post(CONFIG_MAPS, &body).await.expect(201);
    let second = api.post(CONFIG_MAPS, &body).await.expect(201);
    let name = first["metadata"]["name"].as_str().expect("a name");
    assert!(name.starts_with("job-") && name.len() == 9, "{name}");
    assert_ne!(first["metadata"]["name"], second["metadata"]["name"]);
}

#[tokio::test]
async fn a_dry_run_checks_everything_and_stores_nothing() {
    let api = Harness::start().await;
    let dry = format!("{CONFIG_MAPS}?dryRun=All");
    let made = api.post(&dry, &config_map("a", &[])).await.expect(201);
    assert!(made["metadata"]["uid"].is_string());
    api.get(&format!("{CONFIG_MAPS}/a")).await.expect(404);
    let made = api.post(CONFIG_MAPS, &config_map("a", &[])).await.expect(201);
    assert_eq!(api.post(&dry, &config_map("a", &[])).await.reason(), (409, "AlreadyExists".to_owned()));
    let patched = api.patch(&format!("{CONFIG_MAPS}/a?dryRun=All"), &json!({ "data": { "b": "c" } })).await.expect(200);
    assert_eq!(patched["data"]["b"], "c");
    api.delete(&format!("{CONFIG_MAPS}/a?dryRun=All"), &json!({})).await.expect(200);
    assert_eq!(api.get(&format!("{CONFIG_MAPS}/a")).await.expect(200), made);
}

#[tokio::test]
async fn scale_stands_for_the_replicas() {
    let api = Harness::start().await;
    let made = api.post(DEPLOYMENTS, &deployment("web")).await.expect(201);
    let scale = format!("{DEPLOYMENTS}/web/scale");
    let read = api.get(&scale).await.expect(200);
    assert_eq!((&read["kind"], &read["spec"]["replicas"]), (&json!("Scale"), &json!(2)));
    let table = api.get_as(&scale, TABLE).await.expect(200);
    assert_eq!(table["columnDefinitions"][1]["name"], "Desired");
    let cells = table["rows"][0]["cells"].as_array().expect("cells");
    assert_eq!(cells[..3], [json!("web"), json!(2), json!(0)]);
    let patched = api.patch(&scale, &json!({ "spec": { "replicas": 5 } })).await.expect(200);
    assert_eq!(patched["spec"]["replicas"], 5);
    let read = api.get(&format!("{DEPLOYMENTS}/web")).await.expect(200);
    assert_eq!(read["spec"]["replicas"], 5);
    assert_eq!(read["metadata"]["generation"], 2);

    let mut stale = patched.clone();
    stale["spec"]["replicas"] = 6.into();
    stale["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"].clone();
    assert_eq!(api.put(&scale, &stale).await.reason(), (409, "Conflict".to_owned()));
    stale["metadata"]["resourceVersion"] = patched["metadata"]["resourceVersion"].clone();
    // kubectl's own PUT of a scale says nothing of what it sends.
    let put = api.send(Method::PUT, &scale, &[], full(stale.to_string())).await.expect(200);
    assert_eq!(put["spec"]["replicas"], 6);
    assert_eq!(api.patch(&scale, &json!({ "spec": { "replicas": -1 } })).await.reason(), (422, "Invalid".to_owned()));
}

#[tokio::test]
async fn status_is_written_through_its_own_path_only() {
    let api = Harness::start().await;
    let made = api.post(DEPLOYMENTS, &deployment("web")).await.expect(201);
    let path = format!("{DEPLOYMENTS}/web");
    let both = json!({ "spec": { "replicas": 9 }, "status": { "replicas": 3 } });
    let read = api.patch(&format!("{path}/status"), &both).await.expect(200);
    assert_eq!((&read["spec"]["replicas"], &read["status"]["replicas"]), (&json!(2), &json!(3)));
    assert_eq!(read["metadata"]["generation"], made["metadata"]["generation"]);
    let read = api.patch(&path, &json!({ "status": { "replicas": 8 } })).await.expect(200);
    assert_eq!(read["status"]["replicas"], 3);
}

#[tokio::test]
async fn a_json_patch_is_applied_as_a_whole_or_not_at_all() {
    let api = Harness::start().await;
    api.post(CONFIG_MAPS, &config_map("a", &[])).await.expect(201);
    let path = format!("{CONFIG_MAPS}/a");
    let send = async |body: Value| {
        let headers = [("content-type", "application/json-patch+json")];
        api.send(Method::PATCH, &path, &headers, full(body.to_string())).await
    };
    let fails = json!([
        { "op": "add", "path": "/data/x", "value": "y" },
        { "op": "test", "path": "/data/mode", "value": "slow" },
    ]);
    assert_eq!(send(fails).await.reason(), (422, "Invalid".to_owned()));
    let holds = json!([
        { "op": "test", "path": "/data/mode", "value": "fast" },
        { "op": "replace", "path": "/data/mode", "value": "slow" },
    ]);
    assert_eq!(send(holds).await.expect(200)["data"], json!({ "mode": "slow" }));
}

#[tokio::test]
async fn an_object_with_a_finalizer_goes_when_the_last_one_is_taken_off() {
    let api = Harness::start().await;
    let mut body = config_map("held", &[]);
    body["metadata"]["finalizers"] = json!(["example.com/wait"]);
    api.post(CONFIG_MAPS, &body).await.expect(201);
    let path = format!("{CONFIG_MAPS}/held");
    let marked = api.delete(&path, &json!({})).await.expect(200);
    assert!(marked["metadata"]["deletionTimestamp"].is_string(), "{marked}");
    let again = api.delete(&path, &json!({})).await.expect(200);
    assert_eq!(again["metadata"]["resourceVersion"], marked["metadata"]["resourceVersion"]);
    api.get(&path).await.expect(200);
    api.patch(&path, &json!({ "metadata": { "finalizers": null } })).await.expect(200);
    api.get(&path).await.expect(404);
}

#[tokio::test]
async fn a_collection_is_deleted_as_far_as_selectors_say() {
    let api = Harness::start().await;
    api.config_maps(&["a", "b", "c"]).await;
    let gone = api.delete(&format!("{CONFIG_MAPS}?labelSelector=index!%3D1"), &json!({})).await.expect(200);
    assert_eq!(super::kit::names(&gone), ["a", "c"]);
    assert_eq!(super::kit::names(&api.get(CONFIG_MAPS).await.expect(200)), ["b"]);
}

#[tokio::test]
async fn secrets_are_sealed_in_the_store_and_open_to_every_read() {
    const SECRETS: &str = "/api/v1/namespaces/default/secrets";
    let api = Harness::start().await;
    let body = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "annotations": {"a": "b"}},
        "stringData": {"password": "hunter2"},
    });
    let mut watch = api.watch(&format!("{SECRETS}?watch=true&fieldSelector=type=Opaque"), JSON).await;
    let made = api.post(SECRETS, &body).await.expect(201);
    let read = api.get(&format!("{SECRETS}/s")).await.expect(200);
    let mut item = api.get(SECRETS).await.expect(200)["items"][0].clone();
    (item["kind"], item["apiVersion"]) = (json!("Secret"), json!("v1"));
    let seen = watch.next().await.expect("an event")["object"].clone();
    for shown in [&made, &read, &item, &seen] {
        assert_eq!((&shown["data"]["password"], &shown["sealed"]), (&json!("aHVudGVyMg=="), &Value::Null));
        assert_eq!(shown["metadata"]["annotations"]["a"], "b");
    }
    let stored = api.server.cluster.store().view();
    let stored = stored.list("core/secrets", "").next().expect("it is there");
    let text = String::from_utf8_lossy(&stored.bytes()).into_owned();
    assert!(text.contains("\"sealed\"") && !text.contains("aHVudGVyMg"), "{text}");
    let table = api.get_as(SECRETS, TABLE).await.expect(200);
    assert!(!table.to_string().contains("aHVudGVyMg"), "{table}");
    assert_eq!(table["rows"][0]["cells"][2], 1, "the number of its entries");
}

#[tokio::test]
async fn a_secret_that_cannot_be_opened_here_is_refused_to_every_reader_and_can_be_deleted() {
    const SECRETS: &str = "/api/v1/namespaces/default/secrets";
    let api = Harness::start().await;
    let lose = async |name: &str| {
        let lost = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": name, "namespace": "default", "uid": "u"},
            "sealed": {"key": "0123456789abcdef", "text": "AAAA"},
        });
        let (bytes, stamp) = wk_api::encode::stored(&wk_api::Object(lost));
        let value = wk_store::Value { bytes: bytes.into(), stamp: Some(stamp) };
        let key = wk_store::Key::new("core/secrets", format!("default/{name}"));
        let op = wk_store::Op { key, expect: wk_store::Expect::Absent, change: wk_store::Change::Put(value) };
        api.server.cluster.store().write(op.into()).await.expect("written");
    };
    lose("lost").await;

    let (one, table) = (api.get(&format!("{SECRETS}/lost")).await, api.get_as(SECRETS, TABLE).await);
    let listed = api.get(SECRETS).await;
    for answer in [one, table, listed] {
        let refused = answer.expect(500);
        let message = refused["message"].as_str().expect("a text");
        assert!(
            message
                .starts_with("Internal error occurred: unable to transform key \"/registry/secrets/default/lost\": "),
            "{message}"
        );
        assert!(message.contains("key 0123456789abcdef"), "{message}");
    }
    let mut watch = api.watch(&format!("{SECRETS}?watch=true"), JSON).await;
    let said = watch.next().await.expect("an event");
    assert_eq!((&said["type"], &said["object"]["code"]), (&json!("ERROR"), &json!(500)), "{said}");
    assert!(watch.next().await.is_none(), "what was not told may not be passed over");

    // Long lists are made while they are taken: they are refused before they begin.
    for number in 0..60 {
        let body = json!({"metadata": {"name": format!("s{number}")}, "stringData": {"a": "b"}});
        api.post(SECRETS, &body).await.expect(201);
    }
    api.get(SECRETS).await.expect(500);
    // Nor are some of a collection deleted before one is found that cannot be shown, and all such are named.
    api.post(SECRETS, &json!({"metadata": {"name": "before"}})).await.expect(201);
    lose("tost").await;
    let refused = api.delete(SECRETS, &json!({})).await.expect(500);
    let message = refused["message"].as_str().expect("a text");
    assert!(message.contains("Secret default/lost is") && message.ends_with("1 more: default/tost"), "{message}");
    api.get(&format!("{SECRETS}/before")).await.expect(200);
    for lost in ["lost", "tost"] {
        api.delete(&format!("{SECRETS}/{lost}"), &json!({})).await.expect(200);
    }
    assert_eq!(super::kit::names(&api.get(SECRETS).await.expect(200)).len(), 61);
}

#[tokio::test]
async fn leases_of_nodes_are_as_new_as_the_last_heartbeat() {
    let api = Harness::start().await;
    let path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let lease = |name: &str, holder: &str, second: &str| {
        let spec = json!({ "holderIdentity": holder, "renewTime": format!("1970-01-01T00:{second}.000000Z") });
        json!({ "metadata": { "name": name }, "spec": spec })
    };
    for (name, holder, second) in [("n1", "n1", "00:01"), ("n2", "n2", "00:01"), ("n3", "n1", "00:01")] {
        api.post(path, &lease(name, holder, second)).await.expect(201);
    }
    let renewed = |object: &Value| object["spec"]["renewTime"].as_str().expect("a time").to_owned();
    let one = api.get(&format!("{path}/n1")).await.expect(200);
    assert_eq!(renewed(&one), "1970-01-01T00:16:40.000000Z");
    let list = api.get(path).await.expect(200);
    let all: Vec<String> = list["items"].as_array().expect("items").iter().map(renewed).collect();
    let stored = "1970-01-01T00:00:01.000000Z";
    assert_eq!(all, ["1970-01-01T00:16:40.000000Z", stored, stored], "who is not heard, and who is no node");
    // One that says more is believed, and those of others are theirs.
    let later = json!({ "spec": { "renewTime": "1970-01-01T00:30:00.000000Z" } });
    api.patch(&format!("{path}/n1"), &later).await.expect(200);
    assert_eq!(renewed(&api.get(&format!("{path}/n1")).await.expect(200)), "1970-01-01T00:30:00.000000Z");
    let other = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    api.post(other, &lease("n1", "n1", "00:01")).await.expect(201);
    assert_eq!(renewed(&api.get(&format!("{other}/n1")).await.expect(200)), stored);
}
