//! Where an app answers: from its Ingress and from where the nodes' ingresses listen. Pure.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

/// Annotation of a node: where its ingress listens for HTTP.
const INGRESS_HTTP: &str = "wk.dev/ingress-http";

/// How many nodes get a line of their own; any of them does.
const LINES_MAX: usize = 3;

/// The routes of an Ingress that lead to the service: host and path.
pub(super) fn routes(ingress: &Value, service: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for rule in list(ingress.pointer("/spec/rules")) {
        let host = rule.get("host").and_then(Value::as_str).unwrap_or_default();
        for path in list(rule.pointer("/http/paths")) {
            if path.pointer("/backend/service/name").and_then(Value::as_str) == Some(service) {
                let path = path.get("path").and_then(Value::as_str).unwrap_or("/");
                found.push((host.to_owned(), path.to_owned()));
            }
        }
    }
    found
}

/// Which routes of the Ingress another one keeps, since it is older, a sentence each. `all` is a list of Ingresses.
pub(super) fn taken(all: &Value, namespace: &str, name: &str) -> Vec<String> {
    let word =
        |ingress: &Value, field: &str| ingress.pointer(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let age = |ingress: &Value| {
        ["/metadata/creationTimestamp", "/metadata/namespace", "/metadata/name"].map(|field| word(ingress, field))
    };
    let claims = |ingress: &Value| -> Vec<(String, String)> {
        let rules = list(ingress.pointer("/spec/rules"));
        let of = |rule: &Value| {
            let host = word(rule, "/host").to_ascii_lowercase();
            let paths = list(rule.pointer("/http/paths")).map(move |path| (host.clone(), word(path, "/path")));
            paths.collect::<Vec<_>>()
        };
        rules.flat_map(of).collect()
    };
    let is_ours = |it: &&Value| word(it, "/metadata/namespace") == namespace && word(it, "/metadata/name") == name;
    let Some(ours) = list(all.get("items")).find(is_ours) else { return Vec::new() };
    let mine = claims(ours);
    let older = list(all.get("items")).filter(|other| age(other) < age(ours));
    let lines = older.flat_map(|other| {
        let [_, namespace, name] = age(other);
        let both = claims(other).into_iter().filter(|claim| mine.contains(claim));
        both.map(move |(host, path)| {
            format!("warning: {host}{path} is served by Ingress {namespace}/{name}, which is older: it keeps the route")
        })
        .collect::<Vec<_>>()
    });
    lines.collect()
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

/// Where the nodes that are ready listen for HTTP, nearest first.
pub(super) fn listeners(nodes: &Value) -> Vec<SocketAddr> {
    let ready = |node: &&Value| {
        let mut conditions = list(node.pointer("/status/conditions"));
        conditions.any(|it| it.get("type") == Some(&"Ready".into()) && it.get("status") == Some(&"True".into()))
    };
    let address = |node: &Value| node.pointer("/metadata/annotations")?.get(INGRESS_HTTP)?.as_str()?.parse().ok();
    let mut found: Vec<SocketAddr> = list(nodes.get("items")).filter(ready).filter_map(address).collect();
    found.sort_by_key(|address| (!is_here(address.ip()), *address));
    found.dedup();
    found
}

/// Whether a name that means this machine leads to the address.
fn is_here(ip: IpAddr) -> bool {
    ip.is_unspecified() || ip == IpAddr::from([127, 0, 0, 1]) || ip == IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)
}

/// What to print: URLs that work from here, and curl lines for nodes that the host's name does not lead to.
pub(super) fn urls(routes: &[(String, String)], listeners: &[SocketAddr]) -> Vec<String> {
    let mut lines = Vec::new();
    for (host, path) in routes {
        let local = host == "localhost" || host.ends_with(".localhost");
        let mut named = false;
        for address in listeners.iter().take(LINES_MAX) {
            let port = match address.port() {
                80 => String::new(),
                port => format!(":{port}"),
            };
            // A wildcard or no host at all: any name does, so the address is as good.
            let any = host.is_empty() || host.starts_with('*');
            if any {
                lines.push(format!("http://{}{port}{path}", literal(address.ip())));
                continue;
            }
            // `*.localhost` is this machine's 127.0.0.1; other names are the business of somebody's DNS.
            if !named && (!local || is_here(address.ip())) {
                named = true;
                lines.push(format!("http://{host}{port}{path}"));
            }
            if !is_here(address.ip()) {
                lines.push(format!("curl -H 'Host: {host}' http://{}{port}{path}", literal(address.ip())));
            }
        }
        if listeners.is_empty() {
            lines.push(format!("http://{host}{path}"));
        }
    }
    lines
}

fn literal(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}
