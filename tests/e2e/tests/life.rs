//! The life of pods as Kubernetes documents it, seen by `kubectl`: init containers and sidecars, probes, hooks, readiness
//! gates, containers for debugging, and a node that starts again without its cluster.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use wk_kit::{Api, Cluster, Kubectl, SOON, get, guest, until};

const PODS: &str = "/api/v1/namespaces/default/pods";

/// A node with both guests uploaded, its API, and a kubectl if there is one.
struct Node {
    cluster: Cluster,
    kubectl: Option<Kubectl>,
    api: Api,
    command: String,
    http: String,
}

impl Node {
    async fn start() -> Self {
        let mut cluster = Cluster::empty();
        let kubectl = Kubectl::find(&cluster.next().kubeconfig(), cluster.dir());
        cluster.add().await;
        cluster.settled().await;
        let command = image(&cluster, "command").await;
        let http = image(&cluster, "http").await;
        let api = cluster.nodes[0].api().await;
        Self { cluster, kubectl, api, command, http }
    }

    async fn create(&self, name: &str, spec: Value) {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
        self.api.post(PODS, &pod).await.expect("a pod is created");
    }

    /// Waits until the pod is as `check` wants it.
    async fn until(&self, name: &str, what: &str, check: impl Fn(&Value) -> bool) -> Value {
        until(&format!("pod {name} {what}"), SOON, async || {
            let pod = self.api.get(&format!("{PODS}/{name}")).await?;
            ensure!(check(&pod), "{}", pod["status"]);
            Ok(pod)
        })
        .await
    }

    async fn until_gone(&self, name: &str) {
        until(&format!("pod {name} is gone"), SOON, async || {
            ensure!(self.api.get(&format!("{PODS}/{name}")).await.is_err());
            Ok(())
        })
        .await;
    }

    /// Waits for an event with these words about the pod.
    async fn event(&self, pod: &str, reason: &str, words: &str) {
        until(&format!("{reason} of {pod}"), SOON, async || {
            let events = self.api.get("/api/v1/namespaces/default/events").await?;
            let events = events["items"].as_array().context("no events")?;
            let of_pod = events.iter().filter(|event| event["involvedObject"]["name"] == pod);
            let told: Vec<_> = of_pod.map(|event| (event["reason"].as_str(), event["message"].as_str())).collect();
            let found = told.iter().any(|(is, said)| *is == Some(reason) && said.is_some_and(|it| it.contains(words)));
            ensure!(found, "{told:?}");
            Ok(())
        })
        .await;
    }
}

/// Uploads a guest by deploying no replica of it, and returns its image.
async fn image(cluster: &Cluster, name: &str) -> String {
    let file = guest(name);
    cluster.wk(&["deploy", file.to_str().expect("a path of text"), "--name", name, "--replicas", "0"]).await.ok();
    let deployment = cluster.wk(&["get", &format!("deploy/{name}"), "-o", "json"]).await.json();
    deployment["spec"]["template"]["spec"]["containers"][0]["image"].as_str().expect("an image").to_owned()
}

fn condition<'a>(pod: &'a Value, kind: &str) -> &'a Value {
    let all = pod["status"]["conditions"].as_array();
    all.and_then(|all| all.iter().find(|it| it["type"] == kind)).unwrap_or(&Value::Null)
}

fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready")["status"] == "True"
}

