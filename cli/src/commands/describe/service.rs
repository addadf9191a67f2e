//! Services with their endpoints, Ingresses, ConfigMaps and Secrets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::page::{Page, list, number, pairs, text};
use crate::client::{Client, Query, Resource};

/// A Service.
pub(super) async fn describe(page: &mut Page, client: &Client, object: &Value) -> anyhow::Result<()> {
    page.line("Selector", &pairs(object.pointer("/spec/selector")));
    page.line("Type", text(object, "/spec/type"));
    page.line("IP", text(object, "/spec/clusterIP"));
    page.some("External Name", text(object, "/spec/externalName"));
    let addresses: Vec<&str> = list(object, "/status/loadBalancer/ingress").map(address).collect();
    page.some("LoadBalancer Ingress", &addresses.join(", "));
    let ports: Vec<String> = list(object, "/spec/ports")
        .map(|port| {
            let name = text(port, "/name");
            let target = port.get("targetPort").map(crate::render::jsonpath::shown).unwrap_or_default();
            let name = if name.is_empty() { String::new() } else { format!("{name} ") };
            let node = port.get("nodePort").map(|node| format!(", on nodes {node}")).unwrap_or_default();
            format!("{name}{}/{} to {target}{node}", number(port, "/port"), text(port, "/protocol"))
        })
        .collect();
    page.line("Ports", &ports.join("\n"));
    page.line("Endpoints", &endpoints(client, object).await?.join(", "));
    page.line("Session Affinity", text(object, "/spec/sessionAffinity"));
    Ok(())
}

async fn endpoints(client: &Client, object: &Value) -> anyhow::Result<Vec<String>> {
    let resource = Resource::known("discovery.k8s.io", "EndpointSlice", "endpointslices");
    let labels = format!("kubernetes.io/service-name={}", text(object, "/metadata/name"));
    let collection = resource.collection(Some(text(object, "/metadata/namespace")));
    let slices = client.list(&collection, Query::default().with("labelSelector", &labels)).await?;
    let mut found = Vec::new();
    for slice in &slices {
        let ports: Vec<i64> = list(slice, "/ports").map(|port| number(port, "/port")).collect();
        for endpoint in list(slice, "/endpoints")
            .filter(|endpoint| endpoint.pointer("/conditions/ready") != Some(&Value::Bool(false)))
        {
            for address in list(endpoint, "/addresses").filter_map(Value::as_str) {
                found.extend(ports.iter().map(|port| format!("{address}:{port}")));
            }
        }
    }
    Ok(found)
}

fn address(ingress: &Value) -> &str {
    let ip = text(ingress, "/ip");
    if ip.is_empty() { text(ingress, "/hostname") } else { ip }
}

/// An Ingress.
pub(super) fn ingress(page: &mut Page, object: &Value) {
    page.line("Ingress Class", text(object, "/spec/ingressClassName"));
    let addresses: Vec<&str> = list(object, "/status/loadBalancer/ingress").map(address).collect();
    page.line("Address", &addresses.join(", "));
    if let Some(default) = object.pointer("/spec/defaultBackend") {
        page.line("Default Backend", &backend(default));
    }
    for tls in list(object, "/spec/tls") {
        let hosts: Vec<&str> = list(tls, "/hosts").filter_map(Value::as_str).collect();
        page.line("TLS", &format!("{} terminates {}", text(tls, "/secretName"), hosts.join(",")));
    }
    let mut rows = Vec::new();
    for rule in list(object, "/spec/rules") {
        let host = text(rule, "/host");
        for path in list(rule, "/http/paths") {
            let host = if host.is_empty() { "*" } else { host };
            rows.push(vec![
                host.to_owned(),
                text(path, "/path").to_owned(),
                text(path, "/pathType").to_owned(),
                backend(&path["backend"]),
            ]);
        }
    }
    page.table("Rules", &["Host", "Path", "Type", "Backend"], &rows);
}

fn backend(backend: &Value) -> String {
    let port = backend.pointer("/service/port/number").or_else(|| backend.pointer("/service/port/name"));
    match backend.pointer("/service/name").and_then(Value::as_str) {
        Some(name) => format!("{name}:{}", port.map(crate::render::jsonpath::shown).unwrap_or_default()),
        None => format!("{}/{}", text(backend, "/resource/kind"), text(backend, "/resource/name")),
    }
}

/// A ConfigMap: its data in full.
pub(super) fn config_map(page: &mut Page, object: &Value) {
    page.section("Data", |page| {
        for (key, value) in object.get("data").and_then(Value::as_object).into_iter().flatten() {
            page.section(key, |page| page.text_block(value.as_str().unwrap_or_default()));
        }
    });
    let binary = object.get("binaryData").and_then(Value::as_object);
    if let Some(binary) = binary.filter(|binary| !binary.is_empty()) {
        page.section("Binary Data", |page| binary.iter().for_each(|(key, value)| page.line(key, &size(value))));
    }
}

/// A Secret: its keys and how long the values are, never the values.
pub(super) fn secret(page: &mut Page, object: &Value) {
    page.line("Type", text(object, "/type"));
    page.section("Data", |page| {
        for (key, value) in object.get("data").and_then(Value::as_object).into_iter().flatten() {
            page.line(key, &size(value));
        }
    });
}

fn size(value: &Value) -> String {
    let length = value.as_str().and_then(|text| STANDARD.decode(text).ok()).map_or(0, |bytes| bytes.len());
    format!("{length} bytes")
}
