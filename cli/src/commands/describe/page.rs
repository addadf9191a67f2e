//! A page of `wk describe`: names and values in two columns, sections below one another, tables.

use serde_json::Value;

pub(super) use crate::fields::{list, number, text};
use crate::render::plain;

/// What stands where there is nothing.
pub(super) const NONE: &str = "<none>";

/// Spaces a section stands in.
const INDENT: usize = 2;

/// Narrowest column of names.
const NAME_MIN: usize = 8;

#[derive(Debug)]
enum Part {
    /// A name and a value, at a depth.
    Line(usize, String, String),
    /// Text that is aligned already, at a depth.
    Text(usize, String),
}

/// The page in the making.
#[derive(Debug, Default)]
pub(super) struct Page {
    parts: Vec<Part>,
    depth: usize,
}

impl Page {
    /// Name, namespace, labels, annotations and where the object comes from.
    pub(super) fn head(&mut self, object: &Value, namespaced: bool) {
        self.line("Name", text(object, "/metadata/name"));
        if namespaced {
            self.line("Namespace", text(object, "/metadata/namespace"));
        }
        let created = text(object, "/metadata/creationTimestamp");
        if !created.is_empty() {
            self.line("Created", &format!("{created} ({} ago)", crate::render::ago(created)));
        }
        self.map("Labels", object.pointer("/metadata/labels"), "=");
        let mut annotations = object.pointer("/metadata/annotations").cloned().unwrap_or_default();
        if let Value::Object(map) = &mut annotations {
            map.remove(crate::manifest::LAST_APPLIED);
        }
        self.map("Annotations", Some(&annotations), ": ");
        if let Some(gone) = object.pointer("/metadata/deletionTimestamp").and_then(Value::as_str) {
            self.line("Status", &format!("Terminating since {gone}"));
        }
        for owner in list(object, "/metadata/ownerReferences")
            .filter(|owner| owner.get("controller") == Some(&Value::Bool(true)))
        {
            self.line("Controlled By", &format!("{}/{}", text(owner, "/kind"), text(owner, "/name")));
        }
    }

    /// A name and a value of one line.
    pub(super) fn line(&mut self, name: &str, value: &str) {
        let value = if value.is_empty() { NONE } else { value };
        self.parts.push(Part::Line(self.depth, name.to_owned(), value.to_owned()));
    }

