//! What is counted of requests.

use http::Method;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use serde_json::json;
use wk_base::body::empty;
use wk_mesh::Peer;

use super::kit::{CONFIG_MAPS, Harness, config_map};

#[tokio::test]
async fn requests_for_objects_are_counted_as_kubernetes_counts_them() {
    let api = Harness::start().await;
    api.post(CONFIG_MAPS, &config_map("a", &[])).await.expect(201);
    api.post(CONFIG_MAPS, &config_map("a", &[])).await.expect(409);
    api.get(CONFIG_MAPS).await.expect(200);
    api.patch(&format!("{CONFIG_MAPS}/a"), &json!({ "data": { "k": "v" } })).await.expect(200);
    api.get("/version").await.expect(200);
    api.get(&format!("{CONFIG_MAPS}/a/nothing")).await.not_found();
    let nobody = Peer::Anonymous;
    for path in [format!("{CONFIG_MAPS}/a"), CONFIG_MAPS.to_owned(), "/apis/apps/v1/deployments?dryRun=All".to_owned()]
    {
        assert_eq!(api.send_as(nobody.clone(), Method::GET, &path, &[], empty()).await.code, 401);
    }
    api.get(&format!("{CONFIG_MAPS}?dryRun=All")).await.expect(200);
    let stranger = Peer::User { name: "eve".to_owned(), groups: Vec::new() };
    for path in [format!("{CONFIG_MAPS}/a"), CONFIG_MAPS.to_owned(), "/apis/apps/v1/deployments?dryRun=All".to_owned()]
    {
        assert_eq!(api.send_as(stranger.clone(), Method::GET, &path, &[], empty()).await.code, 403);
    }

    let mut registry = Registry::default();
    api.requests.register(&mut registry);
    let mut told = String::new();
    text::encode(&mut told, &registry).expect("text");
    let about = |verb: &str, version: &str, resource: &str, scope: &str| {
        format!(
            "verb=\"{verb}\",dry_run=\"\",group=\"\",version=\"{version}\",resource=\"{resource}\",subresource=\"\",scope=\"{scope}\",component=\"apiserver\""
        )
    };
    let labels = |verb: &str, scope: &str| about(verb, "v1", "configmaps", scope);
    for (verb, scope, code, count) in [
        ("POST", "resource", 201, 1),
        ("POST", "resource", 409, 1),
        ("LIST", "namespace", 200, 2),
        ("PATCH", "resource", 200, 1),
    ] {
        let line = format!("apiserver_request_total{{{},code=\"{code}\"}} {count}\n", labels(verb, scope));
        assert!(told.contains(&line), "{line} is not in\n{told}");
    }
    // Whoever is nobody, or has no right, chooses no labels.
    for code in [401, 403] {
        let line = format!("apiserver_request_total{{{},code=\"{code}\"}} 3\n", about("", "", "", ""));
        assert!(told.contains(&line), "{line} is not in\n{told}");
    }
    assert_eq!(told.matches("apiserver_request_duration_seconds_count{").count(), 3, "{told}");
    assert_eq!(told.matches("apiserver_request_total{").count(), 6, "nothing else is counted:\n{told}");
    let line = format!("apiserver_request_duration_seconds_count{{{}}} 2\n", labels("POST", "resource"));
    assert!(told.contains(&line), "{told}");
    assert!(told.contains("apiserver_current_inflight_requests{request_kind=\"readOnly\"} 0\n"), "{told}");
}
