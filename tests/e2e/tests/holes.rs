//! Small promises, each as its user meets it over the real binary.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use wk_kit::{Api, Cluster, SOON, guest, until};

const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const INGRESSES: &str = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";

/// Uploads a module by deploying no replica of it, and returns its image.
async fn image(cluster: &Cluster, file: &Path, name: &str) -> String {
    let file = file.to_str().expect("a path of text");
    cluster.wk(&["deploy", file, "--name", name, "--replicas", "0"]).await.ok();
    let deployment = cluster.wk(&["get", &format!("deploy/{name}"), "-o", "json"]).await.json();
    deployment["spec"]["template"]["spec"]["containers"][0]["image"].as_str().expect("an image").to_owned()
}

/// A program that writes `text` to the file `name` in the only directory that it has, or without a name to standard output,
/// and ends with `code`.
fn program(name: &str, text: &str, code: u8) -> Vec<u8> {
    let (name_len, text_len) = (name.len(), text.len());
    let source = format!(
        r#"(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 1024) "{name}")
  (data (i32.const 2048) "{text}")
  (func (export "_start") (local $error i32)
    (i32.store (i32.const 0) (i32.const 2048))
    (i32.store (i32.const 4) (i32.const {text_len}))
    (i32.store (i32.const 16) (i32.const 1))
    (if (i32.const {name_len}) (then
      (local.set $error (call $open (i32.const 3) (i32.const 1) (i32.const 1024) (i32.const {name_len})
        (i32.const 9) (i64.const 0x40) (i64.const 0) (i32.const 0) (i32.const 16)))))
    (if (local.get $error) (then (call $exit (i32.const 99))))
    (drop (call $write (i32.load (i32.const 16)) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $exit (i32.const {code}))))"#
    );
    wat::parse_str(source).expect("is WebAssembly text")
}

