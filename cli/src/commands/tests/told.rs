//! Transcripts of what people are told when something is not as they meant it.

use serde_json::json;

use super::WEB;
use crate::testing::Fake;

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/default/deployments/web";

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
