//! Every refusal: code, reason and words.

use http::Method;
use serde_json::json;
use wk_base::body::{empty, full};
use wk_mesh::Peer;

use super::kit::{CONFIG_MAPS, Harness, JSON, config_map};

fn of(code: u16, reason: &str) -> (u16, String) {
    (code, reason.to_owned())
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let api = Harness::start().await;
    let answer = api.get("/apis/apps/v1/namespaces/default/deployments/web").await;
    let expected = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "deployments.apps \"web\" not found", "reason": "NotFound",
        "details": { "name": "web", "group": "apps", "kind": "deployments" }, "code": 404,
    });
    assert_eq!(answer.expect(404), expected);
    for path in ["/apis/example.com/v1/things", "/nowhere"] {
        let answer = api.get(path).await;
        assert_eq!((answer.code.as_u16(), answer.text.as_str()), (404, "404 page not found\n"), "{path}");
    }
    let answer = api.get("/api/v1/namespaces/default/gizmos").await;
    assert_eq!(answer.reason(), of(404, "NotFound"));
    let answer = api.post("/api/v1/namespaces/nowhere/configmaps", &config_map("a", &[])).await;
    assert_eq!(answer.json()["message"], "namespaces \"nowhere\" not found");
}

#[tokio::test]
async fn the_same_name_twice_already_exists() {
    let api = Harness::start().await;
    api.post(CONFIG_MAPS, &config_map("a", &[])).await.expect(201);
    let answer = api.post(CONFIG_MAPS, &config_map("a", &[])).await;
    assert_eq!(answer.reason(), of(409, "AlreadyExists"));
    assert_eq!(answer.json()["message"], "configmaps \"a\" already exists");
}

#[tokio::test]
async fn an_update_of_an_old_version_is_a_conflict() {
    let api = Harness::start().await;
    let made = api.post(CONFIG_MAPS, &config_map("a", &[])).await.expect(201);
    let path = format!("{CONFIG_MAPS}/a");
    api.patch(&path, &json!({ "data": { "mode": "slow" } })).await.expect(200);
    let answer = api.put(&path, &made).await;
    assert_eq!(answer.reason(), of(409, "Conflict"));
    assert_eq!(
        answer.json()["message"],
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to \
         the latest version and try again"
    );
    let patch = json!({ "metadata": { "resourceVersion": made["metadata"]["resourceVersion"] }, "data": { "x": "y" } });
    assert_eq!(api.patch(&path, &patch).await.reason(), of(409, "Conflict"));
    let other = json!({ "preconditions": { "uid": "another" } });
    assert_eq!(api.delete(&path, &other).await.reason(), of(409, "Conflict"));
    let mut unconditional = made;
    unconditional["metadata"]["resourceVersion"] = json!(null);
    api.put(&path, &unconditional).await.expect(200);
}

#[tokio::test]
async fn a_body_that_does_not_fit_the_schema_is_a_bad_request() {
    let api = Harness::start().await;
    let answer = api.post(CONFIG_MAPS, &json!({ "metadata": { "name": "a" }, "data": { "a": 1 } })).await;
    assert_eq!(answer.reason(), of(400, "BadRequest"));
    let message = answer.json()["message"].as_str().expect("a message").to_owned();
    assert!(message.starts_with("ConfigMap in version \"v1\" cannot be handled as a ConfigMap: "), "{message}");
    for body in ["{", "", "[]"] {
        let answer = api.send(Method::POST, CONFIG_MAPS, &[("content-type", JSON)], full(body)).await;
        assert_eq!(answer.reason(), of(400, "BadRequest"), "{body}");
    }
    let other = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "a" } });
    assert_eq!(api.post(CONFIG_MAPS, &other).await.reason(), of(400, "BadRequest"));
    let elsewhere = json!({ "metadata": { "name": "a", "namespace": "kube-system" } });
    assert_eq!(api.post(CONFIG_MAPS, &elsewhere).await.reason(), of(400, "BadRequest"));
}

#[tokio::test]
async fn a_name_that_is_no_dns_label_is_invalid() {
    let api = Harness::start().await;
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "A_b" } });
    let answer = api.post("/api/v1/namespaces", &namespace).await;
    assert_eq!(answer.reason(), of(422, "Invalid"));
    let status = answer.json();
    assert_eq!(
        (&status["details"]["kind"], &status["details"]["causes"][0]["field"]),
        (&json!("Namespace"), &json!("metadata.name"))
    );
    let nameless = api.post(CONFIG_MAPS, &json!({ "data": {} })).await;
    assert_eq!(nameless.reason(), of(422, "Invalid"));
}

