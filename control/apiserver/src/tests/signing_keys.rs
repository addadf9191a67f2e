//! The keys for tokens: turned without a token that is refused, kept as long as one depends on them, taken back at once.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::Method;
use serde_json::{Value, json};
use wk_base::body::empty;
use wk_base::tasks::Tasks;
use wk_mesh::{Authority, Peer};

use super::kit::{Harness, PATIENCE};
use crate::signing_keys;

const KEYS: &str = "/apis/wk.dev/v1/signingkeys";

/// A server whose keys come from its store.
async fn start() -> (Harness, Tasks) {
    let api = Harness::start().await;
    let tasks = Tasks::new();
    follow(&api, api.server.access.security.authority.as_ref().expect("an authority"), &tasks);
    until(&api, "a key", |keys| keys.len() == 1).await;
    (api, tasks)
}

fn follow(api: &Harness, authority: &Authority, tasks: &Tasks) {
    let keys = &api.server.access.security.keys;
    signing_keys::follow(&api.server.cluster, authority, keys, Some(Duration::from_hours(24)), tasks);
}

/// The keys, once they are as `wanted`.
async fn until(api: &Harness, what: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let begun = tokio::time::Instant::now();
    loop {
        let answer = api.get(KEYS).await;
        if answer.code == 200 {
            let keys = answer.json()["items"].as_array().expect("items").clone();
            if wanted(&keys) {
                return keys;
            }
        }
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn token(api: &Harness, spec: Value) -> String {
    api.post("/api/v1/namespaces/default/serviceaccounts", &json!({ "metadata": { "name": "web" } })).await;
    let path = "/api/v1/namespaces/default/serviceaccounts/web/token";
    let made = api.post(path, &json!({ "spec": spec })).await.expect(201);
    made["status"]["token"].as_str().expect("a token").to_owned()
}

fn key_of(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().expect("a header")).expect("base64");
    let header: Value = serde_json::from_slice(&header).expect("JSON");
    header["kid"].as_str().expect("a key").to_owned()
}

async fn is_good(api: &Harness, token: &str) -> bool {
    let bearer = format!("Bearer {token}");
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = wk_base::body::full(r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#);
    // 403 would be of one that is known.
    api.send_as(Peer::Anonymous, Method::POST, path, &headers, body).await.code != 401
}

async fn published(api: &Harness) -> Vec<String> {
    let keys = api.get("/openid/v1/jwks").await.expect(200)["keys"].as_array().expect("keys").clone();
    keys.iter().map(|key| key["kid"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test]
async fn key_is_published_before_it_signs_and_the_old_one_goes_on_verifying() {
    let (api, _tasks) = start().await;
    let before = token(&api, json!({})).await;
    let keys = api.post(KEYS, &json!({})).await.expect(201);
    assert_eq!(keys["items"][0]["role"], "next");
    let next = keys["items"][0]["id"].as_str().expect("an id").to_owned();
    until(&api, "published", |keys| keys.len() == 2).await;
    while !published(&api).await.contains(&next) {
        tokio::task::yield_now().await;
    }
    assert_eq!(key_of(&token(&api, json!({})).await), key_of(&before), "it is published and does not sign yet");
    let asked = api.post(KEYS, &json!({})).await.expect(201);
    assert_eq!(asked["items"].as_array().map(Vec::len), Some(2), "one that is to come is enough");
    // Ten seconds are what the nodes are given; a test does not wait for them.
    promote(&api, &next).await;
    let keys =
        until(&api, "it signs", |keys| keys.iter().any(|key| key["id"] == *next && key["role"] == "signs")).await;
    while api.server.access.security.keys.signer().as_deref() != Some(&*next) {
        tokio::task::yield_now().await;
    }
    assert_eq!(key_of(&token(&api, json!({})).await), next);
    assert!(is_good(&api, &before).await);
    let old = keys.iter().find(|key| key["role"] == "retired").expect("the old key");
    assert!(old["until"].is_string() && published(&api).await.len() == 2);
    // Taken back, it is worth nothing; the one that signs cannot be.
    assert_eq!(api.delete(&format!("{KEYS}/{next}"), &Value::Null).await.code, 409);
    let old = old["id"].as_str().expect("an id");
    assert_eq!(api.delete(&format!("{KEYS}/{old}"), &Value::Null).await.code, 200);
    while api.server.access.security.keys.has(old) {
        tokio::task::yield_now().await;
    }
    assert!(!is_good(&api, &before).await);
    assert_eq!(published(&api).await, [next]);
}

/// Says of a key that it should have signed long ago: whoever leads lets it.
async fn promote(api: &Harness, id: &str) {
    let store = api.server.cluster.store();
    let key = wk_store::Key::new("wk.dev/signing-keys", "service-accounts-facts");
    let stored = store.view().get(&key).expect("facts");
    let mut facts: Value = serde_json::from_slice(&stored.bytes()).expect("JSON");
    facts[id]["signs"] = 1.into();
    let value = wk_store::Value { bytes: facts.to_string().into(), stamp: None };
    let (expect, change) = (wk_store::Expect::Revision(stored.revision()), wk_store::Change::Put(value));
    store.write(wk_store::Txn { ops: vec![wk_store::Op { key, expect, change }] }).await.expect("written");
}

#[tokio::test]
async fn key_is_kept_for_tokens_of_a_year_and_for_those_in_secrets() {
    let (api, _tasks) = start().await;
    let facts = |api: &Harness| {
        let key = wk_store::Key::new("wk.dev/signing-keys", "service-accounts-facts");
        let stored = api.server.cluster.store().view().get(&key).expect("facts");
        serde_json::from_slice::<Value>(&stored.bytes()).expect("JSON")
    };
    let short = token(&api, json!({ "expirationSeconds": 3600 })).await;
    let id = key_of(&short);
    assert_eq!(facts(&api)[&id]["until"], 0);
    token(&api, json!({ "expirationSeconds": 200 * 24 * 3600 })).await;
    let until = facts(&api)[&id]["until"].as_i64().expect("a time");
    let now = api.server.cluster.clock().now().as_second();
    assert!(until >= now + 200 * 24 * 3600 && until <= now + 202 * 24 * 3600, "{until}");
    let annotations = json!({ "kubernetes.io/service-account.name": "web" });
    let secret = json!({ "metadata": { "name": "s", "annotations": annotations }, "type": "kubernetes.io/service-account-token" });
    let made = api.post("/api/v1/namespaces/default/secrets", &secret).await.expect(201);
    assert!(STANDARD.decode(made["data"]["token"].as_str().expect("a token")).is_ok());
    let keys = api.get(KEYS).await.expect(200);
    assert_eq!(keys["items"][0]["secrets"], 1);
}

#[tokio::test]
async fn keys_are_nobody_elses_and_no_secret_of_theirs_is_told() {
    let (api, first_tasks) = start().await;
    let alice = Peer::User { name: "alice".to_owned(), groups: Vec::new() };
    for (method, path) in [(Method::GET, KEYS), (Method::POST, KEYS), (Method::DELETE, "/apis/wk.dev/v1/signingkeys/x")]
    {
        assert_eq!(api.send_as(alice.clone(), method.clone(), path, &[], empty()).await.code, 403, "{method}");
    }
    // Whoever holds another authority, as a restored cluster does, opens nothing and makes a key of its own.
    let first = published(&api).await;
    let (other, tasks) = (Authority::create("restored").expect("an authority"), Tasks::new());
    first_tasks.stop(PATIENCE).await;
    follow(&api, &other, &tasks);
    let begun = tokio::time::Instant::now();
    while published(&api).await == first {
        assert!(begun.elapsed() < PATIENCE, "another key");
        tokio::task::yield_now().await;
    }
    let stored = api.server.cluster.store().view();
    let records: Vec<_> = stored.list("wk.dev/signing-keys", "").collect::<Vec<Arc<_>>>();
    assert_eq!(records.len(), 2);
    for record in records {
        // A key in PKCS #8 says which curve it is of: that is nowhere to be read.
        let curve = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
        assert!(!record.bytes().windows(curve.len()).any(|bytes| bytes == curve));
    }
}
