//! Who is let in, as whom, and what they may do: each verb without identity, with another's, with a forged one.

use http::Method;
use serde_json::{Value, json};
use wk_access::tokens::Keyring;
use wk_base::body::{Body, empty, full};
use wk_mesh::Peer;

use super::kit::{Answer, CONFIG_MAPS, Harness, JSON, MERGE, config_map};

fn person(name: &str) -> Peer {
    Peer::User { name: name.to_owned(), groups: vec!["dev".to_owned()] }
}

fn node(name: &str) -> Peer {
    Peer::Node(name.parse().expect("a name"))
}

/// Every verb on a namespaced kind.
fn verbs() -> [(Method, String, &'static str); 8] {
    let one = format!("{CONFIG_MAPS}/a");
    [
        (Method::GET, one.clone(), "get"),
        (Method::GET, CONFIG_MAPS.to_owned(), "list"),
        (Method::GET, format!("{CONFIG_MAPS}?watch=true"), "watch"),
        (Method::POST, CONFIG_MAPS.to_owned(), "create"),
        (Method::PUT, one.clone(), "update"),
        (Method::PATCH, one.clone(), "patch"),
        (Method::DELETE, one, "delete"),
        (Method::DELETE, CONFIG_MAPS.to_owned(), "deletecollection"),
    ]
}

/// Sends JSON as `peer`.
async fn send(api: &Harness, peer: Peer, method: Method, path: &str, body: &Value) -> Answer {
    let kind = if method == Method::PATCH { MERGE } else { JSON };
    api.send_as(peer, method, path, &[("content-type", kind)], full(body.to_string())).await
}

async fn with_token(api: &Harness, token: &str, path: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    api.send_as(Peer::Anonymous, Method::GET, path, &[("authorization", &bearer)], empty()).await
}

/// Lets `subject` do `verbs` to `resources` of the core group everywhere.
async fn grant(api: &Harness, name: &str, subject: Value, rules: Value) {
    let role = json!({ "metadata": { "name": name }, "rules": rules });
    api.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await.expect(201);
    let reference = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name });
    let binding = json!({ "metadata": { "name": name }, "subjects": [subject], "roleRef": reference });
    api.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await.expect(201);
}

fn user(name: &str) -> Value {
    json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name })
}

fn rule(verbs: &[&str], group: &str, resources: &[&str]) -> Value {
    json!({ "verbs": verbs, "apiGroups": [group], "resources": resources })
}

async fn token_for(api: &Harness, account: &str, spec: Value) -> Answer {
    let path = format!("/api/v1/namespaces/default/serviceaccounts/{account}/token");
    api.post(&path, &json!({ "spec": spec })).await
}

