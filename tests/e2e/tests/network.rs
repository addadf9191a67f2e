//! What pods reach over the network, and who reaches them: services, pods of the other node, the API; and nothing that
//! `wk.dev/egress` does not give them.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use wk_kit::{Api, Cluster, SOON, guest, until};

const PODS: &str = "/api/v1/namespaces/default/pods";

/// Uploads the guest that uses the network by deploying it as `server`, and returns its image.
async fn server(cluster: &Cluster) -> String {
    let file = guest("net/net");
    let file = file.to_str().expect("a path of text");
    cluster.wk(&["deploy", file, "--name", "server", "--", "serve", "0.0.0.0:9000"]).await.ok();
    let deployment = cluster.wk(&["get", "deploy/server", "-o", "json"]).await.json();
    deployment["spec"]["template"]["spec"]["containers"][0]["image"].as_str().expect("an image").to_owned()
}

/// A service of the server's, and an ingress that leads to it.
async fn publish(api: &Api) {
    let selector = json!({"app.kubernetes.io/name": "server"});
    let ports = json!([{"name": "tcp", "port": 9000}]);
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "server"},
        "spec": {"selector": selector, "ports": ports}});
    api.post("/api/v1/namespaces/default/services", &service).await.expect("a service");
    let backend = json!({"service": {"name": "server", "port": {"number": 9000}}});
    let rule = json!({"host": "server.localhost",
        "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}});
    let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "server"},
        "spec": {"rules": [rule]}});
    api.post("/apis/networking.k8s.io/v1/namespaces/default/ingresses", &ingress).await.expect("an ingress");
}

/// Starts the guest on a node.
async fn start(api: &Api, image: &str, name: &str, node: &str, egress: &str, arguments: &[&str]) {
    let pod: Value = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "annotations": {"wk.dev/egress": egress}},
        "spec": {"restartPolicy": "Never", "nodeName": node,
            "containers": [{"name": "main", "image": image, "args": arguments}]}});
    api.post(PODS, &pod).await.expect("a pod");
}

/// Runs the guest once on a node, and returns what it printed.
async fn run(cluster: &Cluster, image: &str, name: &str, node: &str, egress: &str, arguments: &[&str]) -> String {
    let api = cluster.nodes[0].api().await;
    start(&api, image, name, node, egress, arguments).await;
    until(&format!("pod {name} is done"), SOON, async || {
        let status = api.get(&format!("{PODS}/{name}")).await?["status"].clone();
        ensure!(status["phase"] == "Succeeded", "{status}");
        Ok(())
    })
    .await;
    cluster.wk(&["logs", name]).await.ok().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_reach_what_they_were_given_from_either_node() {
    let cluster = Cluster::start(2).await;
    cluster.deploy_hello("hello", 2, &[]).await.ok();
    let image = server(&cluster).await;
    let api = cluster.nodes[0].api().await;
    publish(&api).await;
    let pods = cluster.wk(&["get", "pods", "-l", "app.kubernetes.io/name=server", "-o", "json"]).await.json();
    let address = pods["items"][0]["status"]["podIP"].as_str().expect("an address").to_owned();

    start(&api, &image, "udp", cluster.nodes[0].name(), "", &["udp-serve", "53"]).await;
    let udp = until("the UDP server listens", SOON, async || {
        ensure!(cluster.wk(&["logs", "udp"]).await.ok() == "listening at 0.0.0.0:53\n");
        let pod = api.get(&format!("{PODS}/udp")).await?;
        Ok(format!("{}:53", pod["status"]["podIP"].as_str().context("no address yet")?))
    })
    .await;

    for node in &cluster.nodes {
        let at = node.name();
        let by_address = format!("http://{address}:9000/direct");
        let urls = [
            "http://hello",
            "http://server.default.svc:9000/named",
            &by_address,
            "https://kubernetes.default.svc/version",
            "http://nobody.default.svc",
            "http://169.254.169.254/",
        ];
        let out = run(&cluster, &image, &format!("get-{at}"), at, "cluster", &[&["get"], &urls[..]].concat()).await;
        let said = |url: &str| {
            let line = out.lines().find_map(|line| line.strip_prefix(&format!("{url}: ")));
            line.unwrap_or_else(|| panic!("{url} is not in {out}")).to_owned()
        };
        assert!(said("http://hello").starts_with("200 Hello from hello-"), "{out}");
        assert_eq!(said("http://server.default.svc:9000/named"), "200 program answers GET /named HTTP/1.1");
        assert_eq!(said(&by_address), "200 program answers GET /direct HTTP/1.1");
        // The host has verified the API's certificate; who asks without a token is nobody to it.
        assert!(said("https://kubernetes.default.svc/version").starts_with("401 {"), "{out}");
        assert!(said("http://nobody.default.svc").contains("NXDOMAIN"), "{out}");
        assert_eq!(said("http://169.254.169.254/"), "error ErrorCode::HttpRequestDenied");
        assert!(out.contains("add 169.254.169.254/32:80 to its annotation wk.dev/egress"), "{out}");

        let arguments = ["tcp", "server:9000", "100000*abc"];
        let out = run(&cluster, &image, &format!("tcp-{at}"), at, "cluster", &arguments).await;
        assert_eq!(out, "server:9000: 300000 bytes\n");

        let out = run(&cluster, &image, &format!("none-{at}"), at, "", &["tcp", "server:9000", "x"]).await;
        assert!(out.contains("server:9000: error access-denied"), "{out}");
        assert!(out.contains("add cluster to its annotation wk.dev/egress"), "{out}");

        let out = run(&cluster, &image, &format!("udp-{at}"), at, "cluster", &["udp", &udp, "ping"]).await;
        assert_eq!(out, format!("{udp}: back: ping\n"));

        until(&format!("the ingress of {at} leads to the program"), SOON, async || {
            let answer = wk_kit::get(node.http(), "server.localhost", "/through").await?;
            ensure!(answer.body == "program answers GET /through HTTP/1.1\n", "{} {}", answer.status, answer.body);
            Ok(())
        })
        .await;
    }
}
