use std::net::IpAddr;

use serde_json::json;
use wk_api::{Kind, Object, kinds};
use wk_cluster::Cluster;

use super::*;
use crate::spec::{self, ContainerSpec};
use crate::testing::cluster;

async fn create(cluster: &Cluster, kind: &'static Kind, object: serde_json::Value) {
    cluster.create(kind, Some("default"), object).await.expect("a good object");
}

/// The environment of the only container of a pod, as `NAME=VALUE`, and its arguments.
fn start(cluster: &Cluster, container: &serde_json::Value) -> Result<(Vec<String>, Vec<String>), EnvironmentError> {
    let pod = json!({
        "metadata": {"name": "web-1", "namespace": "default", "uid": "u"},
        "spec": {"containers": [container]},
    });
    let ip = IpAddr::from([10, 128, 0, 5]);
    let typed = serde_json::from_value(pod.clone()).expect("a pod");
    let container = spec::read(&typed).expect("a pod we run").containers.remove(0);
    let ContainerSpec { env, args, .. } = Arc::unwrap_or_clone(container);
    let pod = Object(pod);
    let facts = Facts { pod: &pod, node: "n1", host_ip: IpAddr::from([127, 0, 0, 1]), ip, allocatable: None };
    let made = resolve(&env, &args, &facts, &Sources::new(cluster.clone()))?;
    Ok((made.variables.iter().map(|(name, value)| format!("{name}={value}")).collect(), made.args))
}

#[tokio::test]
async fn variables_come_from_config_maps_secrets_and_the_pod_in_kubernetes_order() {
    let (cluster, _dir) = cluster().await;
    create(&cluster, &kinds::CONFIGMAP, json!({"metadata": {"name": "c"}, "data": {"A": "map", "B": "map"}})).await;
    create(&cluster, &kinds::SECRET, json!({"metadata": {"name": "s"}, "stringData": {"B": "secret", "p": "x"}})).await;
    let container = json!({
        "name": "app", "args": ["$(A)/$(P)/$(NONE)/$$(A)/$"],
        "envFrom": [
            {"configMapRef": {"name": "c"}},
            {"prefix": "S_", "secretRef": {"name": "s"}},
            {"secretRef": {"name": "s"}},
            {"configMapRef": {"name": "none", "optional": true}},
        ],
        "env": [
            {"name": "P", "valueFrom": {"secretKeyRef": {"name": "s", "key": "p"}}},
            {"name": "A", "value": "own-$(B)"},
            {"name": "RAW", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "A"}}},
            {"name": "GONE", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "no", "optional": true}}},
            {"name": "HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
        ],
    });
    let (variables, args) = start(&cluster, &container).unwrap();
    let expected = "HOSTNAME=web-1 A=own-secret B=secret S_B=secret S_p=x p=x P=x RAW=map HOST=127.0.0.1";
    assert_eq!(variables.join(" "), expected);
    assert_eq!(args, ["app", "own-secret/x/$(NONE)/$(A)/$"]);
}

#[tokio::test]
async fn what_is_missing_is_named_until_it_exists() {
    let (cluster, _dir) = cluster().await;
    let container = json!({"name": "app", "envFrom": [{"configMapRef": {"name": "later"}}], "env": [
        {"name": "K", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ]});
    let why = |container| start(&cluster, container).unwrap_err().to_string();
    assert_eq!(why(&container), "configmap \"later\" not found");
    create(&cluster, &kinds::CONFIGMAP, json!({"metadata": {"name": "later"}})).await;
    assert_eq!(why(&container), "secret \"s\" not found");
    create(&cluster, &kinds::SECRET, json!({"metadata": {"name": "s"}, "stringData": {"other": "hunter2"}})).await;
    assert_eq!(why(&container), "couldn't find key k in Secret default/s");
}

#[tokio::test]
async fn services_of_the_namespace_are_variables_unless_links_are_off() {
    let (cluster, _dir) = cluster().await;
    let ports = json!([{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]);
    let service = |name: &str, ip| json!({"metadata": {"name": name}, "spec": {"clusterIP": ip, "ports": ports}});
    create(&cluster, &kinds::SERVICE, service("my-web", "10.96.1.2")).await;
    create(&cluster, &kinds::SERVICE, service("headless", "None")).await;
    create(&cluster, &kinds::SERVICE, service("kubernetes", "10.96.0.1")).await;
    let (variables, _) =
        start(&cluster, &json!({"name": "app", "env": [{"name": "MY_WEB_PORT", "value": "1"}]})).unwrap();
    for expected in [
        "KUBERNETES_SERVICE_HOST=10.96.0.1",
        "MY_WEB_SERVICE_HOST=10.96.1.2",
        "MY_WEB_SERVICE_PORT=80",
        "MY_WEB_SERVICE_PORT_HTTP=80",
        "MY_WEB_SERVICE_PORT_DNS=53",
        "MY_WEB_PORT_80_TCP=tcp://10.96.1.2:80",
        "MY_WEB_PORT_53_UDP_PROTO=udp",
        "MY_WEB_PORT_53_UDP_ADDR=10.96.1.2",
        "MY_WEB_PORT=1",
    ] {
        assert!(variables.iter().any(|variable| variable == expected), "{expected} in {variables:?}");
    }
    assert_eq!(variables.iter().filter(|variable| variable.starts_with("MY_WEB_PORT=")).count(), 1);
    assert!(!variables.iter().any(|variable| variable.starts_with("HEADLESS")), "{variables:?}");
    let api_only = ServiceLinks::default().of(&cluster, "default", false);
    let mut known = Known { services: api_only, ..Known::default() };
    known.set("OWN".into(), "$(KUBERNETES_SERVICE_HOST)".into()).unwrap();
    assert_eq!(
        known.expand("$(KUBERNETES_SERVICE_HOST) $(MY_WEB_SERVICE_HOST)", 99).unwrap(),
        "10.96.0.1 $(MY_WEB_SERVICE_HOST)"
    );
}

#[tokio::test]
async fn variables_that_double_each_other_are_refused_before_they_fill_the_memory() {
    let (cluster, _dir) = cluster().await;
    let doubling =
        (1..64).map(|step| json!({"name": format!("A{step}"), "value": format!("$(A{0})$(A{0})", step - 1)}));
    let env: Vec<_> = std::iter::once(json!({"name": "A0", "value": "0123456789abcdef"})).chain(doubling).collect();
    let error = start(&cluster, &json!({"name": "app", "env": env})).unwrap_err();
    assert_eq!(error, TOO_LARGE);
    let wide = json!({"name": "app", "env": [{"name": "A", "value": "x".repeat(1000)}], "args": ["$(A)".repeat(3000)]});
    assert_eq!(start(&cluster, &wide).unwrap_err(), EnvironmentError::TooLarge("the arguments"));
}
