//! What deploying does, from the decisions to whole transcripts against the server in `testing`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::rollout::{self, Progress};
use super::{objects, urls, wasm};
use crate::testing::Fake;

fn app(line: &str, bytes: &[u8]) -> super::App {
    let dir = tempfile::tempdir().expect("dir");
    let file = dir.path().join("hello_http.wasm");
    std::fs::write(&file, bytes).expect("write");
    let words = ["wk", "deploy", file.to_str().expect("text")].into_iter().chain(line.split_whitespace());
    let crate::args::Command::Deploy(args) = crate::args::try_parse(words).expect("parses").command else {
        panic!("not deploy")
    };
    super::resolve(args).expect("resolves")
}

fn http(line: &str) -> super::App {
    app(line, &wasm::tests::component("wasi:http/incoming-handler@0.2.6"))
}

#[test]
fn name_is_made_of_the_file_and_the_default_route_of_the_name() {
    let app = http("");
    assert_eq!(app.name, "hello-http");
    assert_eq!(objects::ingress(&app)["spec"]["rules"][0]["host"], "hello-http.localhost");
    let deployment = objects::deployment(&app, "wk.local/x");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["ports"][0]["containerPort"], 8080);
    assert_eq!(container["env"][0]["valueFrom"]["fieldRef"]["fieldPath"], "metadata.name");
}

#[test]
fn command_gets_no_port_and_refuses_a_route() {
    let ticker = app("-- --fast", &wasm::tests::module("_start"));
    let deployment = objects::deployment(&ticker, "wk.local/x");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["args"], json!(["--fast"]));
    assert_eq!(container.get("ports"), None);
}

#[test]
fn what_the_pods_may_reach_is_said_on_them_and_can_be_taken_back() {
    let at = "/spec/template/metadata/annotations/wk.dev~1egress";
    let mut live = objects::deployment(&http("--egress cluster,api.example.com:443"), "wk.local/x");
    assert_eq!(live.pointer(at), Some(&json!("cluster,api.example.com:443")));
    objects::change_deployment(&mut live, &http("--replicas 2"), "wk.local/x").expect("changes");
    assert_eq!(live.pointer(at), Some(&json!("cluster,api.example.com:443")));
    objects::change_deployment(&mut live, &http("--egress="), "wk.local/x").expect("changes");
    assert_eq!(live.pointer(at), None);
    let wrong =
        crate::args::try_parse(["wk", "deploy", "a.wasm", "--egress", "clusters"]).expect_err("must be refused");
    assert!(wrong.to_string().contains("api.example.com"), "{wrong}");
}

