//! What a client asks before it asks for anything.

use http::Method;
use wk_base::body::empty;

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
    assert_eq!(api.get("/apis/nobody").await.code, 404);
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
async fn a_server_with_a_leader_is_healthy_and_ready() {
    let api = Harness::start().await;
    for path in ["/healthz", "/livez", "/readyz"] {
        let answer = api.get(path).await;
        assert_eq!((answer.code.as_u16(), answer.text.as_str()), (200, "ok"), "{path}");
    }
}
