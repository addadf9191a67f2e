//! Defaults of a pod's spec, in a pod or in a template.

use serde_json::{Value, json};

use crate::json;

/// `defaultMode` of volumes made of files: 0644.
const FILE_MODE: i64 = 0o644;

/// What holds for pods and templates alike.
pub(crate) fn spec(spec: &mut Value) {
    for key in ["containers", "initContainers", "ephemeralContainers"] {
        for entry in json::items_mut(spec, key) {
            container(entry);
        }
    }
    for entry in json::items_mut(spec, "volumes") {
        volume(entry);
    }
    json::default(spec, "dnsPolicy", "ClusterFirst");
    json::default(spec, "restartPolicy", "Always");
    json::default(spec, "schedulerName", "default-scheduler");
    json::default(spec, "terminationGracePeriodSeconds", 30);
    json::default(spec, "securityContext", json!({}));
    // The old and the new name of one field.
    let (new, old) = (json::text(spec, &["serviceAccountName"]), json::text(spec, &["serviceAccount"]));
    if new.is_empty() && !old.is_empty() {
        let old = old.to_owned();
        json::set(spec, "serviceAccountName", old);
    } else if !new.is_empty() {
        let new = new.to_owned();
        json::set(spec, "serviceAccount", new);
    }
    if json::flag(spec, &["hostNetwork"]) {
        host_ports(spec);
    }
}

/// What holds for pods only.
pub(crate) fn pod(spec: &mut Value) {
    for key in ["containers", "initContainers"] {
        for entry in json::items_mut(spec, key) {
            requests_from_limits(entry);
        }
    }
    json::default(spec, "enableServiceLinks", true);
}

fn container(container: &mut Value) {
    for port in json::items_mut(container, "ports") {
        json::default(port, "protocol", "TCP");
    }
    for env in json::items_mut(container, "env") {
        if let Some(field) = env.pointer_mut("/valueFrom/fieldRef") {
            json::default(field, "apiVersion", "v1");
        }
    }
    let policy = if is_latest(json::text(container, &["image"])) { "Always" } else { "IfNotPresent" };
    json::default(container, "imagePullPolicy", policy);
    json::default(container, "resources", json!({}));
    json::default(container, "terminationMessagePath", "/dev/termination-log");
    json::default(container, "terminationMessagePolicy", "File");
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe) {
            json::default_nonzero(probe, "timeoutSeconds", 1);
            json::default_nonzero(probe, "periodSeconds", 10);
            json::default_nonzero(probe, "successThreshold", 1);
            json::default_nonzero(probe, "failureThreshold", 3);
            handler(probe);
            if let Some(grpc) = probe.get_mut("grpc") {
                json::default(grpc, "service", "");
            }
        }
    }
    for hook in ["/lifecycle/postStart", "/lifecycle/preStop"] {
        if let Some(hook) = container.pointer_mut(hook) {
            handler(hook);
        }
    }
}

fn handler(handler: &mut Value) {
    if let Some(http) = handler.get_mut("httpGet") {
        json::default(http, "path", "/");
        json::default(http, "scheme", "HTTP");
    }
}

fn volume(volume: &mut Value) {
    let named_only = json::members(volume, &[]).all(|(key, _)| key == "name");
    if named_only {
        json::set(volume, "emptyDir", json!({}));
    }
    for key in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(key) {
            json::default(source, "defaultMode", FILE_MODE);
        }
    }
    if let Some(path) = volume.get_mut("hostPath") {
        // The type is a pointer to "": set even though it is empty.
        json::default(path, "type", "");
    }
    if let Some(items) = volume.get_mut("downwardAPI") {
        downward(items);
    }
    if let Some(projected) = volume.get_mut("projected") {
        for source in json::items_mut(projected, "sources") {
            if let Some(items) = source.get_mut("downwardAPI") {
                downward(items);
            }
            if let Some(token) = source.get_mut("serviceAccountToken") {
                json::default(token, "expirationSeconds", 3600);
            }
        }
    }
    sources(volume);
    if let Some(claim) = volume.pointer_mut("/ephemeral/volumeClaimTemplate/spec") {
        json::default(claim, "volumeMode", "Filesystem");
    }
}

/// Sources that only other systems know, with what Kubernetes fills in: nothing here mounts them.
fn sources(volume: &mut Value) {
    const TEXTS: [(&str, &str, &str); 9] = [
        ("iscsi", "iscsiInterface", "default"),
        ("rbd", "pool", "rbd"),
        ("rbd", "user", "admin"),
        ("rbd", "keyring", "/etc/ceph/keyring"),
        ("azureDisk", "cachingMode", "ReadWrite"),
        ("azureDisk", "fsType", "ext4"),
        ("azureDisk", "kind", "Shared"),
        ("scaleIO", "storageMode", "ThinProvisioned"),
        ("scaleIO", "fsType", "xfs"),
    ];
    for (source, key, text) in TEXTS {
        if let Some(source) = volume.get_mut(source) {
            json::default(source, key, text);
        }
    }
    if let Some(disk) = volume.get_mut("azureDisk") {
        json::default(disk, "readOnly", false);
    }
    if let Some(image) = volume.get_mut("image") {
        let policy = if is_latest(json::text(image, &["reference"])) { "Always" } else { "IfNotPresent" };
        json::default(image, "pullPolicy", policy);
    }
}

fn downward(source: &mut Value) {
    for item in json::items_mut(source, "items") {
        if let Some(field) = item.get_mut("fieldRef") {
            json::default(field, "apiVersion", "v1");
        }
    }
}

/// A limit without a request is also the request.
fn requests_from_limits(container: &mut Value) {
    let limits = json::dig(container, &["resources", "limits"]).clone();
    if json::is_empty(&limits) {
        return;
    }
    let requests = json::object_at(json::object_at(container, "resources"), "requests");
    for (name, limit) in json::members(&limits, &[]) {
        json::default(requests, name, limit.clone());
    }
}

fn host_ports(spec: &mut Value) {
    for key in ["containers", "initContainers"] {
        for container in json::items_mut(spec, key) {
            for port in json::items_mut(container, "ports") {
                let number = json::int(port, &["containerPort"]).unwrap_or_default();
                json::default_nonzero(port, "hostPort", number);
            }
        }
    }
}

/// Whether the image has the tag `latest`, or neither tag nor digest.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}
