//! Transcripts of the verbs that look, change and make, one test a family.

use serde_json::{Value, json};

use super::with_pods;
use crate::testing::Fake;

const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/default/deployments/web";
const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";

async fn with_deployment() -> Fake {
    let fake = with_pods().await;
    let template = |image: &str| json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}});
    fake.put(
        DEPLOYMENT,
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "default", "uid": "u", "generation": 1, "resourceVersion": "70",
                         "annotations": {"deployment.kubernetes.io/revision": "2"}},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template("two")},
            "status": {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2,
                       "conditions": [{"type": "Available", "status": "True", "reason": "Enough"}]}}),
    );
    for (number, image) in [("1", "one"), ("2", "two")] {
        let mut template = template(image);
        template["metadata"]["labels"]["pod-template-hash"] = number.into();
        fake.put(
            &format!("{SETS}/web-{number}"),
            json!({"metadata": {"name": format!("web-{number}"), "namespace": "default", "ownerReferences": [{"uid": "u"}],
                                "annotations": {"deployment.kubernetes.io/revision": number}},
                   "spec": {"template": template, "replicas": if number == "2" { 2 } else { 0 }}, "status": {"replicas": 2}}),
        );
    }
    fake
}

fn object(fake: &Fake, path: &str) -> Value {
    fake.memory().objects.get(path).cloned().unwrap_or_default()
}

#[tokio::test]
async fn get_prints_templates_and_chosen_columns_in_a_chosen_order() {
    let fake = with_pods().await;
    fake.memory().objects.get_mut(&format!("{PODS}/web-1")).expect("there")["metadata"]["labels"] = json!({"app": "x"});
    assert_eq!(fake.wk("get po -o jsonpath={.items[*].metadata.name}").await.1, "web-1 web-2");
    assert_eq!(fake.wk("get po web-1 -o jsonpath={.metadata.name}").await.1, "web-1");
    let (_, out, _) = fake.wk("get po -o custom-columns=N:.metadata.name,L:.metadata.labels.app").await;
    assert_eq!(out, "N       L\nweb-1   x\nweb-2   <none>\n");
    assert_eq!(fake.wk("get po --no-headers -L app").await.1, "web-1   x\nweb-2\n");
    assert_eq!(fake.wk("get po --show-labels").await.1, "NAME    LABELS\nweb-1   app=x\nweb-2   <none>\n");
    assert_eq!(fake.wk("get po --sort-by .metadata.labels.app -o name").await.1, "pod/web-2\npod/web-1\n");
    assert_eq!(fake.wk("get po web-9 --ignore-not-found").await, (0, String::new(), String::new()));
    let (code, _, err) = fake.wk("get po -o xml").await;
    assert!(code == 2 && err.contains("jsonpath=TEMPLATE"), "{err}");
    fake.memory().objects.get_mut(&format!("{PODS}/web-1")).expect("there")["metadata"]["managedFields"] = json!([{}]);
    assert!(!fake.wk("get po web-1 -o yaml").await.1.contains("managedFields"));
    assert!(fake.wk("get po web-1 -o yaml --show-managed-fields").await.1.contains("managedFields"));
}

#[tokio::test]
async fn marks_are_set_kept_and_removed() {
    let fake = with_pods().await;
    assert_eq!(fake.wk("label po web-1 app=web tier=front").await.1, "pod/web-1 labeled\n");
    let (code, _, err) = fake.wk("label po web-1 app=other").await;
    assert_eq!(
        (code, err.as_str()),
        (5, "error: pod/web-1: \"app\" is \"web\" already; add --overwrite to change it\n")
    );
    assert_eq!(fake.wk("label po web-1 app=other --overwrite").await.1, "pod/web-1 labeled\n");
    assert_eq!(fake.wk("label po web-1 tier-").await.1, "pod/web-1 unlabeled\n");
    assert_eq!(fake.wk("label po web-1 --list").await.1, "app=other\n");
    assert_eq!(fake.wk("label po web-1 app=other").await.1, "pod/web-1 not labeled\n");
    assert_eq!(
        fake.wk("annotate po --all x=y --dry-run=client").await.1,
        "pod/web-1 annotated (dry run)\npod/web-2 annotated (dry run)\n"
    );
    assert_eq!(object(&fake, &format!("{PODS}/web-2")).pointer("/metadata/annotations"), None);
    assert_eq!(fake.wk("label po web-1").await.0, 2);
    assert_eq!(fake.wk("label po a=b").await.0, 2);
}

