//! Values of expressions. JSON is looked at where it is, with its schema beside it.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::rc::Rc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value as Json};

use super::Asking;
use crate::custom::schema::{ListType, Schema, Type};
use crate::expression::Answer;
use crate::quantity::Quantity;

/// A value.
#[derive(Debug, Clone)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Rc<str>),
    Bytes(Rc<[u8]>),
    Time(Timestamp),
    Duration(SignedDuration),
    List(Rc<Vec<Self>>),
    Map(Rc<Vec<(Self, Self)>>),
    JsonList(&'a [Json], Option<&'a Schema>),
    JsonMap(&'a Map<String, Json>, Option<&'a Schema>),
    Optional(Option<Rc<Self>>),
    Type(&'static str),
    Quantity(Quantity),
    Ip(IpAddr),
    Cidr(IpAddr, u8),
    /// Scheme, host with port, and the rest from the path on.
    Url(Rc<(String, String, String)>),
    /// A question about rights that is being put, and the answer to one.
    Asking(Rc<Asking<'a>>),
    Answer(Rc<Answer>),
}

impl<'a> Value<'a> {
    /// JSON as a value; what the schema calls a time, a duration or bytes is one.
    pub(crate) fn of(json: &'a Json, schema: Option<&'a Schema>) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => {
                let float = schema.is_some_and(|schema| schema.kind == Some(Type::Number));
                match (number.as_i64(), number.as_u64()) {
                    (Some(number), _) if !float => Self::Int(number),
                    (None, Some(number)) if !float => Self::Uint(number),
                    _ => Self::Double(number.as_f64().unwrap_or_default()),
                }
            }
            Json::String(text) => Self::text_of(text, schema.map_or("", |schema| schema.text.format.as_str())),
            Json::Array(items) => Self::JsonList(items, schema),
            Json::Object(members) => Self::JsonMap(members, schema),
        }
    }

    fn text_of(text: &str, format: &str) -> Self {
        let typed = match format {
            "datetime" => text.parse().ok().map(Self::Time),
            "duration" => super::strings::duration(text).map(Self::Duration),
            "byte" => {
                use base64::Engine as _;
                let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok();
                bytes.map(|bytes| Self::Bytes(bytes.into()))
            }
            _ => None,
        };
        typed.unwrap_or_else(|| Self::Text(text.into()))
    }

    /// A text.
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// What `type()` calls it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Time(_) => "google.protobuf.Timestamp",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::List(_) | Self::JsonList(..) => "list",
            Self::Map(_) | Self::JsonMap(..) => "map",
            Self::Optional(_) => "optional_type",
            Self::Type(_) => "type",
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Ip(_) => "net.IP",
            Self::Cidr(..) => "net.CIDR",
            Self::Url(_) => "kubernetes.URL",
            Self::Asking(own) => own.type_name(),
            Self::Answer(_) => "kubernetes.authorization.Decision",
        }
    }

    /// As JSON; what JSON has no word for becomes its text.
    pub(crate) fn to_json(&self) -> Json {
        match self {
            Self::Null | Self::Optional(None) => Json::Null,
            Self::Bool(value) => (*value).into(),
            Self::Int(number) => (*number).into(),
            Self::Uint(number) => (*number).into(),
            Self::Double(number) => (*number).into(),
            Self::Optional(Some(value)) => value.to_json(),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Map(entries) => {
                Json::Object(entries.iter().map(|(key, value)| (super::strings::shown(key), value.to_json())).collect())
            }
            Self::JsonList(items, _) => Json::from(*items),
            Self::JsonMap(members, _) => Json::Object((*members).clone()),
            other => super::strings::shown(other).into(),
        }
    }

    /// The items of a list; None for anything else.
    pub(crate) fn items(&self) -> Option<Vec<Self>> {
        match self {
            Self::List(items) => Some(items.to_vec()),
            Self::JsonList(items, schema) => {
                let below = schema.and_then(|schema| schema.items.as_deref());
                Some(items.iter().map(|item| Self::of(item, below)).collect())
            }
            _ => None,
        }
    }

    /// The keys and values of a map; None for anything else.
    pub(crate) fn entries(&self) -> Option<Vec<(Self, Self)>> {
        match self {
            Self::Map(entries) => Some(entries.to_vec()),
            Self::JsonMap(members, schema) => Some(
                members
                    .iter()
                    .map(|(key, value)| {
                        (Self::text(key), Self::of(value, schema.and_then(|schema| schema.member(key))))
                    })
                    .collect(),
            ),
            _ => None,
        }
    }

    /// The value of a key; None when there is none.
    pub(crate) fn get(&self, key: &Self) -> Option<Self> {
        match (self, key) {
            (Self::JsonMap(members, schema), Self::Text(key)) => {
                let value = members.get(&**key)?;
                Some(Self::of(value, schema.and_then(|schema| schema.member(key))))
            }
            (Self::Map(entries), key) => {
                entries.iter().find(|(own, _)| own.equals(key)).map(|(_, value)| value.clone())
            }
            (Self::List(items), Self::Int(at)) => usize::try_from(*at).ok().and_then(|at| items.get(at)).cloned(),
            (Self::JsonList(items, schema), Self::Int(at)) => {
                let item = usize::try_from(*at).ok().and_then(|at| items.get(at))?;
                Some(Self::of(item, schema.and_then(|schema| schema.items.as_deref())))
            }
            _ => None,
        }
    }

    /// How many items, members, letters or bytes it has.
    pub(crate) fn size(&self) -> Option<usize> {
        Some(match self {
            Self::Text(text) => text.chars().count(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(items) => items.len(),
            Self::JsonList(items, _) => items.len(),
            Self::Map(entries) => entries.len(),
            Self::JsonMap(members, _) => members.len(),
            _ => return None,
        })
    }

    /// About how many steps it takes to look at all of it.
    pub(crate) fn weight(&self) -> u64 {
        match self {
            Self::Text(text) => 1 + text.len() as u64 / 10,
            Self::Bytes(bytes) => 1 + bytes.len() as u64 / 10,
            other => 1 + other.size().unwrap_or_default() as u64,
        }
    }

    /// Equality, across the kinds of numbers too.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Time(a), Self::Time(b)) => a == b,
            (Self::Duration(a), Self::Duration(b)) => a == b,
            (Self::Type(a), Self::Type(b)) => a == b,
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a, m), Self::Cidr(b, n)) => a == b && m == n,
            (Self::Url(a), Self::Url(b)) => a == b,
            (Self::Optional(a), Self::Optional(b)) => match (a, b) {
                (Some(a), Some(b)) => a.equals(b),
                (a, b) => a.is_none() && b.is_none(),
            },
            (Self::List(_) | Self::JsonList(..), Self::List(_) | Self::JsonList(..)) => {
                let unordered = self.is_unordered() || other.is_unordered();
                let (a, b) = (self.items().unwrap_or_default(), other.items().unwrap_or_default());
                a.len() == b.len()
                    && if unordered {
                        a.iter().all(|a| b.iter().any(|b| a.equals(b)))
                    } else {
                        a.iter().zip(&b).all(|(a, b)| a.equals(b))
                    }
            }
            (Self::Map(_) | Self::JsonMap(..), Self::Map(_) | Self::JsonMap(..)) => {
                let entries = self.entries().unwrap_or_default();
                self.size() == other.size()
                    && entries.iter().all(|(key, value)| other.get(key).is_some_and(|other| value.equals(&other)))
            }
            (a, b) => a.compare(b) == Some(Ordering::Equal),
        }
    }

    fn is_unordered(&self) -> bool {
        let kind = match self {
            Self::JsonList(_, schema) => schema.and_then(|schema| schema.list_type),
            _ => None,
        };
        matches!(kind, Some(ListType::Set | ListType::Map))
    }

    /// Steps that [`Self::equals`] takes at most: of lists without an order each item is held against each.
    pub(crate) fn steps_to_equal(&self, other: &Self) -> u64 {
        match (self.size(), other.size()) {
            (Some(a), Some(b)) if self.is_unordered() || other.is_unordered() => (a as u64).saturating_mul(b as u64),
            _ => self.weight().min(other.weight()),
        }
    }

    /// Order, where there is one.
    pub(crate) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (Self::Uint(a), Self::Uint(b)) => Some(a.cmp(b)),
            (Self::Int(a), Self::Uint(b)) => Some(u64::try_from(*a).map_or(Ordering::Less, |a| a.cmp(b))),
            (Self::Uint(_), Self::Int(_)) => other.compare(self).map(Ordering::reverse),
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::Time(a), Self::Time(b)) => Some(a.cmp(b)),
            (Self::Duration(a), Self::Duration(b)) => Some(a.cmp(b)),
            (Self::Quantity(a), Self::Quantity(b)) => Some(a.cmp(b)),
            (a, b) => a.float()?.partial_cmp(&b.float()?),
        }
    }

    fn float(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Uint(number) => Some(*number as f64),
            Self::Double(number) => Some(*number),
            _ => None,
        }
    }
}
