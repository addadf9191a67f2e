//! People's certificates: who may make them, what they are worth, and that they are worth nothing at once.

use http::Method;
use serde_json::{Value, json};
use wk_base::body::{empty, full};
use wk_mesh::{NodeKey, Peer};

use super::kit::{Answer, CONFIG_MAPS, Harness, JSON};

const USERS: &str = "/apis/wk.dev/v1/users";

fn body(name: &str, groups: &[&str]) -> Value {
    let csr = NodeKey::generate().expect("a key").csr().expect("a request");
    json!({ "name": name, "groups": groups, "csr": csr.as_str(), "seconds": 3600 })
}

/// The organization that a certificate names.
fn group_of(api: &Harness, name: &str) -> String {
    let key = wk_store::Key::new("wk.dev/users", name);
    let stored = api.server.cluster.store().view().get(&key).expect("a record");
    let record: Value = serde_json::from_slice(&stored.bytes()).expect("JSON");
    format!("wk:user:{}", record["id"].as_str().expect("an id"))
}

async fn send(api: &Harness, peer: &Peer, method: Method, path: &str, body: &Value) -> Answer {
    let body = if body.is_null() { empty() } else { full(body.to_string()) };
    api.send_as(peer.clone(), method, path, &[("content-type", JSON)], body).await
}

#[tokio::test]
async fn a_person_is_in_with_the_groups_of_their_record_and_out_when_it_is_gone() {
    let api = Harness::start().await;
    let made = api.post(USERS, &body("ann@shop.example", &["dev"])).await.expect(201);
    assert!(made["certificate"].as_str().is_some_and(|pem| pem.starts_with("-----BEGIN CERTIFICATE-----")));
    let again = api.post(USERS, &body("ann@shop.example", &[])).await;
    assert_eq!(again.code, 409);
    let ann = Peer::User { name: "ann@shop.example".to_owned(), groups: vec![group_of(&api, "ann@shop.example")] };
    let role = json!({ "metadata": { "name": "r" }, "rules": [
        { "verbs": ["list", "watch"], "apiGroups": [""], "resources": ["configmaps"] },
    ] });
    api.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await.expect(201);
    let binding = json!({
        "metadata": { "name": "b" }, "subjects": [{ "kind": "Group", "name": "dev" }],
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r" },
    });
    api.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await.expect(201);
    send(&api, &ann, Method::GET, CONFIG_MAPS, &Value::Null).await.expect(200);
    let forged = Peer::User { name: "bob".to_owned(), groups: vec![group_of(&api, "ann@shop.example")] };
    assert_eq!(send(&api, &forged, Method::GET, CONFIG_MAPS, &Value::Null).await.code, 401);
    let list = api.get(USERS).await.expect(200);
    assert_eq!(list["items"][0]["name"], "ann@shop.example");
    // What they are reading ends too.
    let mut watch = api.watch_as(ann.clone(), &format!("{CONFIG_MAPS}?watch=true"), JSON).await;
    api.delete(&format!("{USERS}/ann@shop.example"), &Value::Null).await.expect(200);
    assert_eq!(watch.next().await, None);
    assert_eq!(send(&api, &ann, Method::GET, CONFIG_MAPS, &Value::Null).await.code, 401);
    assert_eq!(send(&api, &ann, Method::GET, "/version", &Value::Null).await.code, 401);
    assert_eq!(api.delete(&format!("{USERS}/ann@shop.example"), &Value::Null).await.code, 404);
    // The name is free again, and the old certificate is not.
    api.post(USERS, &body("ann@shop.example", &["dev"])).await.expect(201);
    assert_eq!(send(&api, &ann, Method::GET, CONFIG_MAPS, &Value::Null).await.code, 401);
}

#[tokio::test]
async fn only_who_may_be_somebody_may_make_them() {
    let api = Harness::start().await;
    api.default_roles().await;
    let alice = Peer::User { name: "alice".to_owned(), groups: Vec::new() };
    for (method, path) in [(Method::POST, USERS), (Method::GET, USERS), (Method::DELETE, "/apis/wk.dev/v1/users/x")] {
        let refused = send(&api, &alice, method.clone(), path, &body("x", &[])).await;
        assert_eq!(refused.code, 403, "{method}");
    }
    let role = json!({ "metadata": { "name": "hr" }, "rules": [
        { "verbs": ["create"], "nonResourceURLs": [USERS] },
        { "verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"] },
        { "verbs": ["impersonate"], "apiGroups": [""], "resources": ["groups"], "resourceNames": ["dev"] },
    ] });
    api.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await.expect(201);
    let binding = json!({
        "metadata": { "name": "hr" }, "subjects": [{ "kind": "User", "name": "alice" }],
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "hr" },
    });
    api.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await.expect(201);
    send(&api, &alice, Method::POST, USERS, &body("bob", &["dev"])).await.expect(201);
    let masters = send(&api, &alice, Method::POST, USERS, &body("eve", &["system:masters"])).await;
    assert_eq!(masters.code, 403, "{}", masters.text);
    for (name, seconds) in [("system:node:n1", 3600), ("a/b", 3600), ("", 3600), ("ok", 1), ("ok", 1_000_000_000)] {
        let mut wrong = body(name, &[]);
        wrong["seconds"] = seconds.into();
        assert_eq!(api.post(USERS, &wrong).await.code, 422, "{name} {seconds}");
    }
    let mut wrong = body("ok", &[]);
    wrong["csr"] = "garbage".into();
    assert_eq!(api.post(USERS, &wrong).await.code, 400);
}
