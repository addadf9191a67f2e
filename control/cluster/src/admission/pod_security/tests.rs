//! What levels refuse and warn of, over a store of one peer.

use serde_json::{Value, json};
use wk_api::strategy::DeleteOptions;
use wk_api::{Kind, Object, kinds, patch};

use crate::admission::tests::{make, plain};
use crate::tests::cluster;
use crate::{Cluster, Subresource};

#[tokio::test]
async fn pods_keep_to_the_level_of_their_namespace() {
    let (cluster, _dir) = cluster().await;
    let labels =
        json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted"});
    make(&cluster, &kinds::NAMESPACE, json!({"metadata": {"name": "safe", "labels": labels}})).await;
    let heard = cluster.with_warnings();
    heard.create(&kinds::POD, Some("safe"), plain("a")).await.expect("baseline is kept to");
    assert_eq!(
        heard.take_warnings(),
        [concat!(
            r#"would violate PodSecurity "restricted:latest": "#,
            r#"allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), "#,
            r#"unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), "#,
            r#"runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), "#,
            r#"seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")"#,
        )]
    );
    let mut bad = plain("b");
    bad["spec"]["hostNetwork"] = json!(true);
    bad["spec"]["volumes"] = json!([{"name": "v", "hostPath": {"path": "/"}}]);
    bad["spec"]["containers"][0]["securityContext"] =
        json!({"privileged": true, "capabilities": {"add": ["SYS_ADMIN", "CHOWN"]}});
    bad["spec"]["containers"][0]["ports"] = json!([{"containerPort": 80, "hostPort": 80}]);
    let status = cluster.create(&kinds::POD, Some("safe"), bad).await.expect_err("refused");
    assert_eq!(
        status.message,
        concat!(
            r#"pods "b" is forbidden: violates PodSecurity "baseline:latest": "#,
            r#"non-default capabilities (container "c" must not include "SYS_ADMIN" in securityContext.capabilities.add), "#,
            r#"host namespaces (hostNetwork=true), hostPath volumes (volume "v"), hostPort (container "c" uses hostPort 80), "#,
            r#"privileged (container "c" must not set securityContext.privileged=true)"#,
        )
    );
    let stricter = |old: &Object| {
        let mut new = old.0.clone();
        new["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = json!("restricted");
        Ok(new)
    };
    heard.modify(&kinds::NAMESPACE, None, "safe", Subresource::None, stricter).await.expect("it may be asked more");
    assert_eq!(
        heard.take_warnings(),
        [
            r#"existing pods in namespace "safe" violate the new PodSecurity enforce level "restricted:latest""#,
            "a: allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile",
        ]
    );
}

/// Merges `wanted` into an object; why not, where it is refused.
async fn change(
    cluster: &Cluster,
    (kind, name): (&Kind, &str),
    part: Subresource,
    wanted: Value,
) -> Result<(), String> {
    let namespace = kind.is_namespaced().then_some("safe");
    let merged = |old: &Object| {
        let mut new = old.0.clone();
        patch::merge(&mut new, &wanted);
        Ok(new)
    };
    cluster.modify(kind, namespace, name, part, merged).await.map(|_| ()).map_err(|status| status.message)
}

#[tokio::test]
async fn a_pod_that_is_there_may_not_begin_to_break_the_level() {
    let (cluster, _dir) = cluster().await;
    make(&cluster, &kinds::NAMESPACE, json!({"metadata": {"name": "safe"}})).await;
    let mut old = plain("old");
    old["spec"]["hostNetwork"] = json!(true);
    old["metadata"]["finalizers"] = json!(["example.com/stay"]);
    cluster.create(&kinds::POD, Some("safe"), old).await.expect("nothing is asked yet");
    cluster.create(&kinds::POD, Some("safe"), plain("good")).await.expect("nothing is asked yet");
    let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}});
    change(&cluster, (&kinds::NAMESPACE, "safe"), Subresource::None, labels).await.expect("it may be asked");
    let debug = async |name: &str, context: Value| {
        let container = json!({"name": "d", "image": "i", "securityContext": context});
        let wanted = json!({"spec": {"ephemeralContainers": [container]}});
        change(&cluster, (&kinds::POD, name), Subresource::Part("ephemeralcontainers"), wanted).await
    };
    let refused = debug("good", json!({"privileged": true})).await.expect_err("refused");
    let why = r#"privileged (container "d" must not set securityContext.privileged=true)"#;
    assert_eq!(refused, format!(r#"pods "good" is forbidden: violates PodSecurity "baseline:latest": {why}"#));
    debug("good", json!({})).await.expect("it keeps to the level");
    let set_image = async |name: &str| {
        let set = |old: &Object| {
            let mut new = old.0.clone();
            new["spec"]["containers"][0]["image"] = json!("j");
            Ok(new)
        };
        cluster.modify(&kinds::POD, Some("safe"), name, Subresource::None, set).await.map_err(|status| status.message)
    };
    set_image("good").await.expect("it keeps to the level");
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    change(&cluster, (&kinds::POD, "old"), Subresource::None, labels).await.expect("no level looks at that");
    let refused = set_image("old").await.expect_err("refused");
    assert!(refused.ends_with("host namespaces (hostNetwork=true)"), "{refused}");
    cluster.delete(&kinds::POD, Some("safe"), "old", &DeleteOptions::default()).await.expect("it ends, some day");
    set_image("old").await.expect_err("and is judged until then");
}

#[tokio::test]
async fn each_check_is_of_its_version() {
    let (cluster, _dir) = cluster().await;
    let labels = |version: &str| {
        let of = |what: &str| format!("pod-security.kubernetes.io/{what}");
        json!({"metadata": {"labels": {of("enforce"): "restricted", of("enforce-version"): version}}})
    };
    let mut namespace = labels("v1.0");
    namespace["metadata"]["name"] = json!("safe");
    make(&cluster, &kinds::NAMESPACE, namespace).await;
    let mut pod = plain("p");
    pod["spec"]["securityContext"] = json!({
        "runAsNonRoot": true, "runAsUser": 0, "seLinuxOptions": {"type": "container_engine_t"},
        "sysctls": [{"name": "net.ipv4.tcp_rmem", "value": "1"}, {"name": "net.ipv4.tcp_fin_timeout", "value": "1"}],
    });
    pod["spec"]["containers"][0]["securityContext"] = json!({"capabilities": {"add": ["NET_ADMIN"]}});
    pod["metadata"]["annotations"] = json!({"seccomp.security.alpha.kubernetes.io/pod": "unconfined"});
    for (version, expected) in [
        ("v1.0", "non-default capabilities, seLinuxOptions, seccompProfile, forbidden sysctls"),
        (
            "v1.20",
            "non-default capabilities, seLinuxOptions, forbidden sysctls, allowPrivilegeEscalation != false, seccompProfile",
        ),
        (
            "v1.30",
            "seLinuxOptions, forbidden sysctls, allowPrivilegeEscalation != false, unrestricted capabilities, runAsUser=0, \
             seccompProfile",
        ),
        ("v1.99", "allowPrivilegeEscalation != false, unrestricted capabilities, runAsUser=0, seccompProfile"),
    ] {
        change(&cluster, (&kinds::NAMESPACE, "safe"), Subresource::None, labels(version)).await.expect("relabelled");
        let status = cluster.create(&kinds::POD, Some("safe"), pod.clone()).await.expect_err("refused");
        let (head, told) = status.message.split_once(": violates PodSecurity ").expect("why");
        let what: Vec<&str> = told.split(" (").map(|part| part.rsplit("), ").next().unwrap_or_default()).collect();
        let what: Vec<&str> = what.iter().map(|part| part.rsplit(": ").next().unwrap_or_default()).collect();
        assert_eq!(
            (head, what[..what.len() - 1].join(", ").as_str()),
            ("pods \"p\" is forbidden", expected),
            "{version}"
        );
    }
}

#[tokio::test]
async fn what_is_wrong_is_told_in_kubernetes_words() {
    let (cluster, _dir) = cluster().await;
    let of = |what: &str| format!("pod-security.kubernetes.io/{what}");
    let labels = json!({of("enforce"): "baseline", of("warn"): "baseline"});
    make(&cluster, &kinds::NAMESPACE, json!({"metadata": {"name": "safe", "labels": labels}})).await;
    let mut pod = plain("p");
    let profile = "container.apparmor.security.beta.kubernetes.io/c";
    pod["metadata"]["annotations"] = json!({profile: "unconfined"});
    pod["spec"]["securityContext"] = json!({"appArmorProfile": {"type": "Unconfined"}});
    pod["spec"]["containers"][0]["ports"] =
        json!([{"containerPort": 1, "hostPort": 8081}, {"containerPort": 2, "hostPort": 8080}]);
    let status = cluster.create(&kinds::POD, Some("safe"), pod).await.expect_err("refused");
    let expected = concat!(
        r#"pods "p" is forbidden: violates PodSecurity "baseline:latest": forbidden AppArmor profiles "#,
        r#"(pod and annotation must not set AppArmor profile type to "Unconfined", "#,
        r#""container.apparmor.security.beta.kubernetes.io/c=\"unconfined\""), "#,
        r#"hostPort (container "c" uses hostPorts 8080, 8081)"#,
    );
    assert_eq!(status.message, expected);
}

#[tokio::test]
async fn a_pod_may_not_say_that_it_may_run_as_root_even_if_no_container_does() {
    let (cluster, _dir) = cluster().await;
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "v1.7"});
    make(&cluster, &kinds::NAMESPACE, json!({"metadata": {"name": "safe", "labels": labels}})).await;
    let mut pod = plain("p");
    pod["spec"]["securityContext"] = json!({"runAsNonRoot": false});
    pod["spec"]["containers"][0]["securityContext"] = json!({"runAsNonRoot": true});
    let status = cluster.create(&kinds::POD, Some("safe"), pod).await.expect_err("refused");
    let why = "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)";
    assert_eq!(status.message, format!("pods \"p\" is forbidden: violates PodSecurity \"restricted:v1.7\": {why}"));
}

