//! Transcripts of the commands on objects, against the server in `testing`.

mod pruned;
mod told;
mod verbs;

use serde_json::json;

use crate::testing::Fake;

const WEB: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  replicas: 2\n";

async fn with_pods() -> Fake {
    let fake = Fake::start().await;
    for name in ["web-1", "web-2"] {
        fake.put(
            &format!("/api/v1/namespaces/default/pods/{name}"),
            json!({"metadata": {"name": name, "namespace": "default", "uid": name}, "spec": {"containers": [{"name": "c"}]}}),
        );
    }
    fake
}

#[tokio::test]
async fn get_prints_tables_structures_and_names() {
    let fake = with_pods().await;
    let (code, out, err) = fake.wk("get po").await;
    assert_eq!((code, out.as_str(), err.as_str()), (0, "NAME\nweb-1\nweb-2\n", ""));
    let (_, out, _) = fake.wk("get po,deploy -o name").await;
    assert_eq!(out, "pod/web-1\npod/web-2\n");
    let (_, out, _) = fake.wk("get pod web-1 -o yaml").await;
    assert!(out.starts_with("apiVersion: v1\nkind: Pod\nmetadata:\n  name: web-1\n"), "{out}");
    let (_, out, _) = fake.wk("get pods -o json").await;
    let list: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&list["kind"], &list["items"][1]["kind"]), (&json!("List"), &json!("Pod")));
}

#[tokio::test]
async fn what_is_not_there_is_said_with_its_exit_code() {
    let fake = with_pods().await;
    let (code, out, err) = fake.wk("get deploy").await;
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", "No resources found in default namespace.\n"));
    let (code, out, err) = fake.wk("get po web-1 web-9").await;
    assert_eq!((code, out.as_str()), (3, "NAME\nweb-1\n"));
    assert_eq!(err, "error: /api/v1/namespaces/default/pods/web-9 not found; did you mean \"web-2\"?\n");
    let (code, _, err) = fake.wk("get gadgets").await;
    assert!(code == 3 && err.contains("the server has no kind \"gadgets\""), "{err}");
    assert_eq!(fake.wk("get po web-1 -A").await.0, 2);
}

#[tokio::test]
async fn apply_creates_then_changes_then_leaves_alone() {
    let fake = Fake::start().await;
    let file = fake.file("web.yaml", WEB);
    assert_eq!(fake.wk(&format!("apply -f {file}")).await, (0, "deployment.apps/web created\n".into(), String::new()));
    assert_eq!(fake.wk(&format!("apply -f {file}")).await.1, "deployment.apps/web unchanged\n");
    let path = "/apis/apps/v1/namespaces/default/deployments/web";
    fake.memory().objects.get_mut(path).expect("made")["spec"]["paused"] = true.into();
    let file = fake.file("web.yaml", WEB.replace("  replicas: 2\n", "  minReadySeconds: 1\n"));
    assert_eq!(fake.wk(&format!("apply -f {file}")).await.1, "deployment.apps/web configured\n");
    assert_eq!(fake.memory().objects[path]["spec"], json!({"minReadySeconds": 1, "paused": true}));
}

#[tokio::test]
async fn mistakes_in_files_name_file_document_line_and_field() {
    let fake = Fake::start().await;
    let file = fake.file(
        "a.yaml",
        "kind: ConfigMap\napiVersion: v1\nmetadata:\n  name: a\n---\nkind: Deploy\napiVersion: v1\nmetadata: {}\n",
    );
    let (code, _, err) = fake.wk(&format!("apply -f {file}")).await;
    assert_eq!((code, err.as_str()), (2, "error: a.yaml: document 2, line 8: metadata.name: is required\n"));
    let file = fake.file("a.yaml", "kind: Deployment\napiVersion: v1\nmetadata: {name: a}\n");
    let (code, _, err) = fake.wk(&format!("apply -f {file}")).await;
    assert_eq!(code, 3);
    assert_eq!(
        err,
        "error: a.yaml: document 1, line 2: apiVersion: the server has no Deployment in \"v1\", but in apps/v1\n"
    );
    let file = fake.file("a.yaml", "kind: A\n  b: {\n");
    let (code, _, err) = fake.wk(&format!("apply -f {file}")).await;
    assert!(code == 2 && err.starts_with("error: a.yaml: document 1, line 2: "), "{err}");
    assert!(fake.memory().writes.is_empty());
}

