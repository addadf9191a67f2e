//! The verbs of `wk` over the real binary on one node: what each changes, and that kubectl sees the same.

use anyhow::ensure;
use serde_json::Value;
use wk_kit::{Cluster, Kubectl, Output, SOON, run, until};

const CONFLICT: i32 = 5;
const DIFFERS: i32 = 7;

#[track_caller]
fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

/// Runs `wk edit` with an editor that replaces one word by another.
async fn edit(cluster: &Cluster, what: &str, from: &str, to: &str) -> Output {
    let mut command = cluster.nodes[0].command(&["edit", what]);
    command.env_remove("KUBE_EDITOR").env("WK_EDITOR", format!("sed -i s/{from}/{to}/"));
    run(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_made_marked_patched_edited_compared_and_explained() {
    let cluster = Cluster::start(1).await;
    let wk = async |line: &str| cluster.wk(&line.split(' ').collect::<Vec<_>>()).await;
    assert_eq!(wk("create configmap colours --from-literal sky=blue").await.ok(), "configmap/colours created\n");
    contains(wk("create cm colours").await.failed(CONFLICT), &["already exists", "wk edit"]);
    assert_eq!(wk("label cm colours kind=list").await.ok(), "configmap/colours labeled\n");
    assert_eq!(wk("annotate cm -l kind=list note=x").await.ok(), "configmap/colours annotated\n");
    contains(wk("label cm colours kind=other").await.failed(CONFLICT), &["--overwrite"]);
    assert_eq!(
        wk("patch cm colours --type merge -p {\"data\":{\"sea\":\"grey\"}}").await.ok(),
        "configmap/colours patched\n"
    );
    let nothing = "patch cm colours --type merge -p {\"data\":{\"sea\":\"grey\"}}";
    assert_eq!(wk(nothing).await.ok(), "configmap/colours patched (no change)\n");
    assert_eq!(edit(&cluster, "cm/colours", "blue", "black").await.ok(), "configmap/colours edited\n");
    assert_eq!(edit(&cluster, "cm/colours", "nothing", "else").await.ok(), "configmap/colours unchanged\n");
    assert_eq!(wk("get cm colours -o jsonpath={.data.sky}").await.ok(), "black");
    contains(wk("describe cm colours").await.ok(), &["kind=list", "note: x", "black", "grey"]);

    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: colours, labels: {kind: list}}\ndata: {sky: red}\n";
    let file = cluster.file("colours.yaml", text);
    contains(cluster.wk(&["diff", "-f", &file]).await.stdout.as_str(), &["-  sky: black", "+  sky: red"]);
    assert_eq!(cluster.wk(&["diff", "-f", &file]).await.code, Some(DIFFERS));
    assert_eq!(cluster.wk(&["apply", "-f", &file]).await.ok(), "configmap/colours configured\n");
    assert_eq!(cluster.wk(&["diff", "-f", &file]).await.ok(), "");
    contains(wk("explain deploy.spec.replicas").await.ok(), &["GROUP:      apps", "FIELD: replicas <integer>"]);
    contains(wk("api-resources --api-group apps").await.ok(), &["deployments", "deploy", "apps/v1", "Deployment"]);
    contains(wk("get --kinds").await.ok(), &["NAME", "deployments"]);
    contains(&wk("get cm colour").await.stderr, &["did you mean \"colours\"?"]);
    contains(&wk("get deploiment").await.stderr, &["did you mean \"deployment\"?"]);
    assert_eq!(wk("delete cm colours -o name").await.ok(), "configmap/colours\n");
    assert_eq!(wk("wait cm/colours --for delete").await.ok(), "configmap/colours was not there\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_let_in_for_what_their_role_says_and_out_at_once() {
    let cluster = Cluster::start(1).await;
    let kubeconfig = cluster.wk(&["user", "add", "ann", "--role", "edit", "-n", "default"]).await.ok().to_owned();
    let kubeconfig = cluster.file("ann.kubeconfig", &kubeconfig);
    let ann = async |line: &str| {
        let mut command = tokio::process::Command::new(wk_kit::wk());
        command.arg("--kubeconfig").arg(&kubeconfig).args(line.split(' '));
        run(command).await
    };
    // The default roles are made in the first moments of a cluster.
    until("the roles are there", SOON, async || {
        let answer = ann("auth can-i create configmaps").await;
        ensure!(answer.stdout == "yes\n", "{answer:?}");
        let answer = ann("auth whoami").await;
        ensure!(answer.stdout.contains("ann"), "{answer:?}");
        Ok(())
    })
    .await;
    assert_eq!(ann("create configmap own --from-literal a=b").await.ok(), "configmap/own created\n");
    contains(&ann("get nodes").await.stderr, &["ann", "cannot list resource \"nodes\""]);
    contains(cluster.wk(&["user", "list"]).await.ok(), &["ann"]);
    cluster.wk(&["user", "revoke", "ann"]).await.ok();
    let out = ann("get cm").await;
    assert!(out.code != Some(0) && out.stdout.is_empty(), "{out:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads_are_rolled_out_taken_back_scaled_and_moved() {
    let cluster = Cluster::start(1).await;
    let wk = async |line: &str| cluster.wk(&line.split(' ').collect::<Vec<_>>()).await;
    cluster.deploy_hello("hello", 2, &[]).await.ok();
    assert_eq!(wk("rollout restart deploy/hello").await.ok(), "deployment.apps/hello restarted\n");
    assert_eq!(
        wk("rollout status deploy/hello --timeout 60s").await.ok(),
        "deployment \"hello\" successfully rolled out\n"
    );
    contains(wk("rollout history deploy/hello").await.ok(), &["\n1 ", "\n2 "]);
    assert_eq!(wk("rollout undo deploy/hello").await.ok(), "deployment.apps/hello rolled back\n");
    wk("rollout status deploy/hello --timeout 60s").await.ok();
    contains(wk("rollout history deploy/hello").await.ok(), &["\n3 "]);
    contains(wk("scale deploy/hello --replicas 3 --current-replicas 7").await.failed(CONFLICT), &["has 2 replicas"]);
    assert_eq!(wk("scale deploy/hello --replicas 3 --timeout 60s").await.ok(), "deployment.apps/hello scaled\n");
    assert_eq!(
        wk("wait deploy/hello --for condition=Available --timeout 60s").await.ok(),
        "deployment.apps/hello condition met\n"
    );
    contains(wk("describe deploy/hello").await.ok(), &["3 desired", "Available", "ScalingReplicaSet"]);
    let pod = wk("get pods -o jsonpath={.items[0].metadata.name}").await.ok().to_owned();
    contains(
        wk(&format!("describe pod {pod}")).await.ok(),
        &["Controlled By:", "ReplicaSet/hello", "Running", "Scheduled"],
    );
    contains(wk("describe node n1").await.ok(), &["Allocatable", &pod]);
    contains(wk("events --for deploy/hello").await.ok(), &["Deployment/hello", "ScalingReplicaSet"]);
    contains(wk("logs -l app.kubernetes.io/name=hello --tail 1").await.ok(), &[]);

    assert_eq!(wk("taint nodes n1 a=b:PreferNoSchedule").await.ok(), "node/n1 tainted\n");
    assert_eq!(wk("taint nodes n1 a-").await.ok(), "node/n1 untainted\n");
    let drained = wk("drain n1 --timeout 60s").await;
    contains(drained.ok(), &["node/n1 cordoned", "node/n1 drained"]);
    contains(&drained.stderr, &["evicting pod default/hello"]);
    assert_eq!(wk("uncordon n1").await.ok(), "node/n1 uncordoned\n");
    wk("wait deploy/hello --for condition=Available --timeout 60s").await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_and_wk_see_the_same_objects() {
    let cluster = Cluster::start(1).await;
    let Some(kubectl) = Kubectl::find(&cluster.nodes[0].kubeconfig(), cluster.dir()) else { return };
    cluster.deploy_hello("hello", 1, &[]).await.ok();
    let theirs: Value = kubectl.run(&["get", "deploy", "hello", "-o", "json"]).await.json();
    let ours: Value = cluster.wk(&["get", "deploy", "hello", "-o", "json"]).await.json();
    assert_eq!(theirs, ours);
    for words in [
        &["get", "svc", "-o", "jsonpath={range .items[*]}{.metadata.name}={.spec.ports[0].port}{\"\\n\"}{end}"][..],
        &[
            "get",
            "svc",
            "--sort-by",
            ".metadata.name",
            "-o",
            "custom-columns=NAME:.metadata.name,PORT:.spec.ports[*].port",
        ],
        &["get", "deploy", "-o", "name"],
    ] {
        assert_eq!(kubectl.run(words).await.ok().trim_end(), cluster.wk(words).await.ok().trim_end(), "{words:?}");
    }
}