#[test]
fn deploying_again_changes_only_what_was_said() {
    let mut live = objects::deployment(&http("--replicas 3 -e A=1 -e B=2 --memory 64Mi"), "wk.local/old");
    live["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"] = json!({"cpu": "5m", "memory": "9Gi"});
    live["spec"]["template"]["spec"]["nodeName"] = "theirs".into();
    let mut wanted = live.clone();
    objects::change_deployment(&mut wanted, &http("-e A=9 -e B- --memory 32Mi"), "wk.local/new").expect("changes");
    let container = &wanted["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(wanted["spec"]["replicas"], 3);
    assert_eq!(wanted["spec"]["template"]["spec"]["nodeName"], "theirs");
    assert_eq!(container["image"], "wk.local/new");
    assert_eq!(container["env"].as_array().expect("env").len(), 2);
    assert_eq!(container["env"][1], json!({"name": "A", "value": "9"}));
    assert_eq!(container["resources"], json!({"limits": {"memory": "32Mi"}, "requests": {"cpu": "5m"}}));
    let mut again = live.clone();
    objects::change_deployment(&mut again, &http(""), "wk.local/old").expect("changes");
    assert_eq!(again, live);
}

#[test]
fn objects_of_others_are_not_taken_over() {
    let mut theirs = json!({"spec": {"template": {"spec": {"containers": [{"name": "nginx"}]}}}});
    let why = objects::change_deployment(&mut theirs, &http(""), "x").expect_err("theirs");
    assert!(why.contains("has no container \"hello-http\""), "{why}");
    let why = objects::change_service(&mut json!({"spec": {"selector": {"a": "b"}}}), &http("")).expect_err("theirs");
    assert!(why.contains("selects other pods"), "{why}");
}

#[test]
fn new_route_replaces_ours_and_keeps_rules_that_lead_elsewhere() {
    let mut live = objects::ingress(&http(""));
    let other = json!({"host": "x", "http": {"paths": [{"path": "/", "backend": {"service": {"name": "other"}}}]}});
    live["spec"]["rules"].as_array_mut().expect("rules").push(other.clone());
    objects::change_ingress(&mut live, &http("--route shop.example/cart")).expect("changes");
    assert_eq!(urls::routes(&live, "hello-http"), [("shop.example".to_owned(), "/cart".to_owned())]);
    assert_eq!(live["spec"]["rules"][1], other);
}

#[test]
fn rollout_is_over_when_new_replicas_are_ready_and_old_ones_gone() {
    let deployment = |status: Value| json!({"spec": {"replicas": 3}, "status": status});
    let told = |status: Value| match rollout::progress(&deployment(status), 2) {
        Progress::Waiting(what) | Progress::Failed(what) => what,
        Progress::Ready { replicas } => format!("ready {replicas}"),
    };
    assert_eq!(
        told(json!({"observedGeneration": 1, "replicas": 3, "updatedReplicas": 3})),
        "waiting for the controller"
    );
    let status = |updated: i64, all: i64, ready: i64| {
        json!({"observedGeneration": 2, "updatedReplicas": updated, "replicas": all,
               "readyReplicas": ready, "availableReplicas": ready})
    };
    assert_eq!(told(status(1, 4, 3)), "1 of 3 new replicas started, 3 ready");
    assert_eq!(told(status(3, 4, 3)), "3 replicas ready, 1 old ones stopping");
    assert_eq!(told(status(3, 3, 2)), "2 of 3 replicas ready");
    assert_eq!(told(status(3, 3, 3)), "ready 3");
    let mut failed = status(0, 0, 0);
    failed["conditions"] = json!([{"type": "ReplicaFailure", "status": "True", "message": "no"}]);
    assert_eq!(told(failed), "no");
}

fn pod(uid: &str, container: &Value) -> Value {
    json!({"metadata": {"name": uid, "uid": uid}, "status": {"containerStatuses": [container]}})
}

#[test]
fn troubles_are_those_of_new_pods_and_say_whether_waiting_helps() {
    let pods = [
        pod("old", &json!({"state": {"waiting": {"reason": "CrashLoopBackOff"}}})),
        pod("fine", &json!({"state": {"running": {}}})),
        pod("starting", &json!({"state": {"waiting": {"reason": "ContainerCreating", "message": "pulling"}}})),
        pod(
            "crashing",
            &json!({"restartCount": 4, "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
                   "lastState": {"terminated": {"reason": "Trapped", "exitCode": 134, "message": "unreachable\nat 1"}}}),
        ),
        json!({"metadata": {"name": "unplaced", "uid": "u"}, "status": {"conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room"}]}}),
    ];
    let found = rollout::troubles(pods.iter(), &BTreeSet::from(["old".to_owned()]));
    let told: Vec<String> = found.iter().map(|it| format!("{} {} {}", it.pod, it.hopeless, it.what)).collect();
    assert_eq!(
        told,
        [
            "crashing true CrashLoopBackOff: back-off (last run: Trapped, exit code 134: unreachable, restarted 4 times)",
            "unplaced false Unschedulable: no room"
        ]
    );
    let told = |old: &str| rollout::long_start(pods.iter(), &BTreeSet::from([old.to_owned()])).map(str::to_owned);
    assert_eq!((told("old").as_deref(), told("starting")), (Some("pulling"), None));
}