#[tokio::test]
async fn unknown_fields_warn_or_are_refused_as_asked() {
    let api = Harness::start().await;
    let body = |name: &str| json!({ "metadata": { "name": name, "foo": 1 }, "bar": 2 });
    let warned = api.post(CONFIG_MAPS, &body("a")).await;
    assert_eq!(warned.code.as_u16(), 201, "{}", warned.text);
    let warnings: Vec<_> =
        warned.headers.get_all("warning").iter().map(|value| value.to_str().expect("text")).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings.contains(&"299 - \"unknown field \\\"metadata.foo\\\"\""), "{warnings:?}");
    assert!(warned.json().get("bar").is_none());
    let quiet = api.post(&format!("{CONFIG_MAPS}?fieldValidation=Ignore"), &body("b")).await;
    assert!(quiet.headers.get("warning").is_none());
    let strict = api.post(&format!("{CONFIG_MAPS}?fieldValidation=Strict"), &body("c")).await;
    assert_eq!(strict.reason(), of(400, "BadRequest"));
    assert!(strict.json()["message"].as_str().is_some_and(|text| text.contains("strict decoding error: ")));
    assert_eq!(api.post(&format!("{CONFIG_MAPS}?fieldValidation=Maybe"), &body("d")).await.code, 422);
}

#[tokio::test]
async fn media_types_that_are_not_served_are_told_with_those_that_are() {
    let api = Harness::start().await;
    let xml = [("content-type", "application/xml")];
    let answer = api.send(Method::POST, CONFIG_MAPS, &xml, full("<a/>")).await;
    assert_eq!(answer.reason(), of(415, "UnsupportedMediaType"));
    assert_eq!(
        answer.json()["message"],
        "the body of the request was in an unknown format - accepted media types include: application/json, \
         application/yaml, application/vnd.kubernetes.protobuf"
    );
    api.post(CONFIG_MAPS, &config_map("a", &[])).await.expect(201);
    let path = format!("{CONFIG_MAPS}/a");
    for patch in ["application/apply-patch+cbor", "text/plain"] {
        let answer = api.send(Method::PATCH, &path, &[("content-type", patch)], full("{}")).await;
        assert_eq!(answer.reason(), of(415, "UnsupportedMediaType"), "{patch}");
    }
    assert_eq!(api.get_as(&path, "text/html").await.reason(), of(406, "NotAcceptable"));
}

#[tokio::test]
async fn methods_that_mean_nothing_on_a_path_are_not_allowed() {
    let api = Harness::start().await;
    for (method, path) in [
        (Method::PUT, CONFIG_MAPS),
        (Method::POST, "/api/v1/namespaces/default/configmaps/a"),
        (Method::POST, "/api/v1/configmaps"),
        (Method::DELETE, "/api/v1/namespaces"),
        (Method::DELETE, "/apis/apps/v1/namespaces/default/deployments/web/scale"),
        (Method::POST, "/version"),
    ] {
        let answer = api.send(method.clone(), path, &[], empty()).await;
        assert_eq!(answer.reason(), of(405, "MethodNotAllowed"), "{method} {path}");
    }
    for path in ["/api/v1/nothings", "/api/v1/namespaces/default/nodes", "/apis/apps/v1/deployments/web"] {
        let answer = api.send(Method::POST, path, &[], empty()).await;
        assert_eq!(answer.reason(), of(404, "NotFound"), "there is none, whatever is asked of it: {path}");
    }
    // An answer to HEAD has no body that could give a reason.
    let answer = api.send(Method::HEAD, CONFIG_MAPS, &[], empty()).await;
    assert_eq!((answer.code.as_u16(), answer.text.as_str()), (405, ""));
}

#[tokio::test]
async fn health_is_told_check_by_check_to_who_asks() {
    let api = Harness::start().await;
    for (path, text) in [
        ("/livez", "ok"),
        ("/livez/ping", "ok"),
        ("/readyz/store", "ok"),
        ("/readyz?verbose", "[+]ping ok\n[+]store ok\nreadyz check passed\n"),
    ] {
        let answer = api.send(Method::GET, path, &[], empty()).await;
        assert_eq!((answer.code.as_u16(), answer.text.as_str()), (200, text), "{path}");
    }
    assert_eq!(api.send(Method::GET, "/livez/nosuch", &[], empty()).await.code, 404);
}

