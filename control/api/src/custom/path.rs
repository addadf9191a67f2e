//! The JSONPaths of definitions: `.spec.replicas`, `.metadata.labels['app\.io/x']`, `.status.conditions[?(@.type=="Ready")].status`.
//!
//! A subset of what kubectl takes: names, indices, `*`, `..name` not, and filters by the equality of one member.

use serde_json::Value;

use crate::json;

/// Steps of one path at most: no object is as deep.
const STEPS_MAX: usize = 64;

/// Values that `*` and filters may lead to at once, before only the first ones are followed.
const FOUND_MAX: usize = 1024;

/// A path that was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Member(String),
    Index(i64),
    All,
    Filter { path: Vec<String>, equal: Option<bool>, value: Value },
}

impl Path {
    /// Reads a path; the error says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text.trim();
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if steps.len() == STEPS_MAX {
                return Err(format!("more than {STEPS_MAX} steps"));
            }
            if let Some(inner) = rest.strip_prefix('[') {
                let end = closing(inner).ok_or("unterminated array")?;
                steps.push(bracket(&inner[..end])?);
                rest = &inner[end + 1..];
            } else if let Some(after) = rest.strip_prefix('.') {
                if after.is_empty() && steps.is_empty() {
                    break;
                }
                if after.starts_with('[') {
                    rest = after;
                    continue;
                }
                let (name, left) = member(after);
                if name.is_empty() {
                    return Err(format!("unrecognized path at {rest:?}"));
                }
                steps.push(if name == "*" { Step::All } else { Step::Member(name) });
                rest = left;
            } else {
                return Err(format!("unexpected path string, expected a path to start with a '.' or '[': {rest:?}"));
            }
        }
        Ok(Self(steps))
    }

    /// The names of a path that is made of nothing else.
    pub(crate) fn names(&self) -> Option<Vec<&str>> {
        fn name(step: &Step) -> Option<&str> {
            match step {
                Step::Member(name) => Some(name),
                _ => None,
            }
        }
        self.0.iter().map(name).collect()
    }

    /// What the path leads to.
    pub(crate) fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![value];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.follow(value)).take(FOUND_MAX).collect();
        }
        found
    }

    /// The first value it leads to.
    pub(crate) fn first<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.find(value).into_iter().next()
    }
}

impl Step {
    fn follow<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match (self, value) {
            (Self::Member(name), value) => value.get(name).into_iter().collect(),
            (Self::Index(index), Value::Array(items)) => {
                let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
                let index = if *index < 0 { length + index } else { *index };
                usize::try_from(index).ok().and_then(|index| items.get(index)).into_iter().collect()
            }
            (Self::All, Value::Array(items)) => items.iter().collect(),
            (Self::All, Value::Object(members)) => members.values().collect(),
            (Self::Filter { path, equal, value: wanted }, Value::Array(items)) => {
                let keep = |item: &&Value| {
                    let path: Vec<&str> = path.iter().map(String::as_str).collect();
                    let found = json::dig(item, &path);
                    equal.map_or(!found.is_null(), |equal| (found == wanted) == equal)
                };
                items.iter().filter(keep).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Where the bracket that is open closes, outside of quotes.
fn closing(text: &str) -> Option<usize> {
    let (mut quote, mut depth, mut escaped) = (None, 0_usize, false);
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), letter) if letter == open => quote = None,
            (None, '\'' | '"') => quote = Some(letter),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            (Some(_) | None, _) => {}
        }
    }
    None
}

fn bracket(inner: &str) -> Result<Step, String> {
    let inner = inner.trim();
    if inner == "*" {
        return Ok(Step::All);
    }
    if let Some(name) = quoted(inner) {
        return Ok(Step::Member(name));
    }
    if let Some(filter) = inner.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        return self::filter(filter);
    }
    inner.parse().map(Step::Index).map_err(|_| format!("invalid array index {inner}"))
}

fn filter(text: &str) -> Result<Step, String> {
    let text = text.trim();
    let names = |left: &str| -> Result<Vec<String>, String> {
        let below = left.trim().strip_prefix('@').ok_or_else(|| format!("unsupported filter {text:?}"))?;
        let path = Path::parse(below)?;
        let names = path.names().ok_or_else(|| format!("unsupported filter {text:?}"))?;
        let plain = |name: &&str| !name.contains(['<', '>', '=', '!', '&', '|', '(', ')', ' ']);
        if !names.iter().all(plain) {
            return Err(format!("unsupported filter {text:?}"));
        }
        Ok(names.into_iter().map(str::to_owned).collect())
    };
    for (operator, equal) in [("==", true), ("!=", false)] {
        if let Some((left, right)) = text.split_once(operator) {
            let right = right.trim();
            let value = match quoted(right) {
                Some(text) => Value::from(text),
                None => serde_json::from_str(right).map_err(|_| format!("unsupported filter {text:?}"))?,
            };
            return Ok(Step::Filter { path: names(left)?, equal: Some(equal), value });
        }
    }
    Ok(Step::Filter { path: names(text)?, equal: None, value: Value::Null })
}

/// The text between two quotes of one kind.
fn quoted(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    Some(unescape(inner))
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        plain.push(if letter == '\\' { letters.next().unwrap_or(letter) } else { letter });
    }
    plain
}

/// A name after a dot, up to the next dot or bracket that is not escaped, and what follows.
fn member(text: &str) -> (String, &str) {
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '.' | '[' => return (unescape(&text[..at]), &text[at..]),
            _ => {}
        }
    }
    (unescape(text), "")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_where_kubectl_says() {
        let object = json!({
            "metadata": {"labels": {"app.io/x": "1"}},
            "status": {"conditions": [{"type": "A", "status": "False"}, {"type": "Ready", "status": "True"}]},
        });
        let first = |path: &str| Path::parse(path).unwrap().first(&object).cloned();
        assert_eq!(first(".status.conditions[?(@.type==\"Ready\")].status"), Some(json!("True")));
        assert_eq!(first(".status.conditions[?(@.type!='A')].type"), Some(json!("Ready")));
        assert_eq!(first(".metadata.labels['app\\.io/x']"), Some(json!("1")));
        assert_eq!(first(".metadata.labels.app\\.io/x"), Some(json!("1")));
        assert_eq!(first(".status.conditions[-1].type"), Some(json!("Ready")));
        assert_eq!(first(".status.conditions[*].type"), Some(json!("A")));
        assert_eq!(first(".status.none"), None);
        for broken in ["spec", ".a[", ".a[x]", "..", ".a..b", ".a[?(@.b<1)]"] {
            assert!(Path::parse(broken).is_err(), "{broken}");
        }
    }
}