async fn account(api: &Harness, name: &str) {
    let body = json!({ "metadata": { "name": name } });
    let path = format!("/api/v1/namespaces/default/serviceaccounts/{name}");
    if api.get(&path).await.code != 200 {
        api.post("/api/v1/namespaces/default/serviceaccounts", &body).await.expect(201);
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[tokio::test]
async fn no_verb_is_answered_without_an_identity_or_a_right() {
    let api = Harness::start().await;
    api.post(CONFIG_MAPS, &config_map("a", &[])).await.expect(201);
    for (method, path, verb) in verbs() {
        let nobody = send(&api, Peer::Anonymous, method.clone(), &path, &config_map("a", &[])).await;
        assert_eq!(nobody.code, 401, "{verb}");
        for peer in [person("alice"), node("n1")] {
            let refused = send(&api, peer, method.clone(), &path, &config_map("a", &[])).await;
            assert_eq!(refused.code, 403, "{verb}: {}", refused.text);
        }
        let garbage = with_token(&api, "x.y.z", &path).await;
        assert_eq!(garbage.code, 401, "{verb}");
    }
    let body = send(&api, person("alice"), Method::GET, &format!("{CONFIG_MAPS}/a"), &json!({})).await;
    assert_eq!(
        body.json()["message"],
        "configmaps \"a\" is forbidden: User \"alice\" cannot get resource \"configmaps\" in API group \"\" in the \
         namespace \"default\""
    );
}

#[tokio::test]
async fn a_role_allows_its_verbs_in_its_namespace_and_no_others() {
    let api = Harness::start().await;
    api.post("/api/v1/namespaces", &json!({ "metadata": { "name": "shop" } })).await.expect(201);
    let rules = json!([rule(&["get", "list", "create"], "", &["configmaps"]), rule(&["get"], "", &["namespaces"])]);
    let role = json!({ "metadata": { "name": "keeper" }, "rules": rules });
    let below = "/apis/rbac.authorization.k8s.io/v1/namespaces/shop";
    api.post(&format!("{below}/roles"), &role).await.expect(201);
    let reference = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "keeper" });
    let group = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "dev" });
    let binding = json!({ "metadata": { "name": "keepers" }, "subjects": [group], "roleRef": reference });
    api.post(&format!("{below}/rolebindings"), &binding).await.expect(201);
    let alice = |method, path: &'static str| {
        let api = &api;
        async move { send(api, person("alice"), method, path, &config_map("a", &[])).await.code.as_u16() }
    };
    assert_eq!(alice(Method::POST, "/api/v1/namespaces/shop/configmaps").await, 201);
    assert_eq!(alice(Method::GET, "/api/v1/namespaces/shop/configmaps/a").await, 200);
    assert_eq!(alice(Method::GET, "/api/v1/namespaces/shop").await, 200);
    assert_eq!(alice(Method::DELETE, "/api/v1/namespaces/shop/configmaps/a").await, 403);
    assert_eq!(alice(Method::GET, "/api/v1/namespaces/default/configmaps").await, 403);
    assert_eq!(alice(Method::GET, "/api/v1/configmaps").await, 403);
    assert_eq!(alice(Method::GET, "/api/v1/namespaces/shop/secrets").await, 403);
    api.delete(&format!("{below}/rolebindings/keepers"), &json!({})).await.expect(200);
    assert_eq!(alice(Method::GET, "/api/v1/namespaces/shop/configmaps/a").await, 403);
}

#[tokio::test]
async fn nobody_grants_what_they_do_not_hold() {
    let api = Harness::start().await;
    let rbac = "rbac.authorization.k8s.io";
    let rules = json!([rule(&["*"], rbac, &["roles", "rolebindings", "clusterroles"]), rule(&["get"], "", &["pods"]),]);
    // "*" would take in escalate and bind.
    let verbs = ["get", "list", "create", "update", "patch", "delete"];
    let rules = json!([rule(&verbs, rbac, &["roles", "rolebindings", "clusterroles"]), rules[1]]);
    grant(&api, "manager", user("alice"), rules).await;
    grant(&api, "great", user("nobody"), json!([rule(&["*"], "*", &["*"])])).await;
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
    let body = |verbs: &[&str]| json!({ "metadata": { "name": "r" }, "rules": [rule(verbs, "", &["pods"])] });
    let post = |path: &'static str, body: Value| {
        let api = &api;
        async move { send(api, person("alice"), Method::POST, path, &body).await }
    };
    post(roles, body(&["get"])).await.expect(201);
    let refused = send(&api, person("alice"), Method::PUT, &format!("{roles}/r"), &body(&["get", "delete"])).await;
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.json()["message"],
        "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"alice\" (groups=[\"dev\" \"system:authenticated\"]) is \
         attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], \
         Verbs:[\"delete\"]}"
    );
    let patch = json!({ "rules": [rule(&["*"], "*", &["*"])] });
    assert_eq!(send(&api, person("alice"), Method::PATCH, &format!("{roles}/r"), &patch).await.code, 403);
    for (name, kind) in [
        ("r", "application/apply-patch+yaml"),
        ("new", "application/apply-patch+yaml"),
        ("r", "application/strategic-merge-patch+json"),
    ] {
        let path = format!("{roles}/{name}?fieldManager=m{}", if kind.contains("apply") { "&force=true" } else { "" });
        let mut all = patch.clone();
        all["apiVersion"] = "rbac.authorization.k8s.io/v1".into();
        all["kind"] = "Role".into();
        all["metadata"] = json!({ "name": name });
        let body = full(all.to_string());
        let refused = api.send_as(person("alice"), Method::PATCH, &path, &[("content-type", kind)], body).await;
        assert_eq!(refused.code, 403, "{kind}: {}", refused.text);
    }
    // What is not changed is not granted.
    let label = json!({ "metadata": { "labels": { "a": "b" } } });
    send(&api, person("alice"), Method::PATCH, &format!("{roles}/r"), &label).await.expect(200);
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    let binding = |name: &str, kind: &str, role: &str| {
        let reference = json!({ "apiGroup": rbac, "kind": kind, "name": role });
        json!({ "metadata": { "name": name }, "subjects": [user("alice")], "roleRef": reference })
    };
    post(bindings, binding("own", "Role", "r")).await.expect(201);
    let refused = post(bindings, binding("more", "ClusterRole", "great")).await;
    assert_eq!(refused.code, 403, "{}", refused.text);
    assert_eq!(post(bindings, binding("gone", "Role", "nowhere")).await.code, 404);
    let whole = json!({
        "metadata": { "name": "whole" },
        "aggregationRule": { "clusterRoleSelectors": [{ "matchLabels": { "a": "b" } }] },
    });
    let refused = post("/apis/rbac.authorization.k8s.io/v1/clusterroles", whole).await;
    assert!(text(&refused.json()["message"]).contains("must have cluster-admin privileges to use the aggregationRule"));
    grant(&api, "binder", user("alice"), json!([rule(&["bind"], rbac, &["clusterroles"])])).await;
    post(bindings, binding("more", "ClusterRole", "great")).await.expect(201);
}

