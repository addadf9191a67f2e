//! Transcripts of `wk apply --prune`.

use serde_json::json;

use crate::testing::Fake;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str, app: &str) -> String {
    format!("kind: ConfigMap\napiVersion: v1\nmetadata: {{name: {name}, labels: {{app: {app}}}}}\n---\n")
}

async fn with_maps() -> Fake {
    let fake = Fake::start().await;
    let both = fake.file("both.yaml", map("one", "a") + &map("two", "b"));
    assert_eq!(fake.wk(&format!("apply -f {both}")).await.0, 0);
    fake.put(&format!("{MAPS}/hand"), json!({"metadata": {"name": "hand", "namespace": "default", "uid": "h"}}));
    fake
}

#[tokio::test]
async fn what_was_applied_and_is_in_the_files_no_more_is_pruned() {
    let fake = with_maps().await;
    let one = fake.file("one.yaml", map("one", "a"));
    let (code, out, err) = fake.wk(&format!("apply -f {one} --prune --all --dry-run=client")).await;
    assert_eq!(
        (code, out.as_str()),
        (0, "configmap/one unchanged (dry run)\nconfigmap/two pruned (dry run)\n"),
        "{err}"
    );
    assert!(fake.memory().objects.contains_key(&format!("{MAPS}/two")));
    let (code, out, err) = fake.wk(&format!("apply -f {one} --prune --all --prune-allowlist core/v1/Pod")).await;
    assert_eq!((code, out.as_str()), (0, "configmap/one unchanged\n"), "{err}");
    let (code, out, err) = fake.wk(&format!("apply -f {one} --prune --all")).await;
    assert_eq!((code, out.as_str()), (0, "configmap/one unchanged\nconfigmap/two pruned\n"), "{err}");
    let names: Vec<String> = fake.memory().objects.keys().map(|path| path.replace(MAPS, "")).collect();
    assert_eq!(names, ["/hand", "/one"], "what nobody applied stays");
}

#[tokio::test]
async fn what_may_go_must_be_said() {
    let fake = with_maps().await;
    let both = fake.file("both.yaml", map("one", "a") + &map("two", "b"));
    assert_eq!(fake.wk(&format!("apply -f {both} -l app=b")).await.1, "configmap/two unchanged\n");
    for line in [
        "--prune",
        "--all",
        "-l app=c",
        "-l app=(",
        "--prune --all --server-side",
        "--prune --all --prune-allowlist Pod",
    ] {
        let (code, out, err) = fake.wk(&format!("apply -f {both} {line}")).await;
        assert_eq!((code, out.as_str()), (2, ""), "{line}: {err}");
    }
    assert_eq!(fake.memory().objects.len(), 3);
}
