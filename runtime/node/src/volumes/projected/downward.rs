//! downwardAPI: what a pod's object says of it, as files that follow its changes.

use std::fmt::Write as _;

use wk_api::Object;

use crate::spec::DownwardFile;

use super::{File, Files};

pub(super) fn downward(items: &[DownwardFile], pod: &Object, mode: u32, files: &mut Files) -> Result<(), String> {
    for item in items {
        let text = field(pod, &item.field).ok_or_else(|| format!("unsupported fieldPath: {}", item.field))?;
        files.insert(item.path.clone(), File { bytes: text.into_bytes(), mode: item.mode.unwrap_or(mode) });
    }
    Ok(())
}

/// The fields that Kubernetes' downward API offers as files.
fn field(pod: &Object, path: &str) -> Option<String> {
    Some(match path {
        "metadata.name" => pod.name().to_owned(),
        "metadata.namespace" => pod.namespace().to_owned(),
        "metadata.uid" => pod.uid().to_owned(),
        "metadata.labels" => lines(pod.labels().into_iter()),
        "metadata.annotations" => lines(pod.annotations().into_iter()),
        _ => {
            let one = |start: &str| path.strip_prefix(start)?.strip_suffix("']");
            let found = if let Some(key) = one("metadata.labels['") {
                pod.label(key)
            } else {
                pod.annotation(one("metadata.annotations['")?)
            };
            found.unwrap_or_default().to_owned()
        }
    })
}

/// `key="value"`, one a line, as Kubernetes' `fieldpath.FormatMap` writes them.
fn lines<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (key, value) in pairs {
        let _ = writeln!(text, "{key}={value:?}");
    }
    text.truncate(text.trim_end_matches('\n').len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_are_lines_and_single_ones_are_bare() {
        let pod = Object::new(json!({"metadata": {
            "name": "web-1", "namespace": "shop", "uid": "u", "labels": {"app": "web", "tier": "a"},
            "annotations": {"note": "two\nlines"},
        }}));
        let file = |path: &str, field: &str| DownwardFile { path: path.into(), mode: None, field: field.into() };
        let items = [
            file("labels", "metadata.labels"),
            file("note", "metadata.annotations['note']"),
            file("all", "metadata.annotations"),
            file("name", "metadata.name"),
        ];
        let mut files = Files::new();
        downward(&items, &pod, 0o644, &mut files).unwrap();
        let text = |name: &str| String::from_utf8(files[name].bytes.clone()).unwrap();
        assert_eq!(text("labels"), "app=\"web\"\ntier=\"a\"");
        assert_eq!(text("note"), "two\nlines");
        assert_eq!(text("all"), "note=\"two\\nlines\"");
        assert_eq!(text("name"), "web-1");
        assert!(downward(&[file("x", "spec.nodeName")], &pod, 0o644, &mut files).is_err());
    }
}