#[tokio::test]
async fn acting_as_somebody_else_needs_a_right_for_each_part_of_them() {
    let api = Harness::start().await;
    api.post(CONFIG_MAPS, &config_map("a", &[])).await.expect(201);
    let who = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let ask = |peer: Peer, headers: &'static [(&'static str, &'static str)]| {
        let api = &api;
        async move {
            let mut all = vec![("content-type", JSON)];
            all.extend_from_slice(headers);
            api.send_as(peer, Method::POST, who, &all, full("{}")).await
        }
    };
    let root = || Peer::User { name: "root".to_owned(), groups: vec!["system:masters".to_owned()] };
    let refused = ask(person("alice"), &[("impersonate-user", "root")]).await;
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.json()["message"],
        "users \"root\" is forbidden: User \"alice\" cannot impersonate resource \"users\" in API group \"\" at the \
         cluster scope"
    );
    // Everybody may ask who they are.
    let everybody = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:authenticated" });
    grant(&api, "basic", everybody, json!([rule(&["create"], "authentication.k8s.io", &["selfsubjectreviews"])])).await;
    let seen = ask(
        root(),
        &[
            ("impersonate-user", "bob"),
            ("impersonate-group", "dev"),
            ("impersonate-uid", "7"),
            ("impersonate-extra-reason%2Fwhy", "test"),
        ],
    )
    .await
    .expect(201);
    let expected = json!({
        "username": "bob", "uid": "7", "groups": ["dev", "system:authenticated"], "extra": { "reason/why": ["test"] },
    });
    assert_eq!(seen["status"]["userInfo"], expected);
    let robot = ask(root(), &[("impersonate-user", "system:serviceaccount:shop:web")]).await.expect(201);
    assert_eq!(
        robot["status"]["userInfo"]["groups"],
        json!(["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"])
    );
    grant(
        &api,
        "as-bob",
        user("alice"),
        json!([{
            "verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"],
        }]),
    )
    .await;
    ask(person("alice"), &[("impersonate-user", "bob")]).await.expect(201);
    assert_eq!(ask(person("alice"), &[("impersonate-user", "root")]).await.code, 403);
    let masters = ask(person("alice"), &[("impersonate-user", "bob"), ("impersonate-group", "system:masters")]).await;
    assert_eq!(masters.code, 403);
    let extra = ask(person("alice"), &[("impersonate-user", "bob"), ("impersonate-extra-a", "b")]).await;
    assert_eq!(extra.code, 403);
    assert_eq!(ask(root(), &[("impersonate-group", "dev")]).await.code, 500);
    // Whoever acts as somebody else has only their rights.
    let answer =
        api.send_as(root(), Method::GET, &format!("{CONFIG_MAPS}/a"), &[("impersonate-user", "bob")], empty()).await;
    assert_eq!(answer.code, 403);
}

