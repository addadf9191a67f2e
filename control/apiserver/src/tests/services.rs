//! Cluster IPs.

use serde_json::{Value, json};

use super::kit::Harness;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";

fn service(name: &str, spec: &Value) -> Value {
    let mut body = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": name },
        "spec": { "ports": [{ "port": 80 }], "selector": { "app": name } },
    });
    for (field, value) in spec.as_object().expect("fields") {
        body["spec"][field] = value.clone();
    }
    body
}

fn address(service: &Value) -> String {
    service["spec"]["clusterIP"].as_str().expect("an address").to_owned()
}

#[tokio::test]
async fn a_service_gets_an_address_and_gives_it_back() {
    let api = Harness::start().await;
    let web = api.post(SERVICES, &service("web", &json!({}))).await.expect(201);
    let api_service = api.post(SERVICES, &service("api", &json!({}))).await.expect(201);
    assert!(address(&web).starts_with("10."), "{web}");
    assert_ne!(address(&web), address(&api_service));
    assert_eq!(web["spec"]["clusterIPs"], json!([address(&web)]));
    assert_eq!((&web["spec"]["ipFamilies"], &web["spec"]["type"]), (&json!(["IPv4"]), &json!("ClusterIP")));
    let held = api.get(&format!("{ADDRESSES}/{}", address(&web))).await.expect(200);
    assert_eq!(held["spec"]["parentRef"]["name"], "web");

    let mut changed = service("web", &json!({ "ports": [{ "port": 81 }] }));
    changed["metadata"]["resourceVersion"] = web["metadata"]["resourceVersion"].clone();
    let put = api.put(&format!("{SERVICES}/web"), &changed).await.expect(200);
    assert_eq!(address(&put), address(&web), "an update need not repeat the address");

    api.delete(&format!("{SERVICES}/web"), &json!({})).await.expect(200);
    api.get(&format!("{ADDRESSES}/{}", address(&web))).await.expect(404);
    let again = api.post(SERVICES, &service("again", &json!({ "clusterIP": address(&web) }))).await.expect(201);
    assert_eq!(address(&again), address(&web));
}

#[tokio::test]
async fn an_address_that_was_asked_for_is_given_or_refused() {
    let api = Harness::start().await;
    let made = api.post(SERVICES, &service("dns", &json!({ "clusterIP": "10.96.0.10" }))).await.expect(201);
    assert_eq!(address(&made), "10.96.0.10");
    for (wanted, why) in [
        ("10.96.0.10", "provided IP is already allocated"),
        ("192.168.0.1", "not in the valid range. The range of valid IPs is 10.96.0.0/12"),
    ] {
        let answer = api.post(SERVICES, &service("other", &json!({ "clusterIP": wanted }))).await;
        assert_eq!(answer.reason(), (422, "Invalid".to_owned()));
        let message = answer.json()["message"].as_str().expect("a message").to_owned();
        assert!(message.contains(why), "{message}");
    }
}

#[tokio::test]
async fn headless_and_external_services_have_no_address() {
    let api = Harness::start().await;
    let headless = api.post(SERVICES, &service("peers", &json!({ "clusterIP": "None" }))).await.expect(201);
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
    let external = json!({ "type": "ExternalName", "externalName": "example.com" });
    let external = api.post(SERVICES, &service("far", &external)).await.expect(201);
    assert!(external["spec"].get("clusterIP").is_none_or(|address| address == ""));
    let list = api.get(ADDRESSES).await.expect(200);
    assert_eq!(list["items"], json!([]));
    api.patch(&format!("{SERVICES}/far"), &json!({ "spec": { "type": "ClusterIP", "externalName": null } }))
        .await
        .expect(200);
    let list = api.get(ADDRESSES).await.expect(200);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "it has one now");
    api.patch(&format!("{SERVICES}/far"), &json!({ "spec": { "type": "ExternalName", "externalName": "example.com", "clusterIP": null, "clusterIPs": null } })).await.expect(200);
    assert_eq!(api.get(ADDRESSES).await.expect(200)["items"], json!([]), "and has given it back");
}

#[tokio::test]
async fn node_ports_are_given_kept_refused_when_taken_and_given_back() {
    let api = Harness::start().await;
    let ports = json!([{ "name": "dns", "port": 53, "protocol": "UDP" }, { "name": "dns-tcp", "port": 53 }]);
    let made = api.post(SERVICES, &service("dns", &json!({ "type": "NodePort", "ports": ports }))).await.expect(201);
    let given = made["spec"]["ports"][0]["nodePort"].as_i64().expect("a node port");
    assert!((30_086..=32_767).contains(&given), "{made}");
    assert_eq!(made["spec"]["ports"][1]["nodePort"], given, "one number for both protocols of a port");

    let wants = |number: i64| json!({ "type": "NodePort", "ports": [{ "port": 80, "nodePort": number }] });
    for (number, why) in [
        (given, "provided port is already allocated"),
        (80, "provided port is not in the valid range. The range of valid ports is 30000-32767"),
    ] {
        let answer = api.post(SERVICES, &service("other", &wants(number))).await;
        assert_eq!(answer.reason(), (422, "Invalid".to_owned()));
        let expected = format!("Service \"other\" is invalid: spec.ports[0].nodePort: Invalid value: {number}: {why}");
        assert_eq!(answer.json()["message"], expected);
    }

    let labelled = json!({ "metadata": { "labels": { "a": "b" } } });
    let same = api.patch(&format!("{SERVICES}/dns"), &labelled).await.expect(200);
    assert_eq!(same["spec"]["ports"], made["spec"]["ports"]);

    let inside = api.patch(&format!("{SERVICES}/dns"), &json!({ "spec": { "type": "ClusterIP" } })).await.expect(200);
    assert!(inside["spec"]["ports"][0].get("nodePort").is_none(), "{inside}");
    api.post(SERVICES, &service("other", &wants(given))).await.expect(201);
    api.delete(&format!("{SERVICES}/other"), &json!({})).await.expect(200);
    api.post(SERVICES, &service("third", &wants(given))).await.expect(201);
}
