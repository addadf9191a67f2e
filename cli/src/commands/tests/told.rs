//! Transcripts of what people are told when something is not as they meant it.

use std::time::Duration;

use serde_json::json;
use wk_mesh::Authority;

use super::{WEB, with_pods};
use crate::testing::Fake;

const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/default/deployments/web";
const NOT_ALLOWED: &str = r#"{"kind": "Status", "reason": "Forbidden", "code": 403,
    "message": "pods \"web-1\" is forbidden: User \"ann\" cannot create resource \"pods/portforward\" in API group \"\""}"#;

/// How Kubernetes refuses what a patch makes of an object: with the object before the reason.
fn as_patched(reason: &str) -> String {
    let dump = format!("Invalid value: \"{{\\\"apiVersion\\\":\\\"apps/v1\\\",\\\"a\\\": \\\"b\"...: {reason}");
    let cause = json!({"field": "patch", "reason": "FieldValueInvalid", "message": dump});
    json!({"kind": "Status", "code": 422, "reason": "Invalid", "message": format!(" \"\" is invalid: patch: {dump}"),
           "details": {"causes": [cause]}})
    .to_string()
}

#[tokio::test]
async fn misspelt_field_of_an_object_that_is_there_is_told_with_its_line_and_no_dump() {
    let fake = Fake::start().await;
    let file = fake.file("web.yaml", WEB);
    assert_eq!(fake.wk(&format!("apply -f {file}")).await.0, 0);
    let file = fake.file("web.yaml", WEB.replace("replicas", "replicaz"));
    let strict = "fieldManager=wk&fieldValidation=Strict";
    let refused = as_patched("strict decoding error: unknown field \"spec.replicaz\"");
    fake.script(&format!("{DEPLOYMENT}?{strict}"), 422, &refused);
    fake.script(&format!("{DEPLOYMENT}?dryRun=All&{strict}"), 422, &refused);
    let told = "error: web.yaml: document 1, line 6: spec.replicaz: unknown field\n";
    for line in ["apply", "diff"] {
        let (code, out, err) = fake.wk(&format!("{line} -f {file}")).await;
        assert_eq!((code, out.as_str(), err.as_str()), (1, "", told), "{line}");
    }
    let (code, _, err) = fake.wk("patch deploy web -p {\"spec\":{\"replicaz\":1}}").await;
    let told = "error: the patched object is refused: strict decoding error: unknown field \"spec.replicaz\"\n";
    assert_eq!((code, err.as_str()), (1, told));
}

#[tokio::test]
async fn waiting_looks_once_however_short_its_time_and_says_what_is_there() {
    let fake = with_pods().await;
    let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    fake.put(
        &format!("{PODS}/web-1"),
        json!({"metadata": {"name": "web-1", "namespace": "default", "uid": "1"}, "status": status}),
    );
    let (code, out, err) = fake.wk("wait po/web-1 --for condition=Ready --timeout 1ms").await;
    assert_eq!((code, out.as_str(), err.as_str()), (0, "pod/web-1 condition met\n", ""));
    let (code, _, err) = fake.wk("wait pods --all -A --for condition=Gone --timeout 1ms").await;
    let told = "error: timed out waiting for condition=Gone on pod/web-1 in namespace default after 1ms; \
                its conditions are Ready=True\n";
    assert_eq!((code, err.as_str()), (6, told));
    let (_, _, err) = fake.wk("wait po/web-1 --for jsonpath={.status.phase}=Failed --timeout 1ms").await;
    assert!(err.ends_with("on pod/web-1 after 1ms; it is Running\n"), "{err}");
    let (_, _, err) = fake.wk("wait po/web-1 --for jsonpath={.status.nope}=Failed --timeout 1ms").await;
    assert!(err.ends_with("on pod/web-1 after 1ms; it has no such field\n"), "{err}");
}

