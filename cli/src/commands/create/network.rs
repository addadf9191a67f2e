//! Services and Ingresses.

use serde_json::{Value, json};

use super::Made;
use crate::args::{IngressArgs, NamedArgs, ServiceKind};
use crate::exit::{ExitError, usage};

/// A Service and its name.
pub(super) fn service(kind: &ServiceKind) -> Result<(&NamedArgs, Made), ExitError> {
    let (word, args) = match kind {
        ServiceKind::Clusterip(args) => ("ClusterIP", args),
        ServiceKind::Nodeport(args) => ("NodePort", args),
        ServiceKind::Loadbalancer(args) => ("LoadBalancer", args),
        ServiceKind::Externalname(args) => ("ExternalName", args),
    };
    let mut spec = json!({"type": word, "selector": {"app": args.named.name}});
    let mut ports = args.tcp.iter().map(|text| port(text)).collect::<Result<Vec<Value>, ExitError>>()?;
    if let (Some(node), Some(first)) = (args.node_port, ports.first_mut()) {
        first["nodePort"] = node.into();
    }
    match (word, &args.external_name) {
        ("ExternalName", Some(host)) => spec["externalName"] = host.clone().into(),
        ("ExternalName", None) => return Err(usage("an externalname needs --external-name HOST")),
        _ => {}
    }
    let headless = args.clusterip.as_deref() == Some("None");
    if ports.is_empty() && word != "ExternalName" && !headless {
        return Err(usage("say which port: --tcp PORT[:TARGET]"));
    }
    if let Some(address) = &args.clusterip {
        spec["clusterIP"] = address.clone().into();
    }
    if !ports.is_empty() {
        spec["ports"] = ports.into();
    }
    let object = json!({"metadata": {"labels": {"app": args.named.name}}, "spec": spec});
    Ok((&args.named, Made::of("", "Service", "services", object)))
}

fn port(text: &str) -> Result<Value, ExitError> {
    let (port, target) = text.split_once(':').unwrap_or((text, text));
    let wrong = |_| usage(format!("--tcp {text:?} is not PORT[:TARGET]"));
    let number: u16 = port.parse().map_err(wrong)?;
    let target = target.parse::<u16>().map_or_else(|_| Value::from(target), Value::from);
    Ok(json!({"name": text.replace(':', "-"), "port": number, "protocol": "TCP", "targetPort": target}))
}

/// An Ingress.
pub(super) fn ingress(args: &IngressArgs) -> Result<Made, ExitError> {
    if args.rule.is_empty() && args.default_backend.is_none() {
        return Err(usage("say where it leads: --rule HOST/PATH=SERVICE:PORT or --default-backend SERVICE:PORT"));
    }
    let mut spec = json!({});
    if let Some(class) = &args.class {
        spec["ingressClassName"] = class.clone().into();
    }
    if let Some(default) = &args.default_backend {
        spec["defaultBackend"] = backend(default)?;
    }
    let (mut rules, mut tls): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    for text in &args.rule {
        let rule = rule(text)?;
        let known =
            rules.iter_mut().find(|known| known.get("host").and_then(Value::as_str).unwrap_or_default() == rule.host);
        match known.and_then(|known| known.pointer_mut("/http/paths")?.as_array_mut()) {
            Some(paths) => paths.push(rule.path),
            None if rule.host.is_empty() => rules.push(json!({"http": {"paths": [rule.path]}})),
            None => rules.push(json!({"host": rule.host, "http": {"paths": [rule.path]}})),
        }
        if let Some(secret) = rule.tls {
            let mut entry = json!({"hosts": [rule.host]});
            if !secret.is_empty() {
                entry["secretName"] = secret.into();
            }
            if !tls.contains(&entry) {
                tls.push(entry);
            }
        }
    }
    if !rules.is_empty() {
        spec["rules"] = rules.into();
    }
    if !tls.is_empty() {
        spec["tls"] = tls.into();
    }
    let mut object = json!({"spec": spec});
    for annotation in &args.annotation {
        let (key, value) =
            annotation.split_once('=').ok_or_else(|| usage(format!("--annotation {annotation:?} is not KEY=VALUE")))?;
        object["metadata"]["annotations"][key] = value.into();
    }
    Ok(Made::of("networking.k8s.io", "Ingress", "ingresses", object))
}

struct Rule {
    host: String,
    path: Value,
    /// The Secret of the certificate; empty for the default one.
    tls: Option<String>,
}

fn rule(text: &str) -> Result<Rule, ExitError> {
    let (route, options) = text.split_once(',').unwrap_or((text, ""));
    let wrong = || usage(format!("--rule {text:?} is not HOST/PATH=SERVICE:PORT[,tls[=SECRET]]"));
    let (place, service) = route.split_once('=').ok_or_else(wrong)?;
    let slash = place.find('/').ok_or_else(wrong)?;
    let (host, path) = place.split_at(slash);
    let (path, kind) = match path.strip_suffix('*') {
        Some(path) => (path, "Prefix"),
        None => (path, "Exact"),
    };
    let tls = match options.split_once('=').unwrap_or((options, "")) {
        ("", _) => None,
        ("tls", secret) => Some(secret.to_owned()),
        _ => return Err(wrong()),
    };
    Ok(Rule { host: host.to_owned(), path: json!({"path": path, "pathType": kind, "backend": backend(service)?}), tls })
}

fn backend(text: &str) -> Result<Value, ExitError> {
    let (name, port) = text.split_once(':').ok_or_else(|| usage(format!("{text:?} is not SERVICE:PORT")))?;
    let port = match port.parse::<u16>() {
        Ok(number) => json!({"number": number}),
        Err(_) => json!({"name": port}),
    };
    Ok(json!({"service": {"name": name, "port": port}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_a_place_a_service_and_perhaps_tls() {
        let made = rule("shop.example/cart*=shop:80,tls=cert").expect("rule");
        assert_eq!((made.host.as_str(), made.tls.as_deref()), ("shop.example", Some("cert")));
        assert_eq!(
            made.path,
            json!({"path": "/cart", "pathType": "Prefix", "backend": {"service": {"name": "shop", "port": {"number": 80}}}})
        );
        assert_eq!(rule("/=shop:http").expect("rule").path["pathType"], "Exact");
        for wrong in ["shop.example=shop:80", "a/b", "a/b=c", "a/=b:1,ssl"] {
            assert!(rule(wrong).is_err(), "{wrong}");
        }
        assert_eq!(port("80:8080").expect("port")["targetPort"], 8080);
    }
}
