//! The log as a file, and requests in it.

use std::path::Path;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use wk_access::audit::{Level, Policy};
use wk_base::body::full;
use wk_mesh::Peer;

use super::{Audit, Sink};
use crate::tests::kit::{CONFIG_MAPS, Harness, JSON, PATIENCE, config_map};

/// The events in the file, once there are `count`.
fn events(path: &Path, count: usize) -> Vec<Value> {
    let until = Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let whole = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect::<Vec<Value>>();
        if whole.len() >= count {
            return whole;
        }
        assert!(Instant::now() < until, "{count} events expected: {text}");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn each_stage_of_a_request_is_a_line_and_no_secret_is_in_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("audit.log");
    let audit = Audit::new(Policy::all(Level::RequestResponse), Sink::open(&path).expect("a file"));
    let api = Harness::start_with(Some(audit)).await;
    api.post(CONFIG_MAPS, &config_map("a", &[])).await.expect(201);
    let secret = json!({ "metadata": { "name": "s" }, "stringData": { "p": "hidden" } });
    api.post("/api/v1/namespaces/default/secrets", &secret).await.expect(201);
    api.get("/api/v1/namespaces/default/secrets").await.expect(200);
    let alice = Peer::User { name: "alice".to_owned(), groups: Vec::new() };
    let headers = [("content-type", JSON), ("user-agent", "test/1")];
    let body = config_map("b", &[]).to_string();
    assert_eq!(api.send_as(alice, Method::POST, CONFIG_MAPS, &headers, full(body)).await.code, 403);
    let events = events(&path, 8);
    assert_eq!(events[0]["stage"], "RequestReceived");
    let done = &events[1];
    assert_eq!(done["stage"], "ResponseComplete");
    assert_eq!(done["auditID"], events[0]["auditID"]);
    assert_eq!(done["verb"], "create");
    assert_eq!(done["user"]["username"], "admin");
    let about = json!({ "resource": "configmaps", "namespace": "default", "name": "a", "apiVersion": "v1" });
    assert_eq!(done["objectRef"], about);
    assert_eq!(done["responseStatus"]["code"], 201);
    assert_eq!(done["requestObject"]["metadata"]["name"], "a");
    assert_eq!(done["responseObject"]["data"]["mode"], "fast");
    let refused = &events[7];
    let why = "configmaps is forbidden: User \"alice\" cannot create resource \"configmaps\" in API group \"\" in the \
               namespace \"default\"";
    let details = json!({ "kind": "configmaps" });
    let status = json!({ "metadata": {}, "status": "Failure", "message": why, "reason": "Forbidden", "details": details, "code": 403 });
    assert_eq!(refused["responseStatus"], status);
    let decided = json!({ "authorization.k8s.io/decision": "forbid", "authorization.k8s.io/reason": "" });
    assert_eq!(refused["annotations"], decided);
    assert_eq!((&refused["user"]["username"], &refused["userAgent"]), (&json!("alice"), &json!("test/1")));
    let text = std::fs::read_to_string(&path).expect("text");
    assert!(!text.contains("hidden") && !text.contains("aGlkZGVu"), "{text}");
}

#[tokio::test]
async fn who_reads_the_record_knows_which_object_was_made_or_changed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("audit.log");
    let audit = Audit::new(Policy::all(Level::Metadata), Sink::open(&path).expect("a file"));
    let api = Harness::start_with(Some(audit)).await;
    let drawn = api.post(CONFIG_MAPS, &json!({ "metadata": { "generateName": "drawn-" } })).await.expect(201);
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
    let role = api.post(roles, &json!({ "metadata": { "name": "r" }, "rules": [] })).await.expect(201);
    api.put(&format!("{roles}/r"), &role).await.expect(200);
    api.post(roles, &json!({ "metadata": { "name": "r" }, "rules": [] })).await.expect(409);
    let events = events(&path, 8);
    let about = |at: usize| events[at]["objectRef"].clone();
    assert_eq!(about(0), json!({ "resource": "configmaps", "namespace": "default", "apiVersion": "v1" }), "as it came");
    assert_eq!(about(1)["name"], drawn["metadata"]["name"], "the name that was drawn");
    let mut expected = json!({
        "resource": "roles", "namespace": "default", "name": "r", "apiVersion": "v1",
        "apiGroup": "rbac.authorization.k8s.io",
    });
    assert_eq!(about(3), expected);
    assert_eq!(about(7), expected, "refused, and named all the same");
    for field in ["uid", "resourceVersion"] {
        expected[field] = role["metadata"][field].clone();
    }
    assert_eq!(about(5), expected, "what the writer said of the object");
}

