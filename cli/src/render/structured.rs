//! JSON and YAML for people and scripts.

use anyhow::Context as _;
use serde_json::Value;

/// Indented JSON, ending in a line end.
pub(crate) fn json(value: &Value) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value).context("encode JSON")? + "\n")
}

/// YAML, ending in a line end. What readers of YAML 1.1 would take for something else than text is quoted.
pub(crate) fn yaml(value: &Value) -> anyhow::Result<String> {
    let text = serde_yaml::to_string(value).context("encode YAML")?;
    let mut quoted = String::with_capacity(text.len());
    // How far a text of several lines is indented at least, while one is written.
    let mut block: Option<usize> = None;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        if block.is_some_and(|within| indent > within || line.trim().is_empty()) {
            quoted += line;
        } else {
            let (start, at) = value_at(line);
            let (head, scalar) = line.split_at(at);
            // Below its key, or below the dash of an item.
            block = scalar.starts_with(['|', '>']).then_some(if at > start { start } else { indent });
            quoted += head;
            let quote = if is_other_in_1_1(scalar) { "\"" } else { "" };
            quoted.extend([quote, scalar, quote]);
        }
        quoted.push('\n');
    }
    Ok(quoted)
}

/// Where the key of a line begins, and where its value does; the same when there is no key.
fn value_at(line: &str) -> (usize, usize) {
    let start = line.len() - line.trim_start_matches([' ', '-']).len();
    // A key in quotes ends with its quote.
    let end = match line[start..].chars().next() {
        Some('\'') => "': ",
        Some('"') => "\": ",
        _ => ": ",
    };
    match line[start..].find(end) {
        Some(at) => (start, start + at + end.len()),
        None => (start, start),
    }
}

/// Whether YAML 1.1 reads an unquoted text as a time, a number of base 8 or 60, or as yes or no.
fn is_other_in_1_1(text: &str) -> bool {
    let words = ["y", "n", "yes", "no", "on", "off"];
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let unsigned = text.trim_start_matches(['+', '-']);
    let date = text.split(['T', 't', ' ']).next().unwrap_or_default();
    let parts: Vec<&str> = date.split('-').collect();
    let is_time = matches!(parts.as_slice(), [year, month, day] if year.len() == 4 && digits(year) && digits(month) && digits(day));
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let is_base_60 = whole.contains(':') && whole.split(':').all(digits) && digits(fraction);
    let is_spaced =
        unsigned.contains('_') && digits(unsigned) && unsigned.starts_with(|first: char| first.is_ascii_digit());
    let is_octal = unsigned.len() > 1 && unsigned.starts_with('0') && digits(unsigned);
    is_time
        || is_base_60
        || is_spaced
        || is_octal && text.parse::<i64>().is_err()
        || words.contains(&text.to_lowercase().as_str())
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
        let value = json!({
            "at": "2026-11-22T00:15:15Z", "list": ["2026-11-22", {"b": "1:30", "yes": "Yes"}, "off"], "n": 1_000,
            "text": "first: x\n2026-11-22\nlast: on\n", "time: x": "on", "url": "https://a:80/b", "v": "v1_2",
        });
        let text = yaml(&value).expect("yaml");
        assert_eq!(serde_yaml::from_str::<Value>(&text).expect("back"), value, "{text}");
        for line in [
            "at: \"2026-11-22T00:15:15Z\"\n",
            "- \"2026-11-22\"\n",
            "b: \"1:30\"\n",
            "url: https://a:80/b\n",
            "\n  2026-11-22\n",
        ] {
            assert!(text.contains(line), "{line:?} in\n{text}");
        }
        for word in ["Yes", "off", "on"] {
            assert!(text.contains(&format!("\"{word}\"")) || text.contains(&format!("'{word}'")), "{word} in\n{text}");
        }
    }
}
