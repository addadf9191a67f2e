//! Volumes of a pod: one source each, and what each source must say.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/core/validation`: `ValidateVolumes` and what it calls.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{NOT_NEGATIVE, env, labels, one_of, text};
use crate::field::Errors;
use crate::json;
use crate::names;
use crate::quantity::Quantity;

/// Highest mode of a file: 0777.
const MODE_MAX: i64 = 0o777;
/// Shortest and longest life of a token, in seconds.
const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

/// Fields that must not be empty, by source.
const REQUIRED: &[(&str, &[&str])] = &[
    ("awsElasticBlockStore", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("azureFile", &["secretName", "shareName"]),
    ("cephfs", &["monitors"]),
    ("cinder", &["volumeID"]),
    ("configMap", &["name"]),
    ("csi", &["driver"]),
    ("flexVolume", &["driver"]),
    ("gcePersistentDisk", &["pdName"]),
    ("gitRepo", &["repository"]),
    ("glusterfs", &["endpoints", "path"]),
    ("hostPath", &["path"]),
    ("image", &["reference"]),
    ("iscsi", &["targetPortal", "iqn"]),
    ("nfs", &["server", "path"]),
    ("persistentVolumeClaim", &["claimName"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("quobyte", &["registry", "volume"]),
    ("rbd", &["monitors", "image"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("secret", &["secretName"]),
    ("storageos", &["volumeName"]),
    ("vsphereVolume", &["volumePath"]),
];

/// Checks the volumes and answers them by name.
pub(crate) fn check<'a>(errors: &mut Errors, volumes: &'a [Value], path: &str) -> BTreeMap<&'a str, &'a Value> {
    let mut found = BTreeMap::new();
    for (index, volume) in volumes.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let name = json::text(volume, &["name"]);
        if name.is_empty() {
            errors.required(format!("{path}.name"), "");
        } else {
            text(errors, &format!("{path}.name"), name, names::dns_label);
            if found.insert(name, volume).is_some() {
                errors.duplicate(format!("{path}.name"), &Value::from(name));
            }
        }
        let sources: Vec<(&String, &Value)> =
            json::members(volume, &[]).filter(|(key, value)| *key != "name" && !value.is_null()).collect();
        match sources.as_slice() {
            [] => errors.required(&path, "must specify a volume type"),
            [(key, given), others @ ..] => {
                source(errors, key, given, &format!("{path}.{key}"));
                for (other, _) in others {
                    errors.forbidden(format!("{path}.{other}"), "may not specify more than 1 volume type");
                }
            }
        }
    }
    found
}

fn source(errors: &mut Errors, kind: &str, source: &Value, path: &str) {
    let required = REQUIRED.iter().find(|(name, _)| *name == kind).map(|(_, fields)| *fields);
    for field in required.unwrap_or_default() {
        if json::is_empty(json::get(source, field)) {
            errors.required(format!("{path}.{field}"), "");
        }
    }
    match kind {
        "emptyDir" => {
            let limit = json::get(source, "sizeLimit");
            if Quantity::from_value(limit).is_ok_and(Quantity::is_negative) {
                let detail = "SizeLimit field must be a valid resource quantity";
                errors.forbidden(format!("{path}.sizeLimit"), detail);
            }
        }
        "hostPath" => host_path(errors, source, path),
        "secret" | "configMap" => {
            mode(errors, source, "defaultMode", path);
            keys(errors, json::items(source, &["items"]), path);
        }
        "downwardAPI" => {
            mode(errors, source, "defaultMode", path);
            downward(errors, json::items(source, &["items"]), path);
        }
        "projected" => projected(errors, source, path),
        "gitRepo" => local_path(errors, json::text(source, &["directory"]), &format!("{path}.directory")),
        "nfs" if !["", "/"].contains(&json::text(source, &["path"]).get(..1).unwrap_or_default()) => {
            let detail = "must be an absolute path";
            errors.invalid_str(format!("{path}.path"), json::text(source, &["path"]), detail);
        }
        "gcePersistentDisk" | "awsElasticBlockStore" => within(errors, source, "partition", path),
        "iscsi" => {
            let iqn = json::text(source, &["iqn"]);
            if !iqn.is_empty() && !["iqn", "eui", "naa"].iter().any(|start| iqn.starts_with(start)) {
                let detail = "must be valid format starting with iqn, eui, or naa";
                errors.invalid_str(format!("{path}.iqn"), iqn, detail);
            }
            within(errors, source, "lun", path);
        }
        "fc" => {
            let given = |key| !json::items(source, &[key]).is_empty();
            match (given("targetWWNs"), given("wwids")) {
                (false, false) => {
                    let detail = "must specify either targetWWNs or wwids, but not both";
                    errors.required(format!("{path}.targetWWNs"), detail);
                }
                (true, true) => {
                    let detail = "targetWWNs and wwids can not be specified simultaneously";
                    errors.invalid(format!("{path}.targetWWNs"), json::get(source, "targetWWNs"), detail);
                }
                _ => {}
            }
        }
        "csi" => {
            let secret = json::get(source, "nodePublishSecretRef");
            if !secret.is_null() && json::text(secret, &["name"]).is_empty() {
                errors.required(format!("{path}.nodePublishSecretRef.name"), "");
            }
        }
        "ephemeral" => claim_template(errors, json::get(source, "volumeClaimTemplate"), path),
        "image" if !json::text(source, &["pullPolicy"]).is_empty() => {
            one_of(errors, source, "pullPolicy", path, &["Always", "IfNotPresent", "Never"]);
        }
        _ => {}
    }
}

fn host_path(errors: &mut Errors, source: &Value, path: &str) {
    const TYPES: [&str; 8] =
        ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    let target = json::text(source, &["path"]);
    if target.split('/').any(|segment| segment == "..") {
        errors.invalid_str(format!("{path}.path"), target, "must not contain '..'");
    }
    let kind = json::text(source, &["type"]);
    if !TYPES.contains(&kind) {
        errors.not_supported(format!("{path}.type"), kind, &TYPES);
    }
}

fn within(errors: &mut Errors, source: &Value, key: &str, path: &str) {
    let number = json::get(source, key);
    if !number.is_null() && !number.as_i64().is_some_and(|number| (0..=255).contains(&number)) {
        errors.invalid(format!("{path}.{key}"), number, "must be between 0 and 255, inclusive");
    }
}

fn mode(errors: &mut Errors, source: &Value, key: &str, path: &str) {
    let mode = json::get(source, key);
    if !mode.is_null() && !mode.as_i64().is_some_and(|mode| (0..=MODE_MAX).contains(&mode)) {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.invalid(format!("{path}.{key}"), mode, detail);
    }
}

fn keys(errors: &mut Errors, items: &[Value], path: &str) {
    for (index, item) in items.iter().enumerate() {
        let path = format!("{path}.items[{index}]");
        for key in ["key", "path"] {
            if json::text(item, &[key]).is_empty() {
                errors.required(format!("{path}.{key}"), "");
            }
        }
        file(errors, json::text(item, &["path"]), &format!("{path}.path"));
        mode(errors, item, "mode", &path);
    }
}

fn downward(errors: &mut Errors, items: &[Value], path: &str) {
    for (index, item) in items.iter().enumerate() {
        let path = format!("{path}.items[{index}]");
        let target = json::text(item, &["path"]);
        if target.is_empty() {
            errors.required(format!("{path}.path"), "");
        }
        file(errors, target, &format!("{path}.path"));
        let (field, resource) = (json::get(item, "fieldRef"), json::get(item, "resourceFieldRef"));
        match (field.is_null(), resource.is_null()) {
            (false, false) => {
                let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.invalid_str(&path, "resource", detail);
            }
            (true, true) => errors.required(&path, "one of fieldRef and resourceFieldRef is required"),
            (false, true) => env::field_ref(errors, field, &format!("{path}.fieldRef"), &env::VOLUME_FIELDS),
            (true, false) => env::resource_ref(errors, resource, &format!("{path}.resourceFieldRef"), true),
        }
        mode(errors, item, "mode", &path);
    }
}

fn projected(errors: &mut Errors, source: &Value, path: &str) {
    mode(errors, source, "defaultMode", path);
    let mut taken = BTreeSet::new();
    for (index, part) in json::items(source, &["sources"]).iter().enumerate() {
        let path = format!("{path}.sources[{index}]");
        let given: Vec<(&String, &Value)> = json::members(part, &[]).filter(|(_, value)| !value.is_null()).collect();
        for (position, (key, content)) in given.iter().enumerate() {
            let path = format!("{path}.{key}");
            if position > 0 {
                errors.forbidden(path, "may not specify more than 1 volume type");
                continue;
            }
            match key.as_str() {
                "secret" | "configMap" => {
                    if json::text(content, &["name"]).is_empty() {
                        errors.required(format!("{path}.name"), "");
                    }
                    keys(errors, json::items(content, &["items"]), &path);
                }
                "downwardAPI" => downward(errors, json::items(content, &["items"]), &path),
                "serviceAccountToken" => token(errors, content, &path),
                _ => {}
            }
            let own =
                json::items(content, &["items"]).iter().chain((*key == "serviceAccountToken").then_some(*content));
            for target in own.map(|item| json::text(item, &["path"])).filter(|target| !target.is_empty()) {
                if !taken.insert(target) {
                    errors.invalid_str(&path, target, "conflicting duplicate paths");
                }
            }
        }
    }
}

fn token(errors: &mut Errors, token: &Value, path: &str) {
    let seconds = json::int(token, &["expirationSeconds"]).unwrap_or(TOKEN_SECONDS_MIN);
    let field = format!("{path}.expirationSeconds");
    if seconds < TOKEN_SECONDS_MIN {
        errors.invalid(&field, &seconds.into(), "may not specify a duration less than 10 minutes");
    }
    if seconds > TOKEN_SECONDS_MAX {
        errors.invalid(field, &seconds.into(), "may not specify a duration larger than 2^32 seconds");
    }
    let target = json::text(token, &["path"]);
    if target.is_empty() {
        errors.required(format!("{path}.path"), "");
    }
    file(errors, target, &format!("{path}.path"));
}

fn claim_template(errors: &mut Errors, template: &Value, path: &str) {
    let path = format!("{path}.volumeClaimTemplate");
    if template.is_null() {
        errors.required(path, "");
        return;
    }
    let own = json::dig(template, &["metadata", "labels"]);
    labels::map(errors, own, &format!("{path}.metadata.labels"));
    let spec = json::get(template, "spec");
    if json::items(spec, &["accessModes"]).is_empty() {
        errors.required(format!("{path}.spec.accessModes"), "at least 1 access mode is required");
    }
    for (index, mode) in json::items(spec, &["accessModes"]).iter().enumerate() {
        let known = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
        let mode = mode.as_str().unwrap_or_default();
        if !known.contains(&mode) {
            errors.not_supported(format!("{path}.spec.accessModes[{index}]"), mode, &known);
        }
    }
    let storage = json::dig(spec, &["resources", "requests", "storage"]);
    let field = format!("{path}.spec.resources.requests.storage");
    match Quantity::from_value(storage) {
        _ if storage.is_null() => errors.required(field, ""),
        Ok(amount) if amount <= Quantity::ZERO => errors.invalid(field, storage, "must be greater than zero"),
        Ok(_) => {}
        Err(_) => errors.invalid(field, storage, NOT_NEGATIVE),
    }
}

/// A path below the volume that does not lead out of it.
pub(super) fn local_path(errors: &mut Errors, path: &str, field: &str) {
    if path.starts_with('/') {
        errors.invalid_str(field, path, "must be a relative path");
    }
    if path.split('/').any(|segment| segment == "..") {
        errors.invalid_str(field, path, "must not contain '..'");
    }
}

/// A path of a file that is made in the volume. Names that begin with two dots are the volume's own.
fn file(errors: &mut Errors, path: &str, field: &str) {
    local_path(errors, path, field);
    if path.starts_with("..") && !path.split('/').any(|segment| segment == "..") {
        errors.invalid_str(field, path, "must not start with '..'");
    }
}
