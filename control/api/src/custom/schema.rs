//! The structural schema of a version, read once from its definition, as values are cleaned and checked by it.
//!
//! Not here: whether a schema is one that may be used ([`super::definition`]); what is written here is read leniently.

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use crate::json;

/// Largest compiled pattern: what the `regex` crate takes for some thousand states. A pattern past it is refused with
/// its definition, so that a few bytes cannot take megabytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// A JSON type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

/// What a list is to those who merge it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListType {
    Atomic,
    Set,
    Map,
}

/// What values are at one place.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    pub(crate) kind: Option<Type>,
    pub(crate) nullable: bool,
    pub(crate) int_or_string: bool,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub(crate) preserve: bool,
    /// Whether it is that of a whole object.
    pub(crate) root: bool,
    /// `x-kubernetes-embedded-resource`.
    pub(crate) embedded: bool,
    pub(crate) properties: BTreeMap<String, Self>,
    /// What members that are not among the properties are; `Some(None)` for anything.
    #[expect(clippy::option_option, reason = "none, anything, and a schema are three things")]
    pub(crate) additional: Option<Option<Box<Self>>>,
    pub(crate) items: Option<Box<Self>>,
    pub(crate) default: Option<Value>,
    pub(crate) list_type: Option<ListType>,
    pub(crate) list_keys: Vec<String>,
    pub(crate) map_atomic: bool,
    pub(crate) required: Vec<String>,
    pub(crate) choices: Option<Vec<Value>>,
    pub(crate) text: TextChecks,
    pub(crate) number: NumberChecks,
    pub(crate) counts: Counts,
    pub(crate) all_of: Vec<Self>,
    pub(crate) any_of: Vec<Self>,
    pub(crate) one_of: Vec<Self>,
    pub(crate) not: Option<Box<Self>>,
    pub(crate) rules: Vec<super::rules::Rule>,
}

/// What is asked of texts.
#[derive(Debug, Default)]
pub(crate) struct TextChecks {
    pub(crate) format: String,
    /// As written, and as it matches.
    pub(crate) pattern: Option<(String, Regex)>,
    pub(crate) min: Option<u64>,
    pub(crate) max: Option<u64>,
}

/// What is asked of numbers.
#[derive(Debug, Default)]
pub(crate) struct NumberChecks {
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
    pub(crate) above_min: bool,
    pub(crate) below_max: bool,
    pub(crate) multiple_of: Option<f64>,
}

/// How many items or members there may be.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) items_min: Option<u64>,
    pub(crate) items_max: Option<u64>,
    pub(crate) members_min: Option<u64>,
    pub(crate) members_max: Option<u64>,
}

/// A pattern as it matches, within the limit.
pub(crate) fn pattern(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build()
}

impl Type {
    fn read(text: &str) -> Option<Self> {
        Some(match text {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => return None,
        })
    }

    /// As in schemas and messages.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

impl Schema {
    /// Reads `openAPIV3Schema`.
    pub(crate) fn of_object(value: &Value) -> Self {
        Self { root: true, ..Self::read(value) }
    }

    /// Whether a rule in CEL stands anywhere in it.
    pub(crate) fn has_rules(&self) -> bool {
        let below = self.additional.iter().flatten().chain(&self.items).map(Box::as_ref);
        !self.rules.is_empty() || self.properties.values().chain(below).any(Self::has_rules)
    }

    /// Reads a part of `openAPIV3Schema`.
    pub(crate) fn read(value: &Value) -> Self {
        let list = |key| json::items(value, &[key]).iter().map(Self::read).collect();
        let one = |key: &str| value.get(key).filter(|part| part.is_object()).map(|part| Box::new(Self::read(part)));
        let number = |key| json::get(value, key).as_f64();
        let count = |key| json::get(value, key).as_u64();
        let flag = |key| json::flag(value, &[key]);
        let pattern_text = json::text(value, &["pattern"]);
        Self {
            kind: Type::read(json::text(value, &["type"])),
            root: false,
            nullable: flag("nullable"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            preserve: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            properties: json::members(value, &["properties"])
                .map(|(name, part)| (name.clone(), Self::read(part)))
                .collect(),
            additional: match value.get("additionalProperties") {
                None | Some(Value::Null | Value::Bool(false)) => None,
                Some(part) if part.is_object() => Some(Some(Box::new(Self::read(part)))),
                Some(_) => Some(None),
            },
            items: one("items"),
            default: value.get("default").filter(|default| !default.is_null()).cloned(),
            list_type: match json::text(value, &["x-kubernetes-list-type"]) {
                "atomic" => Some(ListType::Atomic),
                "set" => Some(ListType::Set),
                "map" => Some(ListType::Map),
                _ => None,
            },
            list_keys: texts(value, "x-kubernetes-list-map-keys"),
            map_atomic: json::text(value, &["x-kubernetes-map-type"]) == "atomic",
            required: texts(value, "required"),
            choices: value.get("enum").and_then(Value::as_array).cloned(),
            text: TextChecks {
                format: json::text(value, &["format"]).replace('-', ""),
                pattern: pattern(pattern_text)
                    .ok()
                    .filter(|_| !pattern_text.is_empty())
                    .map(|regex| (pattern_text.to_owned(), regex)),
                min: count("minLength"),
                max: count("maxLength"),
            },
            number: NumberChecks {
                min: number("minimum"),
                max: number("maximum"),
                above_min: flag("exclusiveMinimum"),
                below_max: flag("exclusiveMaximum"),
                multiple_of: number("multipleOf"),
            },
            counts: Counts {
                items_min: count("minItems"),
                items_max: count("maxItems"),
                members_min: count("minProperties"),
                members_max: count("maxProperties"),
            },
            all_of: list("allOf"),
            any_of: list("anyOf"),
            one_of: list("oneOf"),
            not: one("not"),
            rules: json::items(value, &["x-kubernetes-validations"])
                .iter()
                .filter_map(super::rules::Rule::read)
                .collect(),
        }
    }

    /// The schema of the member `name`.
    pub(crate) fn member(&self, name: &str) -> Option<&Self> {
        self.properties.get(name).or_else(|| self.additional.as_ref()?.as_deref())
    }

    /// The types that a value may have; none for any.
    pub(crate) fn types(&self) -> &'static [Type] {
        const INT_OR_STRING: &[Type] = &[Type::Integer, Type::String];
        if self.int_or_string {
            return INT_OR_STRING;
        }
        match self.kind {
            None => &[],
            Some(Type::Object) => &[Type::Object],
            Some(Type::Array) => &[Type::Array],
            Some(Type::String) => &[Type::String],
            Some(Type::Integer) => &[Type::Integer],
            Some(Type::Number) => &[Type::Number],
            Some(Type::Boolean) => &[Type::Boolean],
        }
    }
}

fn texts(value: &Value, key: &str) -> Vec<String> {
    json::items(value, &[key]).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
