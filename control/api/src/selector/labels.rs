//! Label selectors: `a=b,c in (d,e),!f`, and the same within objects.
//!
//! Grammar and texts: `k8s.io/apimachinery/pkg/labels`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use crate::field::Errors;
use crate::json;
use crate::names;
use crate::status::Status;

/// Requirements in one selector at most: a selector comes with every list and is checked against every object.
const REQUIREMENTS_MAX: usize = 256;
const OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

/// A label selector.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    requirements: Vec<Requirement>,
    /// The selector that is not there selects nothing; the empty one selects everything.
    nothing: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Exists,
    Absent,
    Equals(String),
    NotEquals(String),
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Greater(i64),
    Less(i64),
}

impl Labels {
    /// Reads the text form.
    pub fn parse(text: &str) -> Result<Self, Status> {
        Parser::new(text).requirements().map_err(Status::bad_request)
    }

    /// From a `LabelSelector` object (`matchLabels`, `matchExpressions`); null selects nothing, `{}` everything.
    pub fn from_label_selector(selector: &Value) -> Result<Self, Status> {
        if selector.is_null() {
            return Ok(Self { requirements: Vec::new(), nothing: true });
        }
        let mut labels = Self::from_map(json::get(selector, "matchLabels"));
        for expression in json::items(selector, &["matchExpressions"]) {
            let values =
                || json::items(expression, &["values"]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
            let test = match json::text(expression, &["operator"]) {
                "In" => Test::In(values()),
                "NotIn" => Test::NotIn(values()),
                "Exists" => Test::Exists,
                "DoesNotExist" => Test::Absent,
                other => return Err(Status::bad_request(format!("{other:?} is not a valid label selector operator"))),
            };
            labels.requirements.push(Requirement { key: json::text(expression, &["key"]).to_owned(), test });
        }
        labels.requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(labels)
    }

    /// From a plain map, as in `Service.spec.selector`; an empty map selects everything.
    pub fn from_map(selector: &Value) -> Self {
        let requirements = json::members(selector, &[])
            .map(|(key, value)| Requirement {
                key: key.clone(),
                test: Test::Equals(value.as_str().unwrap_or_default().to_owned()),
            })
            .collect();
        Self { requirements, nothing: false }
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    /// The labels that must have one value: key and value.
    pub fn equalities(&self) -> impl Iterator<Item = (&str, &str)> {
        self.requirements.iter().filter_map(|requirement| match &requirement.test {
            Test::Equals(value) => Some((requirement.key.as_str(), value.as_str())),
            Test::In(values) if values.len() == 1 => Some((&requirement.key, values.first()?)),
            _ => None,
        })
    }

    /// Whether `labels` are selected.
    pub fn matches(&self, labels: &BTreeMap<&str, &str>) -> bool {
        !self.nothing && self.requirements.iter().all(|requirement| requirement.matches(labels))
    }
}

impl Requirement {
    fn matches(&self, labels: &BTreeMap<&str, &str>) -> bool {
        let value = labels.get(self.key.as_str()).copied();
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.test {
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::Equals(wanted) => value == Some(wanted.as_str()),
            Test::NotEquals(unwanted) => value != Some(unwanted.as_str()),
            Test::In(wanted) => value.is_some_and(|value| wanted.contains(value)),
            Test::NotIn(unwanted) => !value.is_some_and(|value| unwanted.contains(value)),
            Test::Greater(bound) => number().is_some_and(|number| number > *bound),
            Test::Less(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Requirement { key, test }) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            // A set of nothing but "" is written so that it reads back as one.
            let list = |values: &BTreeSet<String>| match values.iter().cloned().collect::<Vec<_>>().join(",") {
                empty if empty.is_empty() => ",".to_owned(),
                list => list,
            };
            match test {
                Test::Exists => write!(f, "{key}")?,
                Test::Absent => write!(f, "!{key}")?,
                Test::Equals(value) => write!(f, "{key}={value}")?,
                Test::NotEquals(value) => write!(f, "{key}!={value}")?,
                Test::In(values) => write!(f, "{key} in ({})", list(values))?,
                Test::NotIn(values) => write!(f, "{key} notin ({})", list(values))?,
                Test::Greater(bound) => write!(f, "{key}>{bound}")?,
                Test::Less(bound) => write!(f, "{key}<{bound}")?,
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Symbol(&'a str),
    End,
}

impl<'a> Token<'a> {
    fn text(self) -> &'a str {
        match self {
            Token::Word(text) | Token::Symbol(text) => text,
            Token::End => "",
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    fn peek(&self) -> Token<'a> {
        Parser { rest: self.rest }.next()
    }

    fn next(&mut self) -> Token<'a> {
        const SYMBOLS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"];
        let text = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let symbol = SYMBOLS.iter().find(|symbol| text.starts_with(**symbol)).map(|symbol| symbol.len());
        let end = symbol.unwrap_or_else(|| {
            text.find(|c: char| "=!(),><".contains(c) || " \t\r\n".contains(c)).unwrap_or(text.len())
        });
        let (token, rest) = text.split_at(end);
        self.rest = rest;
        match (token, symbol) {
            ("", _) => Token::End,
            (token, Some(_)) => Token::Symbol(token),
            (token, None) => Token::Word(token),
        }
    }

    fn requirements(mut self) -> Result<Labels, String> {
        let mut labels = Labels::default();
        loop {
            match self.peek() {
                Token::End => break,
                Token::Word(_) | Token::Symbol("!") => {}
                Token::Symbol(other) => {
                    return Err(format!("found '{other}', expected: !, identifier, or 'end of string'"));
                }
            }
            if labels.requirements.len() == REQUIREMENTS_MAX {
                return Err(format!("more than {REQUIREMENTS_MAX} requirements"));
            }
            let requirement = self.requirement().map_err(|error| format!("unable to parse requirement: {error}"))?;
            labels.requirements.push(requirement);
            match self.next() {
                Token::End => break,
                Token::Symbol(",") => match self.peek() {
                    Token::Word(_) | Token::Symbol("!") => {}
                    other => return Err(format!("found '{}', expected: identifier after ','", other.text())),
                },
                other => return Err(format!("found '{}', expected: ',' or 'end of string'", other.text())),
            }
        }
        labels.requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(labels)
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let mut token = self.next();
        let absent = token == Token::Symbol("!");
        if absent {
            token = self.next();
        }
        let Token::Word(key) = token else {
            return Err(format!("found '{}', expected: identifier", token.text()));
        };
        checked("key", key, names::qualified_name)?;
        let test = if absent {
            Test::Absent
        } else if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            Test::Exists
        } else {
            self.test(key)?
        };
        Ok(Requirement { key: key.to_owned(), test })
    }

    fn test(&mut self, key: &str) -> Result<Test, String> {
        let operator = self.next();
        Ok(match operator {
            Token::Symbol("=" | "==") => Test::Equals(self.value(key)?),
            Token::Symbol("!=") => Test::NotEquals(self.value(key)?),
            Token::Symbol(">") => Test::Greater(self.number(key)?),
            Token::Symbol("<") => Test::Less(self.number(key)?),
            Token::Word("in") => Test::In(self.values(key)?),
            Token::Word("notin") => Test::NotIn(self.values(key)?),
            other => return Err(format!("found '{}', expected: {OPERATORS}", other.text())),
        })
    }

    fn value(&mut self, key: &str) -> Result<String, String> {
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Ok(String::new());
        }
        match self.next() {
            Token::Word(value) => {
                checked(&format!("values[0][{key}]"), value, names::label_value)?;
                Ok(value.to_owned())
            }
            other => Err(format!("found '{}', expected: identifier", other.text())),
        }
    }

    fn number(&mut self, key: &str) -> Result<i64, String> {
        let value = self.value(key)?;
        value.parse().map_err(|_| {
            format!("values[0]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer")
        })
    }

    fn values(&mut self, key: &str) -> Result<BTreeSet<String>, String> {
        match self.next() {
            Token::Symbol("(") => {}
            other => return Err(format!("found '{}' expected: '('", other.text())),
        }
        let mut values = BTreeSet::new();
        if self.peek() == Token::Symbol(")") {
            return Err("values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty".to_owned());
        }
        loop {
            match self.peek() {
                Token::Word(value) => {
                    self.next();
                    checked(&format!("values[{}][{key}]", values.len()), value, names::label_value)?;
                    values.insert(value.to_owned());
                }
                Token::Symbol("," | ")") => {
                    values.insert(String::new());
                }
                other => return Err(format!("found '{}', expected: ',', ')' or identifier", other.text())),
            }
            match self.next() {
                Token::Symbol(",") => {}
                Token::Symbol(")") => return Ok(values),
                other => return Err(format!("found '{}', expected: ',' or ')'", other.text())),
            }
        }
    }
}

fn checked(field: &str, text: &str, check: fn(&str) -> Vec<String>) -> Result<(), String> {
    let problems = check(text);
    if problems.is_empty() {
        return Ok(());
    }
    let mut errors = Errors::new();
    errors.invalid_str(field, text, &problems.join("; "));
    Err(errors.into_vec().iter().map(ToString::to_string).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn matches(selector: &str) -> bool {
        let labels = BTreeMap::from([("app", "web"), ("tier", "front"), ("size", "5")]);
        Labels::parse(selector).unwrap().matches(&labels)
    }

    #[test]
    fn selectors_select() {
        for selector in [
            "",
            "app=web",
            "app==web",
            "app != db",
            "other!=x",
            "app in (web, db)",
            "app notin (db)",
            "app",
            "!other",
            " app = web , tier=front",
            "size>4",
            "size<6",
            "x/y notin (a)",
        ] {
            assert!(matches(selector), "{selector}");
        }
        for selector in ["app=db", "app!=web", "app in (db,)", "!app", "other", "size>5", "tier notin (front)", "app="]
        {
            assert!(!matches(selector), "{selector}");
        }
    }

    #[test]
    fn mistakes_are_told_in_kubernetes_words() {
        for (selector, text) in [
            ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("=x", "found '=', expected: !, identifier, or 'end of string'"),
            ("a=b,", "found '', expected: identifier after ','"),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
            ("!", "unable to parse requirement: found '', expected: identifier"),
        ] {
            let status = Labels::parse(selector).unwrap_err();
            assert_eq!((status.message.as_str(), status.code), (text, 400));
        }
        assert!(Labels::parse("a=-x-").unwrap_err().message.contains("values[0][a]: Invalid value: \"-x-\""));
    }

    #[test]
    fn label_selectors_of_objects_select_and_print() {
        let selector = json!({"matchLabels": {"b": "1"}, "matchExpressions": [
            {"key": "a", "operator": "In", "values": ["y", "x"]}, {"key": "c", "operator": "DoesNotExist"}
        ]});
        let labels = Labels::from_label_selector(&selector).unwrap();
        assert_eq!(labels.to_string(), "a in (x,y),b=1,!c");
        assert!(labels.matches(&BTreeMap::from([("a", "x"), ("b", "1")])));
        assert!(!Labels::from_label_selector(&Value::Null).unwrap().matches(&BTreeMap::new()));
        assert!(Labels::from_label_selector(&json!({})).unwrap().matches(&BTreeMap::new()));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_panic(text in "\\PC{0,30}|[a-z=!(),<> in]{0,30}") {
            if let Ok(labels) = Labels::parse(&text) {
                labels.matches(&BTreeMap::from([("a", "b")]));
                prop_assert_eq!(Labels::parse(&labels.to_string()).unwrap(), labels);
            }
        }
    }
}