#[tokio::test]
async fn a_watch_is_on_record_when_it_starts_and_when_it_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("audit.log");
    let audit = Audit::new(Policy::all(Level::Metadata), Sink::open(&path).expect("a file"));
    let api = Harness::start_with(Some(audit)).await;
    let watch = api.watch(&format!("{CONFIG_MAPS}?watch=true"), JSON).await;
    let stages = |count| {
        let events = events(&path, count);
        events.iter().map(|event| event["stage"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(stages(2), ["RequestReceived", "ResponseStarted"]);
    drop(watch);
    assert_eq!(stages(3)[2], "ResponseComplete");
}

#[tokio::test]
async fn what_breaks_the_audited_level_of_a_namespace_is_on_record_and_let_in() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("audit.log");
    let audit = Audit::new(Policy::all(Level::Metadata), Sink::open(&path).expect("a file"));
    let api = Harness::start_with(Some(audit)).await;
    let labels = json!({ "pod-security.kubernetes.io/audit": "restricted" });
    api.post("/api/v1/namespaces", &json!({ "metadata": { "name": "seen", "labels": labels } })).await.expect(201);
    let pod = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "a", "image": "wk.local/a@sha256:0" }] } });
    api.post("/api/v1/namespaces/seen/pods", &pod).await.expect(201);
    let notes = events(&path, 4)[3]["annotations"].clone();
    assert_eq!(notes["pod-security.kubernetes.io/enforce-policy"], "privileged:latest");
    let broken = notes["pod-security.kubernetes.io/audit-violations"].as_str().expect("a note");
    assert!(
        broken.starts_with("would violate PodSecurity \"restricted:latest\": allowPrivilegeEscalation"),
        "{broken}"
    );
}

#[tokio::test]
async fn a_pod_that_breaks_the_level_is_refused_though_its_maker_may_make_pods() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("audit.log");
    let audit = Audit::new(Policy::all(Level::Metadata), Sink::open(&path).expect("a file"));
    let api = Harness::start_with(Some(audit)).await;
    let label = |mode: &str| format!("pod-security.kubernetes.io/{mode}");
    let labels = json!({ label("enforce"): "baseline", label("audit"): "baseline" });
    api.post("/api/v1/namespaces", &json!({ "metadata": { "name": "safe", "labels": labels } })).await.expect(201);
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let rule = json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["create"] });
    let role = json!({ "metadata": { "name": "maker" }, "rules": [rule] });
    api.post(&format!("{rbac}/clusterroles"), &role).await.expect(201);
    let subject = json!({ "kind": "User", "name": "alice", "apiGroup": "rbac.authorization.k8s.io" });
    let reference = json!({ "kind": "ClusterRole", "name": "maker", "apiGroup": "rbac.authorization.k8s.io" });
    let binding = json!({ "metadata": { "name": "makers" }, "subjects": [subject], "roleRef": reference });
    api.post(&format!("{rbac}/clusterrolebindings"), &binding).await.expect(201);
    let containers = json!([{ "name": "a", "image": "wk.local/a@sha256:0" }]);
    let pod = json!({ "metadata": { "name": "p" }, "spec": { "hostNetwork": true, "containers": containers } });
    let alice = Peer::User { name: "alice".to_owned(), groups: Vec::new() };
    let headers = [("content-type", JSON)];
    let answer =
        api.send_as(alice, Method::POST, "/api/v1/namespaces/safe/pods", &headers, full(pod.to_string())).await;
    assert_eq!(answer.code, 403);
    let record = &events(&path, 8)[7];
    let broken = "PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)";
    let annotations = json!({
        "authorization.k8s.io/decision": "allow",
        "authorization.k8s.io/reason":
            "RBAC: allowed by ClusterRoleBinding \"makers\" of ClusterRole \"maker\" to User \"alice\"",
        label("enforce-policy"): "baseline:latest",
        label("audit-violations"): format!("would violate {broken}"),
    });
    assert_eq!(record["annotations"], annotations);
    let status = &record["responseStatus"];
    assert_eq!((&status["reason"], &status["status"]), (&json!("Forbidden"), &json!("Failure")));
    assert_eq!(status["message"], format!("pods \"p\" is forbidden: violates {broken}"));
}

