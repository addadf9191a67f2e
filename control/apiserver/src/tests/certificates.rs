//! Certificates that are taken back, and requests for new ones: who may ask for which, and who may say yes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use wk_base::body::{empty, full};
use wk_base::time::{Clock as _, SystemClock, Timestamp};
use wk_mesh::{ClientCertificate, Handler as _, Peer};

use super::kit::{CONFIG_MAPS, Harness, JSON, PATIENCE};
use crate::certificates;

const CERTIFICATES: &str = "/apis/wk.dev/v1/certificates";
const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";
const TWO_GROUPS: &str = include_str!("../../../../runtime/mesh/tests/two_groups.csr");
const WITH_MASTERS: &str = include_str!("../../../../runtime/mesh/tests/with_masters.csr");

fn certificate(serial: &str, issued: i64) -> ClientCertificate {
    ClientCertificate { serial: serial.to_owned(), issued, expires: issued + 3600 }
}

fn admin() -> Peer {
    Peer::User { name: "admin".to_owned(), groups: vec!["system:masters".to_owned()] }
}

/// Sends a request over a connection that showed `own`; the status code.
async fn code(api: &Harness, own: &ClientCertificate, method: Method, path: &str) -> u16 {
    let mut request = Request::builder().method(method).uri(path).body(empty()).expect("a request");
    request.extensions_mut().insert(own.clone());
    let response = api.server.handle(admin(), request).await;
    let (parts, body) = response.into_parts();
    body.collect().await.expect("a whole body");
    parts.status.as_u16()
}

async fn listed(api: &Harness) -> Vec<Value> {
    api.get(CERTIFICATES).await.expect(200)["items"].as_array().expect("items").clone()
}

#[tokio::test]
async fn certificate_that_was_taken_back_is_refused_and_what_it_reads_ends() {
    let api = Harness::start().await;
    let (one, two) = (certificate("40aa", 1000), certificate("40bb", 1000));
    certificates::enlist(api.server.cluster.store(), &one, "admin", "n1", Timestamp::UNIX_EPOCH).await.expect("listed");
    let items = listed(&api).await;
    assert_eq!((&items[0]["serial"], &items[0]["by"]), (&json!("40aa"), &json!("system:node:n1")));
    assert_eq!(items[0]["revoked"], false);
    assert_eq!(code(&api, &one, Method::GET, CONFIG_MAPS).await, 200);

    let watch = format!("{CONFIG_MAPS}?watch=true");
    let mut request = Request::builder().uri(watch).header("accept", JSON).body(empty()).expect("a request");
    request.extensions_mut().insert(one.clone());
    let watching = api.server.handle(admin(), request).await;
    assert_eq!(api.delete(&format!("{CERTIFICATES}/40AA"), &Value::Null).await.code, 200);
    watching.into_body().collect().await.expect("the watch ends");
    assert_eq!(code(&api, &one, Method::GET, CONFIG_MAPS).await, 401);
    assert_eq!(code(&api, &one, Method::GET, "/version").await, 401);
    assert_eq!(code(&api, &two, Method::GET, CONFIG_MAPS).await, 200);
    // One that nobody has put on the list, as an earlier version made them.
    assert_eq!(code(&api, &two, Method::DELETE, &format!("{CERTIFICATES}/40bb")).await, 200);
    assert_eq!(code(&api, &two, Method::GET, CONFIG_MAPS).await, 401);
    assert!(listed(&api).await.iter().all(|item| item["revoked"] == true));
    for wrong in ["administrators", "zz", &"a".repeat(41)] {
        assert_eq!(api.delete(&format!("{CERTIFICATES}/{wrong}"), &Value::Null).await.code, 400, "{wrong}");
    }
}

#[tokio::test]
async fn older_certificates_of_administrators_are_taken_back_at_once_and_stay_so() {
    let api = Harness::start().await;
    let now = SystemClock.now().as_second();
    let (old, own, new) = (certificate("40aa", now - 60), certificate("40bb", now), certificate("40cc", now + 60));
    assert_eq!(code(&api, &old, Method::GET, CONFIG_MAPS).await, 200);
    assert_eq!(code(&api, &own, Method::DELETE, CERTIFICATES).await, 200);
    assert_eq!(code(&api, &old, Method::GET, CONFIG_MAPS).await, 401);
    assert_eq!(code(&api, &own, Method::GET, CONFIG_MAPS).await, 200);
    assert_eq!(code(&api, &new, Method::GET, CONFIG_MAPS).await, 200);
    // An earlier time brings nobody back.
    let earlier = format!("{CERTIFICATES}?before=1970-01-01T00:00:00Z");
    assert_eq!(api.delete(&earlier, &Value::Null).await.code, 200);
    assert_eq!(code(&api, &old, Method::GET, CONFIG_MAPS).await, 401);
    assert_eq!(api.delete(CERTIFICATES, &Value::Null).await.code, 400, "older than which?");
    // A slip of the hand locks nobody out for ever.
    let later = format!("{CERTIFICATES}?before=2999-01-01T00:00:00Z");
    assert_eq!(api.delete(&later, &Value::Null).await.code, 400);
    assert_eq!(code(&api, &new, Method::GET, CONFIG_MAPS).await, 200);
    let alice = Peer::User { name: "alice".to_owned(), groups: Vec::new() };
    for (method, path) in [(Method::GET, CERTIFICATES), (Method::DELETE, CERTIFICATES)] {
        assert_eq!(api.send_as(alice.clone(), method, path, &[], empty()).await.code, 403);
    }
}