#[test]
fn module_that_no_node_can_run_is_not_waited_for() {
    let waits = |message: &str| {
        let waiting =
            json!({"name": "c", "state": {"waiting": {"reason": "CreateContainerError", "message": message}}});
        let pods = [pod("new", &waiting)];
        rollout::troubles(pods.iter(), &BTreeSet::new())[0].hopeless
    };
    assert!(waits("the module imports functions that WASI preview 1 does not have: env.foo"));
    assert!(!waits("open the container's log: No space left on device"));
}

#[test]
fn route_that_an_older_ingress_keeps_is_told() {
    let ingress = |name: &str, created: &str, host: &str| {
        json!({"metadata": {"name": name, "namespace": "default", "creationTimestamp": created},
            "spec": {"rules": [{"host": host, "http": {"paths": [{"path": "/", "backend": {"service": {"name": name}}}]}}]}})
    };
    let all = json!({"items": [
        ingress("first", "2026-01-01T00:00:00Z", "app.localhost"),
        ingress("other", "2026-01-01T00:00:00Z", "other.localhost"),
        ingress("second", "2026-01-02T00:00:00Z", "App.localhost"),
    ]});
    let told = urls::taken(&all, "default", "second");
    assert_eq!(
        told,
        ["warning: app.localhost/ is served by Ingress default/first, which is older: it keeps the route"]
    );
    assert_eq!(urls::taken(&all, "default", "first"), [""; 0]);
}

#[test]
fn urls_work_from_here_and_curl_lines_from_other_addresses() {
    let listeners = ["127.0.0.1:8080".parse().expect("address"), "127.0.0.2:80".parse().expect("address")];
    let route = |host: &str| [(host.to_owned(), "/x".to_owned())];
    assert_eq!(
        urls::urls(&route("a.localhost"), &listeners),
        ["http://a.localhost:8080/x", "curl -H 'Host: a.localhost' http://127.0.0.2/x"]
    );
    assert_eq!(urls::urls(&route("a.localhost"), &listeners[1..]), ["curl -H 'Host: a.localhost' http://127.0.0.2/x"]);
    assert_eq!(urls::urls(&route(""), &listeners[..1]), ["http://127.0.0.1:8080/x"]);
    assert_eq!(urls::urls(&route("shop.example"), &[]), ["http://shop.example/x"]);
}

#[test]
fn listeners_are_those_of_ready_nodes_nearest_first() {
    let node = |address: &str, ready: &str| {
        json!({"metadata": {"annotations": {"wk.dev/ingress-http": address}},
               "status": {"conditions": [{"type": "Ready", "status": ready}]}})
    };
    let nodes = json!({"items": [node("127.0.0.2:8080", "True"), node("127.0.0.3:8080", "False"),
                                 node("127.0.0.1:8080", "True"), node("nonsense", "True")]});
    let found: Vec<String> = urls::listeners(&nodes).iter().map(ToString::to_string).collect();
    assert_eq!(found, ["127.0.0.1:8080", "127.0.0.2:8080"]);
}