#[tokio::test]
async fn whoever_touches_a_template_that_breaks_the_level_hears_of_it() {
    let (cluster, _dir) = cluster().await;
    make(&cluster, &kinds::NAMESPACE, json!({"metadata": {"name": "safe"}})).await;
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"hostNetwork": true, "containers": plain("p")["spec"]["containers"]}});
    let spec = json!({"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template});
    let deployment = json!({"metadata": {"name": "d"}, "spec": spec});
    cluster.create(&kinds::DEPLOYMENT, Some("safe"), deployment).await.expect("nothing is asked yet");
    let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/warn": "baseline"}}});
    change(&cluster, (&kinds::NAMESPACE, "safe"), Subresource::None, labels).await.expect("it may be asked");
    let heard = cluster.with_warnings();
    let annotated = json!({"metadata": {"annotations": {"a": "b"}}});
    change(&heard, (&kinds::DEPLOYMENT, "d"), Subresource::None, annotated).await.expect("it may");
    let expected = r#"would violate PodSecurity "baseline:latest": host namespaces (hostNetwork=true)"#;
    assert_eq!(heard.take_warnings(), [expected]);
    change(&heard, (&kinds::DEPLOYMENT, "d"), Subresource::Scale, json!({"spec": {"replicas": 2}}))
        .await
        .expect("it may");
    assert!(heard.take_warnings().is_empty(), "a scale is no template");
}

#[tokio::test]
async fn another_version_of_a_level_is_looked_at_anew() {
    let (cluster, _dir) = cluster().await;
    let label = |version: &str| {
        let of = |what: &str| format!("pod-security.kubernetes.io/{what}");
        json!({"metadata": {"labels": {of("enforce"): "baseline", of("enforce-version"): version}}})
    };
    let mut namespace = label("latest");
    namespace["metadata"]["name"] = json!("safe");
    make(&cluster, &kinds::NAMESPACE, namespace).await;
    for name in ["b", "a"] {
        let mut pod = plain(name);
        pod["spec"]["securityContext"] = json!({"sysctls": [{"name": "net.ipv4.tcp_rmem", "value": "1"}]});
        cluster.create(&kinds::POD, Some("safe"), pod).await.expect("allowed since 1.32");
    }
    let heard = cluster.with_warnings();
    change(&heard, (&kinds::NAMESPACE, "safe"), Subresource::None, label("v1.30")).await.expect("it may be asked");
    let head = r#"existing pods in namespace "safe" violate the new PodSecurity enforce level "baseline:v1.30""#;
    assert_eq!(heard.take_warnings(), [head, "a (and 1 other pod): forbidden sysctls"]);
}
