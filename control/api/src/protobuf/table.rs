//! The table of messages, read once. Its form is told at its top.

use std::collections::HashMap;
use std::sync::LazyLock;

const TABLE: &str = include_str!("messages.txt");

/// A message and its fields.
pub(super) struct Message {
    fields: Vec<Field>,
}

/// A field of a message.
pub(super) struct Field {
    pub(super) number: u32,
    /// Its name in JSON; empty when the fields of the message it holds stand in its place.
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    /// Whether zero says nothing: it is always written, and JSON leaves it out.
    pub(super) omits_zero: bool,
    /// Whether JSON has an empty list of it.
    keeps_empty: bool,
}

/// What a field holds.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    Text,
    Bool,
    Int,
    Double,
    Bytes,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    /// JSON text.
    Raw,
    Message(usize),
    List(Box<Self>),
    Map(Box<Self>),
    /// A message that is a list (`ExtraValue`).
    Items(Box<Self>),
    /// One message or a bool, a list of it, or a list of texts, as JSON schemas have it.
    SchemaOrBool(usize),
    SchemaOrList(usize),
    SchemaOrTexts(usize),
}

struct Table {
    names: HashMap<&'static str, usize>,
    messages: Vec<Message>,
}

static MESSAGES: LazyLock<Table> = LazyLock::new(Table::read);

/// The message of a kind.
pub(super) fn message(api_version: &str, kind: &str) -> Option<&'static Message> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let name = match kind {
        // Every group has these.
        "DeleteOptions" | "Status" => format!("meta.v1.{kind}"),
        _ if group.is_empty() => format!("core.{version}.{kind}"),
        _ if is_own(group) => format!("{}.{version}.{kind}", group.split('.').next().unwrap_or_default()),
        _ => return None,
    };
    MESSAGES.names.get(name.as_str()).map(|index| &MESSAGES.messages[*index])
}

/// Groups of one word and those of Kubernetes: `apps.example.com` is no `apps`.
fn is_own(group: &str) -> bool {
    group.split_once('.').is_none_or(|(_, rest)| matches!(rest, "k8s.io" | "authorization.k8s.io" | "apiserver.k8s.io"))
}

/// The message at an index that a shape holds.
pub(super) fn at(index: usize) -> &'static Message {
    &MESSAGES.messages[index]
}

/// Whether the field `field` of the struct with the OpenAPI definition `definition` is left out of JSON when it is zero.
pub(crate) fn omits_empty(definition: &str, field: &str) -> bool {
    // `io.k8s.api.core.v1.Pod`, `io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta`: the last three words.
    let start = definition.rmatch_indices('.').nth(2).map_or(0, |(at, _)| at + 1);
    let message = MESSAGES.names.get(&definition[start..]).map(|index| at(*index));
    message.and_then(|message| message.named(field)).is_some_and(|field| match field.shape {
        Shape::List(_) | Shape::Map(_) | Shape::Items(_) => !field.keeps_empty,
        _ => field.omits_zero,
    })
}

/// Every message, by name.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = (&'static str, &'static Message)> {
    MESSAGES.names.iter().map(|(name, index)| (*name, &MESSAGES.messages[*index]))
}

impl Message {
    /// The field with this name, its own or that of a message which is inlined.
    fn named(&self, name: &str) -> Option<&Field> {
        let own = self.fields.iter().find(|field| field.name == name);
        let mut inlined = self.fields.iter().filter(|field| field.name.is_empty());
        own.or_else(|| {
            inlined.find_map(|field| if let Shape::Message(of) = field.shape { at(of).named(name) } else { None })
        })
    }

    pub(super) fn field(&self, number: u32) -> Option<&Field> {
        self.fields.binary_search_by_key(&number, |field| field.number).ok().map(|at| &self.fields[at])
    }

    #[cfg(test)]
    pub(super) fn fields(&self) -> &[Field] {
        &self.fields
    }
}

impl Table {
    fn read() -> Self {
        let lines = || TABLE.lines().filter(|line| !line.starts_with('#'));
        let words = |line: &'static str| line.split_once('\t').unwrap_or((line, ""));
        let names: HashMap<_, _> = lines().enumerate().map(|(index, line)| (words(line).0, index)).collect();
        let messages = lines().map(words).map(|(name, fields)| {
            let package = &name[..=name.rfind('.').expect("a name has its package before it")];
            let fields = fields.split('\t').filter(|field| !field.is_empty());
            Message { fields: fields.map(|field| Field::read(field, package, &names)).collect() }
        });
        let messages = messages.collect();
        Self { names, messages }
    }
}

impl Field {
    fn read(text: &'static str, package: &str, names: &HashMap<&'static str, usize>) -> Self {
        let mut words = text.split(' ');
        let mut word = || words.next().expect("a field has three words; a test reads them all");
        let (number, name, shape) = (word(), word(), word());
        Self {
            number: number.parse().expect("a field begins with its number"),
            name: if name == "^" { "" } else { name },
            shape: Shape::read(shape.trim_end_matches(['?', '!']), package, names),
            omits_zero: shape.ends_with('?'),
            keeps_empty: shape.ends_with('!'),
        }
    }
}

impl Shape {
    fn read(text: &str, package: &str, names: &HashMap<&'static str, usize>) -> Self {
        let inner = |text: &str| Box::new(Self::read(text, package, names));
        let index = |name: &str| *names.get(name).expect("a field holds a message of the table");
        let schema = || index("apiextensions.v1.JSONSchemaProps");
        if let Some(rest) = text.strip_prefix('[') {
            return Self::List(inner(rest));
        }
        if let Some(rest) = text.strip_prefix('{') {
            return Self::Map(inner(rest));
        }
        if let Some(rest) = text.strip_prefix('(') {
            return Self::Items(inner(rest));
        }
        match text {
            "s" => Self::Text,
            "b" => Self::Bool,
            "i" => Self::Int,
            "d" => Self::Double,
            "y" => Self::Bytes,
            "T" => Self::Time,
            "U" => Self::MicroTime,
            "Q" => Self::Quantity,
            "I" => Self::IntOrString,
            "R" => Self::Raw,
            "SB" => Self::SchemaOrBool(schema()),
            "SA" => Self::SchemaOrList(schema()),
            "SS" => Self::SchemaOrTexts(schema()),
            name if name.contains('.') => Self::Message(index(name)),
            name => Self::Message(index(&format!("{package}{name}"))),
        }
    }
}
