//! Pods and the templates they are made of.

use serde_json::Value;

use super::page::{NONE, Page, list, number, pairs, text};

/// A pod.
pub(super) fn describe(page: &mut Page, pod: &Value) {
    page.field("Priority", pod, "/spec/priority");
    page.some("Priority Class", text(pod, "/spec/priorityClassName"));
    page.some("Service Account", text(pod, "/spec/serviceAccountName"));
    let node = text(pod, "/spec/nodeName");
    let host = text(pod, "/status/hostIP");
    page.line("Node", &if node.is_empty() || host.is_empty() { node.to_owned() } else { format!("{node}/{host}") });
    page.some("Start Time", text(pod, "/status/startTime"));
    page.line("Status", text(pod, "/status/phase"));
    page.some("Reason", text(pod, "/status/reason"));
    page.some("Message", text(pod, "/status/message"));
    page.line("IP", text(pod, "/status/podIP"));
    for (name, specs, statuses) in [
        ("Init Containers", "/spec/initContainers", "/status/initContainerStatuses"),
        ("Containers", "/spec/containers", "/status/containerStatuses"),
        ("Ephemeral Containers", "/spec/ephemeralContainers", "/status/ephemeralContainerStatuses"),
    ] {
        if list(pod, specs).next().is_none() {
            continue;
        }
        page.section(name, |page| {
            for spec in list(pod, specs) {
                let name = text(spec, "/name");
                let status = list(pod, statuses).find(|status| text(status, "/name") == name);
                page.section(name, |page| container(page, spec, status));
            }
        });
    }
    page.conditions(pod);
    volumes(page, pod.pointer("/spec/volumes"));
    page.line("QoS Class", text(pod, "/status/qosClass"));
    placement(page, pod.get("spec").unwrap_or(&Value::Null));
}

/// A template of pods.
pub(super) fn template(page: &mut Page, template: &Value) {
    page.map("Labels", template.pointer("/metadata/labels"), "=");
    if template.pointer("/metadata/annotations").is_some() {
        page.map("Annotations", template.pointer("/metadata/annotations"), ": ");
    }
    page.some("Service Account", text(template, "/spec/serviceAccountName"));
    for (name, pointer) in [("Init Containers", "/spec/initContainers"), ("Containers", "/spec/containers")] {
        if list(template, pointer).next().is_none() {
            continue;
        }
        page.section(name, |page| {
            for spec in list(template, pointer) {
                page.section(text(spec, "/name"), |page| container(page, spec, None));
            }
        });
    }
    volumes(page, template.pointer("/spec/volumes"));
    placement(page, template.get("spec").unwrap_or(&Value::Null));
}

fn container(page: &mut Page, spec: &Value, status: Option<&Value>) {
    if let Some(status) = status {
        page.some("Container ID", text(status, "/containerID"));
    }
    page.line("Image", text(spec, "/image"));
    if let Some(status) = status {
        page.some("Image ID", text(status, "/imageID"));
    }
    let ports: Vec<String> = list(spec, "/ports")
        .map(|port| format!("{}/{}", number(port, "/containerPort"), text(port, "/protocol")))
        .collect();
    page.some("Ports", &ports.join(", "));
    words(page, "Command", spec, "/command");
    words(page, "Args", spec, "/args");
    if let Some(status) = status {
        state(page, "State", status.get("state"));
        if status.get("lastState").and_then(Value::as_object).is_some_and(|last| !last.is_empty()) {
            state(page, "Last State", status.get("lastState"));
        }
        page.field("Ready", status, "/ready");
        page.line("Restart Count", &number(status, "/restartCount").to_string());
    }
    for (name, pointer) in [("Limits", "/resources/limits"), ("Requests", "/resources/requests")] {
        page.some(name, &pairs(spec.pointer(pointer)));
    }
    for (name, key) in [("Liveness", "livenessProbe"), ("Readiness", "readinessProbe"), ("Startup", "startupProbe")] {
        if let Some(probe) = spec.get(key) {
            page.line(name, &self::probe(probe));
        }
    }
    environment(page, spec);
    let mounts: Vec<String> = list(spec, "/volumeMounts")
        .map(|mount| {
            let mode = if mount.get("readOnly") == Some(&Value::Bool(true)) { "ro" } else { "rw" };
            format!("{} from {} ({mode})", text(mount, "/mountPath"), text(mount, "/name"))
        })
        .collect();
    page.some("Mounts", &mounts.join("\n"));
}

fn words(page: &mut Page, name: &str, spec: &Value, pointer: &str) {
    let words: Vec<&str> = list(spec, pointer).filter_map(Value::as_str).collect();
    page.some(name, &words.join("\n"));
}

