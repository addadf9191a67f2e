//! The shells over a real store of one peer, with nodes that only pretend.

mod hanging;
mod lab;
mod members;
mod sets;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lab::{Lab, condition, deployment, is_ready};
use serde_json::{Value, json};
use wk_api::strategy::DeleteOptions;
use wk_api::{Object, kinds};

fn is_available(lab: &Lab, replicas: i64) -> bool {
    lab.list(&kinds::DEPLOYMENT).first().is_some_and(|web| is_complete(web, replicas))
}

fn is_complete(web: &Object, replicas: i64) -> bool {
    let count = |field: &str| web.int(&format!("/status/{field}")) == Some(replicas);
    web.int("/status/observedGeneration") == Some(web.generation())
        && ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"].iter().all(|field| count(field))
        && condition(web, "Progressing").is_some_and(|progress| progress["reason"] == "NewReplicaSetAvailable")
}

#[tokio::test(flavor = "multi_thread")]
async fn deployment_of_three_becomes_available_on_three_nodes_behind_one_service() {
    let lab = Lab::start(&["n1", "n2", "n3"]).await;
    let service = json!({
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
    });
    lab.create(&kinds::SERVICE, service).await;
    lab.create(&kinds::DEPLOYMENT, deployment("web", 3, "web:1")).await;
    lab.until("available", |lab| is_available(lab, 3)).await;

    let pods = lab.ready_pods();
    let nodes: BTreeSet<&str> = pods.iter().map(|pod| pod.text("/spec/nodeName")).collect();
    assert_eq!(nodes, BTreeSet::from(["n1", "n2", "n3"]));
    let web = lab.list(&kinds::DEPLOYMENT)[0].clone();
    assert_eq!(web.annotation("deployment.kubernetes.io/revision"), Some("1"));
    assert_eq!(condition(&web, "Available").expect("condition")["status"], "True");
    for pod in &pods {
        assert!(pod.name().starts_with(lab.list(&kinds::REPLICASET)[0].name()));
        assert_eq!(condition(pod, "PodScheduled").expect("condition")["status"], "True");
    }
    lab.until("three ready endpoints", |lab| {
        let slices = lab.list(&kinds::ENDPOINTSLICE);
        let endpoints = slices.iter().flat_map(|slice| slice.items("/endpoints"));
        endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true).count() == 3
    })
    .await;
    lab.until("nodes have address ranges", |lab| {
        let ranges: BTreeSet<String> =
            lab.list(&kinds::NODE).iter().map(|node| node.text("/spec/podCIDR").to_owned()).collect();
        ranges == ["10.128.0.0/18", "10.128.64.0/18", "10.128.128.0/18"].map(str::to_owned).into()
    })
    .await;
    lab.until("events", |lab| {
        let events = lab.list(&kinds::EVENT);
        let count = |reason: &str| events.iter().filter(|event| event.text("/reason") == reason).count();
        [count("Scheduled"), count("SuccessfulCreate"), count("ScalingReplicaSet")] == [3, 3, 1]
    })
    .await;
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_pods_are_bound_evenly_and_become_available() {
    let lab = Lab::start(&["n1", "n2"]).await;
    lab.create(&kinds::DEPLOYMENT, deployment("web", 50, "web:1")).await;
    let bound = |lab: &Lab| lab.list(&kinds::POD).iter().filter(|pod| !pod.text("/spec/nodeName").is_empty()).count();
    lab.until("all bound", |lab| bound(lab) == 50).await;
    lab.until("available", |lab| is_available(lab, 50)).await;
    let on_first = lab.list(&kinds::POD).iter().filter(|pod| pod.text("/spec/nodeName") == "n1").count();
    assert_eq!(on_first, 25);
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scaling_down_removes_pods_and_up_brings_them_back() {
    let lab = Lab::start(&["n1", "n2"]).await;
    lab.create(&kinds::DEPLOYMENT, deployment("web", 5, "web:1")).await;
    lab.until("five", |lab| is_available(lab, 5)).await;
    lab.change(&kinds::DEPLOYMENT, "web", "/spec/replicas", json!(2)).await;
    lab.until("two", |lab| is_available(lab, 2) && lab.list(&kinds::POD).len() == 2).await;
    let nodes: BTreeSet<String> =
        lab.list(&kinds::POD).iter().map(|pod| pod.text("/spec/nodeName").to_owned()).collect();
    assert_eq!(nodes.len(), 2, "what is left stays spread");
    lab.change(&kinds::DEPLOYMENT, "web", "/spec/replicas", json!(4)).await;
    lab.until("four", |lab| is_available(lab, 4)).await;
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rolling_update_never_has_fewer_ready_pods_than_allowed() {
    let lab = Arc::new(Lab::start(&["n1", "n2"]).await);
    lab.create(&kinds::DEPLOYMENT, deployment("web", 3, "web:1")).await;
    lab.until("first version", |lab| is_available(lab, 3)).await;

    let revision = lab.cluster.store().view().revision();
    let mut watch = lab.cluster.watch(&kinds::POD, None, revision).expect("watch");
    let broken = Arc::new(AtomicBool::new(false));
    let observer = tokio::spawn({
        let (lab, broken) = (lab.clone(), broken.clone());
        async move {
            while watch.next().await.is_ok() {
                let pods = lab.list(&kinds::POD);
                let active = pods.iter().filter(|pod| !pod.is_deleting());
                let ready = active.clone().filter(|pod| is_ready(pod)).count();
                if ready < 3 || active.count() > 4 {
                    broken.store(true, Ordering::Relaxed);
                }
            }
        }
    });
    lab.change(&kinds::DEPLOYMENT, "web", "/spec/template/spec/containers/0/image", json!("web:2")).await;
    lab.until("second version", |lab| {
        let images: BTreeSet<String> =
            lab.ready_pods().iter().map(|pod| pod.text("/spec/containers/0/image").to_owned()).collect();
        is_available(lab, 3) && images == BTreeSet::from(["web:2".to_owned()]) && lab.list(&kinds::POD).len() == 3
    })
    .await;
    observer.abort();
    let _ = observer.await;
    assert!(!broken.load(Ordering::Relaxed), "a view had fewer than 3 ready pods, or more than 4");
    assert_eq!(lab.list(&kinds::REPLICASET).len(), 2, "the old set is kept for an undo");
    let web = lab.list(&kinds::DEPLOYMENT)[0].clone();
    assert_eq!(web.annotation("deployment.kubernetes.io/revision"), Some("2"));
    Arc::into_inner(lab).expect("the observer has ended").stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_deployment_removes_its_replicasets_and_pods() {
    for propagation in ["Background", "Foreground"] {
        let lab = Lab::start(&["n1"]).await;
        lab.create(&kinds::DEPLOYMENT, deployment("web", 3, "web:1")).await;
        lab.until("available", |lab| is_available(lab, 3)).await;
        let options = DeleteOptions::parse(&json!({"propagationPolicy": propagation})).expect("options");
        lab.cluster.delete(&kinds::DEPLOYMENT, Some("default"), "web", &options).await.expect("delete");
        lab.until("everything is gone", |lab| {
            [&kinds::DEPLOYMENT, &kinds::REPLICASET, &kinds::POD].iter().all(|kind| lab.list(kind).is_empty())
        })
        .await;
        lab.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_silent_node_are_replaced_elsewhere() {
    let lab = Lab::start(&["n1", "n2", "n3"]).await;
    lab.create(&kinds::DEPLOYMENT, deployment("web", 3, "web:1")).await;
    lab.until("available", |lab| is_available(lab, 3)).await;
    lab.dead.send_replace(BTreeSet::from(["n3".to_owned()]));
    let ready_node = |lab: &Lab, name: &str| {
        let nodes = lab.list(&kinds::NODE);
        let node = nodes.iter().find(|node| node.name() == name).expect("node").clone();
        condition(&node, "Ready").expect("condition")["status"] == "True"
    };
    lab.until("replaced", |lab| {
        lab.pass_time();
        let ready = lab.ready_pods();
        ready.len() == 3 && ready.iter().all(|pod| pod.text("/spec/nodeName") != "n3")
    })
    .await;
    assert!(!ready_node(&lab, "n3") && ready_node(&lab, "n1") && ready_node(&lab, "n2"));
    assert!(lab.list(&kinds::POD).iter().any(|pod| pod.is_deleting() && pod.text("/spec/nodeName") == "n3"));
    let unreachable = |effect: &str| ("node.kubernetes.io/unreachable".to_owned(), effect.to_owned());
    assert_eq!(taints(&lab, "n3"), [unreachable("NoSchedule"), unreachable("NoExecute")]);
    assert!(taints(&lab, "n1").is_empty());

    lab.dead.send_replace(BTreeSet::new());
    lab.until("back", |lab| {
        lab.pass_time();
        ready_node(lab, "n3") && taints(lab, "n3").is_empty()
    })
    .await;
    lab.stop().await;
}

/// Keys and effects of a node's taints.
fn taints(lab: &Lab, node: &str) -> Vec<(String, String)> {
    let nodes = lab.list(&kinds::NODE);
    let node = nodes.iter().find(|found| found.name() == node).expect("node");
    let text = |taint: &Value, key: &str| taint[key].as_str().unwrap_or_default().to_owned();
    node.items("/spec/taints").iter().map(|taint| (text(taint, "key"), text(taint, "effect"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_stays_until_the_pod_that_has_it_is_gone() {
    let lab = Lab::start(&["n1"]).await;
    for name in ["data", "unused"] {
        let claim = json!({"metadata": {"name": name},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}});
        lab.create(&kinds::PERSISTENTVOLUMECLAIM, claim).await;
    }
    let pod = json!({"metadata": {"name": "user"}, "spec": {"containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}});
    lab.create(&kinds::POD, pod).await;
    lab.until("the pod runs", |lab| lab.ready_pods().len() == 1).await;
    let delete = async |kind, name| {
        lab.cluster.delete(kind, Some("default"), name, &DeleteOptions::default()).await.expect("delete");
    };
    delete(&kinds::PERSISTENTVOLUMECLAIM, "data").await;
    delete(&kinds::PERSISTENTVOLUMECLAIM, "unused").await;
    lab.until("the other is gone", |lab| lab.list(&kinds::PERSISTENTVOLUMECLAIM).len() == 1).await;
    let claims = lab.list(&kinds::PERSISTENTVOLUMECLAIM);
    assert!(claims[0].name() == "data" && claims[0].is_deleting(), "{claims:?}");
    delete(&kinds::POD, "user").await;
    lab.until("the claim is gone", |lab| lab.list(&kinds::PERSISTENTVOLUMECLAIM).is_empty()).await;
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_namespace_takes_its_content_along() {
    let lab = Lab::start(&["n1"]).await;
    lab.cluster.create(&kinds::NAMESPACE, None, json!({"metadata": {"name": "shop"}})).await.expect("create");
    let web = deployment("web", 2, "web:1");
    lab.cluster.create(&kinds::DEPLOYMENT, Some("shop"), web).await.expect("create");
    lab.until("available", |lab| is_available(lab, 2)).await;
    lab.cluster.delete(&kinds::NAMESPACE, None, "shop", &DeleteOptions::default()).await.expect("delete");
    lab.until("gone", |lab| lab.list(&kinds::NAMESPACE).iter().all(|namespace| namespace.name() != "shop")).await;
    assert!(lab.list(&kinds::POD).is_empty() && lab.list(&kinds::DEPLOYMENT).is_empty());
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_objects_go_with_their_namespace_their_owner_and_their_definition() {
    let lab = Lab::start(&["n1"]).await;
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    });
    lab.cluster.create(&kinds::CRD, None, definition).await.expect("create");
    let widget = lab.cluster.kind("example.com", "v1", "widgets").expect("served at once");
    lab.cluster.create(&kinds::NAMESPACE, None, json!({"metadata": {"name": "shop"}})).await.expect("create");
    let named = |name: &str| json!({"metadata": {"name": name}});
    lab.cluster.create(widget, Some("shop"), named("inside")).await.expect("create");
    lab.cluster.delete(&kinds::NAMESPACE, None, "shop", &DeleteOptions::default()).await.expect("delete");
    lab.until("namespace gone", |lab| lab.list(&kinds::NAMESPACE).iter().all(|found| found.name() != "shop")).await;
    assert!(lab.list(widget).is_empty());

    let owned = |owner: &Object, name: &str| {
        json!({"metadata": {"name": name, "ownerReferences": [{
            "apiVersion": "example.com/v1", "kind": "Widget", "name": owner.name(), "uid": owner.uid(),
        }]}})
    };
    let (first, second) = (lab.create(widget, named("first")).await, lab.create(widget, named("second")).await);
    lab.create(&kinds::CONFIGMAP, owned(&first, "of-first")).await;
    lab.create(&kinds::CONFIGMAP, owned(&second, "of-second")).await;
    lab.cluster.delete(widget, Some("default"), "first", &DeleteOptions::default()).await.expect("delete");
    let left = |lab: &Lab| lab.list(&kinds::CONFIGMAP).iter().filter(|found| found.name().starts_with("of-")).count();
    lab.until("collected", |lab| left(lab) == 1).await;

    lab.cluster.delete(&kinds::CRD, None, "widgets.example.com", &DeleteOptions::default()).await.expect("delete");
    lab.until("definition gone", |lab| lab.list(&kinds::CRD).is_empty()).await;
    assert!(lab.list(widget).is_empty() && left(&lab) == 0);
    assert!(lab.cluster.kind("example.com", "v1", "widgets").is_none());
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_that_fits_nowhere_says_why_and_runs_when_it_fits() {
    let lab = Lab::start(&["n1"]).await;
    let big = json!({"metadata": {"name": "big"}, "spec": {"containers": [
        {"name": "c", "image": "i", "resources": {"requests": {"memory": "3Gi"}}}]}});
    lab.create(&kinds::POD, big.clone()).await;
    lab.until("first runs", |lab| lab.ready_pods().len() == 1).await;
    let mut second = big;
    second["metadata"]["name"] = "second".into();
    lab.create(&kinds::POD, second).await;
    lab.until("condition and event", |lab| {
        let pods = lab.list(&kinds::POD);
        let said = pods.iter().find(|pod| pod.name() == "second").and_then(|pod| condition(pod, "PodScheduled"));
        said.is_some_and(|said| {
            said["reason"] == "Unschedulable" && said["message"] == "0/1 nodes are available: 1 Insufficient memory."
        }) && lab.list(&kinds::EVENT).iter().any(|event| event.text("/reason") == "FailedScheduling")
    })
    .await;
    let options = DeleteOptions::default();
    lab.cluster.delete(&kinds::POD, Some("default"), "big", &options).await.expect("delete");
    lab.until("second runs", |lab| lab.ready_pods().iter().any(|pod| pod.name() == "second")).await;
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn controller_that_panics_again_and_again_stops_no_other() {
    // Those of the nodes and of the voters ask for the members.
    let roll = Arc::new(|_: &_| panic!("a crooked record"));
    let lab = Lab::with(&["n1"], |cluster| Arc::new(cluster.clone()), roll).await;
    lab.leads.send_replace(true);
    for count in 1..=8 {
        lab.create(&kinds::DEPLOYMENT, deployment(&format!("web-{count}"), 1, "web:1")).await;
        lab.until("available", |lab| lab.list(&kinds::DEPLOYMENT).iter().all(|web| is_complete(web, 1))).await;
    }
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_that_waits_for_a_namespace_to_be_meant_runs_as_soon_as_it_is() {
    let lab = Lab::start(&["n1"]).await;
    let pod = |name: &str, affinity: Value| {
        json!({"metadata": {"name": name, "labels": {"app": name}},
            "spec": {"affinity": affinity, "containers": [{"name": "c", "image": "i"}]}})
    };
    lab.create(&kinds::POD, pod("web", json!({}))).await;
    lab.until("first runs", |lab| lab.ready_pods().len() == 1).await;
    let near = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}},
        "namespaceSelector": {"matchLabels": {"team": "shop"}}});
    let near = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [near]}});
    let name = json!({"kubernetes.io/hostname": "n1"});
    label(&lab, &kinds::NODE, "n1", name).await;
    lab.create(&kinds::POD, pod("near", near)).await;
    let waits = |lab: &Lab| {
        let pods = lab.list(&kinds::POD);
        let near = pods.iter().find(|pod| pod.name() == "near");
        near.and_then(|pod| condition(pod, "PodScheduled")).is_some_and(|said| said["status"] == "False")
    };
    lab.until("it waits", waits).await;
    lab.until("and says so", |lab| !lab.list(&kinds::EVENT).is_empty()).await;
    label(&lab, &kinds::NAMESPACE, "default", json!({"team": "shop"})).await;
    // Half of the time after which every shell looks anyway.
    let runs = lab.until("it runs", |lab| lab.ready_pods().len() == 2);
    tokio::time::timeout(std::time::Duration::from_secs(15), runs).await.expect("the label is what it waited for");
    lab.stop().await;
}

async fn label(lab: &Lab, kind: &wk_api::Kind, name: &str, labels: Value) {
    let change = |old: &Object| {
        let mut new = old.0.clone();
        for (key, value) in labels.as_object().into_iter().flatten() {
            new["metadata"]["labels"][key] = value.clone();
        }
        Ok(new)
    };
    lab.cluster.modify(kind, None, name, wk_cluster::Subresource::None, change).await.expect("labelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_that_does_not_lead_leaves_everything_alone() {
    let lab = Lab::idle(&["n1"]).await;
    lab.create(&kinds::DEPLOYMENT, deployment("web", 1, "web:1")).await;
    let before = lab.cluster.store().read().await.expect("read").revision();
    lab.leads.send_replace(true);
    lab.until("available", |lab| is_available(lab, 1)).await;
    let first = lab.list(&kinds::REPLICASET)[0].clone();
    assert!(first.resource_version().parse::<u64>().expect("version") > before.0, "made after it led");
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evictions_go_on_as_fast_as_pods_are_replaced() {
    let lab = Lab::start(&["n1", "n2"]).await;
    lab.create(&kinds::DEPLOYMENT, deployment("web", 2, "web:1")).await;
    lab.until("available", |lab| is_available(lab, 2)).await;
    let labels = lab.ready_pods()[0].at("/metadata/labels/app").cloned().expect("the label of the template");
    let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": labels}}});
    lab.create(&kinds::PODDISRUPTIONBUDGET, json!({"metadata": {"name": "web"}, "spec": spec})).await;
    let allowed = |lab: &Lab| lab.list(&kinds::PODDISRUPTIONBUDGET)[0].int("/status/disruptionsAllowed");
    let names = |lab: &Lab| lab.ready_pods().iter().map(|pod| pod.name().to_owned()).collect::<Vec<_>>();
    for _ in 0..3 {
        lab.until("room for an eviction", |lab| names(lab).len() == 2 && allowed(lab) == Some(1)).await;
        let pods = names(&lab);
        lab.cluster.evict("default", &pods[0], &DeleteOptions::default()).await.expect("within the budget");
        let refused = lab.cluster.evict("default", &pods[1], &DeleteOptions::default()).await;
        // The first may have been replaced already.
        assert!(refused.is_ok() || refused.is_err_and(|status| status.code == 429));
    }
    lab.stop().await;
}
