//! A second client nobody here wrote: the `kube` crate, with the types of `k8s-openapi`.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use wk_kit::{Cluster, SOON};

async fn client(cluster: &Cluster, node: usize) -> Client {
    cluster.nodes[node].api().await.client()
}

fn configmap(name: &str, value: &str) -> ConfigMap {
    let mut object = ConfigMap { data: Some(BTreeMap::from([("key".into(), value.into())])), ..ConfigMap::default() };
    object.metadata.name = Some(name.to_owned());
    object
}

fn version(object: &ConfigMap) -> u64 {
    object.resource_version().and_then(|text| text.parse().ok()).expect("a resourceVersion that is a number")
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: &Result<T, kube::Error>, code: u16, reason: &str) {
    let Err(kube::Error::Api(status)) = result else { panic!("{code} {reason} was expected: {result:?}") };
    assert_eq!((status.code, status.reason.as_str()), (code, reason), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_objects_are_created_read_changed_and_deleted() {
    let cluster = Cluster::start(1).await;
    let client = client(&cluster, 0).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let post = PostParams::default();
    let made = maps.create(&post, &configmap("settings", "blue")).await.expect("it is created");
    assert!(made.uid().is_some() && made.creation_timestamp().is_some());
    refused(&maps.create(&post, &configmap("settings", "blue")).await, 409, "AlreadyExists");
    assert_eq!(maps.get("settings").await.expect("it is there"), made);
    assert!(maps.get_opt("nothing").await.expect("an answer").is_none());

    let mut changed = made.clone();
    changed.data = Some(BTreeMap::from([("key".into(), "red".into())]));
    let replaced = maps.replace("settings", &post, &changed).await.expect("it is replaced");
    assert!(version(&replaced) > version(&made));
    refused(&maps.replace("settings", &post, &changed).await, 409, "Conflict");
    let patch = Patch::Merge(json!({"data": {"more": "1"}, "metadata": {"labels": {"tier": "front"}}}));
    let patched = maps.patch("settings", &PatchParams::default(), &patch).await.expect("it is patched");
    assert_eq!(patched.data.as_ref().map(BTreeMap::len), Some(2));
    assert_eq!(patched.uid(), made.uid());
    let found = maps.list(&ListParams::default().labels("tier=front")).await.expect("a list");
    assert_eq!(found.items.iter().map(kube::ResourceExt::name_any).collect::<Vec<_>>(), ["settings"]);
    let found = maps.list(&ListParams::default().fields("metadata.name=other")).await.expect("a list");
    assert!(found.items.is_empty());
    maps.delete("settings", &DeleteParams::default()).await.expect("it is deleted");
    refused(&maps.get("settings").await, 404, "NotFound");
    refused(&maps.create(&post, &configmap("Not_A_Name", "x")).await, 422, "Invalid");
    let elsewhere: Api<ConfigMap> = Api::namespaced(client.clone(), "nowhere");
    refused(&elsewhere.create(&post, &configmap("a", "x")).await, 404, "NotFound");
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    maps.create(&dry, &configmap("dry", "x")).await.expect("it would be created");
    assert!(maps.get_opt("dry").await.expect("an answer").is_none());
    let version = client.apiserver_version().await.expect("the version");
    assert_eq!(version.major, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads_have_scale_status_and_logs() {
    let cluster = Cluster::start(1).await;
    cluster.deploy_hello("hello", 1, &[]).await.ok();
    let client = client(&cluster, 0).await;
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let scale = deployments.get_scale("hello").await.expect("a scale");
    assert_eq!(scale.spec.and_then(|spec| spec.replicas), Some(1));
    let patch = Patch::Merge(json!({"spec": {"replicas": 3}}));
    deployments.patch_scale("hello", &PatchParams::default(), &patch).await.expect("it is scaled");
    let available =
        |deployment: Option<&Deployment>| deployment.and_then(|it| it.status.as_ref()?.available_replicas) == Some(3);
    let mut events =
        deployments.watch(&WatchParams::default().fields("metadata.name=hello"), "0").await.expect("a watch").boxed();
    let wait = async {
        while let Some(event) = events.try_next().await.expect("the watch goes on") {
            if let WatchEvent::Added(deployment) | WatchEvent::Modified(deployment) = event
                && available(Some(&deployment))
            {
                return;
            }
        }
        panic!("the watch ended before the replicas were available");
    };
    tokio::time::timeout(SOON, wait).await.expect("three replicas become available");
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let running = pods.list(&ListParams::default().fields("status.phase=Running")).await.expect("a list");
    assert_eq!(running.items.len(), 3);
    assert!(pods.logs(&running.items[0].name_any(), &kube::api::LogParams::default()).await.is_ok());
    let namespaces: Api<Namespace> = Api::all(client);
    assert!(namespaces.get("kube-system").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_from_a_list_tells_every_change_once_and_in_order() {
    const OBJECTS: usize = 60;
    // Each namespace has one from its beginning.
    const OURS: &str = "metadata.name!=kube-root-ca.crt";
    let cluster = Cluster::start(3).await;
    // The list is another node's than the watch, and the writes go through the third.
    let writer: Api<ConfigMap> = Api::default_namespaced(client(&cluster, 2).await);
    let lister: Api<ConfigMap> = Api::default_namespaced(client(&cluster, 0).await);
    let watcher: Api<ConfigMap> = Api::default_namespaced(client(&cluster, 1).await);
    let post = PostParams::default();
    for number in 0..5 {
        writer.create(&post, &configmap(&format!("before-{number}"), "x")).await.expect("a write");
    }
    let list = lister.list(&ListParams::default().fields(OURS)).await.expect("a list");
    assert_eq!(list.items.len(), 5, "a list sees every write that was acknowledged before it began");
    let begin = list.metadata.resource_version.expect("a list has a version");

    let write = async {
        let mut expected = Vec::new();
        for number in 0..OBJECTS {
            let name = format!("object-{number}");
            let made = writer.create(&post, &configmap(&name, "1")).await.expect("a write");
            expected.push(("ADDED", name.clone(), version(&made)));
            let mut next = configmap(&name, "2");
            next.metadata.resource_version = made.resource_version();
            let changed = writer.replace(&name, &post, &next).await.expect("a write");
            expected.push(("MODIFIED", name.clone(), version(&changed)));
            if number % 3 == 0 {
                writer.delete(&name, &DeleteParams::default()).await.expect("a write");
                expected.push(("DELETED", name, 0));
            }
        }
        expected
    };
    let read = async {
        let total = 2 * OBJECTS + OBJECTS.div_ceil(3);
        let mut seen = Vec::new();
        let mut events = watcher.watch(&WatchParams::default().fields(OURS), &begin).await.expect("a watch").boxed();
        while seen.len() < total {
            match events.try_next().await.expect("the watch goes on") {
                Some(WatchEvent::Added(it)) => seen.push(("ADDED", it.name_any(), version(&it))),
                Some(WatchEvent::Modified(it)) => seen.push(("MODIFIED", it.name_any(), version(&it))),
                Some(WatchEvent::Deleted(it)) => seen.push(("DELETED", it.name_any(), version(&it))),
                Some(WatchEvent::Bookmark(_)) => {}
                Some(WatchEvent::Error(status)) => panic!("{status:?}"),
                None => panic!("the watch ended after {} of {total} events", seen.len()),
            }
        }
        seen
    };
    let both = async { tokio::join!(write, read) };
    let (expected, seen) = tokio::time::timeout(2 * SOON, both).await.expect("every change is told");
    let without = |events: &[(&'static str, String, u64)]| -> Vec<_> {
        events
            .iter()
            .map(|(kind, name, version)| (*kind, name.clone(), if *kind == "DELETED" { 0 } else { *version }))
            .collect()
    };
    assert_eq!(without(&seen), expected);
    assert!(
        seen.iter().map(|event| event.2).is_sorted_by(|one, next| one < next),
        "each has a higher version: {seen:?}"
    );
}
