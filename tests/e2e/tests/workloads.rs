//! What pods run: programs and HTTP apps, how they end, and how little those that misbehave disturb the others.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use wk_kit::{Api, Cluster, Load, SOON, example, guest, until};

const PODS: &str = "/api/v1/namespaces/default/pods";
/// An app that answers takes milliseconds; this leaves room for a busy machine, and none for waiting on a neighbour.
const QUICK: Duration = Duration::from_secs(2);

async fn one() -> Cluster {
    Cluster::start(1).await
}

/// Uploads the guest of commands by deploying it, and returns its image.
async fn command_image(cluster: &Cluster) -> String {
    let file = guest("command");
    let file = file.to_str().expect("a path of text");
    cluster.wk(&["deploy", file, "--name", "command", "--", "sleep"]).await.ok();
    let deployment = cluster.wk(&["get", "deploy/command", "-o", "json"]).await.json();
    deployment["spec"]["template"]["spec"]["containers"][0]["image"].as_str().expect("an image").to_owned()
}

/// A pod of one container that runs the command guest.
fn pod(name: &str, image: &str, restart: &str, arguments: &[&str]) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"restartPolicy": restart, "containers": [{"name": "main", "image": image, "args": arguments}]}})
}

/// Waits until the pod is in the phase, and returns its status.
async fn phase(api: &Api, name: &str, wanted: &str) -> Value {
    until(&format!("pod {name} is {wanted}"), SOON, async || {
        let status = api.get(&format!("{PODS}/{name}")).await?["status"].clone();
        ensure!(status["phase"] == wanted, "{status}");
        Ok(status)
    })
    .await
}

fn terminated(status: &Value) -> &Value {
    &status["containerStatuses"][0]["state"]["terminated"]
}