#[tokio::test]
async fn records_of_certificates_that_have_ended_are_forgotten() {
    let api = Harness::start().await;
    let store = api.server.cluster.store();
    let end = Timestamp::from_second(10_000).expect("a time");
    certificates::enlist(store, &certificate("40aa", 1000), "admin", "n1", Timestamp::UNIX_EPOCH)
        .await
        .expect("listed");
    certificates::enlist(store, &certificate("40bb", 9000), "admin", "n1", end).await.expect("listed");
    let serials: Vec<Value> = listed(&api).await.iter().map(|item| item["serial"].clone()).collect();
    assert_eq!(serials, ["40bb"]);
}

/// Nobody can list what was taken back by its number alone; it is forgotten when no certificate is so old.
#[tokio::test]
async fn number_that_was_taken_back_is_forgotten_when_its_certificate_has_ended_at_the_latest() {
    let api = Harness::start().await;
    assert_eq!(api.delete(&format!("{CERTIFICATES}/40aa"), &Value::Null).await.code, 200);
    let store = api.server.cluster.store();
    let now = SystemClock.now();
    for (serial, days, known) in [("40bb", 800, 2), ("40cc", 830, 2)] {
        let then = now.checked_add(std::time::Duration::from_secs(days * 24 * 3600)).expect("a time");
        certificates::enlist(store, &certificate(serial, i64::MAX >> 16), "admin", "n1", then).await.expect("listed");
        assert_eq!(listed(&api).await.len(), known, "{serial}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_with_a_certificate_ends_with_a_store_that_gave_up() {
    let api = Harness::start().await;
    let store = api.server.cluster.store();
    let reading = tokio::spawn(certificates::revoked(store, certificate("40aa", 1000), true));
    store.stop().await;
    tokio::time::timeout(PATIENCE, reading).await.expect("it asks no more").expect("and does not panic");
}

fn request(name: &str, pem: &str, signer: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": { "request": STANDARD.encode(pem), "signerName": signer, "usages": ["client auth"] },
    })
}

#[tokio::test]
async fn nobody_asks_for_a_certificate_of_a_master() {
    let api = Harness::start().await;
    api.post(REQUESTS, &request("fine", TWO_GROUPS, CLIENT_SIGNER)).await.expect(201);
    let refused = api.post(REQUESTS, &request("all", WITH_MASTERS, CLIENT_SIGNER)).await.expect(403);
    assert_eq!(
        refused["message"],
        "certificatesigningrequests.certificates.k8s.io \"all\" is forbidden: use of \
         kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    );
    api.post(REQUESTS, &request("other", WITH_MASTERS, "example.com/other")).await.expect(201);
}

#[tokio::test]
async fn approving_and_signing_take_a_right_on_the_signer() {
    let api = Harness::start().await;
    api.post(REQUESTS, &request("ann", TWO_GROUPS, "example.com/own")).await.expect(201);
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let rules = json!([
        { "verbs": ["get", "update"], "apiGroups": ["certificates.k8s.io"],
          "resources": ["certificatesigningrequests", "certificatesigningrequests/approval", "certificatesigningrequests/status"] },
    ]);
    let role = |rules: &Value| json!({ "metadata": { "name": "r" }, "rules": rules });
    api.post(&format!("{rbac}/clusterroles"), &role(&rules)).await.expect(201);
    let binding = json!({
        "metadata": { "name": "r" }, "subjects": [{ "kind": "User", "name": "bob" }],
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r" },
    });
    api.post(&format!("{rbac}/clusterrolebindings"), &binding).await.expect(201);
    let put = async |below: &str, change: &dyn Fn(&mut Value)| {
        let path = format!("{REQUESTS}/ann");
        let mut object = api.get(&path).await.expect(200);
        change(&mut object);
        let bob = Peer::User { name: "bob".to_owned(), groups: Vec::new() };
        let body = full(object.to_string());
        api.send_as(bob, Method::PUT, &format!("{path}/{below}"), &[("content-type", JSON)], body).await
    };
    let approve = |object: &mut Value| {
        object["status"]["conditions"] = json!([{ "type": "Approved", "status": "True", "reason": "ok" }]);
    };
    let sign = |object: &mut Value| object["status"]["certificate"] = STANDARD.encode("PEM").into();
    let refused = put("approval", &approve).await.expect(403);
    assert!(
        refused["message"].as_str().is_some_and(
            |it| it.ends_with("user not permitted to approve requests with signerName \"example.com/own\"")
        ),
        "{refused}"
    );
    let refused = put("status", &sign).await.expect(403);
    assert!(refused["message"].as_str().is_some_and(|it| it.contains("user not permitted to sign")), "{refused}");
    put("status", &|_| {}).await.expect(200);
    // By its name for one verb, by its domain for the other.
    let mut more = rules.as_array().expect("rules").clone();
    for (verb, signer) in [("approve", "example.com/own"), ("sign", "example.com/*")] {
        more.push(json!({ "verbs": [verb], "apiGroups": ["certificates.k8s.io"], "resources": ["signers"],
            "resourceNames": [signer] }));
    }
    api.put(&format!("{rbac}/clusterroles/r"), &role(&json!(more))).await.expect(200);
    put("approval", &approve).await.expect(200);
    put("status", &sign).await.expect(200);
}