#[tokio::test]
async fn patches_are_sent_as_what_they_are() {
    let fake = with_deployment().await;
    let (code, out, err) = fake.wk("patch deploy web --type merge -p {\"spec\":{\"replicas\":3}}").await;
    assert_eq!((code, out.as_str()), (0, "deployment.apps/web patched\n"), "{err}");
    let operation = "[{\"op\":\"replace\",\"path\":\"/spec/replicas\",\"value\":4}]";
    assert_eq!(fake.wk(&format!("patch deploy/web -p {operation}")).await.0, 0);
    assert_eq!(object(&fake, DEPLOYMENT)["spec"]["replicas"], 4);
    assert_eq!(fake.wk("patch deploy/web --type json -p {\"a\":1}").await.0, 2);
    let (_, out, _) = fake.wk("patch deploy/web --type merge -p {\"spec\":{\"replicas\":9}} --dry-run=client -o jsonpath={.spec.replicas}").await;
    assert_eq!((out.as_str(), &object(&fake, DEPLOYMENT)["spec"]["replicas"]), ("9", &json!(4)));
}

#[tokio::test]
async fn rollouts_are_watched_listed_taken_back_and_held() {
    let fake = with_deployment().await;
    assert_eq!(fake.wk("rollout status deploy/web").await.1, "deployment \"web\" successfully rolled out\n");
    let (_, out, _) = fake.wk("rollout history deploy web").await;
    assert_eq!(out, "deployment.apps/web\nREVISION   CHANGE-CAUSE\n1          <none>\n2          <none>\n");
    let (_, out, _) = fake.wk("rollout history deploy/web --revision 1").await;
    assert!(out.starts_with("deployment.apps/web with revision #1\nPod Template:\n") && out.contains("one"), "{out}");
    assert_eq!(fake.wk("rollout history deploy/web --revision 7").await.0, 3);
    assert_eq!(fake.wk("rollout undo deploy/web").await.1, "deployment.apps/web rolled back\n");
    let template = &object(&fake, DEPLOYMENT)["spec"]["template"];
    assert_eq!(
        (&template["spec"]["containers"][0]["image"], &template["metadata"]["labels"]),
        (&json!("one"), &json!({"app": "web"}))
    );
    assert_eq!(fake.wk("rollout pause deploy/web").await.1, "deployment.apps/web paused\n");
    let (code, _, err) = fake.wk("rollout restart deploy/web").await;
    assert_eq!(
        (code, err.as_str()),
        (5, "error: deployment.apps/web is paused: run `wk rollout resume deployment.apps/web` first\n")
    );
    assert_eq!(fake.wk("rollout resume deploy/web").await.1, "deployment.apps/web resumed\n");
    assert_eq!(fake.wk("rollout restart deploy/web").await.1, "deployment.apps/web restarted\n");
    let (code, _, err) = fake.wk("rollout status po/web-1").await;
    assert!(code == 2 && err.contains("StatefulSets"), "{err}");
}

