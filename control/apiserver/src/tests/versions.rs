//! One collection in several versions.

use serde_json::json;

use super::kit::{Harness, JSON, TABLE};

const V1: &str = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
const V2: &str = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";

#[tokio::test]
async fn an_object_is_the_same_in_each_version_of_its_kind() {
    let api = Harness::start().await;
    let body = json!({
        "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}},
    });
    let made = api.post(V1, &body).await.expect(201);
    assert_eq!(made["apiVersion"], "autoscaling/v1");
    assert_eq!(made["spec"]["targetCPUUtilizationPercentage"], 80);
    let second = api.get(&format!("{V2}/web")).await.expect(200);
    assert_eq!(
        (&second["apiVersion"], &second["metadata"]["uid"]),
        (&json!("autoscaling/v2"), &made["metadata"]["uid"])
    );
    assert_eq!(second["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
    let mut events = api
        .watch(
            &format!("{V1}?watch=true&resourceVersion={}", made["metadata"]["resourceVersion"].as_str().expect("text")),
            JSON,
        )
        .await;
    let patch = json!({"spec": {"maxReplicas": 5}});
    let patched = api.patch(&format!("{V2}/web"), &patch).await.expect(200);
    assert_eq!(patched["apiVersion"], "autoscaling/v2");
    let event = events.next().await.expect("an event");
    assert_eq!(
        (&event["object"]["apiVersion"], &event["object"]["spec"]["maxReplicas"]),
        (&json!("autoscaling/v1"), &json!(5))
    );
    let patched =
        api.patch(&format!("{V1}/web"), &json!({"spec": {"targetCPUUtilizationPercentage": 60}})).await.expect(200);
    assert_eq!(patched["spec"]["targetCPUUtilizationPercentage"], 60);
    let list = api.get(V2).await.expect(200);
    assert_eq!(list["items"][0]["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 60);
    let list = api.get(V1).await.expect(200);
    assert_eq!(
        (&list["apiVersion"], &list["items"][0]["apiVersion"]),
        (&json!("autoscaling/v1"), &json!("autoscaling/v1"))
    );
    let table = api.get_as(V1, TABLE).await.expect(200);
    assert_eq!(table["rows"][0]["cells"][2], "cpu: <unknown>/60%");
    let wrong = json!({"spec": {"maxReplicas": 0}});
    let refused = api.patch(&format!("{V1}/web"), &wrong).await.expect(422);
    assert!(
        refused["message"]
            .as_str()
            .expect("text")
            .starts_with("HorizontalPodAutoscaler.autoscaling \"web\" is invalid")
    );
    api.delete(&format!("{V1}/web"), &json!({})).await.expect(200);
    api.get(&format!("{V2}/web")).await.expect(404);
}
