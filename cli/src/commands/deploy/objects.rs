//! The objects of an app: as they are made first, and what of them deploying again changes.
//!
//! Pure. On an object that exists only what the command line speaks of is changed: replicas, variables, limits and
//! whatever else somebody set since stays.

use serde_json::{Map, Value, json};

use super::App;
use super::wasm::World;
use crate::args::{EnvChange, Route};

/// Label that ties the objects of an app together, and the Service to its pods.
pub(super) const NAME_LABEL: &str = "app.kubernetes.io/name";

/// Annotation on what `wk deploy` made, so that it only ever removes its own.
pub(super) const DEPLOYED_BY: &str = "wk.dev/deployed-by";

/// Its value.
const US: &str = "wk deploy";

/// Where HTTP pods listen.
const PORT: u16 = 8080;

/// Name of that port.
const PORT_NAME: &str = "http";

/// Variable that tells a pod its name.
const POD_NAME: &str = "WK_POD_NAME";

/// Annotation of a pod that says what it may reach.
const EGRESS: &str = wk_node::spec::EGRESS;

fn metadata(app: &App) -> Value {
    json!({"name": app.name, "labels": {NAME_LABEL: app.name}, "annotations": {DEPLOYED_BY: US}})
}

/// Whether `wk deploy` made the object.
pub(super) fn is_ours(object: &Value) -> bool {
    object.pointer("/metadata/annotations").and_then(|annotations| annotations.get(DEPLOYED_BY)).is_some()
}

/// The Deployment, new.
pub(super) fn deployment(app: &App, image: &str) -> Value {
    let name = json!({"name": POD_NAME, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}});
    let mut container = Map::new();
    container.insert("name".to_owned(), app.name.clone().into());
    container.insert("env".to_owned(), json!([name]));
    change_container(&mut container, app, image);
    let mut deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(app),
        "spec": {
            "replicas": app.replicas.unwrap_or(1),
            "selector": {"matchLabels": {NAME_LABEL: app.name}},
            // A pod goes only when its successor serves: no request is dropped while deploying again.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
            // A program is ready as soon as it runs, also one that is about to crash.
            "minReadySeconds": i64::from(app.world == World::Command),
            "template": {
                "metadata": {"labels": {NAME_LABEL: app.name}},
                // Names find services. Variables of each service would be handed to the instance of each request.
                "spec": {"containers": [container], "enableServiceLinks": false},
            },
        },
    });
    change_egress(&mut deployment, app);
    deployment
}

/// Says on the pods what they may reach, if anything was said.
fn change_egress(deployment: &mut Value, app: &App) {
    let Some(egress) = &app.egress else { return };
    let template = &mut deployment["spec"]["template"]["metadata"];
    if !egress.is_empty() {
        template["annotations"][EGRESS] = egress.clone().into();
    } else if let Some(annotations) = template.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(EGRESS);
    }
}

/// Brings a Deployment that exists to what the command line says.
pub(super) fn change_deployment(live: &mut Value, app: &App, image: &str) -> Result<(), String> {
    if let Some(replicas) = app.replicas {
        live["spec"]["replicas"] = replicas.into();
    }
    let containers = live.pointer_mut("/spec/template/spec/containers").and_then(Value::as_array_mut);
    let container = containers
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
        .find(|container| container.get("name").and_then(Value::as_str) == Some(app.name.as_str()));
    let Some(container) = container else {
        return Err(format!(
            "deployment {0:?} exists and has no container {0:?}: wk deploy did not make it; choose another --name",
            app.name
        ));
    };
    change_container(container, app, image);
    change_egress(live, app);
    Ok(())
}

fn change_container(container: &mut Map<String, Value>, app: &App, image: &str) {
    container.insert("image".to_owned(), image.into());
    if !app.args.is_empty() {
        container.insert("args".to_owned(), json!(app.args));
    }
    if let Some(memory) = &app.memory {
        let resources = container.entry("resources").or_insert_with(|| json!({}));
        resources["limits"]["memory"] = memory.clone().into();
        // A request above the new limit would be refused.
        if let Some(requests) = resources.get_mut("requests").and_then(Value::as_object_mut) {
            requests.remove("memory");
        }
    }
    if let Some(cpu) = &app.cpu {
        let resources = container.entry("resources").or_insert_with(|| json!({}));
        resources["requests"]["cpu"] = cpu.clone().into();
    }
    for change in &app.env {
        change_env(container, change);
    }
    if app.world == World::Http {
        ensure(container, "ports", PORT_NAME, json!({"name": PORT_NAME, "containerPort": PORT, "protocol": "TCP"}));
    }
}