#[tokio::test]
async fn quotas_limits_and_autoscalers_are_described_in_tables() {
    let fake = Fake::start().await;
    let metadata = |name: &str| json!({"name": name, "namespace": "default"});
    fake.put(
        "/api/v1/namespaces/default/resourcequotas/q",
        json!({"metadata": metadata("q"), "spec": {"hard": {"pods": "3"}, "scopes": ["BestEffort"]},
               "status": {"hard": {"pods": "3", "count/configmaps": "10"}, "used": {"pods": "1"}}}),
    );
    let (code, out, err) = fake.wk("describe quota/q --no-events").await;
    assert_eq!(code, 0, "{err}");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = out.lines().map(words).collect();
    assert_eq!(
        lines[4..],
        ["Scopes: BestEffort", "Resource Used Hard", "-------- ---- ----", "count/configmaps 0 10", "pods 1 3"]
    );
    fake.put(
        "/api/v1/namespaces/default/limitranges/l",
        json!({"metadata": metadata("l"), "spec": {"limits": [
            {"type": "Container", "default": {"cpu": "2", "memory": "1Gi"}, "defaultRequest": {"cpu": "1"}, "max": {"cpu": "4"}},
            {"type": "Pod", "min": {"cpu": "10m"}, "maxLimitRequestRatio": {"cpu": "3"}}]}}),
    );
    let out = fake.wk("describe limits/l --no-events").await.1;
    let rows: Vec<String> = out.lines().map(words).collect();
    for row in [
        "Type Resource Min Max Default Request Default Limit Max Limit/Request Ratio",
        "Container cpu - 4 1 2 -",
        "Container memory - - - 1Gi -",
        "Pod cpu 10m - - - 3",
    ] {
        assert!(rows.iter().any(|known| known == row), "{row} in {out}");
    }
    fake.put(
        "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers/h",
        json!({"metadata": metadata("h"), "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 5,
            "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}},
                {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "200Mi"}}}]},
            "status": {"currentReplicas": 2, "desiredReplicas": 3,
                "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 90, "averageValue": "45m"}}}],
                "conditions": [{"type": "AbleToScale", "status": "True", "reason": "ReadyForNewScale", "message": "ok"}]}}),
    );
    let out = fake.wk("describe hpa/h --no-events").await.1;
    let lines: Vec<String> = out.lines().map(words).collect();
    for line in [
        "Reference: Deployment/web",
        "Metrics: ( current / target )",
        "resource cpu on pods (as a percentage of request): 90% (45m) / 80%",
        "resource memory on pods: <unknown> / 200Mi",
        "Min replicas: 1",
        "Max replicas: 5",
        "Deployment pods: 2 current / 3 desired",
        "AbleToScale True ReadyForNewScale ok",
    ] {
        assert!(lines.iter().any(|known| known == line), "{line} in {out}");
    }
}

#[tokio::test]
async fn forwarding_that_is_forbidden_ends_before_it_listens() {
    let fake = with_pods().await;
    fake.memory().objects.get_mut(&format!("{PODS}/web-1")).expect("there")["status"] = json!({"phase": "Running"});
    fake.script(&format!("{PODS}/web-1/portforward?ports=80"), 403, NOT_ALLOWED);
    let ended = tokio::time::timeout(Duration::from_secs(5), fake.wk("port-forward web-1 :80")).await;
    let (code, out, err) = ended.expect("it ends");
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.starts_with("error: pods \"web-1\" is forbidden: User \"ann\" cannot create"), "{err}");
}

#[tokio::test]
async fn certificate_and_key_of_a_secret_must_be_a_pair() {
    let fake = Fake::start().await;
    let pair = |name: &str| {
        let (certificate, key) = Authority::create(name).expect("made").to_pem();
        (fake.file(&format!("{name}.crt"), certificate.as_str()), fake.file(&format!("{name}.key"), key.as_str()))
    };
    let ((crt, key), (_, other)) = (pair("one"), pair("two"));
    let text = fake.file("text", "127.0.0.1 localhost\n");
    let wk = async |crt: &str, key: &str| {
        fake.wk(&format!("create secret tls t --cert {crt} --key {key} --dry-run=client")).await
    };
    assert_eq!(wk(&crt, &key).await.1, "secret/t created (dry run)\n");
    for (crt, key, told) in [
        (&text, &key, "error: text holds no certificate in PEM"),
        (&crt, &text, "error: text holds no private key in PEM"),
        (&key, &key, "error: one.key holds no certificate in PEM"),
        (&crt, &other, "error: the key in two.key is not that of the certificate in one.crt"),
    ] {
        let (code, out, err) = wk(crt, key).await;
        assert!(code == 2 && out.is_empty() && err.starts_with(told), "{told}: {err}");
    }
}

