//! Programs inside pods that the node itself calls: other components of an image, by `exec` and by probes; gRPC's health
//! service; and pods that leave their node because of what they hold or because it is drained.

use anyhow::{Context as _, ensure};
use http::{Request, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use wk_kit::{Api, Cluster, Kubectl, Load, SOON, guest, until};

const PODS: &str = "/api/v1/namespaces/default/pods";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Sends bytes to the cluster's registry.
async fn send(api: &Api, method: &str, path: &str, kind: &str, bytes: Vec<u8>) {
    let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, kind);
    let request = request.body(bytes.into()).expect("a request");
    let response = api.client().send(request).await.expect("an answer");
    let status = response.status();
    let text = response.into_body().collect().await.expect("a whole answer").to_bytes();
    assert_eq!(status, 201, "{method} {path}: {}", String::from_utf8_lossy(&text));
}

/// An image of two components, as a registry's client makes it: `web` answers requests, `tool` is a program.
async fn two_components(api: &Api) -> String {
    let mut layers = Vec::new();
    for (title, name) in [("web", "http"), ("tool", "command")] {
        let wasm = std::fs::read(guest(name)).expect("the guest is there");
        let (sum, size) = (digest(&wasm), wasm.len());
        send(api, "POST", &format!("/v2/two/blobs/uploads/?digest={sum}"), "application/octet-stream", wasm).await;
        layers.push(json!({"mediaType": "application/wasm", "digest": sum, "size": size,
            "annotations": {"org.opencontainers.image.title": title}}));
    }
    let config = json!({"architecture": "wasm", "os": "wasip2", "layerDigests": []}).to_string().into_bytes();
    let (sum, size) = (digest(&config), config.len());
    send(api, "POST", &format!("/v2/two/blobs/uploads/?digest={sum}"), "application/octet-stream", config).await;
    let config = json!({"mediaType": "application/vnd.wasm.config.v0+json", "digest": sum, "size": size});
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
    let manifest = manifest.to_string().into_bytes();
    let sum = digest(&manifest);
    send(api, "PUT", &format!("/v2/two/manifests/{sum}"), MANIFEST, manifest).await;
    format!("wk.local/two@{sum}")
}

async fn create(api: &Api, name: &str, spec: Value) {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
    api.post(PODS, &pod).await.expect("a pod is created");
}

