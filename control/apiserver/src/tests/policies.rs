//! What admission policies see, whom they may ask, and which writes they and webhooks are asked about.

use http::Method;
use serde_json::{Value, json};
use wk_base::body::full;
use wk_mesh::Peer;

use super::customs::{DEFINITIONS, widgets};
use super::kit::{Answer, CONFIG_MAPS, Harness, JSON, config_map};
use super::webhooks::{VALIDATING, start};

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

/// Puts a policy of one rule into force.
async fn enforce(api: &Harness, name: &str, resource: (&str, &str, &str), spec: Value) {
    let (group, version, plural) = resource;
    let mut policy = json!({ "metadata": { "name": name }, "spec": spec });
    policy["spec"]["matchConstraints"]["resourceRules"] = json!([{
        "operations": ["CREATE", "UPDATE"], "apiGroups": [group], "apiVersions": [version], "resources": [plural],
    }]);
    api.post(POLICIES, &policy).await.expect(201);
    let binding = json!({
        "metadata": { "name": name }, "spec": { "policyName": name, "validationActions": ["Deny"] },
    });
    api.post(BINDINGS, &binding).await.expect(201);
}

fn scaler(percent: i64) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "web" },
        "spec": {
            "maxReplicas": 3, "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
            "metrics": [{ "type": "Resource", "resource": {
                "name": "cpu", "target": { "type": "Utilization", "averageUtilization": percent },
            } }],
        },
    })
}

#[tokio::test]
async fn policy_sees_the_object_in_the_version_that_it_names() {
    let api = Harness::start().await;
    let path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let rule = json!({ "validations": [{
        "expression": "object.apiVersion == 'autoscaling/v1' && object.spec.targetCPUUtilizationPercentage <= 90 \
                       && request.kind.version == 'v1' && request.requestKind.version == 'v2'",
    }] });
    enforce(&api, "v1", ("autoscaling", "v1", "horizontalpodautoscalers"), rule).await;
    assert_eq!(api.post(path, &scaler(95)).await.code, 422);
    api.post(path, &scaler(80)).await.expect(201);
    // One that asks for just that version is not asked about another.
    let exact = json!({ "matchConstraints": { "matchPolicy": "Exact" }, "validations": [{ "expression": "false" }] });
    enforce(&api, "exact", ("autoscaling", "v1", "horizontalpodautoscalers"), exact).await;
    api.patch(&format!("{path}/web"), &json!({ "spec": { "maxReplicas": 4 } })).await.expect(200);
}

#[tokio::test]
async fn policy_says_which_of_its_rules_a_kind_can_never_meet() {
    let api = Harness::start().await;
    let told = async |policy: &str| {
        api.get(&format!("{POLICIES}/{policy}")).await.expect(200)["status"]["typeChecking"].take()
    };
    let rules = json!({ "validations": [
        { "expression": "object.spec.replicas > '1'", "messageExpression": "'got ' + object.spec.replicas" },
        { "expression": "object.spec.retries < 10" },
        { "expression": "object.spec.replicas > 1" },
    ] });
    enforce(&api, "early", ("example.com", "v1", "widgets"), rules.clone()).await;
    assert_eq!(told("early").await, json!({}), "nobody defined the kind yet");
    api.post(DEFINITIONS, &widgets()).await.expect(201);
    enforce(&api, "late", ("example.com", "v1", "widgets"), rules).await;
    let touch = json!({ "metadata": { "labels": { "touched": "yes" } } });
    api.patch(&format!("{POLICIES}/early"), &touch).await.expect(200);
    let expected = [
        ("spec.validations[0].expression", "found no matching overload for '_>_' applied to '(int, string)'"),
        ("spec.validations[0].messageExpression", "found no matching overload for '_+_' applied to '(string, int)'"),
        ("spec.validations[1].expression", "ERROR: <input>:1:12: undefined field 'retries'"),
    ];
    for policy in ["early", "late"] {
        let warnings = told(policy).await["expressionWarnings"].take();
        let warnings = warnings.as_array().expect("warnings");
        assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
        for (warning, (field, text)) in warnings.iter().zip(expected) {
            assert_eq!(warning["fieldRef"], field);
            let said = warning["warning"].as_str().expect("text");
            assert!(said.starts_with("example.com/v1, Kind=Widget: ERROR") && said.contains(text), "{said}");
        }
    }
}

