//! Entries of ConfigMaps and Secrets as files.

use crate::sources::{Data, SourceKind};
use crate::spec::FromObject;

use super::{File, Files};

/// Adds the files of `from`; without `data`, which is optional then, there are none.
pub(super) fn entries(from: &FromObject, data: Option<&Data>, mode: u32, files: &mut Files) -> Result<(), String> {
    let Some(data) = data else { return Ok(()) };
    let keys = data.keys();
    let bytes = |key: &str| data.bytes(key).map_err(|error| error.to_string());
    if from.items.is_empty() {
        for key in keys {
            files.insert(key.to_owned(), File { bytes: bytes(key)?, mode });
        }
        return Ok(());
    }
    for item in &from.items {
        if keys.contains(&item.key.as_str()) {
            files.insert(item.path.clone(), File { bytes: bytes(&item.key)?, mode: item.mode.unwrap_or(mode) });
        } else if !from.optional {
            let missing = match from.kind {
                SourceKind::ConfigMap => "configmap references non-existent config key",
                SourceKind::Secret => "references non-existent secret key",
            };
            return Err(format!("{missing}: {}", item.key));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::spec::Item;
    use serde_json::{Value, json};
    use wk_api::Object;

    fn from(kind: SourceKind, items: &[(&str, &str)], optional: bool) -> FromObject {
        let item = |(key, path): &(&str, &str)| Item { key: (*key).into(), path: (*path).into(), mode: None };
        FromObject { kind, name: "c".into(), items: items.iter().map(item).collect(), optional }
    }

    fn data(kind: SourceKind, object: Value) -> Data {
        Data::new(kind, Arc::new(Object::new(object)))
    }

    fn names(from: &FromObject, data: Option<&Data>) -> Result<Vec<String>, String> {
        let mut files = Files::new();
        entries(from, data, 0o644, &mut files)?;
        Ok(files.iter().map(|(path, file)| format!("{path}={}", String::from_utf8_lossy(&file.bytes))).collect())
    }

    #[test]
    fn all_entries_are_files_or_those_that_are_named() {
        let map = data(SourceKind::ConfigMap, json!({"data": {"a": "1", "b": "2"}, "binaryData": {"c": "Mw=="}}));
        assert_eq!(names(&from(SourceKind::ConfigMap, &[], false), Some(&map)).unwrap(), ["a=1", "b=2", "c=3"]);
        assert_eq!(names(&from(SourceKind::ConfigMap, &[("a", "x/y")], false), Some(&map)).unwrap(), ["x/y=1"]);
        let secret = data(SourceKind::Secret, json!({"data": {"k": "aHVudGVyMg=="}}));
        assert_eq!(names(&from(SourceKind::Secret, &[], false), Some(&secret)).unwrap(), ["k=hunter2"]);
    }

    #[test]
    fn a_missing_entry_is_an_error_unless_it_is_optional() {
        let kind = SourceKind::ConfigMap;
        let map = data(kind, json!({"data": {"a": "1"}}));
        let error = names(&from(kind, &[("b", "b")], false), Some(&map)).unwrap_err();
        assert_eq!(error, "configmap references non-existent config key: b");
        assert!(names(&from(kind, &[("b", "b")], true), Some(&map)).unwrap().is_empty());
        assert!(names(&from(kind, &[], true), None).unwrap().is_empty());
    }
}