/// A cluster whose controllers are done at once.
async fn prompt_cluster() -> Fake {
    let fake = Fake::with(Box::new(|object| {
        if object["kind"] == "Deployment" {
            let replicas = object["spec"]["replicas"].clone();
            let generation = object["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
            object["metadata"]["generation"] = generation.into();
            object["status"] = json!({"observedGeneration": generation, "replicas": replicas,
                "updatedReplicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas});
        }
    }))
    .await;
    fake.put(
        "/api/v1/nodes/n1",
        json!({"metadata": {"name": "n1", "annotations": {"wk.dev/ingress-http": "127.0.0.1:8080"}},
               "status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
    );
    fake
}

#[tokio::test]
async fn deploy_uploads_writes_waits_and_prints_the_url() {
    let fake = prompt_cluster().await;
    let file = fake.file("web.wasm", wasm::tests::component("wasi:http/incoming-handler@0.2.6"));
    let (code, out, err) = fake.wk(&format!("deploy {file} --replicas 3")).await;
    assert_eq!((code, out.as_str()), (0, "http://web.localhost:8080/\n"), "{err}");
    for line in [
        "deployment.apps/web created",
        "service/web created",
        "ingress.networking.k8s.io/web created",
        "web is ready: 3 replicas",
    ] {
        assert!(err.contains(line), "{line} in\n{err}");
    }
    let (code, out, err) = fake.wk(&format!("deploy {file}")).await;
    assert_eq!((code, out.as_str()), (0, "http://web.localhost:8080/\n"), "{err}");
    assert!(err.contains("is in the cluster already") && err.contains("deployment.apps/web unchanged"), "{err}");
    let newer = [wasm::tests::component("wasi:http/incoming-handler@0.2.6"), vec![0, 2, 1, b'x']].concat();
    let file = fake.file("web.wasm", newer);
    let (code, _, err) = fake.wk(&format!("deploy {file}")).await;
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("deployment.apps/web updated") && err.contains("web is ready: 3 replicas"), "{err}");
}

#[tokio::test]
async fn app_that_becomes_a_command_loses_its_route() {
    let fake = prompt_cluster().await;
    let file = fake.file("web.wasm", wasm::tests::component("wasi:http/incoming-handler@0.2.6"));
    assert_eq!(fake.wk(&format!("deploy {file}")).await.0, 0);
    let file = fake.file("web.wasm", wasm::tests::module("_start"));
    let (code, out, err) = fake.wk(&format!("deploy {file}")).await;
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    assert!(!fake.memory().objects.keys().any(|path| path.contains("/ingresses/") || path.contains("/services/")));
}

#[tokio::test]
async fn deploy_that_cannot_start_says_why_and_does_not_wait_for_the_timeout() {
    let fake = Fake::start().await;
    fake.put(
        "/api/v1/namespaces/default/pods/web-1",
        pod(
            "web-1",
            &json!({"restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"reason": "Error", "exitCode": 1}}}),
        ),
    );
    let file = fake.file("web.wasm", wasm::tests::module("_start"));
    // The pod above is there before the Deployment is written, so it counts as an old one...
    let (code, _, err) = fake.wk(&format!("deploy {file} --timeout 300ms")).await;
    assert_eq!(code, 6, "{err}");
    assert!(err.contains("error: web is not ready after 300ms: 0 of 1 new replicas started, 0 ready"), "{err}");
    // ... and as one of this revision once nothing changes any more.
    let (code, _, err) = fake.wk(&format!("deploy {file}")).await;
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("error: web does not start: web-1: CrashLoopBackOff (last run: Error, exit code 1"), "{err}");
    assert!(err.contains("wk logs web-1"), "{err}");
}

#[tokio::test]
async fn wrong_files_are_refused_before_anything_is_sent() {
    let fake = Fake::start().await;
    let script = fake.file("run.sh", "#!/bin/sh");
    let (code, _, err) = fake.wk(&format!("deploy {script}")).await;
    assert_eq!((code, err.as_str()), (2, "error: run.sh: is not WebAssembly: it does not start with \\0asm\n"));
    let (code, _, err) = fake.wk("deploy missing.wasm").await;
    assert_eq!(code, 3);
    assert!(err.starts_with("error: read missing.wasm: No such file"), "{err}");
    let command = fake.file("c.wasm", wasm::tests::module("_start"));
    let (code, _, err) = fake.wk(&format!("deploy {command} --route a.example")).await;
    assert!(code == 2 && err.contains("serves no HTTP"), "{err}");
    assert!(fake.memory().writes.is_empty());
}
