//! `kubectl`, unchanged, against a node of wk: what it shows, what it changes, and the words of refusals.

use serde_json::Value;
use wk_kit::{Cluster, Kubectl, SOON, example, until};

/// A node with hello-http as two replicas, and a kubectl for it; `None` where there is no kubectl.
async fn start() -> Option<(Cluster, Kubectl)> {
    let cluster = Cluster::empty();
    let kubeconfig = cluster.next().kubeconfig();
    let kubectl = Kubectl::find(&kubeconfig, cluster.dir())?;
    let mut cluster = cluster;
    cluster.add().await;
    cluster.settled().await;
    Some((cluster, kubectl))
}

async fn with_hello() -> Option<(Cluster, Kubectl)> {
    let (cluster, kubectl) = start().await?;
    cluster.deploy_hello("hello", 2, &[]).await.ok();
    Some((cluster, kubectl))
}

/// The words of a line of a table.
fn columns(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[track_caller]
fn line<'a>(text: &'a str, start: &str) -> &'a str {
    text.lines()
        .find(|line| line.starts_with(start))
        .unwrap_or_else(|| panic!("no line starts with {start:?} in\n{text}"))
}

#[track_caller]
fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

/// The value of a `Key:   value` line of `kubectl describe`.
#[track_caller]
fn described<'a>(text: &'a str, key: &str) -> &'a str {
    let found = text.lines().find_map(|line| line.trim_start().strip_prefix(key)?.strip_prefix(':'));
    found.unwrap_or_else(|| panic!("no {key:?} in\n{text}")).trim()
}