/// Waits until the pod's containers show what `found` looks for.
async fn containers<T>(api: &Api, pod: &str, what: &str, found: impl Fn(&Value) -> Option<T>) -> T {
    until(&format!("{pod}: {what}"), SOON, async || {
        let pod = api.get(&format!("{PODS}/{pod}")).await?;
        found(&pod["status"]["containerStatuses"]).with_context(|| pod["status"].to_string())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn container_says_why_it_ended_in_the_file_of_its_termination_message() {
    let cluster = Cluster::start(1).await;
    let api = cluster.nodes[0].api().await;
    let mounts = json!([{"name": "data", "mountPath": "/data"}]);
    for (name, file, text, code, more) in [
        ("default", "termination-log", "no disk", 3, json!({})),
        ("own", "why", "of its own", 4, json!({"terminationMessagePath": "/run/why"})),
        ("volume", "why", "in a volume", 5, json!({"terminationMessagePath": "/data/why", "volumeMounts": mounts})),
        ("log", "", "from the log", 6, json!({"terminationMessagePolicy": "FallbackToLogsOnError"})),
        ("well", "termination-log", "all done", 0, json!({})),
    ] {
        let module = cluster.dir().join(format!("{name}.wasm"));
        std::fs::write(&module, program(file, text, code)).expect("the temporary directory can be written");
        let mut container = json!({"name": "main", "image": image(&cluster, &module, name).await});
        container.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
            "restartPolicy": "Never", "automountServiceAccountToken": false,
            "volumes": [{"name": "data", "emptyDir": {}}], "containers": [container]}});
        api.post(PODS, &pod).await.expect("a pod is created");
    }
    for (name, code, message) in [
        ("default", 3, "no disk"),
        ("own", 4, "of its own"),
        ("volume", 5, "in a volume"),
        ("log", 6, "from the log"),
        ("well", 0, "all done"),
    ] {
        let ended = containers(&api, name, "it has ended", |all| {
            Some(all[0]["state"]["terminated"].clone()).filter(Value::is_object)
        })
        .await;
        assert_eq!(ended["exitCode"], code, "{name}: {ended}");
        let told = ended["message"].as_str().unwrap_or_default();
        assert!(told.trim_end().ends_with(message), "{name}: {ended}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn second_container_of_a_pod_on_one_port_fails_as_a_bind_would() {
    let cluster = Cluster::start(1).await;
    let (api, image) = (cluster.nodes[0].api().await, image(&cluster, &guest("http"), "bad").await);
    let container = |name: &str| json!({"name": name, "image": image, "ports": [{"containerPort": 8080}]});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "twice"},
        "spec": {"containers": [container("one"), container("two")]}});
    api.post(PODS, &pod).await.expect("a pod is created");
    let (message, running) = containers(&api, "twice", "one of them fails", |all| {
        let all = all.as_array()?;
        let failed = all.iter().find(|one| one["lastState"]["terminated"]["exitCode"] == 1)?;
        let other = all.iter().find(|other| other["name"] != failed["name"])?;
        let message = failed["lastState"]["terminated"]["message"].as_str()?.to_owned();
        Some((message.replace(other["name"].as_str()?, "OTHER"), other["state"]["running"].clone()))
    })
    .await;
    assert_eq!(message, "listen on port 8080: address in use: container \"OTHER\" of this pod serves it");
    assert!(running.is_object(), "{running}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_work_is_said_where_it_is_asked() {
    let cluster = Cluster::start(1).await;
    let (node, api) = (&cluster.nodes[0], cluster.nodes[0].api().await);
    cluster.deploy_hello("hello", 1, &[]).await.ok();
    // A word that no pod would be run with is refused in the template.
    let change = json!({"spec": {"template": {"metadata": {"annotations": {"wk.dev/egress": "clustr"}}}}});
    let refused = api.merge(&format!("{DEPLOYMENTS}/hello"), &change).await.expect_err("it is refused").to_string();
    assert!(refused.contains("is none of cluster, internet, a host name"), "{refused}");
    let change = json!({"spec": {"template": {"metadata": {"annotations": {"wk.dev/instances": "poold"}}}}});
    let refused = api.merge(&format!("{DEPLOYMENTS}/hello"), &change).await.expect_err("it is refused").to_string();
    assert!(refused.contains("supported values: ") && refused.contains("per-request"), "{refused}");

    let address = until("the Ingress has an address", SOON, async || {
        let ingress = api.get(&format!("{INGRESSES}/hello")).await?;
        let address = ingress["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().map(str::to_owned);
        address.with_context(|| ingress["status"].to_string())
    })
    .await;
    assert_eq!(address, node.ip().to_string());

    let backend = json!({"service": {"name": "nobody", "port": {"number": 80}}});
    let rule =
        json!({"host": "lost.localhost", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}});
    let lost = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "lost"},
        "spec": {"rules": [rule]}});
    api.post(INGRESSES, &lost).await.expect("an Ingress is created");
    until("the answer says what is missing", SOON, async || {
        let answer = wk_kit::get(node.http(), "lost.localhost", "/").await?;
        ensure!(answer.status == 503, "{} {}", answer.status, answer.body);
        let words = "lost.localhost is served by default/nobody:80, and there is no Service default/nobody";
        ensure!(answer.body.contains(words), "{}", answer.body);
        Ok(())
    })
    .await;

    let other = cluster.deploy_hello("other", 1, &["--route", "hello.localhost"]).await;
    let words = "hello.localhost/ is served by Ingress default/hello, which is older";
    assert!(other.stderr.contains(words), "{other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn response_that_traps_in_its_body_is_listed_so_and_its_event_has_the_backtrace() {
    let cluster = Cluster::start(1).await;
    let (node, api) = (&cluster.nodes[0], cluster.nodes[0].api().await);
    let file = guest("http");
    cluster.wk(&["deploy", file.to_str().expect("a path of text"), "--name", "bad"]).await.ok();
    let pod = api.pods_of("bad").await.expect("pods").pop().expect("one")["metadata"]["name"].clone();
    let pod = pod.as_str().expect("a name");
    assert!(wk_kit::get(node.http(), "bad.localhost", "/stream-trap").await.is_err(), "it breaks off");
    until("it is listed as what it was", SOON, async || {
        let page = node.wk(&["debug", pod]).await;
        ensure!(page.stdout.contains("200, then Trapped"), "{}", page.stdout);
        Ok(())
    })
    .await;
    until("its event says where", SOON, async || {
        let events = api.get("/api/v1/namespaces/default/events").await?;
        let mut events = events["items"].as_array().context("no events")?.iter();
        let trapped = events.find(|event| event["reason"] == "Trapped").context("none of that reason")?;
        let message = trapped["message"].as_str().unwrap_or_default();
        ensure!(message.contains("unreachable") && message.contains("  0: "), "{message}");
        Ok(())
    })
    .await;
}