#[tokio::test]
async fn fields_the_server_refuses_are_found_in_the_file() {
    let fake = Fake::start().await;
    let path = "/apis/apps/v1/namespaces/default/deployments?fieldManager=wk&fieldValidation=Strict";
    let status = json!({"kind": "Status", "reason": "Invalid", "message": "Deployment \"web\" is invalid", "details":
        {"causes": [{"field": "spec.replicas", "reason": "FieldValueInvalid", "message": "Invalid value: -1"}]}});
    fake.script(path, 422, &status.to_string());
    let file = fake.file("all.yaml", format!("kind: ConfigMap\napiVersion: v1\nmetadata: {{name: c}}\n---\n{WEB}"));
    let (code, out, err) = fake.wk(&format!("apply -f {file}")).await;
    assert_eq!((code, out.as_str()), (1, "configmap/c created\n"));
    assert!(err.ends_with("error: all.yaml: document 2, line 10: spec.replicas: Invalid value: -1\n"), "{err}");
}

#[tokio::test]
async fn delete_by_name_by_file_and_of_what_is_gone() {
    let fake = with_pods().await;
    let (code, out, err) = fake.wk("delete pod web-1 web-9").await;
    assert_eq!((code, out.as_str()), (3, "pod \"web-1\" deleted\n"));
    assert_eq!(err, "error: web-9 not found; did you mean \"web-2\"?\n");
    assert_eq!(fake.wk("delete po web-9 --ignore-not-found").await.0, 0);
    assert_eq!(fake.wk("delete po --all").await.1, "pod \"web-2\" deleted\n");
    assert_eq!(fake.wk("delete po").await.0, 2);
    let file = fake.file("web.yaml", WEB);
    assert_eq!(fake.wk(&format!("apply -f {file}")).await.0, 0);
    assert_eq!(fake.wk(&format!("delete -f {file}")).await.1, "deployment.apps \"web\" deleted\n");
}

#[tokio::test]
async fn scale_patches_the_subresource() {
    let fake = Fake::start().await;
    fake.put(
        "/apis/apps/v1/namespaces/default/deployments/web/scale",
        json!({"spec": {"replicas": 1}, "metadata": {}}),
    );
    assert_eq!(
        fake.wk("scale deploy/web --replicas 5").await,
        (0, "deployment.apps/web scaled\n".into(), String::new())
    );
    let path = "/apis/apps/v1/namespaces/default/deployments/web/scale";
    assert_eq!(fake.memory().objects[path]["spec"]["replicas"], 5);
    assert_eq!(fake.wk("scale deploy --replicas 5").await.0, 2);
}

#[tokio::test]
async fn logs_of_a_pod_and_of_all_pods_of_a_deployment() {
    let fake = with_pods().await;
    let log = |name: &str, query: &str| format!("/api/v1/namespaces/default/pods/{name}/log?container=c{query}");
    fake.script(&log("web-1", "&tailLines=2"), 200, "one\ntwo");
    fake.script(&log("web-1", ""), 200, "one\n");
    fake.script(&log("web-2", ""), 200, "two\n");
    assert_eq!(fake.wk("logs web-1 --tail 2").await.1, "one\ntwo\n");
    fake.put(
        "/apis/apps/v1/namespaces/default/deployments/web",
        json!({"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"app": "web"}}}}),
    );
    assert_eq!(fake.wk("logs deploy/web").await.1, "[web-1] one\n[web-2] two\n");
    let (code, _, err) = fake.wk("logs web-9").await;
    assert_eq!(code, 3);
    assert_eq!(err, "error: /api/v1/namespaces/default/pods/web-9 not found; did you mean \"web-2\"?\n");
}

#[tokio::test]
async fn status_and_version_work_without_the_cluster_page() {
    let fake = with_pods().await;
    let (code, out, err) = fake.wk("status").await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("this server does not tell") && out.contains("Pods: 2 Unknown"), "{out}");
    fake.put("/version", json!({"gitVersion": "v1.33.0+wk", "major": "1", "minor": "33"}));
    let (_, out, _) = fake.wk("version").await;
    assert!(out.ends_with("server: v1.33.0+wk (Kubernetes API 1.33)\n"), "{out}");
    assert_eq!(fake.wk("version --client").await.1.lines().count(), 1);
}

#[tokio::test]
async fn cluster_that_is_not_there_has_its_own_exit_code() {
    let fake = Fake::start().await;
    // A port that was free a moment ago, and that nobody listens on.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address");
    fake.file(
        "kubeconfig",
        format!("current-context: a\nclusters: [{{name: a, cluster: {{server: 'https://{free}'}}}}]\nusers: [{{name: a, user: {{}}}}]\ncontexts: [{{name: a, context: {{cluster: a, user: a}}}}]\n"),
    );
    let (code, _, err) = fake.wk("get pods").await;
    assert_eq!(code, 4);
    assert_eq!(
        err,
        format!("error: cannot reach the cluster at https://{free}: connection refused; is `wk up` running there?\n")
    );
}

#[tokio::test]
async fn completion_names_the_commands() {
    let fake = Fake::start().await;
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = fake.wk(&format!("completion {shell}")).await;
        assert!(code == 0 && out.contains("deploy"), "{shell}");
    }
}

