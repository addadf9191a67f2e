//! One rule of a role: what it allows, and whether it holds all of another.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::ask::{Ask, Resource};

const ALL: &str = "*";

/// A `PolicyRule`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// `verbs`.
    pub verbs: Vec<String>,
    /// `apiGroups`.
    pub groups: Vec<String>,
    /// `resources`.
    pub resources: Vec<String>,
    /// `resourceNames`; empty for all.
    pub names: Vec<String>,
    /// `nonResourceURLs`.
    pub paths: Vec<String>,
}

impl Rule {
    /// The rules of a role; what does not fit the type is left out, as it grants nothing.
    pub fn list(rules: &Value) -> Vec<Self> {
        rules.as_array().map(|rules| rules.iter().map(Self::read).collect()).unwrap_or_default()
    }

    fn read(value: &Value) -> Self {
        let texts = |field: &str| {
            let items = value.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Self {
            verbs: texts("verbs"),
            groups: texts("apiGroups"),
            resources: texts("resources"),
            names: texts("resourceNames"),
            paths: texts("nonResourceURLs"),
        }
    }

    /// The rule as an object holds it.
    pub fn to_value(&self) -> Value {
        let mut value = Map::new();
        let fields = [
            ("verbs", &self.verbs),
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.paths),
        ];
        for (field, texts) in fields {
            if !texts.is_empty() || field == "verbs" {
                value.insert(field.to_owned(), json!(texts));
            }
        }
        Value::Object(value)
    }

    /// Whether this rule alone allows what is asked.
    pub fn allows(&self, ask: &Ask<'_>) -> bool {
        match *ask {
            Ask::Path { verb, path } => has(&self.verbs, verb) && self.paths.iter().any(|own| is_below(own, path)),
            Ask::Resource(ask) => {
                has(&self.verbs, ask.verb)
                    && has(&self.groups, ask.group)
                    && self.resources.iter().any(|own| is_resource(own, &ask))
                    && (self.names.is_empty() || self.names.iter().any(|own| own == ask.name))
            }
        }
    }

    /// How many [`Self::pieces`] there are.
    pub(super) fn number_of_pieces(&self) -> usize {
        let resources = self.groups.len().saturating_mul(self.resources.len()).saturating_mul(self.names.len().max(1));
        self.verbs.len().saturating_mul(resources.saturating_add(self.paths.len()))
    }

    /// The rule as one rule for each single thing it names.
    pub(super) fn pieces(&self) -> Vec<Self> {
        let mut pieces = Vec::new();
        let one = |text: &String| vec![text.clone()];
        let names: Vec<Vec<String>> =
            if self.names.is_empty() { vec![Vec::new()] } else { self.names.iter().map(one).collect() };
        for verb in &self.verbs {
            for group in &self.groups {
                for resource in &self.resources {
                    pieces.extend(names.iter().map(|names| Self {
                        verbs: one(verb),
                        groups: one(group),
                        resources: one(resource),
                        names: names.clone(),
                        paths: Vec::new(),
                    }));
                }
            }
            pieces.extend(self.paths.iter().map(|path| Self { verbs: one(verb), paths: one(path), ..Self::default() }));
        }
        pieces
    }

    /// Whether whoever holds this rule holds all of `other`, which is one piece.
    fn covers(&self, other: &Self) -> bool {
        let all_in = |own: &[String], asked: &[String]| {
            own.iter().any(|own| own == ALL) || asked.iter().all(|asked| own.contains(asked))
        };
        let resources = other.resources.iter().all(|asked| {
            self.resources.iter().any(|own| own == ALL || own == asked)
                || asked.split_once('/').is_some_and(|(_, sub)| self.resources.contains(&format!("*/{sub}")))
        });
        let names = self.names.is_empty()
            || (!other.names.is_empty() && other.names.iter().all(|asked| self.names.contains(asked)));
        let paths = other.paths.iter().all(|asked| self.paths.iter().any(|own| is_below(own, asked)));
        all_in(&self.verbs, &other.verbs) && all_in(&self.groups, &other.groups) && resources && names && paths
    }
}

/// The pieces of `asked` that `held` does not hold.
pub fn covers(held: &[Rule], asked: &[Rule]) -> Vec<Rule> {
    let pieces = asked.iter().flat_map(Rule::pieces);
    pieces.filter(|piece| !held.iter().any(|own| own.covers(piece))).collect()
}

fn has(own: &[String], asked: &str) -> bool {
    own.iter().any(|own| own == ALL || own == asked)
}

fn is_resource(own: &str, ask: &Resource<'_>) -> bool {
    if own == ALL {
        return true;
    }
    match own.split_once('/') {
        None => ask.subresource.is_empty() && own == ask.resource,
        Some((resource, sub)) => {
            sub == ask.subresource && !sub.is_empty() && (resource == ALL || resource == ask.resource)
        }
    }
}

/// Whether the path `own` of a rule, which may end with `*`, takes in `path`.
fn is_below(own: &str, path: &str) -> bool {
    own == ALL || own == path || (own.ends_with(ALL) && path.starts_with(own.trim_end_matches(ALL)))
}

impl fmt::Display for Rule {
    /// As Kubernetes shows rules in refusals: `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.paths),
            ("ResourceNames", &self.names),
            ("Verbs", &self.verbs),
        ];
        let parts: Vec<String> = fields
            .iter()
            .filter(|(_, texts)| !texts.is_empty())
            .map(|(name, texts)| format!("{name}:{}", quoted(texts)))
            .collect();
        write!(f, "{{{}}}", parts.join(", "))
    }
}

/// As Go prints a list of quoted strings.
pub(super) fn quoted(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", texts.join(" "))
}
