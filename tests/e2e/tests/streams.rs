//! exec, attach, port-forward and proxies with the `kube` crate, to a pod that runs on another node than the one asked.

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{AttachParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wk_kit::{Cluster, Kubectl, SOON, guest, until};

/// Copies its input to its output until that ends: `cat` for WASI preview 1.
const CAT: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start") (loop $again
    (i32.store (i32.const 0) (i32.const 1024))
    (i32.store (i32.const 4) (i32.const 32768))
    (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then (return)))
    (if (i32.eqz (i32.load (i32.const 8))) (then (return)))
    (i32.store (i32.const 4) (i32.load (i32.const 8)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (br $again))))"#;

/// Two nodes, and a client of the first.
async fn two() -> (Cluster, Client) {
    let cluster = Cluster::start(2).await;
    let client = cluster.nodes[0].api().await.client();
    (cluster, client)
}

/// Uploads a module by deploying it, and makes a pod of it on the second node.
async fn pod(cluster: &Cluster, client: &Client, file: &str, container: Value) -> Api<Pod> {
    cluster.wk(&["deploy", file, "--name", "upload", "--timeout", "1s"]).await;
    let deployment = cluster.wk(&["get", "deploy/upload", "-o", "json"]).await.json();
    let mut container = container;
    container["name"] = "main".into();
    container["image"] = deployment["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    let spec = json!({ "nodeName": cluster.nodes[1].name(), "restartPolicy": "Never", "containers": [container] });
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "there" }, "spec": spec });
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let pod: Pod = serde_json::from_value(pod).expect("a pod");
    pods.create(&PostParams::default(), &pod).await.expect("it is created");
    until("the pod runs", SOON, async || {
        let phase = pods.get("there").await?.status.and_then(|status| status.phase);
        anyhow::ensure!(phase.as_deref() == Some("Running"), "{phase:?}");
        Ok(())
    })
    .await;
    pods
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_and_proxies_of_a_pod_elsewhere_are_reached_and_commands_answered() {
    let (cluster, client) = two().await;
    let file = guest("http");
    let container = json!({ "ports": [{ "containerPort": 8080 }], "env": [{ "name": "COLOUR", "value": "blue" }] });
    let pods = pod(&cluster, &client, file.to_str().expect("a path of text"), container).await;

    let mut forward = pods.portforward("there", &[8080, 81]).await.expect("it is forwarded");
    let mut stream = forward.take_stream(8080).expect("the port's stream");
    let request = "GET /large HTTP/1.1\r\nhost: there\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("it is sent");
    let mut answer = vec![0; 8 << 20];
    stream.read_exact(&mut answer).await.expect("eight mebibytes and a head");
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    let error = forward.take_error(81).expect("the port's error").await.expect("a reason");
    assert!(error.starts_with("error forwarding port 81 to pod there, uid "), "{error}");

    let wanted = AttachParams::default().stdin(false);
    let mut ran = pods.exec("there", ["printenv", "COLOUR"], &wanted).await.expect("it is run");
    let mut out = String::new();
    ran.stdout().expect("its output").read_to_string(&mut out).await.expect("text");
    assert_eq!(out, "blue\n");
    let mut ran = pods.exec("there", ["sh"], &wanted).await.expect("it is answered");
    let status = ran.take_status().expect("a status");
    let mut err = String::new();
    ran.stderr().expect("its errors").read_to_string(&mut err).await.expect("text");
    assert!(err.contains("no shell"), "{err}");
    let status = status.await.expect("a status");
    let causes = status.details.and_then(|details| details.causes).expect("causes");
    assert_eq!(causes[0].message.as_deref(), Some("127"));

    let path = "/api/v1/namespaces/default/pods/there:8080/proxy/env";
    let request = http::Request::get(path).body(Vec::new()).expect("a request");
    let text = client.request_text(request).await.expect("an answer");
    assert!(text.contains("COLOUR=blue"), "{text}");
    // As upstream of a port that nobody listens at.
    let path = "/api/v1/namespaces/default/pods/there:81/proxy/env";
    let request = http::Request::get(path).body(Vec::new()).expect("a request");
    let error = client.request_text(request).await.expect_err("nobody answers").to_string();
    assert!(error.contains("error trying to reach service: ") && error.contains("connection refused"), "{error}");
    a_hundred_megabytes_by_kubectl(&cluster).await;
}

/// kubectl's own dialect (SPDY in a WebSocket), several connections at once.
async fn a_hundred_megabytes_by_kubectl(cluster: &Cluster) {
    const LARGE: usize = 8 << 20;
    const TIMES: usize = 13;
    let Some(kubectl) = Kubectl::find(&cluster.nodes[0].kubeconfig(), cluster.dir()) else { return };
    let mut forwarded = kubectl.follow(&["port-forward", "pod/there", ":8080"]);
    let line = forwarded.line("where it listens", SOON, |line| line.contains("127.0.0.1:")).await;
    let address = line.split_whitespace().find(|word| word.starts_with("127.")).expect("an address");
    let large = async || {
        let mut stream = TcpStream::connect(address).await.expect("kubectl listens");
        stream.write_all(b"GET /large HTTP/1.1\r\nhost: there\r\nconnection: close\r\n\r\n").await.expect("it is sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("all of it");
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{:?}", String::from_utf8_lossy(&answer[..64]));
        // The pieces come in order, each of one number.
        let body = answer.windows(4).position(|end| end == b"\r\n\r\n").expect("a head") + 4;
        let numbers: Vec<u8> = (0..128).collect();
        let mut seen: Vec<u8> = answer[body..]
            .chunks(1 << 10)
            .filter(|piece| piece.iter().all(|byte| *byte == piece[0]))
            .map(|piece| piece[0])
            .collect();
        seen.dedup();
        assert_eq!(seen, numbers);
        answer.len()
    };
    let lengths = join_all((0..TIMES).map(|_| large())).await;
    assert!(lengths.iter().all(|length| *length > LARGE), "{lengths:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attached_client_writes_to_a_program_elsewhere_and_sees_its_end() {
    let (cluster, client) = two().await;
    let file = cluster.dir().join("cat.wasm");
    std::fs::write(&file, wat::parse_str(CAT).expect("a module")).expect("it is written");
    let container = json!({ "stdin": true, "stdinOnce": true });
    let pods = pod(&cluster, &client, file.to_str().expect("a path of text"), container).await;
    let wanted = AttachParams::default().stdin(true).stdout(true).stderr(false);
    let mut attached = pods.attach("there", &wanted).await.expect("it is attached");
    let mut stdin = attached.stdin().expect("its input");
    stdin.write_all(b"over the mesh and back\n").await.expect("it is sent");
    let mut stdout = attached.stdout().expect("its output");
    let mut line = [0; 23];
    stdout.read_exact(&mut line).await.expect("the line");
    assert_eq!(&line, b"over the mesh and back\n");
    stdin.shutdown().await.expect("its end");
    drop(stdin);
    let status = attached.take_status().expect("a status").await.expect("a status");
    assert_eq!(status.status.as_deref(), Some("Success"));
}
