//! How objects are printed: `-o json|yaml|wide|name|jsonpath=…|custom-columns=…`.

use std::str::FromStr;

use serde_json::{Value, json};

use super::columns::Columns;
use super::jsonpath::Template;
use super::structured::{json as json_text, yaml};

/// A choice of `-o`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Output {
    Json,
    Yaml,
    /// The table with all columns.
    Wide,
    /// KIND/NAME, one a line.
    Name,
    JsonPath(Template),
    Columns(Columns),
}

/// The choices, for help and messages.
const OUTPUTS: &str = "json, yaml, wide, name, jsonpath=TEMPLATE, custom-columns=HEADING:.path,…";

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let file = |path: &str| std::fs::read_to_string(path).map_err(|error| format!("read {path}: {error}"));
        match text.split_once('=').unwrap_or((text, "")) {
            ("json", "") => Ok(Self::Json),
            ("yaml", "") => Ok(Self::Yaml),
            ("wide", "") => Ok(Self::Wide),
            ("name", "") => Ok(Self::Name),
            ("jsonpath" | "custom-columns", "") => Err(format!("{text} needs a template: {text}=…")),
            ("jsonpath", template) => Template::parse(template).map(Self::JsonPath),
            ("jsonpath-file", path) => Template::parse(&file(path)?).map(Self::JsonPath),
            ("custom-columns", columns) => columns.parse().map(Self::Columns),
            ("custom-columns-file", path) => Columns::of_file(&file(path)?).map(Self::Columns),
            ("go-template" | "go-template-file", _) => {
                Err("Go templates are not known here; jsonpath=… and custom-columns=… are".to_owned())
            }
            _ => Err(format!("{text:?} is none of {OUTPUTS}")),
        }
    }
}

impl Output {
    /// Whether objects are wanted rather than the server's table.
    pub(crate) fn wants_objects(this: Option<&Self>) -> bool {
        !matches!(this, None | Some(Self::Wide))
    }

    /// The text for objects, each with its `KIND/NAME`. `single` says that one object was asked for by its name.
    pub(crate) fn text(&self, objects: Vec<(String, Value)>, single: bool, colour: bool) -> anyhow::Result<String> {
        if matches!(self, Self::Name | Self::Wide) {
            return Ok(objects.into_iter().map(|(name, _)| name + "\n").collect());
        }
        let mut values: Vec<Value> = objects.into_iter().map(|(_, object)| object).collect();
        if let Self::Columns(columns) = self {
            return Ok(columns.table(&values, true, colour));
        }
        let whole = if single && values.len() == 1 {
            values.remove(0)
        } else if single && values.is_empty() {
            return Ok(String::new());
        } else {
            json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": values})
        };
        match self {
            Self::Yaml => yaml(&whole),
            Self::JsonPath(template) => Ok(template.render(&whole)),
            Self::Json | Self::Wide | Self::Name | Self::Columns(_) => json_text(&whole),
        }
    }
}

/// Removes what only the server's bookkeeping needs, unless it was asked for.
pub(crate) fn without_managed_fields(object: &mut Value) {
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.remove("managedFields");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_read_and_mistakes_name_the_choices() {
        assert_eq!("json".parse(), Ok(Output::Json));
        assert!(matches!("jsonpath={.a}".parse(), Ok(Output::JsonPath(_))));
        assert!(matches!("custom-columns=A:.a".parse(), Ok(Output::Columns(_))));
        assert!("jsonpath".parse::<Output>().expect_err("no template").contains("jsonpath=…"));
        assert!("xml".parse::<Output>().expect_err("unknown").contains("yaml"));
        assert!("go-template={{.a}}".parse::<Output>().expect_err("Go").contains("jsonpath"));
    }

    #[test]
    fn one_object_stands_alone_and_several_make_a_list() {
        let objects = || vec![("pod/a".to_owned(), json!({"a": 1}))];
        assert_eq!(Output::Yaml.text(objects(), true, false).expect("yaml"), "a: 1\n");
        assert!(Output::Yaml.text(objects(), false, false).expect("yaml").contains("kind: List"));
        assert_eq!(Output::Name.text(objects(), false, false).expect("names"), "pod/a\n");
        assert_eq!(Output::Json.text(Vec::new(), true, false).expect("nothing"), "");
    }
}
