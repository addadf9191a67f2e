//! Entries of ConfigMaps and Secrets as files.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use wk_api::Object;

use crate::spec::FromObject;

use super::{File, Files};

pub(super) fn config_map(
    from: &FromObject,
    object: Option<&Object>,
    mode: u32,
    files: &mut Files,
) -> Result<(), String> {
    let mut entries = BTreeMap::new();
    for (key, value) in members(object, "/data") {
        entries.insert(key, value.as_bytes().to_vec());
    }
    for (key, value) in members(object, "/binaryData") {
        entries.insert(key, decoded(key, value)?);
    }
    put(from, entries, mode, files, "configmap references non-existent config key")
}

pub(super) fn secret(from: &FromObject, object: Option<&Object>, mode: u32, files: &mut Files) -> Result<(), String> {
    let mut entries = BTreeMap::new();
    for (key, value) in members(object, "/data") {
        entries.insert(key, decoded(key, value)?);
    }
    put(from, entries, mode, files, "references non-existent secret key")
}

fn members<'a>(object: Option<&'a Object>, pointer: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let members = object.and_then(|object| object.at(pointer)).and_then(Value::as_object).into_iter().flatten();
    members.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}

fn decoded(key: &str, value: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(value).map_err(|error| format!("entry {key:?} is not base64: {error}"))
}

fn put(
    from: &FromObject,
    mut entries: BTreeMap<&str, Vec<u8>>,
    mode: u32,
    files: &mut Files,
    missing: &str,
) -> Result<(), String> {
    if from.items.is_empty() {
        files.extend(entries.into_iter().map(|(key, bytes)| (key.to_owned(), File { bytes, mode })));
        return Ok(());
    }
    for item in &from.items {
        match entries.get_mut(item.key.as_str()) {
            Some(bytes) => {
                files.insert(item.path.clone(), File { bytes: bytes.clone(), mode: item.mode.unwrap_or(mode) });
            }
            None if from.optional => {}
            None => return Err(format!("{missing}: {}", item.key)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Item;
    use serde_json::json;

    fn from(items: &[(&str, &str)], optional: bool) -> FromObject {
        let item = |(key, path): &(&str, &str)| Item { key: (*key).into(), path: (*path).into(), mode: None };
        FromObject { name: "c".into(), items: items.iter().map(item).collect(), optional }
    }

    fn names(files: &Files) -> Vec<String> {
        files.iter().map(|(path, file)| format!("{path}={}", String::from_utf8_lossy(&file.bytes))).collect()
    }

    #[test]
    fn all_entries_are_files_or_those_that_are_named() {
        let object = Object::new(json!({"data": {"a": "1", "b": "2"}, "binaryData": {"c": "Mw=="}}));
        let mut files = Files::new();
        config_map(&from(&[], false), Some(&object), 0o644, &mut files).unwrap();
        assert_eq!(names(&files), ["a=1", "b=2", "c=3"]);
        let mut files = Files::new();
        config_map(&from(&[("a", "x/y")], false), Some(&object), 0o644, &mut files).unwrap();
        assert_eq!(names(&files), ["x/y=1"]);
        let secret_object = Object::new(json!({"data": {"k": "aHVudGVyMg=="}}));
        let mut files = Files::new();
        secret(&from(&[], false), Some(&secret_object), 0o400, &mut files).unwrap();
        assert_eq!(names(&files), ["k=hunter2"]);
    }

    #[test]
    fn a_missing_entry_is_an_error_unless_it_is_optional() {
        let object = Object::new(json!({"data": {"a": "1"}}));
        let mut files = Files::new();
        let error = config_map(&from(&[("b", "b")], false), Some(&object), 0o644, &mut files).unwrap_err();
        assert_eq!(error, "configmap references non-existent config key: b");
        config_map(&from(&[("b", "b")], true), Some(&object), 0o644, &mut files).unwrap();
        config_map(&from(&[], true), None, 0o644, &mut files).unwrap();
        assert!(files.is_empty());
    }
}