#[tokio::test]
async fn a_body_past_the_limit_is_too_large() {
    let api = Harness::start().await;
    let body = vec![b' '; crate::body::BODY_BYTES_MAX + 1];
    let answer = api.send(Method::POST, CONFIG_MAPS, &[("content-type", JSON)], full(body)).await;
    assert_eq!(answer.reason(), of(413, "RequestEntityTooLarge"));
    // Fits the request and not the store.
    let large = json!({ "metadata": { "name": "a" }, "data": { "a": "x".repeat(2_000_000) } });
    let answer = api.post(CONFIG_MAPS, &large).await;
    assert!(matches!(answer.code.as_u16(), 413 | 422), "{}", answer.text);
}

#[tokio::test]
async fn nobody_reads_without_an_identity_and_nobody_writes_without_a_right() {
    let api = Harness::start().await;
    let answer = api.send_as(Peer::Anonymous, Method::GET, "/healthz", &[], empty()).await;
    assert_eq!(answer.reason(), of(401, "Unauthorized"));
    let alice = Peer::User { name: "alice".to_owned(), groups: vec!["dev".to_owned()] };
    let answer = api.send_as(alice.clone(), Method::GET, CONFIG_MAPS, &[], empty()).await;
    assert_eq!(answer.reason(), of(403, "Forbidden"));
    assert_eq!(
        answer.json()["message"],
        "configmaps is forbidden: User \"alice\" cannot list resource \"configmaps\" in API group \"\" in the namespace \
         \"default\""
    );
    let node = Peer::Node("n1".parse().expect("a name"));
    assert_eq!(api.send_as(node, Method::GET, "/api/v1/secrets", &[], empty()).await.code, 403);
    api.default_roles().await;
    assert_eq!(api.send_as(alice, Method::GET, "/version", &[], empty()).await.code, 200);
}

#[tokio::test]
async fn the_namespaces_of_the_cluster_stay_and_an_ending_one_takes_nothing_in() {
    let api = Harness::start().await;
    let answer = api.delete("/api/v1/namespaces/default", &json!({})).await;
    assert_eq!(answer.reason(), of(403, "Forbidden"));
    let namespace = json!({ "metadata": { "name": "brief" } });
    api.post("/api/v1/namespaces", &namespace).await.expect(201);
    let marked = api.delete("/api/v1/namespaces/brief", &json!({})).await.expect(200);
    assert_eq!(marked["status"]["phase"], "Terminating");
    let answer = api.post("/api/v1/namespaces/brief/configmaps", &config_map("a", &[])).await;
    assert_eq!(answer.reason(), of(403, "Forbidden"));
    let message = answer.json()["message"].as_str().expect("a message").to_owned();
    assert!(
        message.ends_with("unable to create new content in namespace brief because it is being terminated"),
        "{message}"
    );
}

#[tokio::test]
async fn a_full_server_refuses_at_once_and_watches_take_no_room() {
    let api = Harness::start().await;
    let flight = &api.server.flight;
    let watch = api.watch(&format!("{CONFIG_MAPS}?watch=true"), JSON).await;
    let number = flight.reads.free();
    let reads = flight.reads.take_all();
    assert_eq!(reads.len(), number, "the watch has no seat");
    let full = futures::future::join_all((0..60).map(|_| api.get(CONFIG_MAPS)));
    tokio::pin!(full);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(full.as_mut().poll(&mut context).is_pending());
    assert_eq!(flight.reads.waiting(), 50, "the others were refused at once");
    api.post(CONFIG_MAPS, &config_map("a", &[])).await.expect(201);
    assert_eq!(api.get("/livez").await.code, 200);
    drop((reads, watch));
    let answers = full.await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.code != 200).collect();
    assert_eq!((answers.len(), refused.len()), (60, 10));
    assert!(refused.iter().all(|answer| answer.reason() == of(429, "TooManyRequests")));
    assert_eq!(refused[0].headers["retry-after"], "1");
    assert_eq!((flight.reads.free(), flight.reads.waiting()), (number, 0));
}

#[tokio::test]
async fn a_client_says_how_long_it_would_wait() {
    let api = Harness::start().await;
    for path in [CONFIG_MAPS, "/api/v1/namespaces/default/pods?limit=1"] {
        let path = format!("{path}{}timeout", if path.contains('?') { "&" } else { "?" });
        let refused = api.get(&format!("{path}=invalid")).await;
        assert_eq!(refused.reason(), of(400, "BadRequest"), "{path}");
        let message = "invalid timeout specified in the request URL - time: invalid duration \"invalid\"";
        assert_eq!(refused.json()["message"], message);
        for good in ["10s", "1h", "0s", ""] {
            api.get(&format!("{path}={good}")).await.expect(200);
        }
    }
}
