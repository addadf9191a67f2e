//! Those who own pods beside Deployments, and pods that make room for others.

use serde_json::{Value, json};
use wk_api::{Object, kinds};
use wk_cluster::Subresource;

use crate::lab::{Lab, condition, deployment, is_ready};

fn template(app: &str, image: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "web", "image": image}]}})
}

fn count(object: &Object, field: &str) -> i64 {
    object.int(&format!("/status/{field}")).unwrap_or_default()
}

fn names(lab: &Lab, kind: &'static wk_api::Kind) -> Vec<String> {
    let mut names: Vec<String> = lab.list(kind).iter().map(|object| object.name().to_owned()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn replication_controller_has_as_many_pods_as_it_asks_for() {
    let lab = Lab::start(&["n1", "n2"]).await;
    let body = json!({"metadata": {"name": "web"},
        "spec": {"replicas": 2, "selector": {"app": "web"}, "template": template("web", "web:1")}});
    lab.create(&kinds::REPLICATIONCONTROLLER, body).await;
    let ready = |lab: &Lab| count(&lab.list(&kinds::REPLICATIONCONTROLLER)[0], "readyReplicas");
    lab.until("two are ready", |lab| ready(lab) == 2).await;
    lab.change(&kinds::REPLICATIONCONTROLLER, "web", "/spec/replicas", json!(1)).await;
    lab.until("one is left", |lab| ready(lab) == 1 && lab.list(&kinds::POD).len() == 1).await;
    let owner = lab.list(&kinds::POD)[0].at("/metadata/ownerReferences/0/kind").cloned();
    assert_eq!(owner, Some(json!("ReplicationController")));
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stateful_set_makes_replaces_and_removes_its_pods_by_their_numbers() {
    let lab = Lab::start(&["n1", "n2"]).await;
    // By which volumes know where they are.
    for name in ["n1", "n2"] {
        let labelled = |old: &Object| {
            let mut new = old.0.clone();
            new["metadata"]["labels"] = json!({"kubernetes.io/hostname": name});
            Ok(new)
        };
        lab.cluster.modify(&kinds::NODE, None, name, Subresource::None, labelled).await.expect("a label");
    }
    let claim = json!({"metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}});
    let body = json!({"metadata": {"name": "db"}, "spec": {"replicas": 3, "serviceName": "dbs",
        "selector": {"matchLabels": {"app": "db"}}, "template": template("db", "db:1"), "volumeClaimTemplates": [claim]}});
    lab.create(&kinds::STATEFULSET, body).await;
    let is_done = |lab: &Lab, replicas: i64| {
        let set = lab.list(&kinds::STATEFULSET)[0].clone();
        let all = ["replicas", "readyReplicas", "updatedReplicas", "currentReplicas"];
        count(&set, "observedGeneration") == set.generation()
            && all.iter().all(|field| count(&set, field) == replicas)
            && set.at("/status/currentRevision") == set.at("/status/updateRevision")
    };
    lab.until("three are ready", |lab| is_done(lab, 3)).await;
    assert_eq!(names(&lab, &kinds::POD), ["db-0", "db-1", "db-2"]);
    let claims = ["data-db-0", "data-db-1", "data-db-2"];
    assert_eq!(names(&lab, &kinds::PERSISTENTVOLUMECLAIM), claims);

    lab.change(&kinds::STATEFULSET, "db", "/spec/template/spec/containers/0/image", json!("db:2")).await;
    lab.until("all are of the new template", |lab| is_done(lab, 3)).await;
    let is_new = |pod: &Object| pod.at("/spec/containers/0/image") == Some(&json!("db:2"));
    assert!(lab.list(&kinds::POD).iter().all(|pod| is_new(pod)));
    assert_eq!(lab.list(&kinds::CONTROLLERREVISION).len(), 2);

    lab.change(&kinds::STATEFULSET, "db", "/spec/replicas", json!(1)).await;
    lab.until("the first is left", |lab| is_done(lab, 1) && lab.list(&kinds::POD).len() == 1).await;
    assert_eq!(names(&lab, &kinds::POD), ["db-0"]);
    assert_eq!(names(&lab, &kinds::PERSISTENTVOLUMECLAIM), claims, "what they wrote stays");
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_that_matters_more_gets_the_room_of_those_that_matter_less() {
    let lab = Lab::start(&["n1"]).await;
    let class = json!({"metadata": {"name": "high"}, "value": 1000});
    lab.cluster.create(&kinds::PRIORITYCLASS, None, class).await.expect("a class");
    let asks = |cpu: &str| json!({"requests": {"cpu": cpu}});
    let mut web = deployment("web", 4, "web:1");
    web["spec"]["template"]["spec"]["containers"][0]["resources"] = asks("1");
    lab.create(&kinds::DEPLOYMENT, web).await;
    lab.until("the node is full", |lab| lab.ready_pods().len() == 4).await;
    let urgent = json!({"metadata": {"name": "urgent"}, "spec": {"priorityClassName": "high",
        "containers": [{"name": "c", "image": "urgent:1", "resources": asks("2")}]}});
    lab.create(&kinds::POD, urgent).await;
    lab.until("it has room", |lab| lab.list(&kinds::POD).iter().any(|pod| pod.name() == "urgent" && is_ready(pod)))
        .await;
    assert_eq!(lab.ready_pods().len(), 3, "two went, and no more");
    lab.until("the others wait and are told why", |lab| {
        let waiting = lab.list(&kinds::POD);
        let told = waiting.iter().filter_map(|pod| condition(pod, "PodScheduled"));
        told.filter(|said| said["status"] == "False").count() == 2
    })
    .await;
    lab.until("it is told who went for whom", |lab| {
        lab.list(&kinds::EVENT).iter().filter(|event| event.text("/reason") == "Preempted").count() == 2
    })
    .await;
    lab.stop().await;
}
