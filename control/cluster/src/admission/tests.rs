//! What each plug-in fills in, refuses and says, over a store of one peer. One row a rule.

use std::sync::Arc;

use serde_json::{Value, json};
use wk_api::{Kind, Object, Status, kinds};

use crate::tests::cluster;
use crate::{Cluster, Freshness, Manager, Subresource};

const NAMESPACE: Option<&str> = Some("default");

fn pod(name: &str, requests: &Value, limits: &Value) -> Value {
    let container = json!({"name": "c", "image": "i", "resources": {"requests": requests, "limits": limits}});
    json!({"metadata": {"name": name}, "spec": {"containers": [container]}})
}

pub(super) fn plain(name: &str) -> Value {
    pod(name, &json!({}), &json!({}))
}

pub(super) async fn make(cluster: &Cluster, kind: &Kind, body: Value) -> Arc<Object> {
    let namespace = if kind.is_namespaced() { NAMESPACE } else { None };
    cluster.create(kind, namespace, body).await.expect("created")
}

async fn refused(cluster: &Cluster, kind: &Kind, body: Value) -> String {
    let namespace = if kind.is_namespaced() { NAMESPACE } else { None };
    let status: Status = cluster.create(kind, namespace, body).await.expect_err("refused");
    assert_eq!(status.code, 403, "{status}");
    status.message
}

#[tokio::test]
async fn a_pod_is_somebody_who_exists() {
    let (cluster, _dir) = cluster().await;
    let made = make(&cluster, &kinds::POD, plain("a")).await;
    assert_eq!((made.text("/spec/serviceAccountName"), made.text("/spec/serviceAccount")), ("default", "default"));
    let mut body = plain("b");
    body["spec"]["serviceAccountName"] = json!("robot");
    assert_eq!(
        refused(&cluster, &kinds::POD, body.clone()).await,
        "pods \"b\" is forbidden: error looking up service account default/robot: serviceaccount \"robot\" not found"
    );
    let robot = json!({"metadata": {"name": "robot"}, "imagePullSecrets": [{"name": "key"}]});
    make(&cluster, &kinds::SERVICEACCOUNT, robot).await;
    let made = make(&cluster, &kinds::POD, body).await;
    assert_eq!(made.at("/spec/imagePullSecrets/0/name"), Some(&json!("key")));
}

#[tokio::test]
async fn what_is_filled_in_belongs_to_nobody() {
    let (cluster, _dir) = cluster().await;
    let limits = json!([{"type": "Container", "default": {"cpu": "1"}}]);
    make(&cluster, &kinds::LIMITRANGE, json!({"metadata": {"name": "l"}, "spec": {"limits": limits}})).await;
    let client = cluster.as_manager(Manager::client("kubectl"));
    let made = make(&client, &kinds::POD, pod("a", &json!({}), &json!({"memory": "1Gi"}))).await;
    let entries = made.items("/metadata/managedFields");
    assert_eq!(entries.len(), 1, "{entries:?}");
    let spec = entries[0]["fieldsV1"]["f:spec"].as_object().expect("fields of the spec");
    assert!(spec.contains_key("f:restartPolicy"), "defaults are the writer's: {spec:?}");
    let filled_in = ["f:serviceAccountName", "f:serviceAccount", "f:priority", "f:tolerations", "f:volumes"];
    assert!(filled_in.iter().all(|field| !spec.contains_key(*field)), "{spec:?}");
    let container = &spec["f:containers"]["k:{\"name\":\"c\"}"];
    assert!(container.get("f:volumeMounts").is_none(), "{container}");
    assert_eq!(container["f:resources"]["f:limits"], json!({".": {}, "f:memory": {}}));
    assert_eq!(made.text("/spec/containers/0/resources/limits/cpu"), "1");
}

