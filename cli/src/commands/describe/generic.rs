//! Any kind: its fields under their names in words, as kubectl describes custom resources.

use serde_json::Value;

use super::page::{NONE, Page};

/// Deepest nesting told; what lies below is shown as JSON.
const DEPTH_MAX: usize = 8;

/// Adds everything but the metadata.
pub(super) fn describe(page: &mut Page, object: &Value) {
    page.line("API Version", super::page::text(object, "/apiVersion"));
    page.line("Kind", super::page::text(object, "/kind"));
    for (key, value) in object.as_object().into_iter().flatten() {
        if !matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
            field(page, key, value, 0);
        }
    }
}

/// A field and what is below it.
pub(super) fn field(page: &mut Page, key: &str, value: &Value, depth: usize) {
    let name = words(key);
    match value {
        Value::Object(map) if map.is_empty() => page.line(&name, NONE),
        Value::Object(map) if depth < DEPTH_MAX => page.section(&name, |page| {
            map.iter().for_each(|(key, value)| field(page, key, value, depth + 1));
        }),
        Value::Array(items) if items.is_empty() => page.line(&name, NONE),
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) && depth < DEPTH_MAX => {
            page.section(&name, |page| {
                for item in items {
                    match item {
                        Value::Object(map) => {
                            map.iter().for_each(|(key, value)| field(page, key, value, depth + 1));
                            page.text_block("-");
                        }
                        other => page.text_block(&crate::render::jsonpath::shown(other)),
                    }
                }
            });
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(crate::render::jsonpath::shown).collect();
            page.line(&name, &items.join("\n"));
        }
        other => page.line(&name, &crate::render::jsonpath::shown(other)),
    }
}

/// `minReadySeconds` as `Min Ready Seconds`; `clusterIPs` as `Cluster IPs`. Keys that are data stay as they are.
fn words(key: &str) -> String {
    if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric()) {
        return key.to_owned();
    }
    let chars: Vec<char> = key.chars().collect();
    let mut out = String::new();
    for (at, c) in chars.iter().enumerate() {
        let starts = at > 0 && c.is_ascii_uppercase() && chars[at - 1].is_ascii_lowercase();
        if starts {
            out.push(' ');
        }
        out.push(if at == 0 { c.to_ascii_uppercase() } else { *c });
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_told_in_words() {
        let mut page = Page::default();
        describe(
            &mut page,
            &json!({"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "a"},
            "spec": {"minSize": 1, "rules": [{"a": "x"}], "names": ["p", "q"]}, "app.io/x": {}}),
        );
        let text = page.text();
        for line in [
            "API Version:  v1",
            "Spec:",
            "  Min Size:  1",
            "  Rules:",
            "    A:         x",
            "  Names:     p",
            "             q",
            "app.io/x:     <none>",
        ] {
            assert!(text.contains(line), "{line:?} in\n{text}");
        }
        assert_eq!(words("clusterIPs"), "Cluster IPs");
    }
}