#[tokio::test]
async fn delete_waits_until_exactly_the_object_is_gone() {
    let fake = with_pods().await;
    let pods = "/api/v1/namespaces/default/pods";
    // The server takes the request, and the pod goes a moment later.
    fake.script(&format!("{pods}/web-1"), 200, r#"{"metadata": {"uid": "web-1"}}"#);
    let (code, _, err) = fake.wk("delete pod web-1 --timeout 100ms").await;
    assert_eq!(code, 6);
    assert!(err.contains("error: pod/web-1 is still there after 100ms"), "{err}");
    assert_eq!(fake.wk("delete pod web-1 --no-wait").await.0, 0);
    let watch = "fieldSelector=metadata.name%3Dweb-1&watch=true&allowWatchBookmarks=true&resourceVersion=0";
    let event =
        r#"{"type":"DELETED","object":{"metadata":{"name":"web-1","namespace":"default","resourceVersion":"3"}}}"#;
    fake.script(&format!("{pods}?{watch}"), 200, event);
    assert_eq!(fake.wk("delete pod web-1").await.0, 0);
    // One of the same name that was made anew is another.
    fake.script(&format!("{pods}/web-2"), 200, r#"{"metadata": {"uid": "an older one"}}"#);
    assert_eq!(fake.wk("delete pod web-2").await.0, 0);
}

#[tokio::test]
async fn get_watch_prints_changes_under_one_heading_and_ends_with_the_servers_refusal() {
    let fake = with_pods().await;
    let watch = |after: u32| format!("/api/v1/namespaces/default/pods?watch=true&resourceVersion={after}");
    let event = |kind: &str, name: &str, version: u32| {
        let object = json!({"metadata": {"name": name, "resourceVersion": version.to_string()}});
        json!({"type": kind, "object": object}).to_string()
    };
    fake.script(&watch(0), 200, &[event("ADDED", "web-3", 4), event("BOOKMARK", "", 5)].join("\n"));
    fake.script(&watch(5), 403, r#"{"kind": "Status", "message": "User \"ann\" cannot watch pods"}"#);
    let (code, out, err) = fake.wk("get pods -w").await;
    assert_eq!((code, out.as_str()), (1, "NAME\nweb-1\nweb-2\nweb-3\n"));
    assert!(err.starts_with("error: User \"ann\" cannot watch pods\n") && err.contains("wk auth can-i"), "{err}");
}

#[tokio::test]
async fn each_warning_of_the_server_is_told_once_whatever_the_command() {
    let fake = with_pods().await;
    let warn = |path: &str, told: &[&str]| {
        fake.memory().warnings.insert(path.to_owned(), told.iter().map(|one| format!("299 - {one:?}")).collect());
    };
    let maps = "/api/v1/namespaces/default/configmaps";
    warn(maps, &["first", "unknown field \"a\""]);
    let text = |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n");
    let file = fake.file("two.yaml", format!("{}---\n{}", text("one"), text("two")));
    let (code, out, err) = fake.wk(&format!("apply -f {file}")).await;
    assert_eq!((code, out.as_str()), (0, "configmap/one created\nconfigmap/two created\n"));
    assert_eq!(err, "Warning: first\nWarning: unknown field \"a\"\n");
    warn("/api/v1/namespaces/default/pods/web-1", &["of a pod"]);
    for line in ["label po web-1 a=b", "get po web-1", "describe po web-1", "delete po web-1"] {
        let (code, _, err) = fake.wk(line).await;
        assert_eq!((code, err.as_str()), (0, "Warning: of a pod\n"), "{line}");
    }
    // A refusal does not swallow them.
    let (code, _, err) = fake.wk("get po web-1").await;
    assert!(code == 3 && err.starts_with("Warning: of a pod\nerror: "), "{err}");
}