#[tokio::test]
async fn a_service_account_token_is_good_for_its_audience_until_what_it_is_bound_to_is_gone() {
    let api = Harness::start().await;
    account(&api, "web").await;
    let subject = json!({ "kind": "ServiceAccount", "name": "web", "namespace": "default" });
    grant(&api, "reads", subject, json!([rule(&["list"], "", &["configmaps"])])).await;
    let made = token_for(&api, "web", json!({})).await.expect(201);
    assert_eq!(made["kind"], "TokenRequest");
    assert_eq!(made["spec"]["expirationSeconds"], 3600);
    assert_eq!(made["spec"]["audiences"], json!(["https://kubernetes.default.svc"]));
    let token = text(&made["status"]["token"]).to_owned();
    assert_eq!(with_token(&api, &token, CONFIG_MAPS).await.code, 200);
    assert_eq!(with_token(&api, &token, "/api/v1/secrets").await.code, 403);
    let other = token_for(&api, "web", json!({ "audiences": ["vault"] })).await.expect(201);
    let vault = text(&other["status"]["token"]).to_owned();
    assert_eq!(with_token(&api, &vault, CONFIG_MAPS).await.code, 401, "another audience");
    let short = token_for(&api, "web", json!({ "expirationSeconds": 5 })).await;
    assert_eq!(short.code, 422);
    assert!(text(&short.json()["message"]).ends_with("may not specify a duration less than 10 minutes"));
    assert_eq!(token_for(&api, "nobody", json!({})).await.code, 404);
    // The review tells what the bearer does not hear.
    let review = |token: &str, audiences: Value| {
        let body = json!({ "spec": { "token": token, "audiences": audiences } });
        let api = &api;
        async move { api.post("/apis/authentication.k8s.io/v1/tokenreviews", &body).await.expect(201) }
    };
    let seen = review(&vault, json!(["vault", "other"])).await;
    assert_eq!(seen["status"]["authenticated"], true);
    assert_eq!(seen["status"]["audiences"], json!(["vault"]));
    assert_eq!(seen["status"]["user"]["username"], "system:serviceaccount:default:web");
    assert_eq!(review(&vault, json!([])).await["status"]["authenticated"], Value::Null);
    // Bound to a Secret, and gone with it.
    api.post("/api/v1/namespaces/default/secrets", &json!({ "metadata": { "name": "s" } })).await.expect(201);
    let bound = json!({ "boundObjectRef": { "apiVersion": "v1", "kind": "Secret", "name": "s" } });
    let made = token_for(&api, "web", bound.clone()).await.expect(201);
    let bound_token = text(&made["status"]["token"]).to_owned();
    assert_eq!(with_token(&api, &bound_token, CONFIG_MAPS).await.code, 200);
    api.delete("/api/v1/namespaces/default/secrets/s", &json!({})).await.expect(200);
    assert_eq!(with_token(&api, &bound_token, CONFIG_MAPS).await.code, 401, "its Secret is gone");
    assert_eq!(token_for(&api, "web", bound).await.code, 404);
    api.delete("/api/v1/namespaces/default/serviceaccounts/web", &json!({})).await.expect(200);
    account(&api, "web").await;
    assert_eq!(with_token(&api, &token, CONFIG_MAPS).await.code, 401, "another account of that name");
}