#[tokio::test(flavor = "multi_thread")]
async fn get_shows_the_columns_of_kubernetes() {
    let Some((cluster, kubectl)) = with_hello().await else { return };
    let output = kubectl.run(&["get", "nodes,pods,deploy,svc", "-o", "wide"]).await;
    let text = output.ok();
    let headers: Vec<Vec<&str>> = text.lines().filter(|line| line.starts_with("NAME ")).map(columns).collect();
    assert_eq!(
        headers,
        [
            columns("NAME STATUS ROLES AGE VERSION INTERNAL-IP EXTERNAL-IP OS-IMAGE KERNEL-VERSION CONTAINER-RUNTIME"),
            columns("NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES"),
            columns("NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR"),
            columns("NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE SELECTOR"),
        ]
    );
    contains(line(text, "node/n1 "), &[" Ready ", &cluster.nodes[0].ip().to_string(), "wasmtime://"]);
    let pods: Vec<&str> = text.lines().filter(|line| line.starts_with("pod/hello-")).collect();
    assert_eq!(pods.len(), 2, "{text}");
    for pod in pods {
        assert_eq!(columns(pod)[1..4], ["1/1", "Running", "0"], "{pod}");
        contains(pod, &[" 10.", " n1 "]);
    }
    assert_eq!(columns(line(text, "deployment.apps/hello "))[1..4], ["2/2", "2", "2"]);
    contains(line(text, "deployment.apps/hello "), &["wk.local/hello", "app.kubernetes.io/name=hello"]);
    contains(line(text, "service/hello "), &[" ClusterIP ", " 10.", " 80/TCP ", "app.kubernetes.io/name=hello"]);

    let output = kubectl.run(&["get", "pods", "-o", "name"]).await;
    assert!(output.ok().lines().all(|line| line.starts_with("pod/hello-")), "{output:?}");
    let deployment = kubectl.run(&["get", "deploy", "hello", "-o", "json"]).await.json();
    assert_eq!(deployment["kind"], "Deployment");
    assert_eq!(deployment["apiVersion"], "apps/v1");
    assert_eq!(deployment["spec"]["replicas"], 2);
    assert_eq!(deployment["status"]["availableReplicas"], 2);
    let output = kubectl.run(&["get", "svc", "hello", "-o", "yaml"]).await;
    contains(output.ok(), &["kind: Service\n", "  name: hello\n", "type: ClusterIP\n", "targetPort: http\n"]);
    let list = kubectl.run(&["get", "pods", "-o", "json"]).await.json();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(list["items"][0]["kind"], "Pod");
    let selected = kubectl.run(&["get", "pods", "-l", "app.kubernetes.io/name=other"]).await;
    assert_eq!(selected.ok(), "");
    contains(&selected.stderr, &["No resources found in default namespace."]);
    let everywhere = kubectl.run(&["get", "ns", "-o", "name"]).await;
    contains(everywhere.ok(), &["namespace/default\n", "namespace/kube-system\n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_sees_a_change_as_it_happens() {
    let Some((_cluster, kubectl)) = with_hello().await else { return };
    let mut deployments = kubectl.follow(&["get", "deploy", "hello", "-w"]);
    let mut pods = kubectl.follow(&["get", "pods", "-w"]);
    deployments.line("the deployment as it is", SOON, |line| line.starts_with("hello ") && line.contains("2/2")).await;
    for _ in 0..2 {
        pods.line("a pod as it is", SOON, |line| line.starts_with("hello-") && line.contains("Running")).await;
    }
    kubectl.run(&["scale", "deploy/hello", "--replicas=3"]).await.ok();
    deployments.line("the third replica is wanted", SOON, |line| line.contains("2/3")).await;
    deployments.line("the third replica is ready", SOON, |line| line.contains("3/3")).await;
    pods.line("the third pod runs", SOON, |line| line.starts_with("hello-") && line.contains("Running")).await;
    kubectl.run(&["scale", "deploy/hello", "--replicas=1"]).await.ok();
    pods.line("a pod goes", SOON, |line| line.contains("Terminating")).await;
    deployments.line("one replica is left", SOON, |line| line.contains("1/1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn describe_tells_of_nodes_pods_deployments_and_services() {
    let Some((_cluster, kubectl)) = with_hello().await else { return };
    let node = kubectl.run(&["describe", "node", "n1"]).await;
    contains(
        node.ok(),
        &[
            "Name:               n1",
            "Conditions:",
            "Allocatable:",
            "Non-terminated Pods:          (2 in total)",
            "default                     hello-",
        ],
    );
    assert!(!node.stdout.contains("-9223372036854775808"), "{node:?}");
    let pod = kubectl.run(&["get", "pods", "-o", "name"]).await;
    let name = pod.ok().lines().next().expect("a pod");
    let pod = kubectl.run(&["describe", name]).await;
    let text = pod.ok();
    assert_eq!(described(text, "Status"), "Running");
    contains(described(text, "Node"), &["n1/127."]);
    contains(described(text, "Controlled By"), &["ReplicaSet/hello-"]);
    contains(described(text, "Image"), &["wk.local/hello"]);
    contains(text, &["Conditions:", "WK_POD_NAME:", "Events:"]);
    contains(text, &["Scheduled", "Started"]);
    let deployment = kubectl.run(&["describe", "deploy", "hello"]).await;
    let text = deployment.ok();
    assert_eq!(described(text, "Replicas"), "2 desired | 2 updated | 2 total | 2 available | 0 unavailable");
    contains(described(text, "NewReplicaSet"), &["hello-", "(2/2 replicas created)"]);
    contains(text, &["Available", "MinimumReplicasAvailable", "ScalingReplicaSet"]);
    let service = kubectl.run(&["describe", "svc", "hello"]).await;
    let text = service.ok();
    assert_eq!(described(text, "Type"), "ClusterIP");
    assert_eq!(described(text, "Endpoints").split(',').count(), 2, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rollouts_are_followed_scaled_and_deleted() {
    let Some((cluster, kubectl)) = with_hello().await else { return };
    let output = kubectl.run(&["rollout", "status", "deploy/hello", "--timeout=30s"]).await;
    contains(output.ok(), &["deployment \"hello\" successfully rolled out"]);
    let output = kubectl.run(&["wait", "--for=condition=Available", "deploy/hello", "--timeout=30s"]).await;
    assert_eq!(output.ok(), "deployment.apps/hello condition met\n");
    let output = kubectl.run(&["scale", "deploy/hello", "--replicas=3"]).await;
    assert_eq!(output.ok(), "deployment.apps/hello scaled\n");
    kubectl.run(&["rollout", "status", "deploy/hello", "--timeout=30s"]).await.ok();
    let ready = kubectl.run(&["get", "deploy", "hello", "-o", "jsonpath={.status.readyReplicas}"]).await;
    assert_eq!(ready.ok(), "3");
    let output = kubectl.run(&["scale", "deploy/hello", "--replicas=1", "--current-replicas=2"]).await;
    contains(output.failed(1), &["Expected replicas to be 2, was 3"]);
    let output = kubectl.run(&["scale", "deploy/hello", "--replicas=1", "--current-replicas=3"]).await;
    assert_eq!(output.ok(), "deployment.apps/hello scaled\n");

    let output = kubectl.run(&["delete", "deploy/hello", "--timeout=30s"]).await;
    assert_eq!(output.ok(), "deployment.apps \"hello\" deleted\n");
    let api = cluster.nodes[0].api().await;
    until("pods and replica sets go with their deployment", SOON, async || {
        let pods = api.pods_of("hello").await?;
        let sets = api.get("/apis/apps/v1/namespaces/default/replicasets").await?;
        anyhow::ensure!(pods.is_empty() && sets["items"].as_array().is_some_and(Vec::is_empty), "{pods:?} {sets}");
        Ok(())
    })
    .await;
    kubectl.run(&["get", "svc", "hello"]).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn manifest_of_several_kinds_is_created_and_runs() {
    let Some((cluster, kubectl)) = with_hello().await else { return };
    let deployment = kubectl.run(&["get", "deploy", "hello", "-o", "json"]).await.json();
    let image = deployment["spec"]["template"]["spec"]["containers"][0]["image"].as_str().expect("an image");
    let manifest = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n---\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\n  namespace: shop\ndata:\n  colour: blue\n---\n\
         apiVersion: v1\nkind: Secret\nmetadata:\n  name: key\n  namespace: shop\nstringData:\n  word: sesame\n---\n\
         apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  namespace: shop\nspec:\n  replicas: 2\n  \
         selector:\n    matchLabels: {{app: web}}\n  template:\n    metadata:\n      labels: {{app: web}}\n    spec:\n      \
         containers:\n      - name: web\n        image: {image}\n        ports:\n        - name: http\n          containerPort: 8080\n---\n\
         apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n  namespace: shop\nspec:\n  selector: {{app: web}}\n  \
         ports:\n  - port: 80\n    targetPort: http\n---\n\
         apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: web\n  namespace: shop\nspec:\n  rules:\n  - host: shop.example\n    \
         http:\n      paths:\n      - path: /\n        pathType: Prefix\n        backend:\n          service:\n            name: web\n            port:\n              number: 80\n"
    );
    let file = cluster.file("shop.yaml", &manifest);
    let output = kubectl.run(&["create", "--validate=false", "-f", &file]).await;
    assert_eq!(
        output.ok(),
        "namespace/shop created\nconfigmap/settings created\nsecret/key created\ndeployment.apps/web created\n\
         service/web created\ningress.networking.k8s.io/web created\n"
    );
    kubectl.run(&["-n", "shop", "wait", "--for=condition=Available", "deploy/web", "--timeout=30s"]).await.ok();
    let secret = kubectl.run(&["-n", "shop", "get", "secret", "key", "-o", "jsonpath={.data.word}"]).await;
    assert_eq!(secret.ok(), "c2VzYW1l");
    let node = cluster.nodes[0].http();
    until("the app of the manifest answers", SOON, async || {
        let answer = wk_kit::get(node, "shop.example", "/").await?;
        anyhow::ensure!(answer.status == 200, "{} {}", answer.status, answer.body);
        Ok(())
    })
    .await;
    let output = kubectl.run(&["delete", "ns", "shop", "--timeout=60s"]).await;
    assert_eq!(output.ok(), "namespace \"shop\" deleted\n");
    let output = kubectl.run(&["-n", "shop", "get", "deploy,rs,pods,svc,ingress,cm,secret,endpointslices"]).await;
    assert_eq!(output.ok(), "", "what was in the namespace went with it");
    let output = kubectl.run(&["get", "ns", "shop"]).await;
    assert_eq!(output.failed(1), "Error from server (NotFound): namespaces \"shop\" not found\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_of_a_program_are_read_and_followed() {
    let Some((cluster, kubectl)) = start().await else { return };
    let file = example("ticker");
    let file = file.to_str().expect("a path of text");
    cluster.wk(&["deploy", file, "--env", "INTERVAL_MS=100"]).await.ok();
    let pod = kubectl.run(&["get", "pods", "-o", "jsonpath={.items[0].metadata.name}"]).await.ok().to_owned();
    let mut followed = kubectl.follow(&["logs", "-f", &pod]);
    for tick in ["tick 1 ", "tick 2 ", "tick 12 "] {
        followed.line(tick, SOON, |line| line == format!("{tick}from {pod}")).await;
    }
    let output = kubectl.run(&["logs", &pod, "--tail=3"]).await;
    assert_eq!(output.ok().lines().count(), 3, "{output:?}");
    contains(kubectl.run(&["logs", "deploy/ticker"]).await.ok(), &["tick 1 from ticker-", "tick 10 from"]);
    let stamped = kubectl.run(&["logs", &pod, "--timestamps", "--tail=1"]).await;
    assert!(stamped.ok().starts_with("20") && stamped.stdout.contains("Z tick "), "{stamped:?}");
    contains(
        kubectl.run(&["logs", "nobody"]).await.failed(1),
        &["error from server (NotFound): pods \"nobody\" not found"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn api_resources_lists_the_kinds() {
    let Some((_cluster, kubectl)) = start().await else { return };
    let output = kubectl.run(&["api-resources"]).await;
    let text = output.ok();
    for (name, rest) in [
        ("pods ", ["po", "v1", "true", "Pod"]),
        ("services ", ["svc", "v1", "true", "Service"]),
        ("nodes ", ["no", "v1", "false", "Node"]),
        ("deployments ", ["deploy", "apps/v1", "true", "Deployment"]),
        ("replicasets ", ["rs", "apps/v1", "true", "ReplicaSet"]),
        ("ingresses ", ["ing", "networking.k8s.io/v1", "true", "Ingress"]),
    ] {
        assert_eq!(columns(line(text, name))[1..], rest);
    }
    contains(text, &["namespaces ", "endpointslices ", "events ", "configmaps ", "secrets "]);
    let version = kubectl.run(&["version", "-o", "json"]).await.json();
    assert_eq!(version["serverVersion"]["major"], "1");
}

const SETTINGS: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\ndata:\n  colour: blue\n";

#[tokio::test(flavor = "multi_thread")]
async fn proxy_passes_requests_on_and_a_dump_of_the_cluster_has_its_files() {
    let Some((cluster, kubectl)) = with_hello().await else { return };
    let mut proxy = kubectl.follow(&["proxy", "--port", "0"]);
    let line = proxy.line("where it serves", SOON, |line| line.starts_with("Starting to serve on ")).await;
    let address = line.rsplit(' ').next().and_then(|text| text.parse().ok()).expect("an address");
    let answer =
        wk_kit::get(address, "localhost", "/api/v1/namespaces/default/services/hello").await.expect("an answer");
    let service: Value = serde_json::from_str(&answer.body).expect("JSON");
    assert!(answer.status == 200 && service["metadata"]["name"] == "hello", "{service}");
    let through = "/api/v1/namespaces/default/services/hello:80/proxy/";
    let answer = wk_kit::get(address, "localhost", through).await.expect("an answer");
    assert!(answer.status == 200 && answer.body.contains("hello-"), "{answer:?}");

    let dir = cluster.dir().join("dump");
    let dump = ["cluster-info", "dump", "--namespaces", "default", "--output-directory", &dir.display().to_string()];
    contains(kubectl.run(&dump).await.ok(), &["Cluster info dumped to "]);
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    contains(&read("nodes.json"), &["\"NodeList\"", "\"n1\""]);
    contains(&read("default/pods.json"), &["\"PodList\"", "hello-"]);
    for name in ["events", "deployments", "replicasets", "services", "daemonsets", "replication-controllers"] {
        let list: Value = serde_json::from_str(&read(&format!("default/{name}.json"))).expect("JSON");
        assert!(list["kind"].as_str().is_some_and(|kind| kind.ends_with("List")), "{name}: {list}");
    }
    let pods = cluster.nodes[0].api().await.pods_of("hello").await.expect("pods");
    for pod in pods {
        read(&format!("default/{}/logs.txt", pod["metadata"]["name"].as_str().expect("a name")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_the_words_of_kubernetes() {
    let Some((_cluster, kubectl)) = start().await else { return };
    let create = ["create", "--validate=false", "-f", "-"];

    let output = kubectl.run(&["get", "pod", "nobody"]).await;
    assert_eq!(output.failed(1), "Error from server (NotFound): pods \"nobody\" not found\n");
    let output = kubectl.run(&["delete", "deploy", "nobody"]).await;
    assert_eq!(output.failed(1), "Error from server (NotFound): deployments.apps \"nobody\" not found\n");
    let output =
        kubectl.run_with(&create, &SETTINGS.replace("name: settings", "name: settings\n  namespace: nowhere")).await;
    assert_eq!(
        output.failed(1),
        "Error from server (NotFound): error when creating \"STDIN\": namespaces \"nowhere\" not found\n"
    );

    kubectl.run_with(&create, SETTINGS).await.ok();
    let output = kubectl.run_with(&create, SETTINGS).await;
    assert_eq!(
        output.failed(1),
        "Error from server (AlreadyExists): error when creating \"STDIN\": configmaps \"settings\" already exists\n"
    );

    let mut stale: Value = kubectl.run(&["get", "cm", "settings", "-o", "json"]).await.json();
    stale["data"]["colour"] = "red".into();
    kubectl.run_with(&["replace", "--validate=false", "-f", "-"], &stale.to_string()).await.ok();
    stale["data"]["colour"] = "green".into();
    let output = kubectl.run_with(&["replace", "--validate=false", "-f", "-"], &stale.to_string()).await;
    assert_eq!(
        output.failed(1),
        "Error from server (Conflict): error when replacing \"STDIN\": Operation cannot be fulfilled on configmaps \
         \"settings\": the object has been modified; please apply your changes to the latest version and try again\n"
    );

    let output = kubectl.run_with(&create, &SETTINGS.replace("name: settings", "name: Not_A_Name")).await;
    contains(
        output.failed(1),
        &[
            "The ConfigMap \"Not_A_Name\" is invalid: metadata.name: Invalid value: \"Not_A_Name\": a lowercase RFC 1123 \
             subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an \
             alphanumeric character",
        ],
    );

    let output = kubectl.run(&["get", "widgets"]).await;
    assert_eq!(output.failed(1), "error: the server doesn't have a resource type \"widgets\"\n");
    let widget = "apiVersion: example.com/v1\nkind: Widget\nmetadata:\n  name: w\n";
    let output = kubectl.run_with(&create, widget).await;
    contains(output.failed(1), &["no matches for kind \"Widget\" in version \"example.com/v1\""]);

    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  replicas: three\n  \
                      selector:\n    matchLabels: {app: web}\n  template:\n    metadata:\n      labels: {app: web}\n    \
                      spec:\n      containers:\n      - name: web\n        image: wk.local/web:1\n";
    let output = kubectl.run_with(&create, deployment).await;
    contains(
        output.failed(1),
        &[
            "Error from server (BadRequest): error when creating \"STDIN\": Deployment in version \"v1\" cannot be handled \
             as a Deployment: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ],
    );
    let output = kubectl.run_with(&create, &deployment.replace("replicas: three", "replicas: -1")).await;
    contains(
        output.failed(1),
        &["The Deployment \"web\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
    );
    let output = kubectl
        .run_with(
            &create,
            &deployment
                .replace("replicas: three", "replicas: 1")
                .replace("matchLabels: {app: web}", "matchLabels: {app: other}"),
        )
        .await;
    contains(
        output.failed(1),
        &[
            "The Deployment \"web\" is invalid: spec.template.metadata.labels: Invalid value: ",
            "`selector` does not match template `labels`",
        ],
    );
    let output = kubectl.run(&["get", "deploy"]).await;
    contains(&output.stderr, &["No resources found in default namespace."]);
}