fn change_env(container: &mut Map<String, Value>, change: &EnvChange) {
    let env = container.entry("env").or_insert_with(|| json!([]));
    let Some(env) = env.as_array_mut() else { return };
    let (EnvChange::Set(name, _) | EnvChange::Remove(name)) = change;
    let at = env.iter().position(|entry| entry.get("name").and_then(Value::as_str) == Some(name));
    match (change, at) {
        (EnvChange::Set(name, value), Some(at)) => env[at] = json!({"name": name, "value": value}),
        (EnvChange::Set(name, value), None) => env.push(json!({"name": name, "value": value})),
        (EnvChange::Remove(_), Some(at)) => {
            env.remove(at);
        }
        (EnvChange::Remove(_), None) => {}
    }
}

/// Adds an entry to a list of named entries unless it has one of that name.
fn ensure(object: &mut Map<String, Value>, list: &str, name: &str, entry: Value) {
    let list = object.entry(list).or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut()
        && !list.iter().any(|entry| entry.get("name").and_then(Value::as_str) == Some(name))
    {
        list.push(entry);
    }
}

fn service_port() -> Value {
    json!({"name": PORT_NAME, "port": 80, "targetPort": PORT_NAME, "protocol": "TCP"})
}

/// The Service, new.
pub(super) fn service(app: &App) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(app),
        "spec": {"selector": {NAME_LABEL: app.name}, "ports": [service_port()]},
    })
}

/// Brings a Service that exists to what the app needs.
pub(super) fn change_service(live: &mut Value, app: &App) -> Result<(), String> {
    let Some(spec) = live.get_mut("spec").and_then(Value::as_object_mut) else {
        return Err(format!("service {:?} has no spec", app.name));
    };
    let selector = spec.entry("selector").or_insert_with(|| json!({}));
    if selector.get(NAME_LABEL).and_then(Value::as_str) != Some(app.name.as_str()) {
        return Err(format!(
            "service {0:?} exists and selects other pods: wk deploy did not make it; choose another --name",
            app.name
        ));
    }
    ensure(spec, "ports", PORT_NAME, service_port());
    Ok(())
}

fn rule(app: &App, route: &Route) -> Value {
    let backend = json!({"service": {"name": app.name, "port": {"name": PORT_NAME}}});
    json!({"host": route.host, "http": {"paths": [{"path": route.path, "pathType": "Prefix", "backend": backend}]}})
}

/// The Ingress, new.
pub(super) fn ingress(app: &App) -> Value {
    let default = Route { host: format!("{}.localhost", app.name), path: "/".to_owned() };
    let rule = rule(app, app.route.as_ref().unwrap_or(&default));
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata(app),
        "spec": {"rules": [rule]},
    })
}

/// Gives an Ingress that exists the route, if one was asked for; rules that lead elsewhere stay.
pub(super) fn change_ingress(live: &mut Value, app: &App) -> Result<(), String> {
    let Some(route) = &app.route else { return Ok(()) };
    let Some(spec) = live.get_mut("spec").and_then(Value::as_object_mut) else {
        return Err(format!("ingress {:?} has no spec", app.name));
    };
    let rules = spec.entry("rules").or_insert_with(|| json!([]));
    let Some(rules) = rules.as_array_mut() else { return Ok(()) };
    let at = rules.iter().position(|rule| leads_only_to(rule, &app.name));
    match at {
        Some(at) => rules[at] = rule(app, route),
        None => rules.push(rule(app, route)),
    }
    Ok(())
}

fn leads_only_to(rule: &Value, service: &str) -> bool {
    let paths = rule.pointer("/http/paths").and_then(Value::as_array);
    paths.is_some_and(|paths| {
        paths.iter().all(|path| path.pointer("/backend/service/name").and_then(Value::as_str) == Some(service))
    })
}
