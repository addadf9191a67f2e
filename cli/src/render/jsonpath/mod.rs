//! kubectl's JSONPath: text with `{…}` in it, evaluated over a JSON value. See `parse` for the grammar.
//!
//! Not RFC 9535: what is missing yields nothing instead of an error, several results are joined by a space, and
//! `{range …}` repeats what follows up to `{end}`.

mod parse;

use serde_json::Value;

/// A template such as `{range .items[*]}{.metadata.name}{"\n"}{end}`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template(Vec<Node>);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Text(String),
    Path(Path),
    Range(Path, Vec<Node>),
}

/// A way through a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Path {
    /// Begins at the whole value (`$`) even within a range or a filter.
    root: bool,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    /// From, to, step.
    Slice(Option<i64>, Option<i64>, i64),
    /// All members.
    All,
    /// The value and everything below it.
    Below,
    Union(Vec<Step>),
    Filter(Box<Filter>),
}

#[derive(Debug, Clone, PartialEq)]
struct Filter {
    left: Operand,
    compare: Option<(Compare, Operand)>,
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Path(Path),
    Literal(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Template {
    /// Reads a template. One without braces is taken for a path.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.contains('{') {
            parse::template(text).map(Self)
        } else {
            parse::path_alone(text).map(|path| Self(vec![Node::Path(path)]))
        }
    }

    /// The text for a value.
    pub(crate) fn render(&self, value: &Value) -> String {
        let mut out = String::new();
        render(&self.0, value, value, &mut out);
        out
    }
}

impl std::str::FromStr for Path {
    type Err = String;

    /// Reads `.spec.replicas`, `spec.replicas` or `{.spec.replicas}`.
    fn from_str(text: &str) -> Result<Self, String> {
        parse::path_alone(text)
    }
}

impl Path {
    /// Everything the path leads to.
    pub(crate) fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        find(self, value, value)
    }
}

fn render(nodes: &[Node], root: &Value, here: &Value, out: &mut String) {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Path(path) => {
                let found: Vec<String> = find(path, root, here).into_iter().map(shown).collect();
                out.push_str(&found.join(" "));
            }
            Node::Range(path, inner) => {
                for item in find(path, root, here) {
                    render(inner, root, item, out);
                }
            }
        }
    }
}

/// A value as kubectl prints it: text bare, everything else as JSON.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

fn find<'a>(path: &Path, root: &'a Value, here: &'a Value) -> Vec<&'a Value> {
    let mut found = vec![if path.root { root } else { here }];
    for step in &path.steps {
        found = found.into_iter().flat_map(|value| take(step, root, value)).collect();
    }
    found
}

fn take<'a>(step: &Step, root: &'a Value, value: &'a Value) -> Vec<&'a Value> {
    match (step, value) {
        (Step::Field(name), Value::Object(map)) => map.get(name).into_iter().collect(),
        (Step::Index(index), Value::Array(items)) => {
            position(*index, items.len()).map(|at| &items[at]).into_iter().collect()
        }
        (Step::Slice(from, to, step), Value::Array(items)) => slice(items, *from, *to, *step),
        (Step::All, Value::Array(items)) => items.iter().collect(),
        (Step::All, Value::Object(map)) => map.values().collect(),
        (Step::Below, value) => below(value),
        (Step::Union(steps), value) => steps.iter().flat_map(|step| take(step, root, value)).collect(),
        (Step::Filter(filter), Value::Array(items)) => items.iter().filter(|item| holds(filter, root, item)).collect(),
        _ => Vec::new(),
    }
}

fn position(index: i64, length: usize) -> Option<usize> {
    let length_signed = i64::try_from(length).ok()?;
    let at = usize::try_from(if index < 0 { index + length_signed } else { index }).ok()?;
    (at < length).then_some(at)
}

fn slice(items: &[Value], from: Option<i64>, to: Option<i64>, step: i64) -> Vec<&Value> {
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let bound = |at: i64| usize::try_from(if at < 0 { at + length } else { at }.clamp(0, length)).unwrap_or(0);
    let (from, to) = (bound(from.unwrap_or(0)), bound(to.unwrap_or(length)));
    let step = usize::try_from(step).unwrap_or(1).max(1);
    items.get(from..to).unwrap_or_default().iter().step_by(step).collect()
}