#[tokio::test]
async fn a_token_bound_to_a_pod_ends_with_it_and_belongs_to_its_account() {
    let api = Harness::start().await;
    account(&api, "web").await;
    account(&api, "other").await;
    let pod = json!({
        "metadata": { "name": "p" },
        "spec": { "serviceAccountName": "web", "containers": [{ "name": "c", "image": "i" }] },
    });
    let made = api.post("/api/v1/namespaces/default/pods", &pod).await.expect(201);
    let bound = |uid: &str| json!({ "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid } });
    assert_eq!(token_for(&api, "other", bound("")).await.code, 400, "it runs as another");
    assert_eq!(token_for(&api, "web", bound("another")).await.code, 409);
    let made = token_for(&api, "web", bound(text(&made["metadata"]["uid"]))).await.expect(201);
    let token = text(&made["status"]["token"]).to_owned();
    // It is known and may nothing.
    assert_eq!(with_token(&api, &token, CONFIG_MAPS).await.code, 403);
    api.delete("/api/v1/namespaces/default/pods/p", &json!({ "gracePeriodSeconds": 0 })).await.expect(200);
    assert_eq!(with_token(&api, &token, CONFIG_MAPS).await.code, 401);
}

#[tokio::test]
async fn forged_and_expired_tokens_are_nobodys() {
    let api = Harness::start().await;
    account(&api, "web").await;
    let path = "/api/v1/namespaces/default/serviceaccounts/web";
    let uid = text(&api.get(path).await.expect(200)["metadata"]["uid"]).to_owned();
    let now = api.server.cluster.clock().now().as_second();
    let claims = |from: i64, until: i64| {
        json!({
            "iss": "https://kubernetes.default.svc", "aud": ["https://kubernetes.default.svc"], "jti": "t",
            "iat": from, "nbf": from, "exp": until, "sub": "system:serviceaccount:default:web",
            "kubernetes.io": { "namespace": "default", "serviceaccount": { "name": "web", "uid": uid } },
        })
    };
    let ours = &api.server.access.security.keys;
    let good = ours.sign(&claims(now - 5, now + 600)).expect("a token");
    assert_eq!(with_token(&api, &good, CONFIG_MAPS).await.code, 403, "known, without a right");
    let theirs = Keyring::default();
    theirs.set(&[Keyring::generate().expect("a key")]).expect("a key of ours");
    let parts: Vec<&str> = good.split('.').collect();
    let none = "eyJhbGciOiJub25lIn0";
    let forged = [
        theirs.sign(&claims(now - 5, now + 600)).expect("a token"),
        ours.sign(&claims(now - 7200, now - 3600)).expect("a token"),
        ours.sign(&claims(now + 3600, now + 7200)).expect("a token"),
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}.{}", parts[0], parts[1], &parts[2][2..]),
        "a".repeat(70_000),
        String::new(),
    ];
    for token in &forged {
        assert_eq!(with_token(&api, token, CONFIG_MAPS).await.code, 401, "{token:.60}");
    }
}

#[tokio::test]
async fn a_certificate_comes_before_a_token() {
    let api = Harness::start().await;
    let headers = [("authorization", "Bearer nonsense"), ("accept", JSON)];
    assert_eq!(api.send(Method::GET, CONFIG_MAPS, &headers, empty()).await.code, 200);
}

#[tokio::test]
async fn a_bootstrap_token_is_known_when_it_is_for_this_and_not_over() {
    let api = Harness::start().await;
    let secret = |id: &str, more: Value| {
        let mut data = json!({ "token-id": id, "token-secret": "0123456789abcdef" });
        data.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        json!({
            "metadata": { "name": format!("bootstrap-token-{id}") }, "type": "bootstrap.kubernetes.io/token",
            "stringData": data,
        })
    };
    let use_it = json!({ "usage-bootstrap-authentication": "true", "auth-extra-groups": "system:bootstrappers:a,system:masters" });
    let over = json!({ "usage-bootstrap-authentication": "true", "expiration": "2020-01-01T00:00:00Z" });
    for (id, more) in [("aaaaaa", use_it), ("bbbbbb", json!({})), ("cccccc", over)] {
        api.post("/api/v1/namespaces/kube-system/secrets", &secret(id, more)).await.expect(201);
    }
    let code = |token: &'static str| {
        let api = &api;
        async move { with_token(api, token, "/api/v1/nodes").await.code.as_u16() }
    };
    assert_eq!(code("aaaaaa.0123456789abcdef").await, 403);
    assert_eq!(code("aaaaaa.0123456789abcdee").await, 401);
    assert_eq!(code("bbbbbb.0123456789abcdef").await, 401);
    assert_eq!(code("cccccc.0123456789abcdef").await, 401);
    assert_eq!(code("dddddd.0123456789abcdef").await, 401);
    let review = json!({ "spec": { "token": "aaaaaa.0123456789abcdef" } });
    let seen = api.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.expect(201);
    assert_eq!(seen["status"]["user"]["username"], "system:bootstrap:aaaaaa");
    assert_eq!(
        seen["status"]["user"]["groups"],
        json!(["system:bootstrappers", "system:authenticated", "system:bootstrappers:a"])
    );
}

