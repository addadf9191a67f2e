//! Those who are asked before a write: webhooks over TLS, and admission policies.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use wk_base::body::{Body, full};
use wk_mesh::{Alpn, Authority, Handler, Identity, Limits, NodeKey, NodeName, Peer, Tls};

use super::customs::{DEFINITIONS, WIDGETS, widget, widgets};
use super::kit::{CONFIG_MAPS, Harness, JSON, config_map};
use crate::body;

pub(super) const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
pub(super) const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";

/// What a webhook answers, made from the review's request.
pub(super) type Answer = fn(&str, &Value) -> Value;

struct Hook {
    answer: Answer,
    seen: Arc<Mutex<Vec<Value>>>,
}

#[async_trait]
impl Handler for Hook {
    async fn handle(&self, _peer: Peer, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let bytes = body::read(request.into_body(), 1 << 20).await.expect("a body");
        if path == "/slow" {
            std::future::pending::<()>().await;
        }
        let review: Value = serde_json::from_slice(&bytes).expect("a review");
        let asked = &review["request"];
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
        let mut response = (self.answer)(&path, asked);
        response["uid"] = asked["uid"].clone();
        Response::new(full(json!({ "response": response, "kind": review["kind"] }).to_string()))
    }
}

/// A webhook on a port of its own, and what it takes to call it.
pub(super) struct Running {
    pub(super) url: String,
    pub(super) bundle: String,
    seen: Arc<Mutex<Vec<Value>>>,
    _stop: tokio_util::sync::DropGuard,
}