#[tokio::test]
async fn rights_are_hinted_at_where_they_are_missing_and_nowhere_else() {
    let fake = with_pods().await;
    let quota = r#"{"kind": "Status", "reason": "Forbidden", "code": 403,
        "message": "configmaps \"c\" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=1, limited: configmaps=1"}"#;
    fake.script("/api/v1/namespaces/default/configmaps?fieldManager=wk&fieldValidation=Strict", 403, quota);
    let (code, _, err) = fake.wk("create cm c").await;
    assert!(code == 1 && err.contains("exceeded quota") && !err.contains("wk auth"), "{err}");
    fake.script(&format!("{PODS}/web-1"), 403, NOT_ALLOWED);
    let (code, _, err) = fake.wk("get po web-1").await;
    assert!(code == 1 && err.contains("wk auth can-i"), "{err}");
}

#[tokio::test]
async fn apply_speaks_of_what_is_applied_only_if_something_is() {
    let fake = Fake::start().await;
    let maps = "/api/v1/namespaces/default/configmaps?fieldManager=wk&fieldValidation=Strict";
    let one = |name: &str| format!("kind: ConfigMap\napiVersion: v1\nmetadata: {{name: {name}}}\n");
    let file = fake.file("a.yaml", format!("{}---\n{}", one("a"), one("b")));
    fake.script(maps, 400, r#"{"kind": "Status", "reason": "BadRequest", "message": "no"}"#);
    let (code, out, err) = fake.wk(&format!("apply -f {file}")).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.starts_with("error: 2 mistakes\n"), "{err}");
}

#[tokio::test]
async fn log_that_ends_because_its_reader_may_not_read_is_no_success() {
    let fake = with_pods().await;
    fake.script(&format!("{PODS}/web-1/log?container=c&follow=true&tailLines=10"), 200, "one\n");
    let list = json!({"items": [fake.memory().objects[&format!("{PODS}/web-1")]]}).to_string();
    fake.script(&format!("{PODS}?labelSelector=app%3Dweb&limit=500"), 200, &list);
    assert_eq!(fake.wk("logs -f -l app=web").await, (0, "one\n".to_owned(), String::new()));
    fake.script(
        &format!("{PODS}/web-1"),
        401,
        r#"{"kind": "Status", "reason": "Unauthorized", "message": "Unauthorized"}"#,
    );
    let (code, out, err) = fake.wk("logs -f -l app=web").await;
    assert_eq!((code, out.as_str()), (1, "one\n"));
    assert!(err.starts_with("error: the log of pod web-1 ended: Unauthorized\n"), "{err}");
}

#[tokio::test]
async fn values_that_mean_nothing_are_refused_with_those_that_do() {
    let fake = with_pods().await;
    let (code, _, err) = fake.wk("events --types Foo").await;
    assert!(code == 2 && err.contains("Normal") && err.contains("Warning") && err.contains("Foo"), "{err}");
    assert_eq!(fake.wk("events --types normal").await.0, 0);
    let (code, _, err) = fake.wk("logs web-1 --tail -5").await;
    assert!(code == 2 && err.contains("-1") && err.contains("-5"), "{err}");
    for form in ["", " -o name"] {
        let (code, out, err) = fake.wk(&format!("get po --sort-by .nope{form}")).await;
        assert_eq!((code, out.as_str()), (2, ""), "{form}");
        assert_eq!(err, "error: the path of --sort-by leads to nothing in any of the objects\n");
    }
    assert_eq!(fake.wk("get deploy --sort-by .nope").await.0, 0);
}

#[tokio::test]
async fn debug_tells_of_one_container_if_asked() {
    let fake = with_pods().await;
    let told = json!({"metadata": {"name": "web-1"}, "node": "n1", "containers": [{"name": "c"}, {"name": "d"}]});
    fake.script(&format!("{PODS}/web-1/debug"), 200, &told.to_string());
    let (code, out, err) = fake.wk("debug web-1 -c d").await;
    assert!(code == 0 && out.contains("Container d") && !out.contains("Container c"), "{out}{err}");
    let (code, _, err) = fake.wk("debug web-1 -c e").await;
    assert_eq!((code, err.as_str()), (3, "error: pod web-1 has no container \"e\"; it has c, d\n"));
}
