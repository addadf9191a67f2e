//! `/proxy` of pods, services and nodes.

use http::Method;
use serde_json::{Value, json};
use wk_base::body::full;

use super::kit::Harness;

const DEFAULT: &str = "/api/v1/namespaces/default";

async fn cluster_with_web() -> Harness {
    let api = Harness::start().await;
    let spec = json!({
        "nodeName": "n1",
        "containers": [{ "name": "app", "image": "wk.local/app@sha256:0", "ports": [{ "containerPort": 8080 }] }],
    });
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "web" }, "spec": spec });
    let made = api.post(&format!("{DEFAULT}/pods"), &pod).await.expect(201);
    let ports = json!([{ "name": "http", "port": 80, "targetPort": 8080 }]);
    let service =
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web" }, "spec": { "ports": ports } });
    api.post(&format!("{DEFAULT}/services"), &service).await.expect(201);
    let endpoint = |node: &str, ready: bool| {
        json!({ "addresses": ["10.128.0.1"], "nodeName": node, "conditions": { "ready": ready },
                "targetRef": { "kind": "Pod", "name": "web", "uid": made["metadata"]["uid"] } })
    };
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": "web-1", "labels": { "kubernetes.io/service-name": "web" } },
        "ports": [{ "name": "http", "port": 8080 }], "endpoints": [endpoint("n1", true), endpoint("n2", false)],
    });
    api.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice).await.expect(201);
    api
}

#[tokio::test]
async fn requests_reach_a_pod_with_method_path_query_and_body() {
    let api = cluster_with_web().await;
    let path = format!("{DEFAULT}/pods/web/proxy/a/b/c/d?x=1&y=%20");
    let headers = [("authorization", "Bearer secret"), ("connection", "keep-alive"), ("x-own", "1")];
    let answer = api.send(Method::PUT, &path, &headers, full("hello")).await;
    assert_eq!(answer.text, "n1:8080 PUT /a/b/c/d?x=1&y=%20 hello");
    assert_eq!(answer.headers["x-own"], "1");
    assert!(!answer.headers.contains_key("authorization") && !answer.headers.contains_key("connection"));
    assert_eq!(answer.headers["x-forwarded-uri"], format!("{DEFAULT}/pods/web/proxy/a/b/c/d"));
    assert_eq!(api.get(&format!("{DEFAULT}/pods/http:web:9090/proxy/")).await.text, "n1:9090 GET / ");
    assert_eq!(api.get(&format!("{DEFAULT}/pods/none/proxy/")).await.reason(), (404, "NotFound".to_owned()));
    assert_eq!(api.get(&format!("{DEFAULT}/pods/ftp:web:1/proxy/")).await.reason(), (400, "BadRequest".to_owned()));
}

#[tokio::test]
async fn a_proxy_without_a_path_and_redirects_of_the_pod_stay_below_it() {
    let api = cluster_with_web().await;
    let moved = api.get(&format!("{DEFAULT}/pods/web/proxy?a=b")).await;
    assert_eq!(
        (moved.code.as_u16(), moved.headers["location"].to_str().ok()),
        (301, Some("/api/v1/namespaces/default/pods/web/proxy/?a=b"))
    );
    let away = api.get(&format!("{DEFAULT}/services/web:80/proxy/away")).await;
    assert_eq!(away.code.as_u16(), 302);
    assert_eq!(away.headers["location"], format!("{DEFAULT}/services/web:80/proxy/here?a=b"));
}

#[tokio::test]
async fn services_are_reached_by_number_and_name_of_their_port_at_ready_endpoints() {
    let api = cluster_with_web().await;
    for name in ["web:80", "web:http", "http:web:80", "http:web:http"] {
        let answer = api.get(&format!("{DEFAULT}/services/{name}/proxy/x")).await;
        assert_eq!(answer.text, "n1:8080 GET /x ", "{name}");
    }
    let unknown = api.get(&format!("{DEFAULT}/services/web:81/proxy/x")).await;
    assert_eq!(unknown.json()["message"], "no service port 81 found for service \"web\"");
    let nobody = api.get(&format!("{DEFAULT}/services/web:other/proxy/x")).await;
    assert_eq!(
        (nobody.code.as_u16(), &nobody.json()["message"]),
        (503, &json!("no endpoints available for service \"web:other\""))
    );
}

#[tokio::test]
async fn a_node_tells_its_pods_and_what_it_says_of_itself() {
    let api = cluster_with_web().await;
    api.post("/api/v1/nodes", &json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n1" } }))
        .await
        .expect(201);
    assert_eq!(api.get("/api/v1/nodes/n1:10250/proxy/healthz").await.text, "n1 /healthz");
    let pods = api.get("/api/v1/nodes/n1/proxy/pods").await.json();
    assert_eq!(super::kit::names(&pods), ["web"]);
    let refused = api.send(Method::POST, "/api/v1/nodes/n1/proxy/run", &[], full("")).await;
    assert_eq!(refused.reason(), (405, "MethodNotAllowed".to_owned()));
    let found: Value = api.get("/api/v1").await.json();
    let rows = found["resources"].as_array().expect("resources");
    for name in ["pods/proxy", "services/proxy", "nodes/proxy"] {
        assert!(rows.iter().any(|row| row["name"] == name), "{name}");
    }
}