#[tokio::test]
async fn a_node_sees_what_its_pods_need_and_writes_what_is_its_own() {
    let api = Harness::start().await;
    for name in ["used", "unused"] {
        api.post("/api/v1/namespaces/default/secrets", &json!({ "metadata": { "name": name } })).await.expect(201);
        api.post(CONFIG_MAPS, &config_map(name, &[])).await.expect(201);
    }
    account(&api, "default").await;
    for name in ["n1", "n2"] {
        api.post("/api/v1/nodes", &json!({ "metadata": { "name": name } })).await.expect(201);
    }
    let pod = |name: &str, node: &str| {
        json!({
            "metadata": { "name": name },
            "spec": { "nodeName": node, "containers": [{ "name": "c", "image": "i", "envFrom": [
                { "configMapRef": { "name": "used" } },
            ] }], "volumes": [{ "name": "v", "secret": { "secretName": "used" } }] },
        })
    };
    for (name, node) in [("p1", "n1"), ("p2", "n2")] {
        let mut body = pod(name, node);
        if node == "n2" {
            body["spec"]["volumes"] = json!([]);
            body["spec"]["containers"][0]["envFrom"] = json!([]);
        }
        api.post("/api/v1/namespaces/default/pods", &body).await.expect(201);
    }
    let read = |node_name: &'static str, path: &'static str| {
        let api = &api;
        async move { api.send_as(node(node_name), Method::GET, path, &[("accept", JSON)], empty()).await.code.as_u16() }
    };
    let namespace = "/api/v1/namespaces/default";
    for (path, code) in [
        ("/api/v1/namespaces/default/secrets/used", 200),
        ("/api/v1/namespaces/default/configmaps/used", 200),
        ("/api/v1/namespaces/default/secrets?fieldSelector=metadata.name=used", 200),
        ("/api/v1/namespaces/default/secrets/unused", 403),
        ("/api/v1/namespaces/default/configmaps/unused", 403),
        ("/api/v1/namespaces/default/secrets", 403),
        ("/api/v1/namespaces/kube-system/secrets/used", 403),
        ("/api/v1/secrets", 403),
        ("/api/v1/pods?fieldSelector=spec.nodeName=n1", 200),
        ("/api/v1/pods?fieldSelector=spec.nodeName=n2", 403),
        ("/api/v1/pods", 403),
        ("/api/v1/namespaces/default/pods/p1", 200),
        ("/api/v1/namespaces/default/pods/p2", 403),
        ("/api/v1/nodes/n1", 200),
        ("/api/v1/nodes/n2", 403),
        ("/api/v1/nodes", 403),
        ("/apis/apps/v1/deployments", 403),
        ("/v2/", 403),
    ] {
        assert_eq!(read("n1", path).await, code, "{path}");
    }
    assert_eq!(read("n2", "/api/v1/namespaces/default/secrets/used").await, 403);
    let write = |method: Method, path: String, body: Value| {
        let api = &api;
        async move { send(api, node("n1"), method, &path, &body).await.code.as_u16() }
    };
    let status = json!({ "status": { "phase": "Running" } });
    let label = |key: &str| json!({ "metadata": { "labels": { key: "x" } } });
    let taint = json!({ "spec": { "taints": [{ "key": "a", "effect": "NoSchedule" }] } });
    let patch = Method::PATCH;
    for (method, path, body, code) in [
        (patch.clone(), format!("{namespace}/pods/p1/status"), status.clone(), 200),
        (patch.clone(), format!("{namespace}/pods/p2/status"), status.clone(), 403),
        (patch.clone(), format!("{namespace}/pods/p1"), label("a"), 403),
        (patch.clone(), "/api/v1/nodes/n1".to_owned(), label("a"), 200),
        (patch.clone(), "/api/v1/nodes/n1".to_owned(), label("node-restriction.kubernetes.io/a"), 403),
        (patch.clone(), "/api/v1/nodes/n1".to_owned(), label("node-role.kubernetes.io/a"), 403),
        (patch.clone(), "/api/v1/nodes/n1".to_owned(), label("any.k8s.io/a"), 403),
        (patch.clone(), "/api/v1/nodes/n1".to_owned(), label("node.kubernetes.io/a"), 200),
        (patch.clone(), "/api/v1/nodes/n1".to_owned(), label("topology.kubernetes.io/zone"), 200),
        (patch.clone(), "/api/v1/nodes/n1".to_owned(), taint, 403),
        (patch.clone(), "/api/v1/nodes/n2".to_owned(), label("a"), 403),
        (patch, "/api/v1/nodes/n2/status".to_owned(), json!({ "status": {} }), 403),
        (Method::DELETE, "/api/v1/nodes/n1".to_owned(), json!({}), 403),
        (Method::POST, format!("{namespace}/pods"), pod("p3", "n1"), 403),
        (Method::POST, CONFIG_MAPS.to_owned(), config_map("b", &[]), 403),
        (Method::DELETE, format!("{namespace}/pods/p2"), json!({}), 403),
        (Method::DELETE, format!("{namespace}/pods"), json!({}), 403),
        (Method::POST, format!("{namespace}/serviceaccounts/default/token"), json!({}), 403),
    ] {
        assert_eq!(write(method.clone(), path.clone(), body).await, code, "{method} {path}");
    }
    let bound = |pod: &str| json!({ "spec": { "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": pod } } });
    let token = format!("{namespace}/serviceaccounts/default/token");
    assert_eq!(write(Method::POST, token.clone(), bound("p1")).await, 201);
    assert_eq!(write(Method::POST, token, bound("p2")).await, 403);
    assert_eq!(write(Method::DELETE, format!("{namespace}/pods/p1"), json!({ "gracePeriodSeconds": 0 })).await, 200);
    assert_eq!(read("n1", "/api/v1/namespaces/default/secrets/used").await, 403, "no pod of it needs that any more");
}

