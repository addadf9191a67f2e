//! The printer columns of a custom kind.

use serde_json::Value;
use wk_base::time::Timestamp;

use super::path::Path;
use super::{Custom, leak};
use crate::json;
use crate::kind::Column;
use crate::object::{Object, timestamp};
use crate::table::{self, AGE, NAME, duration};

/// The columns, and where their cells come from: without any there is the age, as with built-in kinds.
pub(crate) fn read(columns: &[Value]) -> (&'static [Column], Vec<Path>) {
    if columns.is_empty() {
        return (&[NAME, AGE], Vec::new());
    }
    let mut found = vec![NAME];
    let mut paths = Vec::new();
    for column in columns {
        let text = json::text(column, &["jsonPath"]);
        let Ok(path) = Path::parse(text) else { continue };
        let own = json::text(column, &["description"]);
        let description = match own {
            "" => leak(&format!("Custom resource definition column (in JSONPath format): {text}")),
            own => leak(own),
        };
        found.push(Column {
            name: leak(json::text(column, &["name"])),
            kind: leak(json::text(column, &["type"])),
            format: leak(json::text(column, &["format"])),
            priority: u8::from(json::int(column, &["priority"]).unwrap_or_default() > 0),
            description,
        });
        paths.push(path);
    }
    (found.leak(), paths)
}

impl Custom {
    /// The cells of an object's row.
    pub(crate) fn cells(&self, columns: &[Column], object: &Object, now: Timestamp) -> Vec<Value> {
        let mut cells = vec![object.name().into()];
        if self.cells.is_empty() {
            cells.push(table::age(object, now).into());
            return cells;
        }
        let rest = columns.iter().skip(1).zip(&self.cells);
        cells.extend(rest.map(|(column, path)| cell(column.kind, path, object, now)));
        cells
    }
}

fn cell(kind: &str, path: &Path, object: &Object, now: Timestamp) -> Value {
    let Some(value) = path.first(&object.0) else { return Value::Null };
    match (kind, value) {
        (_, Value::Null) => Value::Null,
        ("string", Value::String(text)) => text.as_str().into(),
        ("string", other) => other.to_string().into(),
        ("integer", Value::Number(number)) => {
            let cut = || number.as_f64().map(|number| number.trunc() as i64);
            number.as_i64().or_else(cut).into()
        }
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(_)) => match timestamp(value) {
            Some(time) => duration::since(Some(time), now).into(),
            None => "<invalid>".into(),
        },
        _ => Value::Null,
    }
}