#[tokio::test]
async fn no_refusal_quotes_a_secret() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("audit.log");
    let audit = Audit::new(Policy::all(Level::RequestResponse), Sink::open(&path).expect("a file"));
    let api = Harness::start_with(Some(audit)).await;
    let secrets = "/api/v1/namespaces/default/secrets";
    let secret = |kind: &str| json!({ "metadata": { "name": "s" }, "type": kind, "stringData": { "p": "hidden" } });
    api.post(secrets, &secret("Opaque")).await.expect(201);
    let patch = json!({ "data": { "$patch": "aGlkZGVu", "p": "aGlkZGVu" } }).to_string();
    let admin = Peer::User { name: "admin".to_owned(), groups: vec!["system:masters".to_owned()] };
    let headers = [("content-type", "application/strategic-merge-patch+json")];
    let refused = api.send_as(admin, Method::PATCH, &format!("{secrets}/s"), &headers, full(patch)).await;
    assert_eq!(refused.json()["message"], "the patch does not fit the object: <hidden>");
    api.post(secrets, &json!({ "metadata": { "name": "not a name" }, "stringdata": { "p": "hidden" } })).await;
    let events = events(&path, 6);
    let statuses: Vec<_> = events.iter().filter_map(|event| event.get("responseStatus")).collect();
    let unfit = json!({ "metadata": {}, "status": "Failure", "message": "(not on record)", "code": 500 });
    assert_eq!(statuses[1], &unfit);
    assert_eq!((&statuses[2]["reason"], &statuses[2]["message"]), (&json!("Invalid"), &json!("(not on record)")));
    assert_eq!(events[5]["requestObject"]["stringdata"], "(not on record)");
}

#[tokio::test]
async fn paths_of_others_behind_the_same_door_are_on_record_and_want_an_identity() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("audit.log");
    let audit = Audit::new(Policy::all(Level::Metadata), Sink::open(&path).expect("a file"));
    let api = Harness::start_with(Some(audit)).await;
    let ask = async |peer: Peer, found: bool| {
        let request = http::Request::get("/metrics").body(wk_base::body::empty()).expect("a request");
        let answer = async |_| found.then(|| http::Response::new(full("figures")));
        api.server.attend(&peer, request, answer).await.status().as_u16()
    };
    let admin = || Peer::User { name: "admin".to_owned(), groups: vec!["system:masters".to_owned()] };
    assert_eq!(
        (ask(admin(), true).await, ask(admin(), false).await, ask(Peer::Anonymous, true).await),
        (200, 404, 401)
    );
    let codes: Vec<_> = events(&path, 6).iter().filter_map(|event| event["responseStatus"]["code"].as_u64()).collect();
    assert_eq!(codes, [200, 404, 401]);
    let seats = api.server.flight.reads.take_all();
    let waits = ask(admin(), true);
    drop(seats);
    assert_eq!(waits.await, 200);
}

#[test]
fn a_full_file_is_put_aside() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("audit.log");
    let sink = Sink::with_limit(&path, 100).expect("a file");
    for number in 0..5 {
        sink.write(&json!({ "number": number, "text": "x".repeat(60) }));
    }
    let aside = |number: usize| dir.path().join(format!("audit.log.{number}"));
    // The oldest is put there when the newest is about to be written: the others are in their places by then.
    assert_eq!(events(&aside(4), 1)[0]["number"], 0);
    assert_eq!(events(&aside(1), 1)[0]["number"], 3);
    assert_eq!(events(&path, 1)[0]["number"], 4);
}