#[tokio::test]
async fn reviews_answer_for_oneself_and_for_others() {
    let api = Harness::start().await;
    grant(&api, "reads", user("alice"), json!([rule(&["get", "list"], "", &["pods"])])).await;
    let everybody = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:authenticated" });
    let asking = ["selfsubjectaccessreviews", "selfsubjectrulesreviews"];
    grant(&api, "basic", everybody, json!([rule(&["create"], "authorization.k8s.io", &asking)])).await;
    let own = |kind: &'static str, spec: Value| {
        let (api, path) = (&api, format!("/apis/authorization.k8s.io/v1/{kind}"));
        async move { send(api, person("alice"), Method::POST, &path, &json!({ "spec": spec })).await }
    };
    let pods =
        |verb: &str| json!({ "resourceAttributes": { "verb": verb, "resource": "pods", "namespace": "default" } });
    let yes = own("selfsubjectaccessreviews", pods("list")).await.expect(201);
    assert_eq!(yes["status"]["allowed"], true);
    assert_eq!(
        yes["status"]["reason"],
        "RBAC: allowed by ClusterRoleBinding \"reads\" of ClusterRole \"reads\" to User \"alice\""
    );
    assert_eq!(
        own("selfsubjectaccessreviews", pods("delete")).await.expect(201)["status"],
        json!({ "allowed": false })
    );
    assert_eq!(own("selfsubjectaccessreviews", json!({})).await.code, 422);
    assert_eq!(own("subjectaccessreviews", pods("list")).await.code, 403, "of others only who may");
    let rules = own("selfsubjectrulesreviews", json!({ "namespace": "default" })).await.expect(201);
    let held = rules["status"]["resourceRules"].as_array().expect("rules");
    assert!(held.contains(&rule(&["get", "list"], "", &["pods"])), "{rules}");
    let of_bob = json!({ "user": "bob", "resourceAttributes": { "verb": "get", "resource": "pods" } });
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    assert_eq!(api.post(path, &json!({ "spec": of_bob })).await.expect(201)["status"]["allowed"], false);
    let nobody = json!({ "spec": { "resourceAttributes": { "verb": "get", "resource": "pods" } } });
    assert_eq!(api.post(path, &nobody).await.code, 422);
    let local = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews";
    let mut of_alice = pods("get");
    of_alice["user"] = "alice".into();
    assert_eq!(api.post(local, &json!({ "spec": of_alice })).await.expect(201)["status"]["allowed"], true);
    of_alice["resourceAttributes"]["namespace"] = "kube-system".into();
    assert_eq!(api.post(local, &json!({ "spec": of_alice })).await.code, 422);
}