#[tokio::test(flavor = "multi_thread")]
async fn program_for_preview_1_logs_and_is_followed() {
    let cluster = one().await;
    let file = example("ticker");
    let file = file.to_str().expect("a path of text");
    let output = cluster.wk(&["deploy", file, "--env", "INTERVAL_MS=100"]).await;
    assert_eq!(output.ok(), "", "a program has no URL");
    let pod = cluster.wk(&["get", "pods", "-o", "name"]).await.ok().trim().replace("pod/", "");
    let mut followed = cluster.nodes[0].follow(&["logs", "-f", &pod]);
    for tick in 1..=10 {
        let line = followed.line("the next tick", SOON, |_| true).await;
        assert_eq!(line, format!("tick {tick} from {pod}"));
    }
    let output = cluster.wk(&["logs", "deploy/ticker", "--tail", "2"]).await;
    assert_eq!(output.ok().lines().count(), 2, "{output:?}");
    let all = cluster.wk(&["logs", &pod, "--timestamps"]).await;
    let first = all.ok().lines().next().expect("a line");
    assert!(first.ends_with(&format!("Z tick 1 from {pod}")), "{first}");
    // The log of a pod that goes ends the reading too.
    cluster.wk(&["delete", "deploy/ticker"]).await.ok();
    assert_eq!(followed.end(SOON).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_end_with_their_exit_code_and_their_output() {
    let cluster = one().await;
    let image = command_image(&cluster).await;
    let api = cluster.nodes[0].api().await;
    for (name, restart, arguments) in [
        ("fine", "Never", &[][..]),
        ("fine-once", "OnFailure", &[]),
        ("failing", "Never", &["exit", "3"]),
        ("printing", "Never", &["print"]),
        ("trapping", "Never", &["trap"]),
    ] {
        api.post(PODS, &pod(name, &image, restart, arguments)).await.expect("a pod is created");
    }
    for name in ["fine", "fine-once"] {
        let status = phase(&api, name, "Succeeded").await;
        assert_eq!(terminated(&status)["exitCode"], 0, "{status}");
        assert_eq!(terminated(&status)["reason"], "Completed");
        assert_eq!(cluster.wk(&["logs", name]).await.ok(), "well behaved\n");
    }
    let status = phase(&api, "failing", "Failed").await;
    assert_eq!(terminated(&status)["exitCode"], 3, "{status}");
    assert_eq!(terminated(&status)["reason"], "Error");
    phase(&api, "printing", "Succeeded").await;
    let text = cluster.wk(&["logs", "printing"]).await;
    let mut lines: Vec<&str> = text.ok().lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["to standard error", "to standard output"]);
    let status = phase(&api, "trapping", "Failed").await;
    assert_eq!(terminated(&status)["reason"], "Trapped", "{status}");
    let message = terminated(&status)["message"].as_str().unwrap_or_default();
    assert!(message.contains("unreachable") && message.contains("inner_of_trap"), "where it trapped: {message}");
    let table = cluster.wk(&["get", "pods"]).await;
    let line = |name: &str| {
        table.ok().lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_default().to_owned()
    };
    assert!(line("fine").contains("0/1") && line("fine").contains("Completed"), "{table:?}");
    assert!(line("failing").contains("Error"), "{table:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_program_is_restarted_with_back_off() {
    let cluster = one().await;
    let file = guest("command");
    let file = file.to_str().expect("a path of text");
    // Whether deploying it succeeds is not the point here.
    cluster.wk(&["deploy", file, "--name", "crash", "--timeout", "2s", "--", "exit", "3"]).await;
    let api = cluster.nodes[0].api().await;
    let status = until("the pod waits before its next restart", SOON, async || {
        let pod = api.pods_of("crash").await?.pop().context("no pod")?;
        let status = pod["status"]["containerStatuses"][0].clone();
        ensure!(status["state"]["waiting"]["reason"] == "CrashLoopBackOff", "{status}");
        Ok(status)
    })
    .await;
    assert!(status["restartCount"].as_i64() >= Some(1), "the first restart is immediate: {status}");
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 3, "{status}");
    let table = cluster.wk(&["get", "pods"]).await;
    assert!(table.ok().contains("CrashLoopBackOff"), "{table:?}");
    let overview = cluster.wk(&["status"]).await;
    assert!(overview.ok().contains("CrashLoopBackOff"), "{overview:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deploying_a_program_that_fails_at_once_fails_and_says_why() {
    let cluster = one().await;
    let file = guest("command");
    let file = file.to_str().expect("a path of text");
    let output = cluster.wk(&["deploy", file, "--name", "crash", "--timeout", "6s", "--", "exit", "3"]).await;
    let said = output.failed(6);
    assert!(said.contains("crash is not ready after 6s") && said.contains("exit code 3"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_time_and_memory_end_a_program_with_their_name() {
    let cluster = one().await;
    let image = command_image(&cluster).await;
    let api = cluster.nodes[0].api().await;
    for (name, argument) in [("sleeper", "sleep"), ("looper", "loop")] {
        let mut late = pod(name, &image, "Never", &[argument]);
        late["spec"]["activeDeadlineSeconds"] = 2.into();
        api.post(PODS, &late).await.expect("a pod is created");
    }
    let mut greedy = pod("greedy", &image, "Never", &["alloc"]);
    greedy["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "16Mi"}});
    api.post(PODS, &greedy).await.expect("a pod is created");
    let status = phase(&api, "greedy", "Failed").await;
    assert_eq!(terminated(&status)["reason"], "OOMKilled", "{status}");
    assert_eq!(terminated(&status)["exitCode"], 137);
    assert!(
        terminated(&status)["message"].as_str().is_some_and(|text| text.contains("16")),
        "names the limit: {status}"
    );
    for name in ["sleeper", "looper"] {
        let status = phase(&api, name, "Failed").await;
        assert_eq!(status["reason"], "DeadlineExceeded", "{status}");
    }
    let table = cluster.wk(&["get", "pods"]).await;
    assert!(table.ok().contains("OOMKilled"), "{table:?}");
}

/// Deploys the HTTP guest that misbehaves, with two seconds for a request.
async fn deploy_bad(cluster: &Cluster, name: &str) {
    let file = guest("http");
    let file = file.to_str().expect("a path of text");
    cluster.wk(&["deploy", file, "--name", name, "--memory", "32Mi"]).await.ok();
    let template = json!({"spec": {"template": {"metadata": {"annotations": {"wk.dev/request-timeout": "2s"}}}}});
    let api = cluster.nodes[0].api().await;
    let path = format!("/apis/apps/v1/namespaces/default/deployments/{name}");
    let changed = api.merge(&path, &template).await.expect("the deployment takes an annotation");
    until("the pod with the annotation is the only one", SOON, async || {
        let now = api.get(&path).await?;
        let status = &now["status"];
        ensure!(status["observedGeneration"] == changed["metadata"]["generation"], "{status}");
        let pods = api.pods_of(name).await?;
        ensure!(pods.len() == 1 && status["readyReplicas"] == 1 && status["updatedReplicas"] == 1, "{status}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn misbehaving_http_guests_are_told_apart_and_disturb_nobody() {
    let cluster = one().await;
    cluster.deploy_hello("hello", 1, &[]).await.ok();
    let cases = [
        ("trapping", "/trap", 502, "app failed", "Trapped"),
        ("looping", "/loop", 504, "deadline", "DeadlineExceeded"),
        ("greedy", "/alloc", 502, "app failed", "OOMKilled"),
    ];
    for (name, ..) in cases {
        deploy_bad(&cluster, name).await;
    }
    let (node, api) = (cluster.nodes[0].http(), cluster.nodes[0].api().await);
    let load = Load::start(&[node], "hello.localhost");
    for (name, path, status, word, reason) in cases {
        let host = format!("{name}.localhost");
        load.mark(name);
        let answer = wk_kit::get(node, &host, path).await.expect("an answer");
        assert_eq!(answer.status, status, "{name}: {}", answer.body);
        assert!(answer.body.starts_with(&format!("{status} {word}: default/{name}:")), "{name}: {}", answer.body);
        let told = until(&format!("the status of {name} says {reason}"), SOON, async || {
            let pod = api.pods_of(name).await?.pop().context("no pod")?;
            let container = pod["status"]["containerStatuses"][0].clone();
            ensure!(container["lastState"]["terminated"]["reason"] == reason, "{container}");
            Ok(container)
        })
        .await;
        assert_eq!(told["ready"], true, "one request failed, the app goes on: {told}");
        let answer = wk_kit::get(node, &host, "/").await.expect("an answer");
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, "well behaved\n"));
    }
    // All at once, several times over: whatever these use up, others must still find.
    load.mark("all at once");
    let many = (0..4).flat_map(|_| cases).map(|(name, path, status, ..)| async move {
        let answer = wk_kit::get(node, &format!("{name}.localhost"), path).await.expect("an answer");
        // A container whose memory is all in use takes no further request, and there is no other replica.
        let is_full = name == "greedy" && answer.status == 503;
        assert!(is_full || answer.status == status, "{name}: {} {}", answer.status, answer.body);
    });
    futures::future::join_all(many).await;
    load.answered(100).await;
    let report = load.stop().await;
    report.none_failed();
    assert!(report.slowest < QUICK, "{:?} is not quick; meanwhile {:?}", report.slowest, report.marks);
}
