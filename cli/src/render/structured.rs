//! JSON and YAML for people and scripts.

use anyhow::Context as _;
use serde_json::Value;

/// Indented JSON, ending in a line end.
pub(crate) fn json(value: &Value) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value).context("encode JSON")? + "\n")
}

/// YAML, ending in a line end.
pub(crate) fn yaml(value: &Value) -> anyhow::Result<String> {
    serde_yaml::to_string(value).context("encode YAML")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_quotes_what_would_be_read_as_something_else() {
        let value = json!({"a": "true", "b": true, "c": "1", "d": 1, "e": "x: y", "f": "two\nlines"});
        let text = yaml(&value).expect("yaml");
        assert_eq!(serde_yaml::from_str::<Value>(&text).expect("back"), value);
        assert!(text.starts_with("a: 'true'\nb: true\nc: '1'\n"), "{text}");
    }
}
