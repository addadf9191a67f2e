//! `helm`, unchanged, against three nodes: the whole life of a release with a Deployment, its Service and Ingress, a
//! ConfigMap, a Secret, a custom resource, a Job that runs before, and a test.

use std::path::Path;

use wk_kit::{Cluster, Helm, Output, SOON, example, get, guest, until};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/shop");

/// Uploads an example by deploying it, and returns its image.
async fn image(cluster: &Cluster, file: &Path, name: &str) -> String {
    let file = file.to_str().expect("a path of text");
    cluster.wk(&["deploy", file, "--name", name, "--replicas", "0"]).await.ok();
    let path = "jsonpath={.spec.template.spec.containers[0].image}";
    cluster.wk(&["get", &format!("deploy/{name}"), "-o", path]).await.ok().trim().to_owned()
}

#[track_caller]
fn refused(output: &Output, why: &str) {
    assert_ne!(output.code, Some(0), "{output:?}");
    assert!(output.stderr.contains(why), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_installed_tested_upgraded_rolled_back_and_removed() {
    let cluster = Cluster::start(3).await;
    let node = &cluster.nodes[1];
    let Some(helm) = Helm::find(&node.kubeconfig(), cluster.dir()) else { return };
    let web = image(&cluster, &example("hello-http"), "web-image").await;
    let job = image(&cluster, &guest("command"), "job-image").await;
    let (web, job) = (format!("image={web}"), format!("jobImage={job}"));
    let given = ["shop", CHART, "--set", &web, "--set", &job, "--wait", "--timeout", "60s"];

    let with = |words: &[&'static str]| -> Vec<&str> { words.iter().copied().chain(given).collect() };
    helm.run(&with(&["install"])).await.ok();
    until("the release answers", SOON, async || {
        let answer = get(node.http(), "shop.localhost", "/").await?;
        anyhow::ensure!(answer.status == 200, "{answer:?}");
        Ok(())
    })
    .await;
    let gadget = cluster.wk(&["get", "gadgets/shop", "-o", "jsonpath={.spec.colour}"]).await;
    assert_eq!(gadget.ok().trim(), "red", "the definition's default");
    assert_eq!(cluster.wk(&["logs", "job/shop-migrate"]).await.ok(), "well behaved\n");
    let tested = helm.run(&["test", "shop", "--timeout", "60s"]).await;
    assert!(tested.ok().contains("Succeeded"), "{tested:?}");

    let mut changed = with(&["upgrade"]);
    changed.extend(["--set", "greeting=hi", "--set", "replicas=3"]);
    helm.run(&changed).await.ok();
    let greeting = || cluster.wk(&["get", "configmap/shop", "-o", "jsonpath={.data.greeting}"]);
    assert_eq!(greeting().await.ok().trim(), "hi");

    // A migration that fails stops the upgrade, and the release stays what it was.
    let mut failing = with(&["upgrade"]);
    failing.extend(["--set", "migration={exit,3}", "--set", "greeting=lost"]);
    refused(&helm.run(&failing).await, "pre-upgrade hooks failed");
    assert_eq!(greeting().await.ok().trim(), "hi");

    helm.run(&["rollback", "shop", "1", "--wait", "--timeout", "60s"]).await.ok();
    assert_eq!(greeting().await.ok().trim(), "hello");
    let history = helm.run(&["history", "shop"]).await;
    assert!(history.ok().contains("Rollback to 1"), "{history:?}");

    helm.run(&["uninstall", "shop", "--wait", "--timeout", "60s"]).await.ok();
    let left = cluster.wk(&["get", "deploy,svc,ingress,configmap,secret,gadgets", "-o", "name"]).await;
    assert!(!left.ok().contains("/shop"), "{left:?}");
}