pub(super) async fn start(answer: Answer) -> Running {
    let authority = Authority::create("hooks").expect("an authority");
    let (name, key) = (NodeName::try_from("hook".to_owned()).expect("a name"), NodeKey::generate().expect("a key"));
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let cert = authority.issue_node(&name, local, &key.csr().expect("a request")).expect("a certificate");
    let identity = Identity { name, cert, key, ca: authority.cert_pem().clone() };
    let tls = Tls::server(&identity, Alpn::Api).expect("TLS");
    let listener = TcpListener::bind((local, 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (stop, seen) = (CancellationToken::new(), Arc::default());
    let hook = Arc::new(Hook { answer, seen: Arc::clone(&seen) });
    tokio::spawn(wk_mesh::serve(listener, tls, hook, Limits::api(), stop.clone()));
    let bundle = STANDARD.encode(authority.cert_pem().as_str());
    Running { url: format!("https://{address}"), bundle, seen, _stop: stop.drop_guard() }
}

impl Running {
    /// A configuration with one webhook.
    pub(super) fn configuration(&self, name: &str, path: &str, resource: &str, more: &Value) -> Value {
        let mut hook = json!({
            "name": format!("{name}.example.com"),
            "clientConfig": { "url": format!("{}{path}", self.url), "caBundle": self.bundle },
            "rules": [{
                "operations": ["CREATE", "UPDATE", "DELETE"], "apiGroups": ["*"], "apiVersions": ["*"],
                "resources": [resource],
            }],
            "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 5,
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            hook[key] = value.clone();
        }
        json!({ "metadata": { "name": name }, "webhooks": [hook] })
    }

    pub(super) fn requests(&self) -> Vec<Value> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn answer(path: &str, request: &Value) -> Value {
    let patch =
        |value: &Value| STANDARD.encode(json!([{ "op": "add", "path": "/data/hook", "value": value }]).to_string());
    match path {
        "/mutate" => json!({
            "allowed": true, "patchType": "JSONPatch", "patch": patch(&json!("was here")), "warnings": ["be careful"],
        }),
        "/deny" if request["operation"] == "DELETE" => {
            json!({ "allowed": false, "status": { "message": "never", "code": 403, "reason": "Forbidden" } })
        }
        "/deny" if request["object"]["data"]["bad"] == "yes" => {
            let details = json!({ "kind": "Data", "causes": [{ "reason": "Bad", "field": "data.bad", "more": 1 }],
                                  "retryAfterSeconds": 7 });
            json!({ "allowed": false, "status": { "message": "bad data", "reason": "BadData", "details": details } })
        }
        _ => json!({ "allowed": true }),
    }
}

#[tokio::test]
async fn webhooks_change_and_refuse_writes() {
    let api = Harness::start().await;
    let hook = start(answer).await;
    api.post(MUTATING, &hook.configuration("change", "/mutate", "configmaps", &json!({}))).await.expect(201);
    api.post(VALIDATING, &hook.configuration("refuse", "/deny", "configmaps", &json!({}))).await.expect(201);
    let made = api.post(CONFIG_MAPS, &config_map("a", &[])).await;
    assert_eq!(made.headers["warning"], "299 - \"be careful\"");
    assert_eq!(made.expect(201)["data"], json!({ "mode": "fast", "hook": "was here" }));
    let [first, second] = &hook.requests()[..] else { panic!("two were asked") };
    assert_eq!((&first["operation"], &first["userInfo"]["username"]), (&json!("CREATE"), &json!("admin")));
    assert_eq!(
        (&first["name"], &first["namespace"], &first["oldObject"]),
        (&json!("a"), &json!("default"), &Value::Null)
    );
    assert_eq!(second["object"]["data"]["hook"], "was here");
    assert!(second["object"]["metadata"]["uid"].is_string(), "a validating webhook sees what will be stored");

    let path = format!("{CONFIG_MAPS}/a");
    let refused = api.patch(&path, &json!({ "data": { "bad": "yes" } })).await.expect(400);
    assert_eq!(refused["message"], "admission webhook \"refuse.example.com\" denied the request: bad data");
    let details =
        json!({ "kind": "Data", "causes": [{ "reason": "Bad", "field": "data.bad" }], "retryAfterSeconds": 7 });
    assert_eq!((&refused["reason"], &refused["details"]), (&json!("BadData"), &details), "a webhook has its own words");
    let refused = api.delete(&path, &json!({})).await.expect(403);
    assert_eq!(refused["message"], "admission webhook \"refuse.example.com\" denied the request: never");
    let patched = api.patch(&path, &json!({ "data": { "mode": "slow" } })).await.expect(200);
    assert_eq!(patched["data"]["mode"], "slow");
    let dry = api.patch(&format!("{path}?dryRun=All"), &json!({ "data": { "mode": "dry" } })).await.expect(200);
    assert_eq!(dry["data"]["mode"], "dry");
    assert_eq!(hook.requests().last().expect("asked")["dryRun"], true);
}

#[tokio::test]
async fn what_is_applied_on_the_server_is_changed_and_refused_in_the_same_write() {
    let api = Harness::start().await;
    let hook = start(answer).await;
    api.post(MUTATING, &hook.configuration("change", "/mutate", "configmaps", &json!({}))).await.expect(201);
    api.post(VALIDATING, &hook.configuration("refuse", "/deny", "configmaps", &json!({}))).await.expect(201);
    let apply = async |data: Value| {
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data});
        let headers = [("content-type", "application/apply-patch+yaml")];
        let path = format!("{CONFIG_MAPS}/a?fieldManager=me");
        api.send(Method::PATCH, &path, &headers, full(body.to_string())).await
    };
    assert_eq!(apply(json!({"bad": "yes"})).await.code, 400);
    assert_eq!(api.get(&format!("{CONFIG_MAPS}/a")).await.code, 404, "nothing was written");
    let mut watch = api.watch(&format!("{CONFIG_MAPS}?watch=true&fieldSelector=metadata.name=a"), JSON).await;
    let made = apply(json!({"mode": "fast"})).await.expect(201);
    assert_eq!(made["data"], json!({"mode": "fast", "hook": "was here"}));
    let changed = apply(json!({"mode": "slow"})).await.expect(200);
    assert_eq!(changed["data"], json!({"mode": "slow", "hook": "was here"}));
    assert_eq!(apply(json!({"bad": "yes"})).await.code, 400);
    for (event, mode) in [("ADDED", "fast"), ("MODIFIED", "slow")] {
        let seen = watch.next().await.expect("an event");
        assert_eq!((&seen["type"], &seen["object"]["data"]["mode"]), (&json!(event), &json!(mode)));
        assert_eq!(seen["object"]["data"]["hook"], "was here", "never seen without it");
    }
}

#[tokio::test]
async fn who_is_asked_depends_on_selectors_and_conditions_and_what_failure_means_on_the_policy() {
    let api = Harness::start().await;
    let hook = start(answer).await;
    let only = json!({
        "objectSelector": { "matchLabels": { "ask": "me" } },
        "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "default" } },
        "matchConditions": [{ "name": "not-b", "expression": "object.metadata.name != 'b'" }],
    });
    api.post(MUTATING, &hook.configuration("change", "/mutate", "configmaps", &only)).await.expect(201);
    for (name, label, changed) in [("a", "me", true), ("b", "me", false), ("c", "not", false)] {
        let made = api.post(CONFIG_MAPS, &config_map(name, &[("ask", label)])).await.expect(201);
        assert_eq!(made["data"].get("hook").is_some(), changed, "{name}");
    }
    let mut nobody = hook.configuration("gone", "/", "secrets", &json!({ "failurePolicy": "Ignore" }));
    nobody["webhooks"][0]["clientConfig"]["url"] = "https://127.0.0.1:1/x".into();
    api.post(VALIDATING, &nobody).await.expect(201);
    let secrets = "/api/v1/namespaces/default/secrets";
    api.post(secrets, &json!({ "metadata": { "name": "a" } })).await.expect(201);
    api.patch(
        &format!("{VALIDATING}/gone"),
        &json!({ "webhooks": [{ "failurePolicy": "Fail",
        "name": "gone.example.com", "clientConfig": nobody["webhooks"][0]["clientConfig"], "sideEffects": "None",
        "rules": nobody["webhooks"][0]["rules"], "admissionReviewVersions": ["v1"] }] }),
    )
    .await
    .expect(200);
    let refused = api.post(secrets, &json!({ "metadata": { "name": "b" } })).await.expect(500);
    let message = refused["message"].as_str().expect("text");
    assert!(
        message.contains(
            "failed calling webhook \"gone.example.com\": failed to call webhook: Post \"https://127.0.0.1:1/x?timeout=10s\""
        ),
        "{message}"
    );
    // Another authority vouches for somebody else.
    let other = start(answer).await;
    let mut forged = hook.configuration("forged", "/deny", "secrets", &json!({}));
    forged["webhooks"][0]["clientConfig"]["caBundle"] = other.bundle.clone().into();
    api.delete(&format!("{VALIDATING}/gone"), &json!({})).await.expect(200);
    api.post(VALIDATING, &forged).await.expect(201);
    assert_eq!(api.post(secrets, &json!({ "metadata": { "name": "c" } })).await.code, 500);
    api.delete(&format!("{VALIDATING}/forged"), &json!({})).await.expect(200);
    let slow = hook.configuration("slow", "/slow", "secrets", &json!({ "timeoutSeconds": 1 }));
    api.post(VALIDATING, &slow).await.expect(201);
    let refused = api.post(secrets, &json!({ "metadata": { "name": "d" } })).await.expect(500);
    let message = refused["message"].as_str().expect("text");
    assert!(message.contains("/slow?timeout=1s\": context deadline exceeded"), "{message}");
}

#[tokio::test]
async fn questions_are_asked_about_as_writes_are() {
    let api = Harness::start().await;
    let hook = start(answer).await;
    let reviews = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    api.post(reviews, &json!({})).await.expect(201);
    let deny = hook.configuration("questions", "/deny", "selfsubjectreviews", &json!({}));
    api.post(VALIDATING, &deny).await.expect(201);
    api.post(reviews, &json!({})).await.expect(201);
    let seen = hook.requests();
    assert_eq!(seen[0]["resource"]["resource"], "selfsubjectreviews", "{seen:?}");
}

#[tokio::test]
async fn policies_deny_and_warn_by_parameters_and_variables() {
    let api = Harness::start().await;
    api.post(DEFINITIONS, &widgets()).await.expect(201);
    api.post(CONFIG_MAPS, &json!({ "metadata": { "name": "limits" }, "data": { "max": "3" } })).await.expect(201);
    let policy = json!({
        "metadata": { "name": "few" },
        "spec": {
            "paramKind": { "apiVersion": "v1", "kind": "ConfigMap" },
            "matchConstraints": { "resourceRules": [{
                "operations": ["CREATE", "UPDATE"], "apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["widgets"],
            }] },
            "variables": [{ "name": "max", "expression": "int(params.data.max)" }],
            "validations": [{
                "expression": "object.spec.replicas <= variables.max",
                "messageExpression": "'at most ' + string(variables.max) + ' for ' + request.userInfo.username",
            }, { "expression": "namespaceObject.metadata.name == 'default'" }],
        },
    });
    api.post(POLICIES, &policy).await.expect(201);
    let make = |name: &str, replicas: i64| widget(name, &json!({ "size": "small", "replicas": replicas }));
    api.post(WIDGETS, &make("unbound", 9)).await.expect(201);
    let mut binding = json!({
        "metadata": { "name": "all" },
        "spec": {
            "policyName": "few", "validationActions": ["Deny"],
            "paramRef": { "name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny" },
        },
    });
    api.post(BINDINGS, &binding).await.expect(201);
    let refused = api.post(WIDGETS, &make("many", 4)).await.expect(422);
    assert_eq!(
        refused["message"],
        "widgets.example.com \"many\" is forbidden: ValidatingAdmissionPolicy 'few' with binding 'all' denied request: at most 3 for admin"
    );
    api.post(WIDGETS, &make("few", 3)).await.expect(201);
    binding["spec"]["validationActions"] = json!(["Warn"]);
    api.patch(&format!("{BINDINGS}/all"), &json!({ "spec": binding["spec"] })).await.expect(200);
    let made = api.post(WIDGETS, &make("many", 4)).await;
    let warning = made.headers["warning"].to_str().expect("text");
    assert!(
        warning.contains("Validation failed for ValidatingAdmissionPolicy 'few' with binding 'all': at most 3"),
        "{warning}"
    );
}

/// Versions differ in the name of a field: `size` in v1, `extent` in v1beta1.
pub(super) fn convert(_path: &str, request: &Value) -> Value {
    let version = request["desiredAPIVersion"].clone();
    let objects = request["objects"].as_array().expect("objects").iter().map(|object| {
        let (from, to) = if version == "example.com/v1" { ("extent", "size") } else { ("size", "extent") };
        let mut object = object.clone();
        object["apiVersion"] = version.clone();
        let value = object["spec"].as_object_mut().expect("a spec").remove(from).expect("the field");
        object["spec"][to] = value;
        object
    });
    json!({ "result": { "status": "Success" }, "convertedObjects": objects.collect::<Vec<_>>() })
}

/// Widgets in two versions, between which `hook` converts; v1 is stored.
pub(super) fn two_versions(hook: &Running) -> Value {
    let mut definition = widgets();
    let mut beta = definition["spec"]["versions"][0].clone();
    (beta["name"], beta["storage"]) = ("v1beta1".into(), false.into());
    beta["selectableFields"] = json!([]);
    let spec = &mut beta["schema"]["openAPIV3Schema"]["properties"]["spec"];
    spec["required"] = json!(["extent"]);
    spec["properties"]["extent"] = spec["properties"]["size"].take();
    spec["properties"].as_object_mut().expect("properties").remove("size");
    definition["spec"]["versions"].as_array_mut().expect("versions").push(beta);
    definition["spec"]["conversion"] = json!({ "strategy": "Webhook", "webhook": {
        "conversionReviewVersions": ["v1"],
        "clientConfig": { "url": format!("{}/convert", hook.url), "caBundle": hook.bundle },
    } });
    definition
}

#[tokio::test]
async fn a_webhook_converts_between_versions_in_both_directions() {
    let api = Harness::start().await;
    let hook = start(convert).await;
    api.post(DEFINITIONS, &two_versions(&hook)).await.expect(201);
    let beta = WIDGETS.replace("/v1/", "/v1beta1/");
    let mut body = widget("a", &json!({ "extent": "small" }));
    body["apiVersion"] = "example.com/v1beta1".into();
    let made = api.post(&beta, &body).await.expect(201);
    assert_eq!((&made["apiVersion"], &made["spec"]["extent"]), (&json!("example.com/v1beta1"), &json!("small")));
    let stored = api.get(&format!("{WIDGETS}/a")).await.expect(200);
    assert_eq!((&stored["spec"]["size"], stored["spec"].get("extent")), (&json!("small"), None));
    assert_eq!(api.get(&beta).await.expect(200)["items"][0]["spec"]["extent"], "small");
    let patched = api.patch(&format!("{beta}/a"), &json!({ "spec": { "extent": "large" } })).await.expect(200);
    assert_eq!((&patched["spec"]["extent"], &patched["metadata"]["generation"]), (&json!("large"), &json!(2)));

    // From now on the other version is stored; what was stored before is converted when it is read and written.
    let path = format!("{DEFINITIONS}/widgets.example.com");
    let mut definition = api.get(&path).await.expect(200);
    definition["spec"]["versions"][0]["storage"] = false.into();
    definition["spec"]["versions"][1]["storage"] = true.into();
    let changed = api.put(&path, &definition).await.expect(200);
    assert_eq!(changed["status"]["storedVersions"], json!(["v1", "v1beta1"]));
    assert_eq!(api.get(&format!("{beta}/a")).await.expect(200)["spec"]["extent"], "large");
    let patched = api.patch(&format!("{WIDGETS}/a"), &json!({ "spec": { "size": "small" } })).await.expect(200);
    assert_eq!(patched["spec"]["size"], "small");
    assert_eq!(api.get(&format!("{beta}/a")).await.expect(200)["spec"]["extent"], "small");
}