#[tokio::test(flavor = "multi_thread")]
async fn init_containers_go_first_sidecars_stay_and_work_with_them_completes() {
    let node = Node::start().await;
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [
            {"name": "first", "image": node.command, "args": ["print"]},
            {"name": "side", "image": node.http, "restartPolicy": "Always", "ports": [{"containerPort": 8080}],
             "startupProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}},
            {"name": "second", "image": node.command, "args": ["print"]},
        ],
        "containers": [{"name": "main", "image": node.command, "args": ["exit", "0"]}],
    });
    node.create("work", spec).await;
    let pod = node.until("work", "succeeded", |pod| pod["status"]["phase"] == "Succeeded").await;
    let inits = pod["status"]["initContainerStatuses"].as_array().expect("statuses");
    let ends: Vec<_> = inits.iter().map(|it| (it["name"].as_str(), &it["state"]["terminated"]["reason"])).collect();
    assert_eq!(ends[0], (Some("first"), &json!("Completed")));
    assert_eq!(ends[2], (Some("second"), &json!("Completed")));
    assert!(inits[1]["state"]["terminated"].is_object(), "the sidecar went too: {}", inits[1]);
    assert_eq!(condition(&pod, "Initialized")["status"], "True");

    let spec = json!({
        "initContainers": [
            {"name": "done", "image": node.command}, {"name": "waits", "image": node.command, "args": ["sleep"]},
        ],
        "containers": [{"name": "main", "image": node.http}],
    });
    node.create("begins", spec).await;
    node.until("begins", "waits", |pod| !pod["status"]["initContainerStatuses"][1]["state"]["running"].is_null()).await;
    let table = node.cluster.wk(&["get", "pod", "begins"]).await;
    assert!(table.ok().contains("Init:1/2"), "{table:?}");

    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [{"name": "fails", "image": node.command, "args": ["exit", "3"]}],
        "containers": [{"name": "main", "image": node.http}],
    });
    node.create("stuck", spec).await;
    node.until("stuck", "failed", |pod| pod["status"]["phase"] == "Failed").await;
    let table = node.cluster.wk(&["get", "pod", "stuck"]).await;
    assert!(table.ok().contains("Init:Error"), "{table:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_decide_on_readiness_and_restarts() {
    let node = Node::start().await;
    let probe =
        |path: &str| json!({"httpGet": {"path": path, "port": "web"}, "periodSeconds": 1, "failureThreshold": 1});
    let container = |probes: &[(&str, Value)]| {
        let mut container =
            json!({"name": "main", "image": node.http, "ports": [{"name": "web", "containerPort": 8080}]});
        for (name, probe) in probes {
            container[*name] = probe.clone();
        }
        json!({"containers": [container], "terminationGracePeriodSeconds": 3})
    };
    let tcp = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1});
    node.create("fine", container(&[("startupProbe", tcp.clone()), ("readinessProbe", probe("/"))])).await;
    node.create("shy", container(&[("readinessProbe", probe("/trap"))])).await;
    node.create("slow", container(&[("startupProbe", probe("/silent")), ("readinessProbe", tcp)])).await;
    node.create("dead", container(&[("livenessProbe", probe("/trap"))])).await;
    let fine = node.until("fine", "is ready", is_ready).await;
    assert_eq!(fine["status"]["containerStatuses"][0]["started"], true);
    node.event("shy", "Unhealthy", "Readiness probe failed: Get").await;
    let shy = node.until("shy", "runs", |pod| pod["status"]["phase"] == "Running").await;
    assert_eq!(condition(&shy, "Ready")["message"], "containers with unready status: [main]");
    assert_eq!(shy["status"]["containerStatuses"][0]["lastState"], json!({}), "a probe is no request of anybody");
    node.event("slow", "Unhealthy", "Startup probe failed: Get").await;
    node.event("slow", "Killing", "Container main failed startup probe, will be restarted").await;
    node.event("dead", "Killing", "Container main failed liveness probe, will be restarted").await;
    node.until("dead", "restarted", |pod| pod["status"]["containerStatuses"][0]["restartCount"] != 0).await;
    let table = node.cluster.wk(&["get", "pods"]).await;
    let line = |name: &str| table.ok().lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(line("fine").contains("1/1") && line("shy").contains("0/1"), "{table:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_are_called_and_a_pod_waits_for_its_readiness_gates() {
    let node = Node::start().await;
    let print = json!({"httpGet": {"path": "/print", "port": 8080}});
    let main = |lifecycle: Value| json!({"name": "main", "image": node.http, "ports": [{"containerPort": 8080}], "lifecycle": lifecycle});
    let spec = json!({
        "readinessGates": [{"conditionType": "shop.example/live"}],
        "containers": [main(json!({"postStart": print, "preStop": {"sleep": {"seconds": 2}}}))],
    });
    node.create("hooked", spec).await;
    let pod = node.until("hooked", "runs", |pod| condition(pod, "ContainersReady")["status"] == "True").await;
    assert_eq!(condition(&pod, "Ready")["reason"], "ReadinessGatesNotReady");
    let logs = node.cluster.wk(&["logs", "hooked"]).await;
    assert!(logs.ok().contains("to standard output"), "{logs:?}");
    let gate = json!({"status": {"conditions": [{"type": "shop.example/live", "status": "True"}]}});
    let path = format!("{PODS}/hooked/status");
    let patch = "application/strategic-merge-patch+json";
    node.api.send("PATCH".parse().expect("a method"), &path, patch, Some(&gate)).await.expect("a condition");
    let pod = node.until("hooked", "is ready", is_ready).await;
    assert_eq!(condition(&pod, "shop.example/live")["status"], "True");
    let asked = Instant::now();
    node.api.delete(&format!("{PODS}/hooked")).await.expect("deleted");
    node.event("hooked", "Killing", "Stopping container main").await;
    node.until_gone("hooked").await;
    assert!(asked.elapsed() >= Duration::from_secs(2), "its preStop hook sleeps for as long");

    let fails = json!({"postStart": {"httpGet": {"path": "/trap", "port": 8080}}});
    node.create("unhooked", json!({"containers": [main(fails)], "terminationGracePeriodSeconds": 1})).await;
    node.event("unhooked", "FailedPostStartHook", "PostStartHook failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn debug_containers_run_in_a_pod_and_a_new_image_restarts_its_container() {
    let node = Node::start().await;
    let Some(kubectl) = &node.kubectl else { return };
    node.create("web", json!({"containers": [{"name": "main", "image": node.http}]})).await;
    node.until("web", "is ready", is_ready).await;
    let image = format!("--image={}", node.command);
    let words = ["debug", "web", &image, "--target=main", "--container=look", "--arguments-only=true", "--", "print"];
    kubectl.run(&words).await.ok();
    let pod = node
        .until("web", "was looked at", |pod| {
            !pod["status"]["ephemeralContainerStatuses"][0]["state"]["terminated"].is_null()
        })
        .await;
    assert_eq!(pod["status"]["ephemeralContainerStatuses"][0]["state"]["terminated"]["exitCode"], 0);
    assert!(is_ready(&pod), "it counts for nothing");
    let logs = kubectl.run(&["logs", "web", "-c", "look"]).await;
    assert!(logs.ok().contains("to standard output"), "{logs:?}");
    kubectl.run(&["set", "image", "pod/web", &format!("main={}", node.command)]).await.ok();
    node.event("web", "Killing", "Container main definition changed, will be restarted").await;
    let pod = node.until("web", "restarted", |pod| pod["status"]["containerStatuses"][0]["restartCount"] != 0).await;
    assert_eq!(pod["status"]["containerStatuses"][0]["image"], json!(node.command));
}

#[tokio::test(flavor = "multi_thread")]
async fn node_without_its_cluster_starts_its_pods_again_and_work_that_was_done_stays_done() {
    let mut cluster = Cluster::start(3).await;
    let command = image(&cluster, "command").await;
    cluster.deploy_hello("hello", 3, &[]).await.ok();
    let api = cluster.nodes[2].api().await;
    let uid_there = |pods: &[Value]| {
        let there = pods.iter().find(|pod| pod["spec"]["nodeName"] == "n3");
        there.map(|pod| pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned())
    };
    let uid = uid_there(&api.pods_of("hello").await.expect("pods")).expect("one on n3");
    let work = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "work"}, "spec": {
        "nodeName": "n3", "restartPolicy": "Never", "containers": [{"name": "main", "image": command}]}});
    api.post(PODS, &work).await.expect("a pod is created");
    until("the work is done", SOON, async || {
        let work = api.get(&format!("{PODS}/work")).await?;
        ensure!(work["status"]["phase"] == "Succeeded", "{}", work["status"]);
        Ok(())
    })
    .await;
    for node in &mut cluster.nodes {
        node.kill();
    }
    let alone = &mut cluster.nodes[2];
    alone.start(&[]);
    let address = alone.http();
    until("its pod answers, though nobody can write", SOON, async || {
        let answer = get(address, "hello.localhost", "/").await?;
        ensure!(answer.status == 200, "{answer:?}");
        Ok(())
    })
    .await;
    for node in &mut cluster.nodes[..2] {
        node.start(&[]);
    }
    until("its pod is the same one, and says that it was restarted", SOON, async || {
        let pods = api.pods_of("hello").await?;
        let pod = pods.iter().find(|pod| pod["metadata"]["uid"] == *uid).context("another pod")?;
        ensure!(pod["status"]["containerStatuses"][0]["restartCount"] == 1, "{}", pod["status"]);
        let work = api.get(&format!("{PODS}/work")).await?;
        let done =
            work["status"]["phase"] == "Succeeded" && work["status"]["containerStatuses"][0]["restartCount"] == 0;
        ensure!(done, "{}", work["status"]);
        Ok(())
    })
    .await;
}