#[tokio::test]
async fn a_pod_gets_a_token_unless_it_or_its_account_wants_none() {
    let (cluster, _dir) = cluster().await;
    let mut body = plain("a");
    body["spec"]["initContainers"] = json!([{"name": "first", "image": "i", "volumeMounts": [
        {"name": "own", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"},
    ]}]);
    body["spec"]["volumes"] = json!([{"name": "own", "emptyDir": {}}]);
    let made = make(&cluster, &kinds::POD, body).await;
    let name = made.text("/spec/volumes/1/name").to_owned();
    assert!(name.starts_with("kube-api-access-") && name.len() == 21, "{name}");
    assert_eq!(made.int("/spec/volumes/1/projected/sources/0/serviceAccountToken/expirationSeconds"), Some(3607));
    assert_eq!(
        made.at("/spec/containers/0/volumeMounts"),
        Some(&json!([{"name": name, "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]))
    );
    assert_eq!(made.items("/spec/initContainers/0/volumeMounts").len(), 1);

    let mut none = plain("b");
    none["spec"]["automountServiceAccountToken"] = json!(false);
    assert!(make(&cluster, &kinds::POD, none).await.items("/spec/volumes").is_empty());
    let shy = json!({"metadata": {"name": "shy"}, "automountServiceAccountToken": false});
    make(&cluster, &kinds::SERVICEACCOUNT, shy).await;
    let mut of_shy = plain("c");
    of_shy["spec"]["serviceAccountName"] = json!("shy");
    assert!(make(&cluster, &kinds::POD, of_shy.clone()).await.items("/spec/volumes").is_empty());
    of_shy["metadata"]["name"] = json!("d");
    of_shy["spec"]["automountServiceAccountToken"] = json!(true);
    assert_eq!(make(&cluster, &kinds::POD, of_shy).await.items("/spec/volumes").len(), 1);
}

#[tokio::test]
async fn a_namespace_is_born_with_its_service_account() {
    let (cluster, _dir) = cluster().await;
    make(&cluster, &kinds::NAMESPACE, json!({"metadata": {"name": "shop"}})).await;
    let account = cluster.get(&kinds::SERVICEACCOUNT, Some("shop"), "default", Freshness::Local).await;
    assert_eq!(account.expect("it is there").namespace(), "shop");
}

#[tokio::test]
async fn the_class_of_a_pod_becomes_its_priority() {
    let (cluster, _dir) = cluster().await;
    let of = |pod: &Object| (pod.int("/spec/priority"), pod.text("/spec/priorityClassName").to_owned());
    let made = make(&cluster, &kinds::POD, plain("none")).await;
    assert_eq!((of(&made), made.text("/spec/preemptionPolicy")), ((Some(0), String::new()), "PreemptLowerPriority"));
    let class = |name: &str, value: i64, global: bool| json!({"metadata": {"name": name}, "value": value, "globalDefault": global});
    make(&cluster, &kinds::PRIORITYCLASS, class("usual", 10, true)).await;
    make(&cluster, &kinds::PRIORITYCLASS, class("high", 100, false)).await;
    assert_eq!(of(&*make(&cluster, &kinds::POD, plain("usual")).await), (Some(10), "usual".to_owned()));
    let with_class = |name: &str| {
        let mut body = plain("x");
        body["spec"]["priorityClassName"] = json!(name);
        body
    };
    assert_eq!(of(&*make(&cluster, &kinds::POD, with_class("high")).await), (Some(100), "high".to_owned()));
    assert_eq!(
        refused(&cluster, &kinds::POD, with_class("higher")).await,
        "pods \"x\" is forbidden: no PriorityClass with name higher was found"
    );
    assert!(
        refused(&cluster, &kinds::PRIORITYCLASS, class("other", 1, true))
            .await
            .ends_with("PriorityClass usual is already marked as default. Only one default can exist")
    );
    let mut given = with_class("high");
    given["spec"]["priority"] = json!(7);
    assert!(refused(&cluster, &kinds::POD, given).await.contains("(7) must not be provided in pod spec"));
    let system = cluster.local(&kinds::PRIORITYCLASS, None).items;
    assert!(
        system.iter().any(|class| class.name() == "system-node-critical" && class.int("/value") == Some(2_000_001_000))
    );
}

#[tokio::test]
async fn limit_ranges_fill_in_and_bound() {
    let (cluster, _dir) = cluster().await;
    let limits = json!([
        {"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m", "memory": "64Mi"},
         "min": {"cpu": "50m"}, "max": {"cpu": "2", "memory": "1Gi"}, "maxLimitRequestRatio": {"cpu": "10"}},
        {"type": "PersistentVolumeClaim", "max": {"storage": "5Gi"}},
    ]);
    make(&cluster, &kinds::LIMITRANGE, json!({"metadata": {"name": "l"}, "spec": {"limits": limits}})).await;
    let made = make(&cluster, &kinds::POD, plain("a")).await;
    assert_eq!(
        made.at("/spec/containers/0/resources"),
        Some(&json!({"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "500m", "memory": "1Gi"}}))
    );
    assert_eq!(
        made.annotation("kubernetes.io/limit-ranger"),
        Some("LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for container c")
    );
    assert_eq!(made.text("/status/qosClass"), "Burstable");
    for (requests, limits, why) in [
        (json!({"cpu": "10m"}), json!({"cpu": "100m"}), "minimum cpu usage per Container is 50m, but request is 10m"),
        (json!({"cpu": "1"}), json!({"cpu": "3"}), "maximum cpu usage per Container is 2, but limit is 3"),
        (
            json!({"cpu": "100m"}),
            json!({"cpu": "1100m"}),
            "cpu max limit to request ratio per Container is 10, but provided ratio is 11.000000",
        ),
        (
            json!({"cpu": "10m"}),
            json!({"cpu": "3"}),
            "[minimum cpu usage per Container is 50m, but request is 10m, maximum cpu usage per Container is 2, but \
             limit is 3, cpu max limit to request ratio per Container is 10, but provided ratio is 300.000000]",
        ),
    ] {
        let message = refused(&cluster, &kinds::POD, pod("x", &requests, &limits)).await;
        assert_eq!(message, format!("pods \"x\" is forbidden: {why}"));
    }
    let claim = json!({"metadata": {"name": "big"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "6Gi"}}}});
    assert!(
        refused(&cluster, &kinds::PERSISTENTVOLUMECLAIM, claim)
            .await
            .ends_with("maximum storage usage per PersistentVolumeClaim is 5Gi, but request is 6Gi")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_meet_cannot_use_more_than_a_quota_has() {
    const WRITERS: usize = 24;
    let (cluster, _dir) = cluster().await;
    let hard = json!({"pods": "10", "requests.cpu": "1"});
    make(&cluster, &kinds::RESOURCEQUOTA, json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).await;
    let writers = (0..WRITERS).map(|index| {
        let cluster = cluster.clone();
        let body = pod(&format!("p{index}"), &json!({"cpu": "100m"}), &json!({}));
        tokio::spawn(async move { cluster.create(&kinds::POD, NAMESPACE, body).await })
    });
    let mut made = 0;
    for writer in writers.collect::<Vec<_>>() {
        match writer.await.expect("no panic") {
            Ok(_) => made += 1,
            Err(status) => assert!(status.message.contains("exceeded quota: q, requested: "), "{status}"),
        }
    }
    assert_eq!(made, 10);
    let quota = cluster.get(&kinds::RESOURCEQUOTA, NAMESPACE, "q", Freshness::Local).await.expect("there");
    assert_eq!(quota.at("/status/used"), Some(&json!({"pods": "10", "requests.cpu": "1"})));
    assert_eq!(
        refused(&cluster, &kinds::POD, pod("x", &json!({"cpu": "200m"}), &json!({}))).await,
        "pods \"x\" is forbidden: exceeded quota: q, requested: pods=1,requests.cpu=200m, used: pods=10,requests.cpu=1, \
         limited: pods=10,requests.cpu=1"
    );
    assert_eq!(
        refused(&cluster, &kinds::POD, plain("x")).await,
        "pods \"x\" is forbidden: failed quota: q: must specify requests.cpu for: c"
    );
}

#[tokio::test]
async fn an_update_is_charged_for_what_it_uses_more() {
    let (cluster, _dir) = cluster().await;
    let hard = json!({"services.loadbalancers": "0", "count/services": "2"});
    make(&cluster, &kinds::RESOURCEQUOTA, json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).await;
    let service = json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}});
    make(&cluster, &kinds::SERVICE, service).await;
    let balance = |old: &Object| {
        let mut new = old.0.clone();
        new["spec"]["type"] = json!("LoadBalancer");
        Ok(new)
    };
    let status = cluster.modify(&kinds::SERVICE, NAMESPACE, "web", Subresource::None, balance).await;
    let message = status.expect_err("over quota").message;
    assert!(
        message.ends_with(
            "exceeded quota: q, requested: services.loadbalancers=1, used: services.loadbalancers=0, \
         limited: services.loadbalancers=0"
        ),
        "{message}"
    );
}

#[tokio::test]
async fn a_dry_run_is_judged_and_charges_nothing() {
    let (cluster, _dir) = cluster().await;
    make(&cluster, &kinds::RESOURCEQUOTA, json!({"metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "1"}}}))
        .await;
    let named = |name: &str| json!({"metadata": {"name": name}});
    let dry = cluster.dry_run();
    dry.create(&kinds::CONFIGMAP, NAMESPACE, named("a")).await.expect("there is room");
    make(&cluster, &kinds::CONFIGMAP, named("a")).await;
    assert!(refused(&dry, &kinds::CONFIGMAP, named("b")).await.contains("exceeded quota: q"));
}

#[tokio::test]
async fn default_classes_are_for_those_that_name_none() {
    let (cluster, _dir) = cluster().await;
    let class = |name: &str, annotation: &str| json!({"metadata": {"name": name, "annotations": {annotation: "true"}}});
    let mut fast = class("fast", "storageclass.kubernetes.io/is-default-class");
    fast["provisioner"] = json!("example.com/disk");
    make(&cluster, &kinds::STORAGECLASS, fast).await;
    let mut web = class("web", "ingressclass.kubernetes.io/is-default-class");
    web["spec"] = json!({"controller": "example.com/ingress"});
    make(&cluster, &kinds::INGRESSCLASS, web).await;
    let claim = |name: &str, class: Value| {
        let size = json!({"requests": {"storage": "1Gi"}});
        let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": size, "storageClassName": class});
        let mut body = json!({"metadata": {"name": name}, "spec": spec});
        if body["spec"]["storageClassName"].is_null() {
            body["spec"].as_object_mut().expect("an object").remove("storageClassName");
        }
        body
    };
    let made = make(&cluster, &kinds::PERSISTENTVOLUMECLAIM, claim("a", Value::Null)).await;
    assert_eq!(made.text("/spec/storageClassName"), "fast");
    let made = make(&cluster, &kinds::PERSISTENTVOLUMECLAIM, claim("b", json!(""))).await;
    assert_eq!(made.text("/spec/storageClassName"), "");
    let backend = json!({"service": {"name": "w", "port": {"number": 80}}});
    let ingress = json!({"metadata": {"name": "i"}, "spec": {"defaultBackend": backend}});
    assert_eq!(make(&cluster, &kinds::INGRESS, ingress).await.text("/spec/ingressClassName"), "web");
}

#[tokio::test]
async fn a_pod_of_a_runtime_class_gets_what_the_class_says() {
    let (cluster, _dir) = cluster().await;
    let with = |name: &str, class: &str, more: Value| {
        let mut body = plain(name);
        body["spec"]["runtimeClassName"] = json!(class);
        body["spec"].as_object_mut().expect("a spec").extend(more.as_object().expect("an object").clone());
        body
    };
    assert_eq!(
        refused(&cluster, &kinds::POD, with("a", "nosuch", json!({}))).await,
        "pods \"a\" is forbidden: pod rejected: RuntimeClass \"nosuch\" not found"
    );
    let toleration = json!({"key": "small", "operator": "Exists"});
    let class = json!({
        "metadata": {"name": "tiny"}, "handler": "tiny", "overhead": {"podFixed": {"cpu": "10m"}},
        "scheduling": {"nodeSelector": {"size": "small"}, "tolerations": [toleration]},
    });
    make(&cluster, &kinds::RUNTIMECLASS, class).await;
    let made = make(&cluster, &kinds::POD, with("a", "tiny", json!({"nodeSelector": {"zone": "a"}}))).await;
    assert_eq!(made.at("/spec/overhead"), Some(&json!({"cpu": "10m"})));
    assert_eq!(made.at("/spec/nodeSelector"), Some(&json!({"size": "small", "zone": "a"})));
    assert_eq!(made.at("/spec/tolerations/0"), Some(&toleration));
    let conflict = with("b", "tiny", json!({"nodeSelector": {"size": "big"}}));
    assert_eq!(
        refused(&cluster, &kinds::POD, conflict).await,
        "pods \"b\" is forbidden: conflict: runtimeClass.scheduling.nodeSelector[size] = small; \
         pod.spec.nodeSelector[size] = big"
    );
    let mut costly = plain("c");
    costly["spec"]["overhead"] = json!({"cpu": "1"});
    let why = refused(&cluster, &kinds::POD, costly).await;
    assert!(why.ends_with("Pod Overhead set without corresponding RuntimeClass defined Overhead"), "{why}");
}

#[tokio::test]
async fn a_pod_tolerates_nodes_that_are_not_ready_for_a_time_unless_it_says_otherwise() {
    let (cluster, _dir) = cluster().await;
    let made = make(&cluster, &kinds::POD, plain("a")).await;
    let default = |key: &str, seconds: i64| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds});
    let not_ready = default("node.kubernetes.io/not-ready", 300);
    let unreachable = default("node.kubernetes.io/unreachable", 1);
    assert_eq!(made.items("/spec/tolerations"), [not_ready, unreachable.clone()]);
    let mut body = plain("b");
    let own = json!({"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"});
    body["spec"]["tolerations"] = json!([own]);
    let made = make(&cluster, &kinds::POD, body).await;
    assert_eq!(made.items("/spec/tolerations"), [own, unreachable]);
    let mut body = plain("c");
    body["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    let made = make(&cluster, &kinds::POD, body).await;
    assert_eq!(made.items("/spec/tolerations"), [json!({"operator": "Exists"})]);
}

#[tokio::test]
async fn taints_of_a_node_follow_from_it_with_each_write() {
    let (cluster, _dir) = cluster().await;
    let ready = |status: &str| json!([{"type": "Ready", "status": status}]);
    let taints = |node: &Object| -> Vec<String> {
        let taints = node.items("/spec/taints").iter();
        taints
            .map(|taint| format!("{}:{}", taint["key"].as_str().unwrap(), taint["effect"].as_str().unwrap()))
            .collect()
    };
    let own = json!({"key": "gpu", "effect": "NoExecute"});
    let body = json!({"metadata": {"name": "n1"}, "spec": {"taints": [own]}});
    let made = cluster.create(&kinds::NODE, None, body).await.expect("it is made");
    assert_eq!(taints(&made), ["gpu:NoExecute", "node.kubernetes.io/not-ready:NoSchedule"]);
    let status = |to: &'static str| {
        cluster.modify(&kinds::NODE, None, "n1", Subresource::Status, move |old| {
            let mut new = old.0.clone();
            new["status"]["conditions"] = ready(to);
            Ok(new)
        })
    };
    assert_eq!(taints(&status("True").await.expect("written")), ["gpu:NoExecute"]);
    let unknown = status("Unknown").await.expect("written");
    assert_eq!(taints(&unknown), ["gpu:NoExecute", "node.kubernetes.io/unreachable:NoSchedule"]);
    assert!(unknown.at("/spec/taints/1/timeAdded").is_some(), "{unknown:?}");
    status("True").await.expect("written");
    let cordon = |on: bool| {
        cluster.modify(&kinds::NODE, None, "n1", Subresource::None, move |old| {
            let mut new = old.0.clone();
            new["spec"] = json!({"unschedulable": on});
            Ok(new)
        })
    };
    assert_eq!(taints(&cordon(true).await.expect("written")), ["node.kubernetes.io/unschedulable:NoSchedule"]);
    assert_eq!(cordon(false).await.expect("written").at("/spec/taints"), None);
}
