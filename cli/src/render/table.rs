//! Tables as kubectl prints them: aligned columns, three spaces apart, nothing after the last.

use serde_json::Value;

use super::{Tone, paint};

/// Space between columns.
const GAP: usize = 3;

/// Narrowest column, as in kubectl, so that columns of short values do not crowd.
const COLUMN_MIN: usize = 6;

/// A column of a server's Table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// Its heading.
    pub(crate) name: String,
    /// 0 is always shown, above only with `-o wide`.
    pub(crate) priority: i64,
}

/// A row of a server's Table.
#[derive(Debug, Clone)]
pub(crate) struct TableRow {
    /// One text a column.
    pub(crate) cells: Vec<String>,
    /// The namespace of the object.
    pub(crate) namespace: String,
    /// The resourceVersion of the object.
    pub(crate) resource_version: String,
    /// The object as far as the server sent it: its metadata, or all of it if it was asked to.
    pub(crate) object: Value,
}

/// A `meta.k8s.io/v1` Table.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerTable {
    /// The columns; a watch sends them with its first event only.
    pub(crate) columns: Vec<Column>,
    /// The rows.
    pub(crate) rows: Vec<TableRow>,
    /// The resourceVersion of the list.
    pub(crate) resource_version: String,
}

impl ServerTable {
    /// Reads a Table, or makes one of names and ages from an object or list of a server without Tables.
    pub(crate) fn read(answer: &Value) -> Self {
        let resource_version = text(answer, "/metadata/resourceVersion");
        if answer.get("kind").and_then(Value::as_str) != Some("Table") {
            let column = Column { name: "Name".to_owned(), priority: 0 };
            let items = answer.get("items").and_then(Value::as_array);
            let objects = items.map_or_else(|| vec![answer], |items| items.iter().collect());
            let rows = objects.into_iter().map(|object| row(object, vec![text(object, "/metadata/name")])).collect();
            return Self { columns: vec![column], rows, resource_version };
        }
        let columns = array(answer, "columnDefinitions").map(|column| Column {
            name: text(column, "/name"),
            priority: column.get("priority").and_then(Value::as_i64).unwrap_or(0),
        });
        let rows = array(answer, "rows").map(|entry| {
            let cells = array(entry, "cells").map(cell).collect();
            row(entry.get("object").unwrap_or(&Value::Null), cells)
        });
        Self { columns: columns.collect(), rows: rows.collect(), resource_version }
    }
}

fn row(object: &Value, cells: Vec<String>) -> TableRow {
    TableRow {
        cells,
        namespace: text(object, "/metadata/namespace"),
        resource_version: text(object, "/metadata/resourceVersion"),
        object: object.clone(),
    }
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn array<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// The text of a cell: one line, whatever the server sent, and nothing that drives the terminal.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    match text.split_once(['\n', '\r']) {
        Some((first, _)) => format!("{}...", printable(first)),
        None => printable(&text),
    }
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// What a table shows of its rows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct View<'a> {
    /// Also the columns of `-o wide`.
    pub(crate) wide: bool,
    /// A first column with the namespace.
    pub(crate) namespaces: bool,
    /// Put before names, such as `deployment.apps/`.
    pub(crate) prefix: &'a str,
    /// Labels shown as columns of their own.
    pub(crate) label_columns: &'a [String],
    /// A last column with all labels.
    pub(crate) labels: bool,
    /// No heading.
    pub(crate) headless: bool,
}

impl View<'_> {
    fn headings(&self) -> impl Iterator<Item = String> {
        let own = |key: &String| key.rsplit('/').next().unwrap_or(key).to_uppercase();
        self.label_columns.iter().map(own).chain(self.labels.then(|| "LABELS".to_owned()))
    }

    /// The cells for the object's labels.
    fn cells(&self, object: &Value) -> Vec<String> {
        let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
        let value = |key: &String| labels.and_then(|labels| labels.get(key)?.as_str()).unwrap_or_default();
        let all = self.labels.then(|| {
            let all = labels
                .into_iter()
                .flatten()
                .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
            let all: Vec<String> = all.collect();
            if all.is_empty() { "<none>".to_owned() } else { all.join(",") }
        });
        self.label_columns.iter().map(|key| printable(value(key))).chain(all.map(|all| printable(&all))).collect()
    }
}

/// Prints batches of rows under one heading; columns only ever grow wider.
#[derive(Debug, Default)]
pub(crate) struct Printer {
    widths: Vec<usize>,
    columns: Vec<Column>,
    headed: bool,
}