    /// The same, unless there is no value.
    pub(super) fn some(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.line(name, value);
        }
    }

    /// A value of the object, if it is there.
    pub(super) fn field(&mut self, name: &str, object: &Value, pointer: &str) {
        match object.pointer(pointer) {
            None | Some(Value::Null) => {}
            Some(value) => self.line(name, &crate::render::jsonpath::shown(value)),
        }
    }

    /// A map, one entry a line.
    pub(super) fn map(&mut self, name: &str, map: Option<&Value>, between: &str) {
        let map = map.and_then(Value::as_object).filter(|map| !map.is_empty());
        let Some(map) = map else { return self.line(name, NONE) };
        for (number, (key, value)) in map.iter().enumerate() {
            let name = if number == 0 { name } else { "" };
            self.line(name, &format!("{key}{between}{}", crate::render::jsonpath::shown(value)));
        }
    }

    /// What stands indented below a name.
    pub(super) fn section(&mut self, name: &str, inner: impl FnOnce(&mut Self)) {
        self.parts.push(Part::Text(self.depth, format!("{name}:\n")));
        self.depth += 1;
        inner(self);
        self.depth -= 1;
    }

    /// A table below a name; none if it has no rows.
    pub(super) fn table(&mut self, name: &str, heading: &[&str], rows: &[Vec<String>]) {
        if rows.is_empty() {
            return self.line(name, NONE);
        }
        let under: Vec<String> = heading.iter().map(|heading| "-".repeat(heading.len())).collect();
        let rows: Vec<Vec<String>> = std::iter::once(under).chain(rows.iter().cloned()).collect();
        let table = plain(heading, &rows, false);
        self.section(name, |page| page.parts.push(Part::Text(page.depth, table)));
    }

    /// A table without a name: it is what the page is about.
    pub(super) fn main_table(&mut self, heading: &[&str], rows: Vec<Vec<String>>) {
        let under = heading.iter().map(|heading| "-".repeat(heading.len())).collect();
        let rows: Vec<Vec<String>> = std::iter::once(under).chain(rows).collect();
        self.parts.push(Part::Text(self.depth, plain(heading, &rows, false)));
    }

    /// Conditions as a table.
    pub(super) fn conditions(&mut self, object: &Value) {
        let rows: Vec<Vec<String>> = list(object, "/status/conditions")
            .map(|condition| {
                ["/type", "/status", "/reason", "/message"].map(|pointer| text(condition, pointer).to_owned()).to_vec()
            })
            .collect();
        if !rows.is_empty() {
            self.table("Conditions", &["Type", "Status", "Reason", "Message"], &rows);
        }
    }

    /// Text as it is, indented.
    pub(super) fn text_block(&mut self, text: &str) {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        self.parts.push(Part::Text(self.depth, format!("{text}{end}")));
    }

    /// The page. Values of one section stand below one another.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for (at, part) in self.parts.iter().enumerate() {
            match part {
                Part::Text(depth, text) => {
                    for line in text.lines() {
                        out.extend([" ".repeat(depth * INDENT).as_str(), &clean(line), "\n"]);
                    }
                }
                Part::Line(depth, name, value) => {
                    let width = self.width(at, *depth);
                    let name = if name.is_empty() { String::new() } else { format!("{name}:") };
                    let indent = " ".repeat(depth * INDENT);
                    let mut lines = value.lines();
                    let first = lines.next().unwrap_or_default();
                    out.push_str(format!("{indent}{name:<width$}{}", clean(first)).trim_end());
                    out.push('\n');
                    for line in lines {
                        out.extend([indent.as_str(), &" ".repeat(width), &clean(line), "\n"]);
                    }
                }
            }
        }
        out
    }

    /// The width of the names around a line: as far as lines of its depth stand together.
    fn width(&self, at: usize, depth: usize) -> usize {
        let length = |part: &Part| match part {
            Part::Line(of, name, _) if *of == depth => Some(name.chars().count()),
            _ => None,
        };
        // Deeper sections in between do not part the lines of one section.
        let together = |part: &&Part| matches!(part, Part::Line(of, ..) | Part::Text(of, _) if *of >= depth);
        let before = self.parts[..at].iter().rev().take_while(together).filter_map(length).max();
        let after = self.parts[at..].iter().take_while(together).filter_map(length).max();
        before.max(after).unwrap_or(0).max(NAME_MIN) + 3
    }
}

/// Text that cannot drive the terminal.
fn clean(line: &str) -> String {
    line.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()).collect()
}

/// `a=1,b=2`.
pub(super) fn pairs(map: Option<&Value>) -> String {
    let map = map.and_then(Value::as_object);
    let pairs =
        map.into_iter().flatten().map(|(key, value)| format!("{key}={}", crate::render::jsonpath::shown(value)));
    pairs.collect::<Vec<_>>().join(",")
}

/// A LabelSelector as one would type it.
pub(super) fn selector(selector: &Value) -> String {
    let mut terms: Vec<String> = Vec::new();
    let labels =
        pairs(selector.get("matchLabels").or_else(|| selector.get("matchExpressions").is_none().then_some(selector)));
    if !labels.is_empty() {
        terms.push(labels);
    }
    for term in list(selector, "/matchExpressions") {
        let values: Vec<&str> = list(term, "/values").filter_map(Value::as_str).collect();
        let key = text(term, "/key");
        terms.push(match text(term, "/operator") {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            other => format!("{key} {other}"),
        });
    }
    terms.join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_of_a_section_stand_below_one_another() {
        let mut page = Page::default();
        page.line("Name", "web");
        page.section("Inner", |page| {
            page.line("A long name", "1\ntwo");
            page.line("B", "");
        });
        page.map("Labels", Some(&json!({"a": "1", "b": "2"})), "=");
        assert_eq!(
            page.text(),
            "Name:      web\nInner:\n  A long name:  1\n                two\n  B:            <none>\nLabels:    a=1\n           b=2\n"
        );
    }

    #[test]
    fn selectors_are_written_as_they_are_typed() {
        let whole = json!({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "In", "values": ["x", "y"]},
            {"key": "c", "operator": "DoesNotExist"}]});
        assert_eq!(selector(&whole), "a=1,b in (x,y),!c");
        assert_eq!(selector(&json!({"app": "web"})), "app=web");
    }
}
