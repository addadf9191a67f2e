//! Pods as others write them: images named `busybox`, commands for a shell. A mutating webhook, itself a wasm pod, makes
//! them pods of an image of ours that holds such a shell.
//!
//! Also the cluster tests of the crate `kube-client`, as its authors wrote them: `cargo xtask clients` builds and runs those.

use std::path::PathBuf;
use std::process::Stdio;

use http::{Method, Request};
use http_body_util::BodyExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{AttachParams, ListParams, LogParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wk_kit::{Cluster, Kubectl, SOON, guest, run, until};

/// The binary of the tests of `kube-client`.
const KUBE_CLIENT_TESTS: &str = "WK_KUBE_CLIENT_TESTS";

/// As many cluster tests as that crate has in version 5.0.0.
const KUBE_CLIENT_COUNT: usize = 22;

/// The port of a kubelet: one of those tests knows no other.
const KUBELET: &str = "127.0.0.1:10250";

/// The programs of the image: the same module under several names.
const PROGRAMS: [&str; 5] = ["busybox", "sh", "echo", "seq", "sleep"];

/// Sends a request for which there is no method, and answers the digest in its answer.
async fn push(client: &Client, method: Method, path: &str, kind: &str, body: Vec<u8>) -> String {
    let request = Request::builder().method(method).uri(path).header("content-type", kind);
    let response = client.send(request.body(body.into()).expect("a request")).await.expect("an answer");
    let (parts, body) = response.into_parts();
    let text = body.collect().await.expect("a body").to_bytes();
    assert!(parts.status.is_success(), "{path}: {} {}", parts.status, String::from_utf8_lossy(&text));
    let digest = parts.headers.get("docker-content-digest").expect("a digest");
    digest.to_str().expect("text").to_owned()
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Uploads the image, and answers its name.
async fn image(client: &Client) -> String {
    let module = std::fs::read(guest("busybox/busybox")).expect("the guest is there");
    let (size, config) = (module.len(), b"{}".to_vec());
    let mut named = Vec::new();
    for bytes in [module, config] {
        let name = digest(&bytes);
        let path = format!("/v2/busybox/blobs/uploads/?digest={name}");
        named.push(push(client, Method::POST, &path, "application/octet-stream", bytes).await);
    }
    let layer = |title: &&str| {
        json!({ "mediaType": "application/wasm", "digest": named[0], "size": size,
            "annotations": { "org.opencontainers.image.title": title } })
    };
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.wasm.config.v0+json", "digest": named[1], "size": 2 },
        "layers": PROGRAMS.iter().map(layer).collect::<Vec<_>>(),
    });
    let manifest = manifest.to_string().into_bytes();
    let name = digest(&manifest);
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let name = push(client, Method::PUT, &format!("/v2/busybox/manifests/{name}"), kind, manifest).await;
    format!("wk.local/busybox@{name}")
}

/// From now on pods that name `busybox` have `image`.
async fn mirror(cluster: &Cluster, image: &str) {
    let file = guest("mirror/mirror");
    let file = file.to_str().expect("a path of text");
    let to = format!("TO={image}");
    cluster.wk(&["deploy", file, "--replicas", "2", "--env", "FROM=busybox", "--env", &to]).await.ok();
    let webhook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": "mirror" },
        "webhooks": [{
            "name": "mirror.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": { "service": { "namespace": "default", "name": "mirror", "port": 80 } },
            "rules": [{ "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"] }],
            // Who answers is not asked about itself.
            "objectSelector": { "matchExpressions": [
                { "key": "app.kubernetes.io/name", "operator": "NotIn", "values": ["mirror"] },
            ] },
        }],
    });
    let file = cluster.file("mirror.json", &webhook.to_string());
    cluster.wk(&["apply", "-f", &file]).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_a_pod_mirrors_images_of_controllers_pods_and_their_shell_answers() {
    let cluster = Cluster::start(2).await;
    let client = cluster.nodes[1].api().await.client();
    let image = image(&client).await;
    mirror(&cluster, &image).await;
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "shell" },
        "spec": { "selector": { "matchLabels": { "app": "shell" } }, "template": {
            "metadata": { "labels": { "app": "shell" } },
            "spec": { "terminationGracePeriodSeconds": 0, "containers": [{
                "name": "main", "image": "busybox:stable",
                "command": ["sh", "-c", "for i in $(seq 1 3); do echo line $i; done; sleep 600"],
            }] },
        } },
    });
    let file = cluster.file("shell.json", &deployment.to_string());
    cluster.wk(&["apply", "-f", &file]).await.ok();
    let pods: Api<Pod> = Api::default_namespaced(client);
    let mut name = String::new();
    until("the shell runs and has said its lines", SOON, async || {
        let found = pods.list(&ListParams::default().labels("app=shell")).await?;
        name = found.items.first().map(kube::ResourceExt::name_any).unwrap_or_default();
        let lines = pods.logs(&name, &LogParams::default()).await?;
        anyhow::ensure!(lines == "line 1\nline 2\nline 3\n", "{lines:?}");
        Ok(())
    })
    .await;
    let pod = pods.get(&name).await.expect("it is there");
    let container = &pod.spec.as_ref().expect("a spec").containers[0];
    assert_eq!(container.image.as_deref(), Some(&*image), "{}", pod.name_any());

    let quiet = AttachParams::default().stdin(false).stderr(false);
    let mut ran = pods.exec(&name, ["sh", "-c", "nothing"], &quiet).await.expect("it is run");
    let status = ran.take_status().expect("a status").await.expect("a status");
    let causes = status.details.and_then(|details| details.causes).expect("causes");
    assert_eq!(causes[0].message.as_deref(), Some("127"));
    let mut ran = pods.exec(&name, ["sh", "-c", "for i in a b; do echo $i; done"], &quiet).await.expect("it is run");
    let mut out = String::new();
    ran.stdout().expect("its output").read_to_string(&mut out).await.expect("text");
    assert_eq!(out, "a\nb\n");

    let mut ran =
        pods.exec(&name, ["sh"], &AttachParams::default().stdin(true).stderr(false)).await.expect("it is run");
    let (mut stdin, mut stdout) = (ran.stdin().expect("its input"), ran.stdout().expect("its output"));
    stdin.write_all(b"x=1\necho said $x\n").await.expect("it is sent");
    let mut said = [0; 7];
    stdout.read_exact(&mut said).await.expect("an answer while its input is open");
    assert_eq!(&said, b"said 1\n");
    stdin.write_all(b"exit 3\n").await.expect("it is sent");
    let status = ran.take_status().expect("a status").await.expect("a status");
    let causes = status.details.and_then(|details| details.causes).expect("causes");
    assert_eq!(causes[0].message.as_deref(), Some("3"));
    at_a_terminal(&cluster, &name).await;
}