#[tokio::test]
async fn waiting_ends_when_it_holds_and_says_what_kept_it() {
    let fake = with_deployment().await;
    assert_eq!(fake.wk("wait deploy/web --for condition=available").await.1, "deployment.apps/web condition met\n");
    assert_eq!(fake.wk("wait deploy/web --for jsonpath={.spec.replicas}=2").await.0, 0);
    let (code, _, err) = fake.wk("wait deploy/web --for condition=Progressing --timeout 100ms").await;
    assert_eq!(code, 6);
    assert!(err.ends_with("timed out waiting for condition=Progressing on deployment.apps/web after 100ms; its conditions are Available=True\n"), "{err}");
    assert_eq!(fake.wk("wait po/gone --for delete").await.1, "pod/gone was not there\n");
    let (code, _, err) = fake.wk("wait deploy/wep --for condition=Available").await;
    assert!(code == 3 && err.contains("did you mean \"web\"?"), "{err}");
    assert_eq!(fake.wk("wait deploy/web --for ready").await.0, 2);
}

#[tokio::test]
async fn objects_are_made_of_a_few_words() {
    let fake = Fake::start().await;
    assert_eq!(fake.wk("create configmap c --from-literal a=1").await.1, "configmap/c created\n");
    assert_eq!(object(&fake, "/api/v1/namespaces/default/configmaps/c")["data"], json!({"a": "1"}));
    let (_, out, _) =
        fake.wk("create deployment d --image x/y:1 --replicas 2 --port 80 --dry-run=client -o yaml -- run it").await;
    let made: Value = serde_yaml::from_str(&out).expect("YAML");
    assert_eq!(
        made["spec"]["template"]["spec"]["containers"][0],
        json!({"name": "y", "image": "x/y:1", "ports": [{"containerPort": 80}], "command": ["run", "it"]})
    );
    let (_, out, _) =
        fake.wk("create role r --verb get,list --resource pods,deploy,pods/log --dry-run=client -o json").await;
    let made: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        made["rules"],
        json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"]},
                                      {"verbs": ["get", "list"], "apiGroups": ["apps"], "resources": ["deployments"]}])
    );
    let (code, _, err) = fake.wk("create rolebinding b --role r").await;
    assert!(code == 2 && err.contains("--user"), "{err}");
    let (_, out, _) =
        fake.wk("create secret generic s --from-literal k=v --dry-run=client -o jsonpath={.data.k}").await;
    assert_eq!(out, "dg==");
    for line in [
        "create ns n",
        "create sa a",
        "create job j --image i",
        "create cronjob k --image i --schedule @hourly",
        "create clusterrolebinding b --clusterrole view --user u",
        "create quota q --hard pods=3",
        "create service clusterip s --tcp 80",
        "create ingress i --rule a.example/*=s:80",
        "create priorityclass p --value 5",
        "create pdb p --selector a=b --min-available 1",
    ] {
        let (code, _, err) = fake.wk(&format!("{line} --dry-run=client")).await;
        assert_eq!(code, 0, "{line}: {err}");
    }
    let file = fake.file("a.yaml", "kind: Pod\napiVersion: v1\nmetadata: {generateName: a-}\n");
    assert_eq!(
        fake.wk(&format!("create -f {file} --dry-run=client -o jsonpath={{.metadata.generateName}}")).await.1,
        "a-"
    );
    assert_eq!(fake.wk("create").await.0, 2);
}

#[tokio::test]
async fn what_is_there_already_is_said_with_what_to_do() {
    let fake = Fake::start().await;
    let refused =
        r#"{"kind": "Status", "reason": "AlreadyExists", "message": "configmaps \"c\" already exists", "code": 409}"#;
    fake.script("/api/v1/namespaces/default/configmaps?fieldManager=wk&fieldValidation=Strict", 409, refused);
    let (code, _, err) = fake.wk("create cm c").await;
    assert_eq!(code, 5);
    assert_eq!(
        err,
        "error: configmaps \"c\" already exists; to change it: `wk edit configmap/c`, or `wk apply -f` with a file\n"
    );
}

