//! exec, attach and port-forward: what is refused before a connection is taken over. The protocols are tested in
//! `wk-streams`, the whole way in the tests over the built program.

use http::Method;
use serde_json::json;
use wk_base::body::empty;

use super::kit::Harness;

const PODS: &str = "/api/v1/namespaces/default/pods";
const WEBSOCKET: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

async fn cluster_with_pods() -> Harness {
    let api = Harness::start().await;
    for (name, node) in [("web", Some("n1")), ("waiting", None)] {
        let mut spec = json!({ "containers": [{ "name": "app", "image": "wk.local/app@sha256:0" }] });
        if let Some(node) = node {
            spec["nodeName"] = node.into();
        }
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": spec });
        api.post(PODS, &pod).await.expect(201);
    }
    api
}

#[tokio::test]
async fn requests_that_cannot_become_a_stream_are_told_why() {
    let api = cluster_with_pods().await;
    for (path, message) in [
        ("web/exec?command=ls&stdout=true", "Upgrade request required"),
        ("web/attach?stdout=true", "Upgrade request required"),
        ("web/portforward", "Upgrade request required"),
        ("web/exec?command=ls", "you must specify at least 1 of stdin, stdout, stderr"),
        ("web/exec?stdout=true", "you must specify at least one command for the container"),
        ("web/exec?command=ls&stdout=true&container=x", "container x is not valid for pod web"),
        ("waiting/exec?command=ls&stdout=true", "pod waiting does not have a host assigned"),
        ("waiting/portforward", "pod waiting does not have a host assigned"),
    ] {
        for method in [Method::GET, Method::POST] {
            let answer = api.send(method, &format!("{PODS}/{path}"), &[], empty()).await;
            assert_eq!(answer.reason(), (400, "BadRequest".to_owned()), "{path}");
            assert_eq!(answer.json()["message"], message, "{path}");
        }
    }
    let missing = api.get(&format!("{PODS}/none/exec?command=ls&stdout=true")).await;
    assert_eq!(missing.reason(), (404, "NotFound".to_owned()));
    let deleted = api.send(Method::DELETE, &format!("{PODS}/web/exec"), &[], empty()).await;
    assert_eq!(deleted.reason(), (405, "MethodNotAllowed".to_owned()));
}

#[tokio::test]
async fn a_client_whose_protocols_are_unknown_learns_those_that_are() {
    let api = cluster_with_pods().await;
    let path = format!("{PODS}/web/exec?command=ls&stdout=true");
    let mut headers = WEBSOCKET.to_vec();
    headers.push(("sec-websocket-protocol", "v9.channel.k8s.io"));
    assert_eq!(api.send(Method::GET, &path, &headers, empty()).await.reason(), (400, "BadRequest".to_owned()));
    let headers =
        [("connection", "Upgrade"), ("upgrade", "SPDY/3.1"), ("x-stream-protocol-version", "v9.channel.k8s.io")];
    let refused = api.send(Method::POST, &path, &headers, empty()).await;
    assert_eq!(refused.code.as_u16(), 403);
    assert!(refused.headers.get_all("x-accepted-stream-protocol-versions").iter().any(|it| it == "v4.channel.k8s.io"));
    // Over HTTP/2, and here, there is no connection to take.
    let ports = api.send(Method::GET, &format!("{PODS}/web/portforward?ports=80"), &WEBSOCKET, empty()).await;
    assert_eq!(ports.json()["message"], "Upgrade request required");
    let ports = api.send(Method::GET, &format!("{PODS}/web/portforward?ports=x"), &WEBSOCKET, empty()).await;
    assert_eq!(ports.json()["message"], "unable to parse \"x\" as a port");
}

#[tokio::test]
async fn discovery_names_what_is_sent_to_each() {
    let api = Harness::start().await;
    let found = api.get("/api/v1").await.json();
    let rows = found["resources"].as_array().expect("resources");
    for (name, kind) in
        [("exec", "PodExecOptions"), ("attach", "PodAttachOptions"), ("portforward", "PodPortForwardOptions")]
    {
        let row = rows.iter().find(|row| row["name"] == format!("pods/{name}")).expect(name);
        assert_eq!((&row["kind"], &row["verbs"]), (&json!(kind), &json!(["create", "get"])));
    }
}
