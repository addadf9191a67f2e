//! Strings of which all values are known, as documents tell them. What is refused is the kinds' own validation.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

use crate::json;

/// Its form is told at its top.
const TABLE: &str = include_str!("enums.txt");

/// Fields and their values.
type Fields = Vec<(&'static str, Vec<&'static str>)>;

/// By struct.
static VALUES: LazyLock<HashMap<&'static str, Fields>> = LazyLock::new(|| {
    let mut found: HashMap<_, Vec<_>> = HashMap::new();
    let mut owner = "";
    for line in TABLE.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        match line.strip_prefix("  ").and_then(|row| row.split_once(' ')) {
            Some((field, values)) => found.entry(owner).or_default().push((field, values.split(',').collect())),
            None => owner = line,
        }
    }
    found
});

/// Adds what the fields of the struct `name` may be.
pub(super) fn declare(name: &str, schema: &mut Value) {
    let Some(fields) = VALUES.get(name) else { return };
    for (field, values) in fields {
        let (field, each) = field.strip_prefix("[]").map_or((*field, false), |field| (field, true));
        let Some(of) = schema.get_mut("properties").and_then(|fields| fields.get_mut(field)) else { continue };
        if each {
            json::set(json::object_at(of, "items"), "enum", values.clone());
        } else {
            json::set(of, "enum", values.clone());
            let told: Vec<String> = values.iter().map(|value| format!(" - `{value:?}`")).collect();
            let description = json::text(of, &["description"]);
            let description = format!("{description}\n\nPossible enum values:\n{}", told.join("\n"));
            json::set(of, "description", description);
        }
    }
}

/// Every field of the table, by its struct.
#[cfg(test)]
pub(super) fn fields() -> impl Iterator<Item = (&'static str, &'static str)> {
    VALUES.iter().flat_map(|(owner, fields)| fields.iter().map(|(field, _)| (*owner, *field)))
}
