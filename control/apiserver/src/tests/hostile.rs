//! Requests that mean no good: paths that lead elsewhere for some readers, bodies that nest without end, tokens that were
//! good once, for each verb.

use http::Method;
use serde_json::{Value, json};
use wk_access::tokens::Keyring;
use wk_base::body::full;
use wk_mesh::Peer;

use super::kit::{CONFIG_MAPS, Harness, JSON, config_map};

/// Levels that no object has, and that would not fit a thread's stack frame by frame.
const LEVELS: usize = 100_000;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";

/// A person who may read config maps of one namespace and nothing else.
async fn reader(api: &Harness) -> Peer {
    let rules = json!([{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"] }]);
    let below = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    api.post(&format!("{below}/roles"), &json!({ "metadata": { "name": "r" }, "rules": rules })).await.expect(201);
    let subject = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "mallory" });
    let role = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r" });
    let binding = json!({ "metadata": { "name": "r" }, "subjects": [subject], "roleRef": role });
    api.post(&format!("{below}/rolebindings"), &binding).await.expect(201);
    Peer::User { name: "mallory".to_owned(), groups: Vec::new() }
}

#[tokio::test]
async fn no_spelling_of_a_path_leads_past_a_right() {
    let api = Harness::start().await;
    let secret = json!({ "metadata": { "name": "s" }, "stringData": { "word": "sesame" } });
    api.post(SECRETS, &secret).await.expect(201);
    let mallory = reader(&api).await;
    let encoded = "c2VzYW1l";
    assert!(api.get(&format!("{SECRETS}/s")).await.text.contains(encoded));
    for path in [
        "/api/v1/namespaces/default/configmaps/../secrets/s",
        "/api/v1/namespaces/default/configmaps/%2e%2e/secrets/s",
        "/api/v1/namespaces/default/configmaps/..%2fsecrets%2fs",
        "/api/v1/namespaces/default/configmaps/..%5csecrets%5cs",
        "/api/v1/namespaces/default/configmaps//../secrets/s",
        "/api/v1/namespaces/default//secrets/s",
        "//api/v1/namespaces/default/secrets/s",
        "/api/v1/namespaces/default/secrets%2fs",
        "/api/v1/namespaces/default/secrets/s/",
        "/api/v1/namespaces/default/secrets/s;x=/configmaps/a",
        "/api/v1/namespaces/default/secrets/%73",
        "/api/v1/namespaces/default/%73ecrets/s",
        "/api/v1/namespaces/default/secrets/s%00",
        "/api/v1/namespaces/default/secrets/s?x=/configmaps/a",
        "/api/v1/watch/namespaces/default/secrets/s",
        "/API/v1/namespaces/default/secrets/s",
        "/apis//v1/namespaces/default/secrets/s",
        "/api/v1/secrets?fieldSelector=metadata.name=s,metadata.namespace=default",
        "/api/v1/namespaces/default/configmaps?fieldSelector=metadata.name=a%2fsecrets%2fs",
    ] {
        let answer = api.send_as(mallory.clone(), Method::GET, path, &[("accept", JSON)], full("")).await;
        assert!(!answer.text.contains(encoded) && !answer.text.contains("sesame"), "{path}: {}", answer.text);
        let is_about_what_they_may = path.contains("configmaps?");
        assert!(is_about_what_they_may || [400, 403, 404].contains(&answer.code.as_u16()), "{path}: {}", answer.code);
    }
}

#[tokio::test]
async fn bodies_that_nest_without_end_are_refused() {
    let api = Harness::start().await;
    api.post(CONFIG_MAPS, &config_map("a", &[])).await.expect(201);
    let one = format!("{CONFIG_MAPS}/a");
    let deep = |open: &str, close: &str| open.repeat(LEVELS) + &close.repeat(LEVELS);
    let bodies = [
        (JSON, deep("[", "]")),
        (JSON, deep(r#"{"a":"#, "}")),
        (JSON, format!(r#"{{"data":{}}}"#, deep(r#"{"a":"#, "}"))),
        ("application/yaml", deep("[", "]")),
        ("application/yaml", "- ".repeat(LEVELS)),
        ("application/apply-patch+yaml", deep("{a: ", "}")),
        ("application/merge-patch+json", deep(r#"{"data":"#, "}")),
        ("application/strategic-merge-patch+json", deep(r#"{"data":"#, "}")),
        ("application/json-patch+json", format!(r#"[{{"op":"add","path":"/data/x","value":{}}}]"#, deep("[", "]"))),
        ("application/json-patch+json", format!(r#"[{{"op":"remove","path":"{}"}}]"#, "/a".repeat(LEVELS))),
    ];
    for (media, body) in bodies {
        let patches = media.contains("patch");
        let (method, path) = if patches { (Method::PATCH, &*one) } else { (Method::POST, CONFIG_MAPS) };
        let path = format!("{path}?fieldManager=m");
        let shown: String = body.chars().take(40).collect();
        let answer = api.send(method, &path, &[("content-type", media)], full(body)).await;
        assert!(
            [400, 413, 422].contains(&answer.code.as_u16()),
            "{media} {shown}: {} {:.200}",
            answer.code,
            answer.text
        );
        assert!(answer.text.len() < 64 * 1024, "{media} {shown}: {} bytes of refusal", answer.text.len());
    }
    assert_eq!(api.get(&one).await.expect(200)["data"], json!({ "mode": "fast" }), "nothing came of it");
}

#[tokio::test]
async fn no_verb_is_answered_to_a_token_that_is_over_or_forged() {
    let api = Harness::start().await;
    let account =
        api.post("/api/v1/namespaces/default/serviceaccounts", &json!({ "metadata": { "name": "web" } })).await;
    let uid = account.expect(201)["metadata"]["uid"].clone();
    let now = api.server.cluster.clock().now().as_second();
    let claims = |from: i64, until: i64, uid: &Value| {
        json!({
            "iss": "https://kubernetes.default.svc", "aud": ["https://kubernetes.default.svc"], "jti": "t",
            "iat": from, "nbf": from, "exp": until, "sub": "system:serviceaccount:default:web",
            "kubernetes.io": { "namespace": "default", "serviceaccount": { "name": "web", "uid": uid } },
        })
    };
    let ours = &api.server.access.security.keys;
    let theirs = Keyring::default();
    theirs.set(&[Keyring::generate().expect("a key")]).expect("a key of theirs");
    let over = ours.sign(&claims(now - 7200, now - 3600, &uid)).expect("a token");
    let forged = theirs.sign(&claims(now - 5, now + 600, &uid)).expect("a token");
    let of_another = ours.sign(&claims(now - 5, now + 600, &json!("another"))).expect("a token");
    let good = ours.sign(&claims(now - 5, now + 600, &uid)).expect("a token");
    let body = config_map("a", &[]).to_string();
    for (method, path) in [
        (Method::GET, format!("{CONFIG_MAPS}/a")),
        (Method::GET, CONFIG_MAPS.to_owned()),
        (Method::GET, format!("{CONFIG_MAPS}?watch=true")),
        (Method::POST, CONFIG_MAPS.to_owned()),
        (Method::PUT, format!("{CONFIG_MAPS}/a")),
        (Method::PATCH, format!("{CONFIG_MAPS}/a")),
        (Method::DELETE, format!("{CONFIG_MAPS}/a")),
        (Method::DELETE, CONFIG_MAPS.to_owned()),
    ] {
        for (token, code) in [(&over, 401), (&forged, 401), (&of_another, 401), (&good, 403)] {
            let token = format!("Bearer {token}");
            let headers = [("authorization", &*token), ("content-type", JSON), ("accept", JSON)];
            let answer = api.send_as(Peer::Anonymous, method.clone(), &path, &headers, full(body.clone())).await;
            assert_eq!(answer.code.as_u16(), code, "{method} {path}: {}", answer.text);
        }
    }
}