#[tokio::test]
async fn differences_have_an_exit_code_of_their_own() {
    let fake = Fake::start().await;
    let file = fake.file("c.yaml", "kind: ConfigMap\napiVersion: v1\nmetadata: {name: c}\ndata: {a: one}\n");
    assert_eq!(fake.wk(&format!("apply -f {file}")).await.0, 0);
    assert_eq!(fake.wk(&format!("diff -f {file}")).await, (0, String::new(), String::new()));
    let file = fake.file("c.yaml", "kind: ConfigMap\napiVersion: v1\nmetadata: {name: c}\ndata: {a: two}\n");
    let (code, out, err) = fake.wk(&format!("diff -f {file}")).await;
    assert_eq!((code, err.as_str()), (7, ""));
    assert!(
        out.starts_with("--- live: configmap/c in default\n+++ file: configmap/c in default\n")
            && out.contains("-  a: one\n+  a: two\n"),
        "{out}"
    );
}

#[tokio::test]
async fn nodes_are_marked_emptied_and_tainted() {
    let fake = with_pods().await;
    fake.put("/api/v1/nodes/n1", json!({"metadata": {"name": "n1"}, "spec": {}}));
    assert_eq!(fake.wk("cordon n1").await.1, "node/n1 cordoned\n");
    assert_eq!(fake.wk("cordon node/n1").await.1, "node/n1 already cordoned\n");
    let (code, _, err) = fake.wk("drain n1").await;
    assert!(
        code == 1
            && err.contains("pod default/web-1 has no controller")
            && err.contains("--force")
            && err.contains("wk uncordon n1"),
        "{err}"
    );
    let (code, out, err) = fake.wk("drain n1 --force --disable-eviction").await;
    assert_eq!((code, out.as_str()), (0, "node/n1 already cordoned\nnode/n1 drained\n"), "{err}");
    assert!(!fake.memory().objects.contains_key(&format!("{PODS}/web-1")));
    assert_eq!(fake.wk("uncordon n1").await.1, "node/n1 uncordoned\n");
    assert_eq!(fake.wk("taint n1 a=b:NoSchedule").await.1, "node/n1 tainted\n");
    assert_eq!(
        object(&fake, "/api/v1/nodes/n1")["spec"]["taints"],
        json!([{"key": "a", "value": "b", "effect": "NoSchedule"}])
    );
    assert_eq!(fake.wk("taint nodes n1 a-").await.1, "node/n1 untainted\n");
}

#[tokio::test]
async fn budget_that_forbids_is_told_when_time_is_up() {
    let fake = with_pods().await;
    fake.put("/api/v1/nodes/n1", json!({"metadata": {"name": "n1"}, "spec": {}}));
    let refused = r#"{"kind": "Status", "reason": "TooManyRequests", "message": "Cannot evict pod", "code": 429}"#;
    for pod in ["web-1", "web-2"] {
        fake.script(&format!("{PODS}/{pod}/eviction"), 429, refused);
    }
    let (code, _, err) = fake.wk("drain n1 --force --timeout 1s").await;
    assert!(code == 6 && err.contains("2 pods are left:\n  pod default/web-1 may not go: Cannot evict pod\n"), "{err}");
}

#[tokio::test]
async fn pod_that_a_budget_holds_keeps_no_other_on_the_node() {
    let fake = with_pods().await;
    fake.put("/api/v1/nodes/n1", json!({"metadata": {"name": "n1"}, "spec": {}}));
    let refused = r#"{"kind": "Status", "reason": "TooManyRequests", "message": "Cannot evict pod", "code": 429}"#;
    fake.script(&format!("{PODS}/web-1"), 429, refused);
    let begun = std::time::Instant::now();
    let (code, _, err) = fake.wk("drain n1 --force --disable-eviction --timeout 1s").await;
    assert!(code == 6 && err.ends_with("error: pod default/web-1 may not go: Cannot evict pod\n"), "{err}");
    assert!(begun.elapsed() >= std::time::Duration::from_secs(1), "the time given is used");
    assert!(fake.memory().objects.contains_key(&format!("{PODS}/web-1")));
    assert!(!fake.memory().objects.contains_key(&format!("{PODS}/web-2")));
}