/// The value and everything below it, whole before parts.
fn below(value: &Value) -> Vec<&Value> {
    let mut found = Vec::new();
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        found.push(value);
        match value {
            Value::Array(items) => open.extend(items.iter().rev()),
            Value::Object(map) => open.extend(map.values().rev()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    found
}

fn holds(filter: &Filter, root: &Value, item: &Value) -> bool {
    let values = |operand: &Operand| -> Vec<Value> {
        match operand {
            Operand::Literal(value) => vec![value.clone()],
            Operand::Path(path) => find(path, root, item).into_iter().cloned().collect(),
        }
    };
    let left = values(&filter.left);
    let Some((compare, right)) = &filter.compare else { return !left.is_empty() };
    match (left.as_slice(), values(right).as_slice()) {
        ([left], [right]) => matches(*compare, left, right),
        _ => false,
    }
}

fn matches(compare: Compare, left: &Value, right: &Value) -> bool {
    let order = match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => left.partial_cmp(&right),
        _ => match (left, right) {
            (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
            (left, right) => (left == right).then_some(std::cmp::Ordering::Equal),
        },
    };
    match compare {
        Compare::Equal => order.is_some_and(std::cmp::Ordering::is_eq),
        Compare::NotEqual => !order.is_some_and(std::cmp::Ordering::is_eq),
        Compare::Less => order.is_some_and(std::cmp::Ordering::is_lt),
        Compare::LessOrEqual => order.is_some_and(std::cmp::Ordering::is_le),
        Compare::Greater => order.is_some_and(std::cmp::Ordering::is_gt),
        Compare::GreaterOrEqual => order.is_some_and(std::cmp::Ordering::is_ge),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(template: &str) -> String {
        let value = json!({"kind": "List", "items": [
            {"name": "a", "labels": {"app.kubernetes.io/name": "x"}, "n": 1, "ok": true, "ports": [{"p": 80}, {"p": 81}]},
            {"name": "b", "n": 2, "ports": [{"p": 90}]},
            {"name": "c", "n": 3}]});
        Template::parse(template).expect(template).render(&value)
    }

    #[test]
    fn templates_render_as_kubectl_does() {
        for (template, text) in [
            ("{.kind}", "List"),
            (".kind", "List"),
            ("kind is {.kind}!", "kind is List!"),
            ("{.items[*].name}", "a b c"),
            ("{.items[0].name}{.items[-1].name}", "ac"),
            ("{.items[0:2].name}", "a b"),
            ("{.items[::2].name}", "a c"),
            ("{.items[0,2].name}", "a c"),
            ("{.items[*]['name','n']}", "a 1 b 2 c 3"),
            (r"{.items[0].labels.app\.kubernetes\.io/name}", "x"),
            ("{.items[0].labels['app.kubernetes.io/name']}", "x"),
            ("{.items[?(@.name==\"b\")].n}", "2"),
            ("{.items[?(@.n>1)].name}", "b c"),
            ("{.items[?(@.ok==true)].name}", "a"),
            ("{.items[?(@.ports)].name}", "a b"),
            ("{..p}", "80 81 90"),
            ("{range .items[*]}{.name}{\"\\t\"}{.n}{\"\\n\"}{end}", "a\t1\nb\t2\nc\t3\n"),
            ("{range .items[*]}{.name}:{range .ports[*]} {.p}{end};{end}", "a: 80 81;b: 90;c:;"),
            ("{range .items[*]}{$.kind}{end}", "ListListList"),
            ("{.items[0].ports}", "[{\"p\":80},{\"p\":81}]"),
            ("{.nothing.at.all}", ""),
            ("{'it''s'}", "its"),
        ] {
            assert_eq!(render(template), text, "{template}");
        }
    }

    #[test]
    fn mistakes_say_what_is_wrong() {
        for (template, why) in [
            ("{.a", "}"),
            ("{range .a}", "{end}"),
            ("{end}", "{range"),
            ("{.a[}", "["),
            ("{.a[?(@.b}", "filter"),
            ("{\"x}", "quote"),
        ] {
            let error = Template::parse(template).expect_err(template);
            assert!(error.contains(why), "{template}: {error}");
        }
    }

    #[test]
    fn paths_stand_alone_with_or_without_braces() {
        let value = json!({"spec": {"replicas": 3}});
        for text in ["{.spec.replicas}", ".spec.replicas", "spec.replicas", "$.spec.replicas"] {
            assert_eq!(text.parse::<Path>().expect(text).find(&value), [&json!(3)]);
        }
    }
}
