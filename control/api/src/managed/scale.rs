//! Owners of the number of replicas, as `/scale` and as the object itself see them.

use serde_json::Value;

use super::entries::{self, Managers};
use super::set::{self, Set};
use crate::kind::Kind;

/// Where the number of replicas is in a Scale, and in every built-in kind that has one.
const REPLICAS: [&str; 2] = ["f:spec", "f:replicas"];

const SCALE_VERSION: &str = "autoscaling/v1";

/// Where the number of replicas is in an object of the kind.
fn replicas(kind: &Kind) -> Vec<String> {
    match kind.custom.and_then(|custom| custom.scale.as_ref()) {
        Some(paths) => paths.spec.iter().map(|name| set::field(name)).collect(),
        None => REPLICAS.map(str::to_owned).to_vec(),
    }
}

/// The entries of a Scale, from those of its object.
pub fn to_scale(kind: &Kind, entries: &Value) -> Value {
    let managers = entries::read(entries).unwrap_or_default();
    let path = replicas(kind);
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let owning = managers.into_iter().filter(|(_, owned)| is_of(kind, &owned.version) && owned.fields.has(&path));
    let scale: Managers = owning
        .map(|(id, mut owned)| {
            owned.fields = Set::of(&REPLICAS);
            SCALE_VERSION.clone_into(&mut owned.version);
            (id, owned)
        })
        .collect();
    entries::write(&scale)
}

/// The entries of an object, after those of its Scale have become `scale`.
pub fn from_scale(kind: &Kind, entries: &Value, scale: &Value) -> Value {
    let path = replicas(kind);
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let parents = entries::read(entries).unwrap_or_default();
    let mut scales = read_as(scale);
    let mut managers = Managers::new();
    for (id, mut owned) in parents {
        if !is_of(kind, &owned.version) {
            continue;
        }
        // Who owned the replicas and does no longer has lost them through the Scale.
        if owned.fields.has(&path) && scales.remove(&key(&id)).is_none() {
            owned.fields.subtract(&Set::of(&path));
        }
        if !owned.fields.is_empty() {
            managers.insert(id, owned);
        }
    }
    for (id, mut owned) in scales.into_values() {
        if owned.fields.has(&REPLICAS) {
            owned.fields = Set::of(&path);
            owned.version = kind.api_version();
            let id = entries::Id::new(&id.manager, id.operation, &owned.version, &id.subresource);
            managers.insert(id, owned);
        }
    }
    entries::write(&managers)
}

fn is_of(kind: &Kind, version: &str) -> bool {
    version.rsplit_once('/').map_or("", |(group, _)| group) == kind.group
}

type Key = (String, entries::Operation, String);

/// Who somebody is in either.
fn key(id: &entries::Id) -> Key {
    (id.manager.clone(), id.operation, id.subresource.clone())
}

fn read_as(entries: &Value) -> std::collections::BTreeMap<Key, (entries::Id, entries::Owned)> {
    entries::read(entries).unwrap_or_default().into_iter().map(|(id, owned)| (key(&id), (id, owned))).collect()
}