#[tokio::test]
async fn upgrade_that_cannot_empty_its_node_leaves_it_taking_pods() {
    let fake = with_pods().await;
    fake.put("/api/v1/nodes/n1", json!({"metadata": {"name": "n1"}, "spec": {}}));
    let refused = r#"{"kind": "Status", "reason": "TooManyRequests", "message": "Cannot evict pod", "code": 429}"#;
    for pod in ["web-1", "web-2"] {
        fake.script(&format!("{PODS}/{pod}/eviction"), 429, refused);
    }
    let (code, _, err) = fake.wk("node upgrade n1").await;
    assert!(code == 1 && err.contains("takes pods again") && err.contains("--force"), "{err}");
    assert!(!err.contains("is cordoned"), "it is not any more: {err}");
    let (code, out, err) = fake.wk("node upgrade n1 --force --timeout 1s").await;
    assert!(code == 6 && err.contains("node n1 goes on as it was, and takes pods again"), "{err}");
    assert!(out.ends_with("node/n1 uncordoned\n"), "{out}");
    assert_eq!(object(&fake, "/api/v1/nodes/n1")["spec"], json!({}));
}

#[tokio::test]
async fn upgrade_waits_for_no_pod_in_place_of_one_that_was_not_ready() {
    let fake = with_deployment().await;
    fake.put("/api/v1/nodes/n1", json!({"metadata": {"name": "n1"}, "spec": {}}));
    let owner =
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-2", "uid": "web-2", "controller": true}]);
    let broken = json!({"metadata": {"name": "broken", "namespace": "default", "uid": "b", "ownerReferences": owner}});
    fake.put(&format!("{PODS}/broken"), broken);
    {
        let mut memory = fake.memory();
        let set = memory.objects.get_mut("/apis/apps/v1/namespaces/default/replicasets/web-2").expect("is there");
        set["spec"]["replicas"] = 3.into();
        set["status"]["readyReplicas"] = 2.into();
    }
    let refused = r#"{"kind": "Status", "reason": "Forbidden", "message": "not today", "code": 403}"#;
    fake.script("/apis/wk.dev/v1/nodes/n1/upgrade", 403, refused);
    let (code, _, err) = fake.wk("node upgrade n1 --force --disable-eviction --timeout 20s").await;
    assert!(!fake.memory().objects.contains_key(&format!("{PODS}/broken")), "{err}");
    // It got as far as the upgrade itself.
    assert!(code != 0 && code != 6 && err.contains("upgrade node n1") && err.contains("not today"), "{code} {err}");
}

#[tokio::test]
async fn descriptions_hold_what_belongs_to_the_object() {
    let fake = with_deployment().await;
    fake.put(
        "/api/v1/namespaces/default/events/e",
        json!({"metadata": {"name": "e"}, "type": "Warning", "reason": "Odd", "message": "it is odd", "lastTimestamp": "2026-01-01T00:00:00Z",
               "involvedObject": {"kind": "Deployment", "name": "web"}}),
    );
    let (code, out, err) = fake.wk("describe deploy web").await;
    assert_eq!(code, 0, "{err}");
    for part in [
        "Name:               web\n",
        "Selector:           app=web\n",
        "2 desired | 2 updated",
        "New ReplicaSet:     web-2 (2/2",
        "Image:        two",
        "Available   True     Enough",
        "Warning   Odd",
    ] {
        assert!(out.contains(part), "{part:?} in\n{out}");
    }
    assert!(!fake.wk("describe deploy/web --no-events").await.1.contains("Odd"));
    let (_, out, _) = fake.wk("describe po").await;
    assert_eq!(out.matches("Name:").count(), 2, "{out}");
    let (_, out, _) = fake.wk("events --types warning").await;
    assert!(out.contains("Deployment/web") && out.contains("it is odd"), "{out}");
}