#[tokio::test]
async fn the_issuer_of_tokens_tells_its_keys() {
    let api = Harness::start().await;
    let about = api.get("/.well-known/openid-configuration").await.expect(200);
    assert_eq!(about["issuer"], "https://kubernetes.default.svc");
    let keys = api.get("/openid/v1/jwks").await.expect(200);
    assert_eq!(keys["keys"][0]["alg"], "ES256");
    assert!(keys["keys"][0].get("d").is_none());
    let none: Body = empty();
    assert_eq!(api.send_as(person("alice"), Method::GET, "/openid/v1/jwks", &[], none).await.code, 403);
}

#[tokio::test]
async fn a_token_secret_is_filled_in_when_it_is_made_and_ends_with_itself() {
    let api = Harness::start().await;
    account(&api, "web").await;
    let secrets = "/api/v1/namespaces/default/secrets";
    let body = json!({
        "metadata": { "name": "t", "annotations": { "kubernetes.io/service-account.name": "web" } },
        "type": "kubernetes.io/service-account-token",
    });
    let made = api.post(secrets, &body).await.expect(201);
    let data = |field: &str| {
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD.decode(text(&made["data"][field])).expect("base64");
        String::from_utf8(bytes).expect("text")
    };
    assert_eq!(data("namespace"), "default");
    assert!(data("ca.crt").starts_with("-----BEGIN CERTIFICATE-----"));
    assert_eq!(with_token(&api, &data("token"), CONFIG_MAPS).await.code, 403, "known, without a right");
    api.delete(&format!("{secrets}/t"), &json!({})).await.expect(200);
    assert_eq!(with_token(&api, &data("token"), CONFIG_MAPS).await.code, 401);
}

#[tokio::test]
async fn a_node_evicts_only_pods_of_its_own() {
    let api = Harness::start().await;
    account(&api, "default").await;
    for (name, node) in [("p1", "n1"), ("p2", "n2")] {
        let pod = json!({
            "metadata": { "name": name },
            "spec": { "nodeName": node, "containers": [{ "name": "c", "image": "i" }] },
        });
        api.post("/api/v1/namespaces/default/pods", &pod).await.expect(201);
    }
    let evict = |pod: &'static str| {
        let (api, path) = (&api, format!("/api/v1/namespaces/default/pods/{pod}/eviction"));
        let body = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": pod } });
        async move { send(api, node("n1"), Method::POST, &path, &body).await.code.as_u16() }
    };
    assert_eq!(evict("p1").await, 201);
    assert_eq!(evict("p2").await, 403);
}

#[tokio::test]
async fn who_may_look_at_nodes_runs_nothing_in_their_pods() {
    let api = Harness::start().await;
    let node = json!({ "metadata": { "name": "n1" } });
    api.post("/api/v1/nodes", &node).await.expect(201);
    let spec = json!({ "nodeName": "n1", "containers": [{ "name": "a", "image": "wk.local/a@sha256:0" }] });
    let pod = json!({ "metadata": { "name": "web" }, "spec": spec });
    api.post("/api/v1/namespaces/default/pods", &pod).await.expect(201);
    grant(&api, "watcher", user("ann"), json!([rule(&["get"], "", &["nodes/proxy"])])).await;
    grant(&api, "operator", user("bob"), json!([rule(&["get", "create"], "", &["nodes/proxy"])])).await;
    let below = "/api/v1/nodes/n1/proxy";
    let answer = async |who: &str, path: &str| {
        api.send_as(person(who), Method::GET, &format!("{below}{path}"), &[], empty()).await.code.as_u16()
    };
    for path in
        ["/exec/default/web/a?command=ls&output=1", "/attach/default/web/a?output=1", "/portForward/default/web"]
    {
        // It is no upgrade, so that whoever may is told that.
        assert_eq!((answer("ann", path).await, answer("bob", path).await), (403, 400), "{path}");
    }
    assert_eq!(answer("ann", "/containerLogs/default/web/a").await, 200);
}