#[tokio::test]
async fn policies_and_conditions_ask_what_the_writer_may_do() {
    let api = Harness::start().await;
    let rules = json!([
        { "verbs": ["create"], "apiGroups": [""], "resources": ["configmaps"] },
        { "verbs": ["mark"], "apiGroups": ["example.com"], "resources": ["marks"], "resourceNames": ["red"] },
    ]);
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    api.post(&format!("{rbac}/clusterroles"), &json!({ "metadata": { "name": "r" }, "rules": rules }))
        .await
        .expect(201);
    let binding = json!({
        "metadata": { "name": "r" }, "subjects": [{ "kind": "User", "name": "bob" }],
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r" },
    });
    api.post(&format!("{rbac}/clusterrolebindings"), &binding).await.expect(201);
    let policy = json!({
        "matchConditions": [{ "name": "not-deleters", "expression": "!authorizer.requestResource.check('delete').allowed()" }],
        "validations": [{
            "expression": "authorizer.group('example.com').resource('marks').name(object.data.mark).check('mark').allowed()",
            "messageExpression": "request.userInfo.username + ' may not mark ' + object.data.mark",
        }],
    });
    enforce(&api, "marks", ("", "v1", "configmaps"), policy).await;
    let make = async |peer: Peer, name: &str, mark: &str| -> Answer {
        let mut map = config_map(name, &[]);
        map["data"]["mark"] = mark.into();
        api.send_as(peer, Method::POST, CONFIG_MAPS, &[("content-type", JSON)], full(map.to_string())).await
    };
    let bob = || Peer::User { name: "bob".to_owned(), groups: Vec::new() };
    make(bob(), "a", "red").await.expect(201);
    let refused = make(bob(), "b", "blue").await.expect(422);
    let said = "ValidatingAdmissionPolicy 'marks' with binding 'marks' denied request: bob may not mark blue";
    assert_eq!(refused["details"]["causes"][0]["message"], said);
    let admin = Peer::User { name: "admin".to_owned(), groups: vec!["system:masters".to_owned()] };
    make(admin, "c", "blue").await.expect(201);
}

fn deployment() -> Value {
    json!({
        "metadata": { "name": "web" },
        "spec": {
            "replicas": 1, "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "c", "image": "web:1" }] },
            },
        },
    })
}

#[tokio::test]
async fn scale_that_is_applied_on_the_server_is_judged_too() {
    let api = Harness::start().await;
    api.post(DEPLOYMENTS, &deployment()).await.expect(201);
    let rule = json!({ "validations": [{ "expression": "object.kind == 'Scale' && object.spec.replicas <= 3" }] });
    enforce(&api, "few", ("apps", "v1", "deployments/scale"), rule).await;
    let apply = async |replicas: i64| {
        let scale = json!({
            "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": { "name": "web", "namespace": "default" },
            "spec": { "replicas": replicas },
        });
        let path = format!("{DEPLOYMENTS}/web/scale?fieldManager=me&force=true");
        let headers = [("content-type", "application/apply-patch+yaml")];
        api.send(Method::PATCH, &path, &headers, full(scale.to_string())).await
    };
    assert_eq!(apply(9).await.code, 422);
    assert_eq!(apply(3).await.expect(200)["spec"]["replicas"], 3);
    let stored = api.get(&format!("{DEPLOYMENTS}/web")).await.expect(200);
    assert_eq!(stored["spec"]["replicas"], 3);
    assert_eq!(stored["spec"]["template"]["spec"]["containers"][0]["image"], "web:1", "nothing else is lost");
}

#[tokio::test]
async fn questions_about_rights_pass_webhooks_as_other_creations_do() {
    let api = Harness::start().await;
    let hook = start(|_, request| {
        let denied = request["object"]["spec"]["resourceAttributes"]["verb"] == "delete";
        json!({ "allowed": !denied, "status": { "message": "do not ask" } })
    })
    .await;
    let configuration = hook.configuration("ask", "/", "selfsubjectaccessreviews", &json!({}));
    api.post(VALIDATING, &configuration).await.expect(201);
    let ask = async |verb: &str| {
        let spec = json!({ "resourceAttributes": { "verb": verb, "resource": "pods" } });
        api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &json!({ "spec": spec })).await
    };
    assert_eq!(ask("get").await.expect(201)["status"]["allowed"], true);
    let refused = ask("delete").await.expect(400);
    assert!(refused["message"].as_str().is_some_and(|message| message.ends_with("do not ask")), "{refused}");
    assert_eq!(hook.requests()[0]["operation"], "CREATE");
}