#[tokio::test]
async fn fields_are_explained_and_mistyped_ones_guessed() {
    let fake = Fake::start().await;
    fake.put("/openapi/v3", json!({"paths": {"apis/apps/v1": {"serverRelativeURL": "/openapi/v3/apis/apps/v1"}}}));
    let schemas = json!({
        "D": {"description": "Deployment enables updates.", "type": "object",
              "x-kubernetes-group-version-kind": [{"group": "apps", "version": "v1", "kind": "Deployment"}],
              "properties": {"spec": {"description": "What is wanted.", "allOf": [{"$ref": "#/components/schemas/a.b.DeploymentSpec"}]}}},
        "a.b.DeploymentSpec": {"type": "object", "required": ["selector"], "properties": {
            "replicas": {"type": "integer", "description": "How many."},
            "selector": {"type": "object", "additionalProperties": {"type": "string"}},
            "list": {"type": "array", "items": {"$ref": "#/components/schemas/a.b.DeploymentSpec"}}}}});
    fake.put("/openapi/v3/apis/apps/v1", json!({"components": {"schemas": schemas}}));
    let (code, out, err) = fake.wk("explain deploy.spec").await;
    assert_eq!(code, 0, "{err}");
    for part in [
        "GROUP:      apps\n",
        "KIND:       Deployment\n",
        "FIELD: spec <DeploymentSpec>",
        "What is wanted.",
        "replicas\t<integer>",
        "selector\t<map[string]string> -required-",
        "list\t<[]DeploymentSpec>",
    ] {
        assert!(out.contains(part), "{part:?} in\n{out}");
    }
    let (code, _, err) = fake.wk("explain deploy.spec.replica").await;
    assert_eq!(
        (code, err.as_str()),
        (3, "error: deployment.spec has no field \"replica\"; did you mean \"replicas\"?\n")
    );
    assert!(fake.wk("explain deploy --recursive").await.1.contains("    replicas\t<integer>"));
}

#[tokio::test]
async fn may_i_is_answered_by_word_and_by_exit_code() {
    let fake = Fake::start().await;
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    fake.script(path, 201, r#"{"status": {"allowed": true}}"#);
    assert_eq!(fake.wk("auth can-i get pods").await, (0, "yes\n".into(), String::new()));
    fake.script(path, 201, r#"{"status": {"allowed": false, "reason": "no rule allows it"}}"#);
    assert_eq!(fake.wk("auth can-i delete deploy/web").await, (1, "no - no rule allows it\n".into(), String::new()));
    fake.script(
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        201,
        r#"{"status": {"userInfo": {"username": "ann", "groups": ["a", "b"]}}}"#,
    );
    assert_eq!(fake.wk("auth whoami").await.1, "ATTRIBUTE   VALUE\nUsername    ann\nGroups      [a b]\n");
}

#[tokio::test]
async fn images_are_set_by_container() {
    let fake = with_deployment().await;
    assert_eq!(fake.wk("set image deploy/web c=three").await.1, "deployment.apps/web image updated\n");
    assert_eq!(object(&fake, DEPLOYMENT)["spec"]["template"]["spec"]["containers"][0]["image"], "three");
    let (code, _, err) = fake.wk("set image deploy/web d=three").await;
    assert_eq!((code, err.as_str()), (3, "error: deployment.apps/web has no container \"d\"; it has c\n"));
}

#[tokio::test]
async fn deleting_can_be_tried() {
    let fake = with_pods().await;
    assert_eq!(fake.wk("delete po web-1 --dry-run=client").await.1, "pod \"web-1\" deleted (dry run)\n");
    assert_eq!(fake.wk("delete po --all -o name").await.1, "pod/web-1\npod/web-2\n");
    assert!(fake.memory().writes.iter().all(|write| write.starts_with("DELETE ")));
}
