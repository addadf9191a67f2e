//! PATCH in its four forms, and what clients are told when one does not fit.

use http::Method;
use serde_json::{Value, json};
use wk_base::body::full;

use super::kit::{Answer, CONFIG_MAPS, Harness, config_map};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const JSON_PATCH: &str = "application/json-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [
                    { "name": "app", "image": "app:1", "env": [{ "name": "A", "value": "1" }] },
                    { "name": "side", "image": "side:1" },
                ] },
            },
        },
    })
}

async fn patch(api: &Harness, path: &str, media: &str, body: &Value) -> Answer {
    api.send(Method::PATCH, path, &[("content-type", media)], full(body.to_string())).await
}

#[tokio::test]
async fn an_image_is_set_as_kubectl_sets_it() {
    let api = Harness::start().await;
    api.post(DEPLOYMENTS, &deployment("web")).await.expect(201);
    let path = format!("{DEPLOYMENTS}/web");
    let body = json!({ "spec": { "template": { "spec": {
        "$setElementOrder/containers": [{ "name": "app" }, { "name": "side" }],
        "containers": [{ "name": "side", "image": "side:2" }],
    } } } });
    let patched = patch(&api, &path, STRATEGIC, &body).await.expect(200);
    let containers = patched["spec"]["template"]["spec"]["containers"].as_array().expect("containers");
    let images: Vec<_> = containers.iter().map(|container| container["image"].as_str()).collect();
    assert_eq!(images, [Some("app:1"), Some("side:2")]);
    assert_eq!(patched["metadata"]["generation"], 2);
    let recreate = json!({ "spec": { "strategy": { "$retainKeys": ["type"], "type": "Recreate" } } });
    let patched = patch(&api, &path, STRATEGIC, &recreate).await.expect(200);
    assert_eq!(patched["spec"]["strategy"], json!({ "type": "Recreate" }));
    let scaled =
        patch(&api, &format!("{path}/scale"), STRATEGIC, &json!({ "spec": { "replicas": 7 } })).await.expect(200);
    assert_eq!(scaled["spec"]["replicas"], 7);
}

#[tokio::test]
async fn patches_that_do_not_fit_are_refused_in_kubernetes_words() {
    let api = Harness::start().await;
    api.post(DEPLOYMENTS, &deployment("web")).await.expect(201);
    let path = format!("{DEPLOYMENTS}/web");
    for (media, body, code, message) in [
        (
            JSON_PATCH,
            json!([{ "op": "test", "path": "/spec/replicas", "value": 3 }]),
            422,
            "the server rejected our request due to an error in our request",
        ),
        (
            STRATEGIC,
            json!({ "spec": { "template": { "spec": { "containers": [{ "image": "x" }] } } } }),
            500,
            "map: map[image:x] does not contain declared merge key: name",
        ),
        (
            STRATEGIC,
            json!({ "spec": { "strategy": { "$retainKeys": ["x"], "type": "Recreate" } } }),
            400,
            "invalid patch format of retainKeys",
        ),
        (
            STRATEGIC,
            json!([1]),
            400,
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        (
            STRATEGIC,
            json!({ "metadata": { "labels": "x" } }),
            422,
            " \"\" is invalid: patch: Invalid value: \"map[metadata:map[labels:x]]\": cannot restore map from string",
        ),
        (
            STRATEGIC,
            json!({ "spec": { "replicas": "x", "paused": true } }),
            422,
            " \"\" is invalid: patch: Invalid value: \"map[spec:map[paused:true replicas:x]]\": unrecognized type: int32",
        ),
        (
            STRATEGIC,
            json!({ "metadata": { "name": "other" } }),
            400,
            "the name of the object (other) does not match the name on the URL (web)",
        ),
        (
            STRATEGIC,
            json!({ "metadata": { "resourceVersion": "1" } }),
            409,
            "Operation cannot be fulfilled on deployments.apps \"web\": the object has been modified; please apply your \
             changes to the latest version and try again",
        ),
    ] {
        let answer = patch(&api, &path, media, &body).await;
        assert_eq!((answer.code.as_u16(), answer.json()["message"].as_str()), (code, Some(message)), "{body}");
    }
    let strict = format!("{path}?fieldValidation=Strict");
    let answer = patch(&api, &strict, STRATEGIC, &json!({ "spec": { "foo": 1 } })).await;
    let message = answer.json()["message"].as_str().expect("a message").to_owned();
    assert!(message.starts_with(" \"\" is invalid: patch: Invalid value: "), "{message}");
    assert!(message.ends_with("strict decoding error: unknown field \"spec.foo\""), "{message}");
    assert_eq!(answer.code, 422);
    let gone = patch(&api, &format!("{DEPLOYMENTS}/gone"), STRATEGIC, &json!({})).await;
    assert_eq!(gone.reason(), (404, "NotFound".to_owned()));
    let text = patch(&api, &path, "text/plain", &json!({})).await;
    assert_eq!(text.code, 415);
    assert!(text.json()["message"].as_str().is_some_and(|text| text.contains(STRATEGIC)), "{}", text.text);
}

#[tokio::test]
async fn merge_patches_take_away_with_null() {
    let api = Harness::start().await;
    api.post(CONFIG_MAPS, &config_map("a", &[("x", "1")])).await.expect(201);
    let path = format!("{CONFIG_MAPS}/a");
    let patched = api.patch(&path, &json!({ "metadata": { "labels": { "x": null } }, "data": null })).await.expect(200);
    assert_eq!((&patched["metadata"]["labels"], &patched["data"]), (&Value::Null, &Value::Null));
    let same = api.patch(&path, &json!({ "data": null })).await.expect(200);
    assert_eq!(same, patched, "a patch that changes nothing writes nothing");
}