fn state(page: &mut Page, name: &str, state: Option<&Value>) {
    let state = state.and_then(Value::as_object).and_then(|state| state.iter().next());
    let Some((word, state)) = state else { return page.line(name, "Waiting") };
    let mut chars = word.chars();
    let word: String = chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars).collect();
    let mut told = vec![word];
    for (name, pointer) in [
        ("Reason", "/reason"),
        ("Message", "/message"),
        ("Exit Code", "/exitCode"),
        ("Started", "/startedAt"),
        ("Finished", "/finishedAt"),
    ] {
        if let Some(value) = state.pointer(pointer).filter(|value| !value.is_null()) {
            told.push(format!("{name}: {}", crate::render::jsonpath::shown(value)));
        }
    }
    page.line(name, &told.join("\n"));
}

fn probe(probe: &Value) -> String {
    let how = if let Some(get) = probe.get("httpGet") {
        let port = get.get("port").map(crate::render::jsonpath::shown).unwrap_or_default();
        format!("http-get :{port}{}", text(get, "/path"))
    } else if let Some(socket) = probe.get("tcpSocket") {
        format!("tcp-socket :{}", socket.get("port").map(crate::render::jsonpath::shown).unwrap_or_default())
    } else if let Some(grpc) = probe.get("grpc") {
        format!("grpc :{}", number(grpc, "/port"))
    } else {
        let words: Vec<&str> = list(probe, "/exec/command").filter_map(Value::as_str).collect();
        format!("exec {}", words.join(" "))
    };
    let seconds = |key: &str, otherwise: i64| probe.get(key).and_then(Value::as_i64).unwrap_or(otherwise);
    format!(
        "{how} delay={}s timeout={}s period={}s success={} failure={}",
        seconds("initialDelaySeconds", 0),
        seconds("timeoutSeconds", 1),
        seconds("periodSeconds", 10),
        seconds("successThreshold", 1),
        seconds("failureThreshold", 3)
    )
}

fn environment(page: &mut Page, spec: &Value) {
    let from = |from: &Value| {
        let of = |kind: &str, pointer: &str| {
            from.pointer(pointer).map(|_| format!("{kind} {}", text(from, &format!("{pointer}/name"))))
        };
        of("ConfigMap", "/configMapRef").or_else(|| of("Secret", "/secretRef"))
    };
    let whole: Vec<String> = list(spec, "/envFrom").filter_map(from).collect();
    page.some("Environment From", &whole.join("\n"));
    let entries: Vec<String> = list(spec, "/env")
        .map(|entry| {
            let source = entry.get("valueFrom");
            let value = match source {
                None => text(entry, "/value").to_owned(),
                Some(source) => source_of(source),
            };
            format!("{}: {value}", text(entry, "/name"))
        })
        .collect();
    page.line("Environment", &entries.join("\n"));
}

fn source_of(source: &Value) -> String {
    let keyed = |kind: &str, pointer: &str| {
        source.pointer(pointer).map(|of| format!("<key {:?} of {kind} {:?}>", text(of, "/key"), text(of, "/name")))
    };
    keyed("ConfigMap", "/configMapKeyRef")
        .or_else(|| keyed("Secret", "/secretKeyRef"))
        .or_else(|| {
            source
                .pointer("/fieldRef/fieldPath")
                .map(|path| format!("<field {}>", crate::render::jsonpath::shown(path)))
        })
        .or_else(|| {
            source
                .pointer("/resourceFieldRef/resource")
                .map(|of| format!("<resource {}>", crate::render::jsonpath::shown(of)))
        })
        .unwrap_or_else(|| source.to_string())
}

fn volumes(page: &mut Page, volumes: Option<&Value>) {
    let Some(Value::Array(volumes)) = volumes.filter(|volumes| volumes.as_array().is_some_and(|all| !all.is_empty()))
    else {
        return;
    };
    page.section("Volumes", |page| {
        for volume in volumes {
            let source = volume.as_object().into_iter().flatten().find(|(key, _)| *key != "name");
            let told = source.map_or_else(
                || NONE.to_owned(),
                |(kind, source)| {
                    let details = pairs(Some(source));
                    if details.is_empty() { kind.clone() } else { format!("{kind} ({details})") }
                },
            );
            page.line(text(volume, "/name"), &told);
        }
    });
}

fn placement(page: &mut Page, spec: &Value) {
    page.line("Node Selectors", &pairs(spec.get("nodeSelector")));
    let tolerations: Vec<String> = list(spec, "/tolerations")
        .map(|toleration| {
            let (key, value, effect) =
                (text(toleration, "/key"), text(toleration, "/value"), text(toleration, "/effect"));
            let operator =
                if text(toleration, "/operator") == "Exists" { " op=Exists".to_owned() } else { format!("={value}") };
            let operator = if value.is_empty() && operator == "=" { String::new() } else { operator };
            let effect = if effect.is_empty() { String::new() } else { format!(":{effect}") };
            let seconds = toleration
                .get("tolerationSeconds")
                .and_then(Value::as_i64)
                .map(|s| format!(" for {s}s"))
                .unwrap_or_default();
            format!("{key}{effect}{operator}{seconds}")
        })
        .collect();
    page.line("Tolerations", &tolerations.join("\n"));
}
