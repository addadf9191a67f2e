//! `metadata.managedFields`: who owns which fields, since when.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::set::Set;
use crate::json;

/// Entries of writers that did not apply, kept at most: the oldest are joined then. As in Kubernetes.
const UPDATERS_MAX: usize = 10;

/// The name under which the oldest entries are joined.
const ANCIENT: &str = "ancient-changes";

/// How somebody came to own fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

/// Who owns fields. Somebody who applies is one in all versions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub(super) manager: String,
    pub(super) operation: Operation,
    /// Of those who update only.
    pub(super) version: String,
    pub(super) subresource: String,
}

/// What they own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) version: String,
    pub(super) fields: Set,
    pub(super) time: Option<String>,
}

/// All owners of an object's fields.
pub(super) type Managers = BTreeMap<Id, Owned>;

impl Id {
    pub(super) fn new(manager: &str, operation: Operation, version: &str, subresource: &str) -> Self {
        let version = match operation {
            Operation::Apply => String::new(),
            Operation::Update => version.to_owned(),
        };
        Self { manager: manager.to_owned(), operation, version, subresource: subresource.to_owned() }
    }
}

/// Reads the entries; None when one of them is none.
pub(super) fn read(entries: &Value) -> Option<Managers> {
    let mut managers = Managers::new();
    for entry in entries.as_array()? {
        let operation = match json::text(entry, &["operation"]) {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        let version = json::text(entry, &["apiVersion"]);
        if version.is_empty() || json::text(entry, &["fieldsType"]) != "FieldsV1" {
            return None;
        }
        let fields = match json::get(entry, "fieldsV1") {
            Value::Null => Set::default(),
            fields => Set::read(fields)?,
        };
        let id = Id::new(json::text(entry, &["manager"]), operation, version, json::text(entry, &["subresource"]));
        let time = json::get(entry, "time").as_str().map(str::to_owned);
        managers.insert(id, Owned { version: version.to_owned(), fields, time });
    }
    Some(managers)
}

/// Writes the entries: who applied first, then by time.
pub(super) fn write(managers: &Managers) -> Value {
    let mut sorted: Vec<(&Id, &Owned)> = managers.iter().collect();
    sorted.sort_by(|(a, own), (b, other)| {
        let key =
            |id: &Id, owned: &Owned| (id.operation, owned.time.clone(), id.manager.clone(), owned.version.clone());
        key(a, own).cmp(&key(b, other)).then_with(|| a.subresource.cmp(&b.subresource))
    });
    sorted
        .into_iter()
        .map(|(id, owned)| {
            let operation = match id.operation {
                Operation::Apply => "Apply",
                Operation::Update => "Update",
            };
            let mut entry = json!({
                "manager": id.manager,
                "operation": operation,
                "apiVersion": owned.version,
                "fieldsType": "FieldsV1",
                "fieldsV1": owned.fields.write(),
            });
            if let Some(time) = &owned.time {
                json::set(&mut entry, "time", time.as_str());
            }
            if !id.subresource.is_empty() {
                json::set(&mut entry, "subresource", id.subresource.as_str());
            }
            entry
        })
        .collect()
}

/// Whether a client asks to forget all owners: an empty list, or a list of one empty entry.
pub(super) fn is_reset(entries: &Value) -> bool {
    match entries.as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([only]) => only.as_object().is_some_and(serde_json::Map::is_empty),
        _ => false,
    }
}

/// Joins the oldest of too many updaters, those of one version each.
pub(super) fn cap(managers: &mut Managers) {
    let mut updaters: Vec<Id> = managers.keys().filter(|id| id.operation == Operation::Update).cloned().collect();
    if updaters.len() <= UPDATERS_MAX {
        return;
    }
    let time = |id: &Id| managers.get(id).and_then(|owned| owned.time.clone());
    updaters.sort_by_cached_key(|id| (time(id), id.clone()));
    let mut left = updaters.len();
    let mut firsts: BTreeMap<String, Id> = BTreeMap::new();
    for id in updaters {
        if left <= UPDATERS_MAX {
            return;
        }
        let Some(version) = managers.get(&id).map(|owned| owned.version.clone()) else { continue };
        let Some(first) = firsts.get(&version) else {
            firsts.insert(version, id);
            continue;
        };
        let bucket = Id::new(ANCIENT, Operation::Update, &version, "");
        if !managers.contains_key(&bucket)
            && let Some(first) = managers.remove(first)
        {
            managers.insert(bucket.clone(), first);
        }
        if id != bucket
            && let Some(joined) = managers.remove(&id)
            && let Some(ancient) = managers.get_mut(&bucket)
        {
            ancient.fields = std::mem::take(&mut ancient.fields).union(joined.fields);
            ancient.time = joined.time;
            left -= 1;
        }
    }
}
