//! `-o custom-columns=HEADING:.path,…`: columns a person chose.

use serde_json::Value;

use super::jsonpath::{Path, shown};
use super::table::plain;

/// What stands where an object has nothing.
const NONE: &str = "<none>";

/// Headings and the ways to their values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Columns(Vec<(String, Path)>);

impl std::str::FromStr for Columns {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let column = |part: &str| {
            let (heading, path) = part.split_once(':').ok_or_else(|| format!("{part:?} is not HEADING:.path"))?;
            Ok((heading.to_owned(), path.parse()?))
        };
        let columns: Result<Vec<_>, String> = split(text).into_iter().map(column).collect();
        columns.map(Self).and_then(|columns| {
            if columns.0.is_empty() {
                Err("name a column, such as NAME:.metadata.name".to_owned())
            } else {
                Ok(columns)
            }
        })
    }
}

/// Splits at commas that are not within brackets.
fn split(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut parts) = (0_i32, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts.into_iter().filter(|part| !part.trim().is_empty()).collect()
}

impl Columns {
    /// Reads the two lines of a `custom-columns-file`: headings, and paths below them.
    pub(crate) fn of_file(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        let words = |line: Option<&str>| -> Vec<String> {
            line.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
        };
        let (headings, paths) = (words(lines.next()), words(lines.next()));
        if headings.is_empty() || headings.len() != paths.len() {
            return Err(format!(
                "expected a line of headings and a line of as many paths, found {} and {}",
                headings.len(),
                paths.len()
            ));
        }
        let columns: Result<Vec<_>, String> =
            headings.into_iter().zip(paths).map(|(heading, path)| Ok((heading, path.parse()?))).collect();
        columns.map(Self)
    }

    /// The table of the objects.
    pub(crate) fn table(&self, objects: &[Value], headings: bool, colour: bool) -> String {
        let cell = |object: &Value, path: &Path| {
            let found: Vec<String> = path.find(object).into_iter().map(shown).collect();
            if found.is_empty() { NONE.to_owned() } else { found.join(",") }
        };
        let rows: Vec<Vec<String>> =
            objects.iter().map(|object| self.0.iter().map(|(_, path)| cell(object, path)).collect()).collect();
        let heading: Vec<&str> = self.0.iter().map(|(heading, _)| heading.as_str()).collect();
        if headings { plain(&heading, &rows, colour) } else { super::table::bare(&rows) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_show_what_their_paths_find() {
        let columns: Columns =
            "NAME:.metadata.name,IMAGES:.spec[*].image,X:{.x[?(@.a==\"b,c\")]}".parse().expect("columns");
        let object = json!({"metadata": {"name": "a"}, "spec": [{"image": "i"}, {"image": "j"}]});
        assert_eq!(columns.table(&[object], true, false), "NAME   IMAGES   X\na      i,j      <none>\n");
        assert!("NAME".parse::<Columns>().is_err() && "".parse::<Columns>().is_err());
        assert_eq!(Columns::of_file("A B\n.a .b\n").expect("file"), "A:.a,B:.b".parse().expect("columns"));
    }
}