impl Printer {
    /// The text for the table's rows, with the heading before the first.
    pub(crate) fn print(&mut self, table: &ServerTable, view: View<'_>, colour: bool) -> String {
        if !table.columns.is_empty() {
            self.columns.clone_from(&table.columns);
        }
        let shown: Vec<usize> =
            (0..self.columns.len()).filter(|at| view.wide || self.columns[*at].priority == 0).collect();
        let mut lines = Vec::new();
        if !self.headed && !view.headless {
            self.headed = true;
            let names = shown.iter().map(|at| self.columns[*at].name.to_uppercase());
            let names = view.namespaces.then(|| "NAMESPACE".to_owned()).into_iter().chain(names);
            lines.push(names.chain(view.headings()).collect());
        }
        let headings = lines.len();
        for row in &table.rows {
            let cells = shown.iter().map(|at| {
                let cell = row.cells.get(*at).cloned().unwrap_or_default();
                if *at == 0 { format!("{}{cell}", view.prefix) } else { cell }
            });
            let cells = view.namespaces.then(|| row.namespace.clone()).into_iter().chain(cells);
            lines.push(cells.chain(view.cells(&row.object)).collect());
        }
        align(&lines, &mut self.widths, headings, colour)
    }
}

/// A table of our own: a heading and rows.
pub(crate) fn plain(heading: &[&str], rows: &[Vec<String>], colour: bool) -> String {
    let mut lines = vec![heading.iter().map(|name| (*name).to_owned()).collect()];
    lines.extend(rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()));
    align(&lines, &mut Vec::new(), 1, colour)
}

/// Rows without a heading.
pub(crate) fn bare(rows: &[Vec<String>]) -> String {
    let lines: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    align(&lines, &mut Vec::new(), 0, false)
}

/// Aligns lines of cells; the first `headings` lines are set off by weight.
fn align(lines: &[Vec<String>], widths: &mut Vec<usize>, headings: usize, colour: bool) -> String {
    for line in lines {
        widths.resize(widths.len().max(line.len()), COLUMN_MIN);
        for (at, cell) in line.iter().enumerate() {
            widths[at] = widths[at].max(width(cell) + GAP);
        }
    }
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let mut out = String::new();
        for (at, cell) in line.iter().enumerate() {
            out.push_str(cell);
            if at + 1 < line.len() {
                out.extend(std::iter::repeat_n(' ', widths[at].saturating_sub(width(cell))));
            }
        }
        let out = out.trim_end();
        text.push_str(&if number < headings { paint(out, Tone::Strong, colour) } else { out.to_owned() });
        text.push('\n');
    }
    text
}

/// How many columns of a terminal the text takes; names are ASCII, so characters are near enough.
fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pods() -> ServerTable {
        ServerTable::read(&json!({"kind": "Table", "metadata": {"resourceVersion": "7"}, "columnDefinitions": [
            {"name": "Name", "priority": 0}, {"name": "Ready"}, {"name": "Restarts", "priority": 0},
            {"name": "IP", "priority": 1}],
            "rows": [
                {"cells": ["web-1", "1/1", 0, "10.128.0.1"], "object": {"metadata": {"namespace": "a"}}},
                {"cells": ["web-long-name", "0/1", 12, null], "object": {"metadata": {"namespace": "b"}}}]}))
    }

    #[test]
    fn table_is_aligned_and_wide_columns_wait_for_wide() {
        let text = Printer::default().print(&pods(), View::default(), false);
        assert_eq!(
            text,
            "NAME            READY   RESTARTS\n\
             web-1           1/1     0\n\
             web-long-name   0/1     12\n"
        );
        let wide = Printer::default().print(&pods(), View { wide: true, ..View::default() }, false);
        assert!(wide.starts_with("NAME            READY   RESTARTS   IP\n"), "{wide}");
    }

    #[test]
    fn namespaces_and_prefixes_are_shown_when_asked_for() {
        let view = View { namespaces: true, prefix: "pod/", ..View::default() };
        let text = Printer::default().print(&pods(), view, false);
        assert!(text.starts_with("NAMESPACE   NAME                READY"), "{text}");
        assert!(text.contains("\na           pod/web-1           1/1"), "{text}");
    }

    #[test]
    fn later_rows_keep_the_columns_and_get_no_second_heading() {
        let mut printer = Printer::default();
        printer.print(&pods(), View::default(), false);
        let event = ServerTable::read(&json!({"kind": "Table", "rows": [{"cells": ["x", "1/1", 0, ""]}]}));
        assert_eq!(printer.print(&event, View::default(), false), "x               1/1     0\n");
    }

    #[test]
    fn cells_cannot_break_the_line_or_drive_the_terminal() {
        assert_eq!(cell(&json!("one\ntwo")), "one...");
        assert_eq!(cell(&json!("a\u{1b}[31mb")), "a[31mb");
    }

    #[test]
    fn server_without_tables_still_yields_names() {
        let list = json!({"kind": "PodList", "items": [{"metadata": {"name": "web-1"}}]});
        assert_eq!(Printer::default().print(&ServerTable::read(&list), View::default(), false), "NAME\nweb-1\n");
    }

    #[test]
    fn headings_are_bold_only_with_colour() {
        assert_eq!(plain(&["A", "B"], &[vec!["1".into(), "2".into()]], true), "\x1b[1mA     B\x1b[0m\n1     2\n");
    }
}