async fn pod(api: &Api, name: &str, what: &str, check: impl Fn(&Value) -> bool) -> Value {
    until(&format!("pod {name} {what}"), SOON, async || {
        let pod = api.get(&format!("{PODS}/{name}")).await?;
        ensure!(check(&pod), "{}", pod["status"]);
        Ok(pod)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn other_components_and_health_services_answer_exec_and_probes() {
    let cluster = Cluster::start(1).await;
    let api = cluster.nodes[0].api().await;
    let image = two_components(&api).await;
    let container = |name: &str, port: u16, probes: Value| {
        let mut container = json!({"name": name, "image": image, "ports": [{"containerPort": port}]});
        for (kind, probe) in probes.as_object().expect("probes") {
            container[kind] = probe.clone();
            container[kind]["periodSeconds"] = 1.into();
            container[kind]["timeoutSeconds"] = 10.into();
        }
        container
    };
    let exec = |words: &[&str]| json!({"exec": {"command": words}});
    let grpc = |port: u16, service: &str| json!({"grpc": {"port": port, "service": service}});
    let containers = [
        container("fine", 8080, json!({"startupProbe": exec(&["tool"]), "readinessProbe": grpc(8080, "well")})),
        container("shy", 8081, json!({"readinessProbe": exec(&["tool", "exit", "3"])})),
        container("sick", 8082, json!({"readinessProbe": grpc(8082, "sick")})),
    ];
    create(&api, "two", json!({"containers": containers, "terminationGracePeriodSeconds": 1})).await;
    pod(&api, "two", "has one container that is ready", |pod| {
        let all = pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
        let is = |name: &str| all.iter().find(|it| it["name"] == name).cloned().unwrap_or_default();
        is("fine")["ready"] == true
            && is("shy")["started"] == true
            && is("sick")["started"] == true
            && is("shy")["ready"] == false
            && is("sick")["ready"] == false
    })
    .await;
    until("both probes that fail say why", SOON, async || {
        let events = api.get("/api/v1/namespaces/default/events").await?;
        let events = events["items"].as_array().context("no events")?;
        let told: Vec<&str> = events.iter().filter_map(|event| event["message"].as_str()).collect();
        for words in ["command terminated with exit code 3", "service unhealthy (responded with \"NOT_SERVING\")"] {
            ensure!(told.iter().any(|it| it.contains(words)), "{words} is not in {told:?}");
        }
        Ok(())
    })
    .await;
    let Some(kubectl) = Kubectl::find(&cluster.nodes[0].kubeconfig(), cluster.dir()) else { return };
    let told = kubectl.run(&["exec", "two", "-c", "fine", "--", "tool", "print"]).await;
    assert_eq!(told.ok(), "to standard output\n");
    kubectl.run(&["exec", "two", "-c", "fine", "--", "tool", "exit", "7"]).await.failed(7);
    let told = kubectl.run(&["exec", "two", "-c", "fine", "--", "nobody"]).await;
    assert!(told.failed(127).contains("the component exports no function \"nobody\""), "{told:?}");
    // What the node calls in a pod is counted as the pod's.
    let metrics = kubectl.run(&["get", "--raw", "/metrics"]).await;
    let figure = |name: &str, container: &str| {
        let line = metrics.ok().lines().find(|line| {
            line.starts_with(name)
                && line.contains(&format!("container=\"{container}\""))
                && line.contains("pod=\"two\"")
        });
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or_else(|| panic!("{metrics:?}"))
    };
    assert!(figure("wk_container_probes_total", "fine") >= 2.0);
    assert!(figure("wk_container_probes_failed_total", "shy") >= 1.0);
    assert!(figure("wk_container_execs_total", "fine") >= 3.0);
    assert!(figure("wk_container_instances_begun_total", "fine") >= 4.0, "each call is an instance");
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_that_writes_past_its_empty_dir_is_evicted() {
    let cluster = Cluster::start(1).await;
    let api = cluster.nodes[0].api().await;
    let file = guest("wasi/preview1");
    let words = ["deploy", file.to_str().expect("a path of text"), "--name", "fat", "--replicas", "0"];
    cluster.wk(&words).await.ok();
    let deployment = cluster.wk(&["get", "deploy/fat", "-o", "json"]).await.json();
    let image = &deployment["spec"]["template"]["spec"]["containers"][0]["image"];
    let main = json!({"name": "main", "image": image, "args": ["file-large"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}]});
    let volume = json!({"name": "data", "emptyDir": {"sizeLimit": "1Mi"}});
    create(&api, "fat", json!({"containers": [main], "volumes": [volume]})).await;
    let pod = pod(&api, "fat", "is evicted", |pod| pod["status"]["reason"] == "Evicted").await;
    assert_eq!(pod["status"]["phase"], "Failed", "{}", pod["status"]);
    let message = pod["status"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("Usage of EmptyDir volume \"data\" exceeds the limit \"1Mi\""), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn single_replica_that_takes_its_time_answers_on_while_its_node_is_upgraded() {
    let cluster = Cluster::start(2).await;
    cluster.deploy_hello("hello", 1, &[]).await.ok();
    let api = cluster.nodes[0].api().await;
    let path = "/apis/apps/v1/namespaces/default/deployments/hello";
    let deployment = api.get(path).await.expect("the deployment");
    let mut container = deployment["spec"]["template"]["spec"]["containers"][0].clone();
    // Longer than a node's tables take to hear of anything.
    container["readinessProbe"] = json!({"httpGet": {"path": "/", "port": 8080}, "initialDelaySeconds": 3});
    let changed = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
    api.merge(path, &changed).await.expect("the deployment takes a probe");
    let home = until("the one pod with a probe is ready", SOON, async || {
        let pods = api.pods_of("hello").await?;
        let [pod] = &pods[..] else { anyhow::bail!("{} pods", pods.len()) };
        let ready = pod["status"]["containerStatuses"][0]["ready"] == true;
        ensure!(ready && !pod["spec"]["containers"][0]["readinessProbe"].is_null(), "{}", pod["status"]);
        Ok(pod["spec"]["nodeName"].as_str().context("it is placed")?.to_owned())
    })
    .await;
    let other = cluster.nodes.iter().find(|node| node.name() != home).expect("two nodes");
    let load = Load::start(&[other.http()], "hello.localhost");
    load.answered(20).await;
    load.mark("upgrade");
    let output = other.wk(&["node", "upgrade", &home]).await;
    load.mark("upgraded");
    assert!(output.ok().contains(&format!("node/{home} upgraded from ")), "{output:?}");
    load.answered(20).await;
    load.stop().await.none_failed();
}

#[tokio::test(flavor = "multi_thread")]
async fn drained_node_keeps_what_a_disruption_budget_holds() {
    let cluster = Cluster::start(2).await;
    let Some(kubectl) = Kubectl::find(&cluster.nodes[0].kubeconfig(), cluster.dir()) else { return };
    cluster.deploy_hello("hello", 2, &[]).await.ok();
    let api = cluster.nodes[0].api().await;
    let least = |count: &str| format!("--min-available={count}");
    let selector = "--selector=app.kubernetes.io/name=hello";
    kubectl.run(&["create", "pdb", "hello", selector, &least("2")]).await.ok();
    let home = api.pods_of("hello").await.expect("pods")[0]["spec"]["nodeName"].clone();
    let home = home.as_str().expect("it is placed");
    let allowed = async |count: u64| {
        until(&format!("{count} may be disrupted"), SOON, async || {
            let budget = api.get("/apis/policy/v1/namespaces/default/poddisruptionbudgets/hello").await?;
            ensure!(budget["status"]["disruptionsAllowed"] == count, "{}", budget["status"]);
            ensure!(budget["status"]["currentHealthy"] == 2, "{}", budget["status"]);
            Ok(())
        })
        .await;
    };
    allowed(0).await;
    let drain = ["drain", home, "--ignore-daemonsets", "--timeout=2s"];
    let refused = kubectl.run(&drain).await;
    let words = "Cannot evict pod as it would violate the pod's disruption budget.";
    assert!(refused.failed(1).contains(words), "{refused:?}");
    let patch = r#"{"spec":{"minAvailable":1}}"#;
    kubectl.run(&["patch", "pdb", "hello", "--type=merge", "-p", patch]).await.ok();
    allowed(1).await;
    kubectl.run(&["drain", home, "--ignore-daemonsets", "--timeout=30s"]).await.ok();
    let pods = api.pods_of("hello").await.expect("pods");
    let left =
        pods.iter().filter(|pod| pod["spec"]["nodeName"] == home && pod["metadata"]["deletionTimestamp"].is_null());
    assert_eq!(left.count(), 0, "{pods:?}");
}