/// Types into a shell at a terminal: `script` makes one for kubectl, as a person's is.
#[expect(clippy::print_stderr, reason = "a test that checks nothing says so")]
async fn at_a_terminal(cluster: &Cluster, pod: &str) {
    let Some(kubectl) = Kubectl::find(&cluster.nodes[0].kubeconfig(), cluster.dir()) else { return };
    let line: Vec<String> =
        kubectl.line(&["exec", "-it", pod, "--", "sh"]).iter().map(|word| format!("'{word}'")).collect();
    let mut command = tokio::process::Command::new("script");
    command.args(["--quiet", "--flush", "--return", "--command", &line.join(" "), "/dev/null"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let Ok(mut child) = command.spawn() else {
        eprintln!("skipped in part: there is no `script` to make a terminal");
        return;
    };
    let (mut stdin, mut stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let mut seen = String::new();
    let mut reads_to = async |wanted: &str, seen: &mut String| {
        let mut piece = [0; 1024];
        while !seen.contains(wanted) {
            let read = tokio::time::timeout(SOON, stdout.read(&mut piece)).await;
            let length = read.unwrap_or_else(|_| panic!("no {wanted:?} in {seen:?}")).expect("it can be read");
            assert!(length > 0, "it ended before {wanted:?}: {seen:?}");
            seen.push_str(&String::from_utf8_lossy(&piece[..length]));
        }
    };
    // What is typed is shown as it is typed, by the terminal in the node: what comes back says that it was run. A first
    // line waits for the shell; typed before kubectl has taken the terminal over, it would be shown twice.
    stdin.write_all(b"x=20\r").await.expect("it is typed");
    reads_to("x=20", &mut seen).await;
    stdin.write_all(b"echo said $x\r").await.expect("it is typed");
    reads_to("said 20\r\n", &mut seen).await;
    stdin.write_all(b"exit 3\r").await.expect("it is typed");
    let ended = tokio::time::timeout(SOON, child.wait()).await.expect("it ends").expect("a status");
    assert_eq!(ended.code(), Some(3), "{seen:?}");
    assert!(!seen.contains("Unable to use a TTY"), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_tests_of_kube_client_pass_against_three_nodes() {
    let Some(tests) = std::env::var_os(KUBE_CLIENT_TESTS).map(PathBuf::from) else {
        #[expect(clippy::print_stderr, reason = "a test that checks nothing says so")]
        {
            eprintln!("skipped: {KUBE_CLIENT_TESTS} names no binary; `cargo xtask clients` builds it and runs this");
        }
        return;
    };
    let mut cluster = Cluster::empty();
    let mut first = cluster.next();
    first.start(&["--kubelet-listen", KUBELET]);
    first.up().await;
    cluster.nodes.push(first);
    cluster.add().await;
    cluster.add().await;
    cluster.settled().await;
    let image = image(&cluster.nodes[0].api().await.client()).await;
    mirror(&cluster, &image).await;
    let mut command = tokio::process::Command::new(tests);
    command.args(["--ignored", "--test-threads=1"]).env("KUBECONFIG", cluster.nodes[0].kubeconfig());
    let output = run(command).await;
    assert!(output.stdout.contains(&format!(" {KUBE_CLIENT_COUNT} passed; 0 failed; 0 ignored")), "{output:?}");
}
