//! `wk` as a program: exit codes, formats, files with mistakes, and what goes to which stream.

use wk_kit::{Cluster, Node, SOON, example, guest, run, wk};

const FAILED: i32 = 1;
const USAGE: i32 = 2;
const NOT_FOUND: i32 = 3;
const UNREACHABLE: i32 = 4;
const CONFLICT: i32 = 5;
const TIMED_OUT: i32 = 6;

/// All but the service of the API itself.
const OWN: &str = "component!=apiserver";

async fn one() -> Cluster {
    Cluster::start(1).await
}

#[track_caller]
fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

/// All but what each namespace has from its beginning.
const OURS: &str = "metadata.name!=kube-root-ca.crt";

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_tell_failures_apart() {
    let cluster = one().await;
    contains(cluster.wk(&["frobnicate"]).await.failed(USAGE), &["frobnicate"]);
    contains(cluster.wk(&["get"]).await.failed(USAGE), &["KIND"]);
    contains(cluster.wk(&["get", "widgets"]).await.failed(NOT_FOUND), &["widgets"]);
    contains(cluster.wk(&["get", "pod", "nobody"]).await.failed(NOT_FOUND), &["pods \"nobody\" not found"]);
    contains(cluster.wk(&["delete", "pod/nobody"]).await.failed(NOT_FOUND), &["pods \"nobody\" not found"]);
    cluster.wk(&["delete", "pod/nobody", "--ignore-not-found"]).await.ok();
    contains(
        cluster.wk(&["scale", "deploy/nobody", "--replicas", "2"]).await.failed(NOT_FOUND),
        &["deployments.apps \"nobody\" not found"],
    );
    contains(cluster.wk(&["logs", "nobody"]).await.failed(NOT_FOUND), &["pods \"nobody\" not found"]);
    contains(cluster.wk(&["deploy", "no-such-file.wasm"]).await.failed(NOT_FOUND), &["no-such-file.wasm"]);
    let text = cluster.file("text.wasm", "this is no wasm");
    contains(cluster.wk(&["deploy", &text]).await.failed(USAGE), &["text.wasm"]);
    let hello = example("hello-http");
    let hello = hello.to_str().expect("a path of text");
    contains(cluster.wk(&["deploy", hello, "--name", "Not_A_Name"]).await.failed(USAGE), &["Not_A_Name", "DNS label"]);
    contains(cluster.wk(&["deploy", hello, "--memory", "64MB"]).await.failed(USAGE), &["64MB"]);
    contains(
        cluster.wk(&["deploy", hello, "-n", "nowhere"]).await.failed(NOT_FOUND),
        &["namespaces \"nowhere\" not found"],
    );
    // What is not there is not half there either.
    assert_eq!(cluster.wk(&["get", "deploy,svc,ingress", "-l", OWN, "-o", "name"]).await.ok(), "");

    // More replicas than the node has room for: it is waited for, in vain.
    let output = cluster.wk(&["deploy", hello, "--name", "big", "--memory", "4000Gi", "--timeout", "3s"]).await;
    let said = if output.code == Some(FAILED) { output.failed(FAILED) } else { output.failed(TIMED_OUT) };
    contains(said, &["big"]);

    // A name that belongs to something `wk deploy` did not make.
    let service =
        "apiVersion: v1\nkind: Service\nmetadata: {name: taken}\nspec:\n  selector: {a: b}\n  ports: [{port: 80}]\n";
    let file = cluster.file("service.yaml", service);
    cluster.wk(&["apply", "-f", &file]).await.ok();
    contains(cluster.wk(&["deploy", hello, "--name", "taken"]).await.failed(CONFLICT), &["taken", "--name"]);

    let mut gone = Node::new("gone", cluster.net().ip(9), cluster.dir());
    gone.start(&[]);
    gone.up().await;
    gone.stop().await;
    contains(
        gone.wk(&["get", "pods"]).await.failed(UNREACHABLE),
        &["cannot reach the cluster", "connection refused", "wk up"],
    );
    let output = gone.wk(&["version"]).await;
    contains(output.failed(UNREACHABLE), &["cannot reach the cluster"]);
    contains(&output.stdout, &["client: wk "]);
    let mut command = tokio::process::Command::new(wk());
    command.args(["--kubeconfig", "/no/such/kubeconfig", "get", "pods"]);
    let output = run(command).await;
    contains(output.failed(UNREACHABLE), &["/no/such/kubeconfig does not exist", "wk up"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_shown_in_every_format() {
    let cluster = one().await;
    cluster.deploy_hello("hello", 2, &["--env", "COLOUR=blue"]).await.ok();
    let table = cluster.wk(&["get", "deploy"]).await;
    let lines: Vec<&str> = table.ok().lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]);
    assert!(lines[1].starts_with("hello ") && lines[1].contains("2/2"), "{table:?}");
    assert!(!table.stdout.contains('\u{1b}'), "no colour where there is no terminal");
    let wide = cluster.wk(&["get", "pods", "-o", "wide"]).await;
    contains(wide.ok(), &["NODE", "IP", " n1"]);
    let own = cluster.wk(&["get", "deploy,svc", "-l", OWN, "-o", "name"]).await;
    assert_eq!(own.ok(), "deployment.apps/hello\nservice/hello\n");
    let json = cluster.wk(&["get", "deploy/hello", "-o", "json"]).await.json();
    assert_eq!((&json["kind"], &json["spec"]["replicas"]), (&"Deployment".into(), &2.into()));
    let yaml = cluster.wk(&["get", "deploy", "hello", "-o", "yaml"]).await;
    contains(yaml.ok(), &["apiVersion: apps/v1\n", "kind: Deployment\n", "  replicas: 2\n"]);
    let list = cluster.wk(&["get", "pods", "-o", "json"]).await.json();
    assert_eq!((&list["kind"], list["items"].as_array().map(Vec::len)), (&"List".into(), Some(2)));
    let none = cluster.wk(&["get", "secrets"]).await;
    assert_eq!(none.ok(), "");
    contains(&none.stderr, &["No resources found in default namespace."]);
    contains(cluster.wk(&["get", "secrets", "-A"]).await.ok(), &["NAMESPACE", "kube-system", "bootstrap-token-"]);
    let partly = cluster.wk(&["get", "deploy", "hello", "nobody"]).await;
    contains(partly.failed(NOT_FOUND), &["\"nobody\" not found"]);
    contains(&partly.stdout, &["hello"]);
    let status = cluster.wk(&["status", "-o", "json"]).await.json();
    assert_eq!(status["cluster"]["leader"], "n1");
    assert_eq!(status["pods"]["Running"], 2);
    contains(cluster.wk(&["status", "-o", "yaml"]).await.ok(), &["leader: n1"]);
    contains(
        cluster.wk(&["status"]).await.ok(),
        &["Leader: n1", "1 voter: no other node can take over", "Pods: 2 Running"],
    );
    let mut watch = cluster.nodes[0].follow(&["get", "pods", "-w"]);
    watch.line("a pod as it is", SOON, |line| line.starts_with("hello-") && line.contains("Running")).await;
    cluster.wk(&["scale", "deploy/hello", "--replicas", "1"]).await.ok();
    watch.line("a pod that goes", SOON, |line| line.contains("Terminating")).await;
}

const TWO: &str = "\
apiVersion: v1
kind: ConfigMap
metadata:
  name: one
data:
  a: '1'
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: two
data:
  b: '2'
";

#[tokio::test(flavor = "multi_thread")]
async fn files_of_several_documents_are_applied_and_deleted() {
    let cluster = one().await;
    let file = cluster.file("two.yaml", TWO);
    assert_eq!(cluster.wk(&["apply", "-f", &file]).await.ok(), "configmap/one created\nconfigmap/two created\n");
    assert_eq!(cluster.wk(&["apply", "-f", &file]).await.ok(), "configmap/one unchanged\nconfigmap/two unchanged\n");
    let changed = cluster.file("two.yaml", &TWO.replace("b: '2'", "c: '3'"));
    assert_eq!(
        cluster.wk(&["apply", "-f", &changed]).await.ok(),
        "configmap/one unchanged\nconfigmap/two configured\n"
    );
    let two = cluster.wk(&["get", "cm/two", "-o", "json"]).await.json();
    assert_eq!(two["data"], serde_json::json!({"c": "3"}), "what is no longer in the file is gone");
    let output = cluster.nodes[0].wk_with(&["apply", "-f", "-"], TWO).await;
    assert_eq!(output.ok(), "configmap/one unchanged\nconfigmap/two configured\n");
    let output = cluster.wk(&["delete", "-f", &file]).await;
    contains(output.ok(), &["\"one\" deleted", "\"two\" deleted"]);
    assert_eq!(cluster.wk(&["get", "cm", "--field-selector", OURS, "-o", "name"]).await.ok(), "");
    contains(cluster.wk(&["delete", "-f", &file]).await.failed(NOT_FOUND), &["not found"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_in_files_name_file_document_line_and_field() {
    let cluster = one().await;
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  replicas: three\n";
    let cases = [
        ("syntax.yaml", format!("{TWO}---\na: [1\n"), USAGE, "syntax.yaml: document 3", ""),
        ("no-kind.yaml", TWO.replacen("kind: ConfigMap\n", "", 1), USAGE, "no-kind.yaml: document 1", "kind"),
        (
            "kind.yaml",
            TWO.replace("ConfigMap\nmetadata:\n  name: two", "Widget\nmetadata:\n  name: two"),
            NOT_FOUND,
            "kind.yaml: document 2, line 9: kind",
            "Widget",
        ),
        ("type.yaml", deployment.to_owned(), FAILED, "type.yaml: document 1, line 6: spec.replicas", "int32"),
        (
            "field.yaml",
            deployment.replace("replicas: three", "replcas: 3"),
            FAILED,
            "field.yaml: document 1, line 6: spec.replcas: unknown field",
            "",
        ),
        (
            "name.yaml",
            TWO.replace("name: two", "name: Two_2"),
            FAILED,
            "name.yaml: document 2, line 11: metadata.name",
            "RFC 1123",
        ),
    ];
    for (name, text, code, place, word) in cases {
        let file = cluster.file(name, &text);
        let output = cluster.wk(&["apply", "-f", &file]).await;
        assert_eq!(output.code, Some(code), "{output:?}");
        contains(&output.stderr, &[place, word]);
        let applied = cluster.wk(&["get", "cm,deploy", "--field-selector", OURS, "-o", "name"]).await.ok().to_owned();
        // A mistake that can be seen here keeps everything back; one that the server sees, only its own document.
        let expected = if name == "name.yaml" { "configmap/one\n" } else { "" };
        assert_eq!(applied, expected, "after {name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_kubeconfig_version_and_completion_are_printed() {
    let cluster = one().await;
    let token = cluster.wk(&["token"]).await;
    let token = token.ok().trim();
    assert!(token.starts_with("wk1.") && token.split('.').count() == 4, "{token}");
    let line = format!("wk up --join {}:7443 --token {token}\n", cluster.nodes[0].ip());
    assert_eq!(cluster.wk(&["token", "-o", "wide"]).await.ok(), line);
    contains(
        &cluster.nodes[0].stdout(),
        &[
            line.trim(),
            &cluster.nodes[0].kubeconfig().display().to_string(),
            &format!("https://{}:6443", cluster.nodes[0].ip()),
        ],
    );

    let kubeconfig = cluster.wk(&["kubeconfig"]).await.ok().to_owned();
    contains(&kubeconfig, &["kind: Config", "certificate-authority-data:", "client-key-data:"]);
    let copy = cluster.file("copy.kubeconfig", &kubeconfig);
    // Through the variable, and through $WK_HOME.
    for (variable, value) in [("KUBECONFIG", copy), ("WK_HOME", cluster.nodes[0].data_dir().display().to_string())] {
        let mut command = tokio::process::Command::new(wk());
        command.env_remove("KUBECONFIG").env_remove("WK_HOME").env("HOME", cluster.dir()).env(variable, value);
        command.args(["get", "nodes", "-o", "name"]);
        assert_eq!(run(command).await.ok(), "node/n1\n", "through {variable}");
    }

    let version = cluster.wk(&["version"]).await;
    contains(version.ok(), &["client: wk ", "server: ", "Kubernetes API 1."]);
    let version = cluster.wk(&["version", "-o", "json"]).await.json();
    assert_eq!(version["server"]["major"], "1");
    assert!(version["client"]["version"].is_string());
    contains(cluster.wk(&["version", "--client"]).await.ok(), &["client: wk "]);
    for shell in ["bash", "zsh", "fish"] {
        contains(cluster.wk(&["completion", shell]).await.ok(), &["wk", "deploy"]);
    }
    contains(cluster.wk(&["--help"]).await.ok(), &["Exit codes:", "12  up: wrong token"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn deploy_tells_what_it_does_and_prints_only_the_url() {
    let cluster = one().await;
    let output = cluster.deploy_hello("hello", 1, &[]).await;
    let url = format!("curl -H 'Host: hello.localhost' http://{}:8080/\n", cluster.nodes[0].ip());
    assert_eq!(output.ok(), url);
    contains(
        &output.stderr,
        &["uploaded sha256:", "deployment.apps/hello created", "service/hello created", "hello is ready: 1 replica"],
    );
    let output = cluster.deploy_hello("hello", 1, &[]).await;
    assert_eq!(output.ok(), url);
    contains(
        &output.stderr,
        &["is in the cluster already", "deployment.apps/hello unchanged", "hello is ready: 1 replica"],
    );
    // What the command line does not speak of stays as it is.
    cluster.wk(&["scale", "deploy/hello", "--replicas", "2"]).await.ok();
    let file = example("hello-http");
    cluster
        .wk(&["deploy", file.to_str().expect("a path of text"), "--name", "hello", "--env", "COLOUR=red"])
        .await
        .ok();
    let deployment = cluster.wk(&["get", "deploy/hello", "-o", "json"]).await.json();
    assert_eq!(deployment["spec"]["replicas"], 2);
    // An app that becomes a program leads nowhere any more.
    let program = guest("command");
    let output =
        cluster.wk(&["deploy", program.to_str().expect("a path of text"), "--name", "hello", "--", "sleep"]).await;
    contains(&output.stderr, &["service/hello deleted"]);
    assert_eq!(output.ok(), "");
    assert_eq!(cluster.wk(&["get", "svc,ingress", "-l", OWN, "-o", "name"]).await.ok(), "");
}