/// Asks again and again until it is told to stop; answers what failed.
async fn asks(stop: &AtomicBool, count: &AtomicUsize, ask: impl AsyncFn() -> anyhow::Result<()>) -> Vec<String> {
    let mut failures = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match ask().await {
            Ok(()) => {
                count.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => failures.push(format!("{error:#}")),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    failures
}

/// The pods go elsewhere and come back. Whoever asks this very node meanwhile, each time on a connection of its own, waits at
/// most: the sockets are there all the time.
#[tokio::test(flavor = "multi_thread")]
async fn upgraded_node_refuses_nobody_at_its_own_ingress_and_api() {
    let cluster = Cluster::start(2).await;
    cluster.deploy_hello("hello", 2, &[]).await.ok();
    let (node, other) = (&cluster.nodes[0], &cluster.nodes[1]);
    let stop = AtomicBool::new(false);
    let (at_ingress, at_api) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let ingress = asks(&stop, &at_ingress, async || {
        let answer = wk_kit::get(node.http(), "hello.localhost", "/").await?;
        ensure!(answer.status == 200, "{} {}", answer.status, answer.body);
        Ok(())
    });
    let api = asks(&stop, &at_api, async || {
        // A connection that is not refused; what is asked over it is answered when the new process is there.
        tokio::net::TcpStream::connect((node.ip(), wk_kit::API)).await?;
        Ok(())
    });
    let upgrade = async {
        let output = other.wk(&["node", "upgrade", node.name()]).await;
        let (ingress, api) = (at_ingress.load(Ordering::Relaxed), at_api.load(Ordering::Relaxed));
        until("the new process is asked as well", SOON, async || {
            ensure!(at_ingress.load(Ordering::Relaxed) > ingress + 20 && at_api.load(Ordering::Relaxed) > api + 20);
            Ok(())
        })
        .await;
        stop.store(true, Ordering::Relaxed);
        output
    };
    let (output, ingress, api) = tokio::join!(upgrade, ingress, api);
    assert!(output.ok().contains(&format!("node/{} upgraded from ", node.name())), "{output:?}");
    assert_eq!((ingress, api), (Vec::new(), Vec::new()), "refused at the ingress, and at the API");
}

#[tokio::test(flavor = "multi_thread")]
async fn member_that_has_the_last_copy_of_a_module_is_not_removed_unheard() {
    let mut cluster = Cluster::start(3).await;
    // Nobody else has it any more, as after a loss of two disks.
    cluster.deploy_hello("hello", 1, &[]).await.ok();
    cluster.nodes[2].stop().await;
    for node in &cluster.nodes[..2] {
        std::fs::remove_dir_all(node.data_dir().join("blobs")).expect("modules can be removed");
    }
    let name = cluster.nodes[2].name().to_owned();
    // It is first refused because it was heard a moment ago.
    until("the module's last copy is named", SOON, async || {
        let removed = cluster.nodes[0].wk(&["cluster", "remove", &name]).await;
        ensure!(removed.stderr.contains("no other node that answers has wk.local/hello"), "{removed:?}");
        Ok(())
    })
    .await;
    assert!(cluster.nodes[0].wk(&["cluster", "remove", &name, "--force"]).await.code == Some(0));
}
