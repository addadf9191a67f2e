//! StatefulSets and their claims, with everybody who has a hand in them: the set's controller, the scheduler, volumes, and the
//! collector.

use serde_json::json;
use wk_api::kinds;
use wk_api::strategy::DeleteOptions;

use crate::lab::Lab;
use crate::label;

fn claims(lab: &Lab) -> Vec<String> {
    let claims = lab.list(&kinds::PERSISTENTVOLUMECLAIM);
    claims.iter().filter(|claim| !claim.is_deleting()).map(|claim| claim.name().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_go_with_pods_that_are_scaled_away_and_with_the_set_as_the_policy_says_by_then() {
    let lab = Lab::start(&["n1"]).await;
    // Volumes say by this on which node they are.
    label(&lab, &kinds::NODE, "n1", json!({"kubernetes.io/hostname": "n1"})).await;
    let policy = "/spec/persistentVolumeClaimRetentionPolicy";
    let spec = json!({
        "replicas": 3, "serviceName": "db", "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": {"app": "db"}},
        "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "db:1"}]}},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}}],
    });
    lab.create(&kinds::STATEFULSET, json!({"metadata": {"name": "db"}, "spec": spec})).await;
    let ready = async |count: usize| {
        let is_so = |lab: &Lab| lab.ready_pods().len() == count && lab.list(&kinds::POD).len() == count;
        lab.until("as many as are wanted, and none on its way out", is_so).await;
    };
    ready(3).await;
    let scale = async |to: i64| lab.change(&kinds::STATEFULSET, "db", "/spec/replicas", to.into()).await;
    scale(2).await;
    ready(2).await;
    lab.change(&kinds::STATEFULSET, "db", policy, json!({"whenScaled": "Delete", "whenDeleted": "Delete"})).await;
    scale(1).await;
    // The third was kept on purpose.
    lab.until("the second went", |lab| claims(lab) == ["data-db-0", "data-db-2"]).await;
    scale(3).await;
    ready(3).await;
    lab.change(&kinds::STATEFULSET, "db", policy, json!({"whenScaled": "Delete", "whenDeleted": "Retain"})).await;
    lab.until("the set owns none", |lab| {
        let claims = lab.list(&kinds::PERSISTENTVOLUMECLAIM);
        claims.len() == 3 && claims.iter().all(|claim| claim.items("/metadata/ownerReferences").is_empty())
    })
    .await;
    let options = DeleteOptions::default();
    lab.cluster.delete(&kinds::STATEFULSET, Some("default"), "db", &options).await.expect("delete");
    lab.until("its pods went", |lab| lab.list(&kinds::POD).is_empty()).await;
    assert_eq!(claims(&lab), ["data-db-0", "data-db-1", "data-db-2"]);
    lab.stop().await;
}
