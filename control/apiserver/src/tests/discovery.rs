//! What a client asks before it asks for anything.

use http::Method;
use serde_json::{Value, json};
use wk_base::body::{empty, full};

use super::customs::{DEFINITIONS, WIDGETS, widgets};
use super::kit::Harness;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

#[tokio::test]
async fn discovery_comes_in_both_forms() {
    let api = Harness::start().await;
    assert_eq!(api.get("/api").await.expect(200)["kind"], "APIVersions");
    assert_eq!(api.get("/apis").await.expect(200)["kind"], "APIGroupList");
    assert_eq!(api.get("/apis/apps").await.expect(200)["kind"], "APIGroup");
    assert_eq!(api.get("/api/v1").await.expect(200)["kind"], "APIResourceList");
    assert_eq!(api.get("/apis/apps/v1").await.expect(200)["groupVersion"], "apps/v1");
    let text = api.get_as("/api/v1", "application/json").await.text;
    assert!(
        text.starts_with(r#"{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"v1","resources":[{"name":"#)
    );
    assert_eq!(api.get("/apis/nobody").await.code, 404);
    let paths = api.get("/").await.expect(200)["paths"].to_string();
    assert!(paths.contains("\"/apis/apps/v1\"") && paths.contains("\"/openapi/v3\""), "{paths}");
    let older = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
    assert_eq!(api.get_as("/apis", older).await.expect(200)["apiVersion"], "apidiscovery.k8s.io/v2beta1");
    let plain = api.get("/apis").await.headers["etag"].to_str().expect("text").to_owned();
    let headers = [("accept", "application/json"), ("if-none-match", plain.as_str())];
    assert_eq!(api.send(Method::GET, "/apis", &headers, empty()).await.code.as_u16(), 304);
    assert_eq!(api.get("/version").await.expect(200)["major"], "1");
    for path in ["/api", "/apis"] {
        let answer = api.get_as(path, AGGREGATED).await;
        assert_eq!(
            answer.headers["content-type"],
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        );
        assert_eq!(answer.json()["kind"], "APIGroupDiscoveryList");
        let tag = answer.headers["etag"].to_str().expect("text").to_owned();
        let headers = [("accept", AGGREGATED), ("if-none-match", tag.as_str())];
        let again = api.send(Method::GET, path, &headers, empty()).await;
        assert_eq!((again.code.as_u16(), again.text.as_str()), (304, ""));
        assert_eq!(again.headers["content-type"], answer.headers["content-type"], "a cache takes it over");
    }
}

#[tokio::test]
async fn openapi_documents_are_kept_by_their_hash() {
    let api = Harness::start().await;
    let index = api.get("/openapi/v3").await;
    let tag = index.headers["etag"].to_str().expect("text").to_owned();
    let requoted = format!("\"W/{}\"", tag.trim_end_matches('"'));
    let weak = api.send(Method::GET, "/openapi/v3", &[("if-none-match", requoted.as_str())], empty()).await;
    assert_eq!(weak.code, 304);
    let again = api.send(Method::GET, "/openapi/v3", &[("if-none-match", tag.as_str())], empty()).await;
    assert_eq!(again.code.as_u16(), 304);
    let address = index.json()["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().expect("an address").to_owned();
    let document = api.get(&address).await;
    assert_eq!(document.headers["cache-control"], "public, immutable");
    assert!(document.headers["expires"].to_str().expect("text").ends_with(" GMT"));
    assert!(document.json()["paths"]["/apis/apps/v1/deployments"].is_object());
    let stale = api.get("/openapi/v3/apis/apps/v1?hash=OLD").await;
    assert_eq!((stale.code.as_u16(), stale.headers["location"].to_str().expect("text")), (301, address.as_str()));
    assert_eq!(api.get("/openapi/v3/apis/apps/v1").await.headers["cache-control"], "no-cache, private");
    assert_eq!(api.get("/openapi/v3/apis/nobody/v1").await.code, 404);
    assert_eq!(api.get_as("/openapi/v3/api/v1", "text/html").await.code, 406);
    assert_eq!(api.get("/openapi/v2").await.expect(200)["swagger"], "2.0");
    let asked = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let (headers, _) = api.raw("/openapi/v2", &[("accept", asked)]).await;
    assert_eq!(headers["content-type"], "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
}

#[tokio::test]
async fn documents_follow_the_definitions_of_custom_kinds() {
    let api = Harness::start().await;
    let address =
        |index: &Value| index["paths"]["apis/example.com/v1"]["serverRelativeURL"].as_str().map(str::to_owned);
    assert_eq!(address(&api.get("/openapi/v3").await.expect(200)), None);
    let mut definition = api.post(DEFINITIONS, &widgets()).await.expect(201);
    let before = address(&api.get("/openapi/v3").await.expect(200)).expect("a document of the group");
    let document = api.get(&before).await.expect(200);
    let spec = &document["components"]["schemas"]["com.example.v1.Widget"]["properties"]["spec"];
    assert_eq!(spec["properties"]["size"]["enum"], json!(["small", "large"]));
    let one = &document["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"];
    let patches = &one["patch"]["requestBody"]["content"];
    assert!(patches["application/merge-patch+json"].is_object(), "{patches}");
    assert!(patches["application/strategic-merge-patch+json"].is_null(), "{patches}");
    let schema = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    schema["properties"]["spec"]["properties"]["colour"] = json!({ "type": "string" });
    api.put(&format!("{DEFINITIONS}/widgets.example.com"), &definition).await.expect(200);
    let after = address(&api.get("/openapi/v3").await.expect(200)).expect("a document of the group");
    assert_ne!(before, after, "another schema is another address");
    let protobuf = [("content-type", "application/vnd.kubernetes.protobuf")];
    let refused = api.send(Method::POST, WIDGETS, &protobuf, full("k8s\0")).await;
    assert_eq!(refused.code.as_u16(), 415, "custom kinds have no messages: {}", refused.text);
}

#[tokio::test]
async fn an_answer_to_a_question_is_no_table() {
    let api = Harness::start().await;
    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io"), ("content-type", "application/json")];
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(api.send(Method::POST, path, &accept, full("{}")).await.code.as_u16(), 406);
}

#[tokio::test]
async fn a_server_with_a_leader_is_healthy_and_ready() {
    let api = Harness::start().await;
    for path in ["/healthz", "/livez", "/readyz"] {
        let answer = api.get(path).await;
        assert_eq!((answer.code.as_u16(), answer.text.as_str()), (200, "ok"), "{path}");
    }
}

#[tokio::test]
async fn every_group_version_has_an_api_service_that_is_local_and_available() {
    let api = Harness::start().await;
    let services = api.get("/apis/apiregistration.k8s.io/v1/apiservices").await.expect(200);
    let items = services["items"].as_array().expect("a list");
    let named = |name: &str| items.iter().find(|item| item["metadata"]["name"] == name).expect("is there").clone();
    let (core, apps) = (named("v1."), named("v1.apps"));
    assert_eq!(apps["spec"]["group"], "apps");
    assert!(core["spec"]["groupPriorityMinimum"].as_i64() > apps["spec"]["groupPriorityMinimum"].as_i64());
    let (v2, v1) = (named("v2.autoscaling"), named("v1.autoscaling"));
    assert!(v2["spec"]["versionPriority"].as_i64() > v1["spec"]["versionPriority"].as_i64());
    let one = api.get("/apis/apiregistration.k8s.io/v1/apiservices/v1.apps").await.expect(200);
    assert_eq!(one["status"]["conditions"][0]["reason"], "Local");
    api.get("/apis/apiregistration.k8s.io/v1/apiservices/v9.apps").await.expect(404);
}

#[tokio::test]
async fn version_two_says_nothing_of_the_fields_of_kinds_that_may_have_any() {
    let api = Harness::start().await;
    let mut definition = widgets();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] =
        json!({ "description": "Anything", "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    definition["spec"]["versions"][0]["selectableFields"] = json!([]);
    definition["spec"]["versions"][0]["subresources"] = json!({});
    api.post(DEFINITIONS, &definition).await.expect(201);
    let mut shown = api.get("/openapi/v2").await.expect(200)["definitions"]["com.example.v1.Widget"].take();
    shown.as_object_mut().expect("a schema").remove("x-kubernetes-group-version-kind").expect("its kind");
    assert_eq!(shown, json!({ "type": "object" }));
    let third = api.get("/openapi/v3/apis/example.com/v1").await.expect(200);
    let third = &third["components"]["schemas"]["com.example.v1.Widget"];
    assert_eq!(third["description"], "Anything");
    // `kubectl explain widget.metadata` begins with it.
    assert_eq!(third["properties"]["metadata"]["description"], "Standard object's metadata.");
}

#[tokio::test]
async fn documents_name_the_fields_that_selectors_may_name() {
    let api = Harness::start().await;
    let mut definition = widgets();
    definition["spec"]["versions"][0]["selectableFields"] =
        json!([{ "jsonPath": ".spec.size" }, { "jsonPath": ".spec.replicas" }]);
    api.post(DEFINITIONS, &definition).await.expect(201);
    let fields = json!([{ "fieldPath": "spec.size" }, { "fieldPath": "spec.replicas" }]);
    let third = api.get("/openapi/v3/apis/example.com/v1").await.expect(200);
    assert_eq!(third["components"]["schemas"]["com.example.v1.Widget"]["x-kubernetes-selectable-fields"], fields);
    let second = api.get("/openapi/v2").await.expect(200);
    assert_eq!(second["definitions"]["com.example.v1.Widget"]["x-kubernetes-selectable-fields"], fields);
}
