//! A message and the messages within it, as the JSON that Go would write for them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};
use wk_base::time::Timestamp;

use super::reader::{Reader, Wire};
use super::table::{Field, Message, Shape, at};
use super::{DEPTH_MAX, DecodeError};
use crate::object::{micro_time_text, time_text};

/// Reads a whole message.
pub(super) fn read(of: &Message, bytes: &[u8]) -> Result<Map<String, Value>, DecodeError> {
    let mut object = Map::new();
    Walk { depth: 0 }.message(of, bytes, &mut object)?;
    Ok(object)
}

struct Walk {
    /// Messages around this one.
    depth: usize,
}

impl Walk {
    /// Reads a message into `object`, which may hold an earlier part of it.
    fn message(&mut self, of: &Message, bytes: &[u8], object: &mut Map<String, Value>) -> Result<(), DecodeError> {
        if self.depth >= DEPTH_MAX {
            return Err(DecodeError::Depth);
        }
        self.depth += 1;
        let mut reader = Reader::new(bytes);
        while let Some((number, wire)) = reader.tag()? {
            match of.field(number) {
                Some(field) => self.field(field, wire, &mut reader, object)?,
                // A newer client's, which Kubernetes passes over too.
                None => reader.skip(wire)?,
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn field(
        &mut self,
        field: &Field,
        wire: Wire,
        reader: &mut Reader<'_>,
        object: &mut Map<String, Value>,
    ) -> Result<(), DecodeError> {
        let name = field.name;
        match &field.shape {
            Shape::Message(of) if wire == Wire::Bytes => {
                if name.is_empty() {
                    return self.message(at(*of), reader.bytes()?, object);
                }
                let slot = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(inner) = slot {
                    self.message(at(*of), reader.bytes()?, inner)?;
                }
            }
            Shape::List(of) => {
                let slot = object.entry(name).or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(items) = slot {
                    self.items(of, name, wire, reader, items)?;
                }
            }
            Shape::Map(of) if wire == Wire::Bytes => {
                let slot = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
                let (key, value) = self.entry(of, name, reader.bytes()?)?;
                if let Value::Object(members) = slot {
                    members.insert(key, value);
                }
            }
            shape => {
                let value = self.value(shape, name, wire, reader)?;
                if field.omits_zero && is_zero(&value) {
                    object.remove(name);
                } else {
                    object.insert(name.to_owned(), value);
                }
            }
        }
        Ok(())
    }

    /// One item of a list, or several numbers in a row.
    fn items(
        &mut self,
        of: &Shape,
        name: &'static str,
        wire: Wire,
        reader: &mut Reader<'_>,
        items: &mut Vec<Value>,
    ) -> Result<(), DecodeError> {
        let own = match of {
            Shape::Int | Shape::Bool => Wire::Varint,
            Shape::Double => Wire::Fixed64,
            _ => wire,
        };
        if own == wire || wire != Wire::Bytes {
            items.push(self.value(of, name, wire, reader)?);
            return Ok(());
        }
        let mut packed = Reader::new(reader.bytes()?);
        while !packed.is_empty() {
            items.push(self.value(of, name, own, &mut packed)?);
        }
        Ok(())
    }

    /// A key of a map and its value. What is missing is zero.
    fn entry(&mut self, of: &Shape, name: &'static str, bytes: &[u8]) -> Result<(String, Value), DecodeError> {
        let mut reader = Reader::new(bytes);
        let (mut key, mut value) = (String::new(), None);
        while let Some((number, wire)) = reader.tag()? {
            match (number, wire) {
                (1, Wire::Bytes) => key = reader.text(name)?,
                (2, wire) => value = Some(self.value(of, name, wire, &mut reader)?),
                (_, wire) => reader.skip(wire)?,
            }
        }
        match value {
            Some(value) => Ok((key, value)),
            None => self.zero(of, name).map(|value| (key, value)),
        }
    }

    /// What an empty message, text or number says.
    fn zero(&mut self, of: &Shape, name: &'static str) -> Result<Value, DecodeError> {
        match of {
            Shape::Bool => Ok(Value::from(false)),
            Shape::Int | Shape::Double => Ok(Value::from(0)),
            // One byte that says that no bytes follow.
            of => self.value(of, name, Wire::Bytes, &mut Reader::new(&[0])),
        }
    }

    fn value(
        &mut self,
        shape: &Shape,
        name: &'static str,
        wire: Wire,
        reader: &mut Reader<'_>,
    ) -> Result<Value, DecodeError> {
        match (shape, wire) {
            (Shape::Bool, Wire::Varint) => Ok(Value::from(reader.varint()? != 0)),
            (Shape::Int, Wire::Varint) => Ok(Value::from(reader.int()?)),
            (Shape::Double, Wire::Fixed64) => {
                Number::from_f64(reader.double()?).map(Value::from).ok_or(DecodeError::Range(name))
            }
            (Shape::Text, Wire::Bytes) => Ok(Value::from(reader.text(name)?)),
            (Shape::Bytes, Wire::Bytes) => Ok(Value::from(STANDARD.encode(reader.bytes()?))),
            (Shape::Message(of), Wire::Bytes) => {
                let mut object = Map::new();
                self.message(at(*of), reader.bytes()?, &mut object)?;
                Ok(Value::Object(object))
            }
            (Shape::Time | Shape::MicroTime, Wire::Bytes) => time(shape, name, reader.bytes()?),
            (Shape::Quantity, Wire::Bytes) => Ok(Value::from(first(name, reader.bytes()?)?)),
            (Shape::IntOrString, Wire::Bytes) => int_or_string(name, reader.bytes()?),
            (Shape::Raw, Wire::Bytes) => raw(name, reader.bytes()?),
            (Shape::Items(of), Wire::Bytes) => {
                let mut items = Vec::new();
                let mut inner = Reader::new(reader.bytes()?);
                while let Some((number, wire)) = inner.tag()? {
                    match number {
                        1 => self.items(of, name, wire, &mut inner, &mut items)?,
                        _ => inner.skip(wire)?,
                    }
                }
                Ok(Value::Array(items))
            }
            (Shape::SchemaOrBool(of) | Shape::SchemaOrList(of) | Shape::SchemaOrTexts(of), Wire::Bytes) => {
                self.schema_or(shape, at(*of), reader.bytes()?)
            }
            (_, wire) => Err(DecodeError::WireType { wire: wire.number(), field: name }),
        }
    }

    /// The unions of JSON schemas: a schema, or something plainer.
    fn schema_or(&mut self, shape: &Shape, schema: &Message, bytes: &[u8]) -> Result<Value, DecodeError> {
        let mut reader = Reader::new(bytes);
        let (mut one, mut many, mut allows) = (None, Vec::new(), false);
        while let Some((number, wire)) = reader.tag()? {
            let is_schema = match shape {
                Shape::SchemaOrBool(_) => number == 2,
                Shape::SchemaOrList(_) => number <= 2,
                _ => number == 1,
            };
            match (number, wire) {
                (number, Wire::Bytes) if is_schema => {
                    let mut object = Map::new();
                    self.message(schema, reader.bytes()?, &mut object)?;
                    match (shape, number) {
                        (Shape::SchemaOrList(_), 2) => many.push(Value::Object(object)),
                        _ => one = Some(Value::Object(object)),
                    }
                }
                (1, Wire::Varint) => allows = reader.varint()? != 0,
                (2, Wire::Bytes) => many.push(Value::from(reader.text("property")?)),
                (_, wire) => reader.skip(wire)?,
            }
        }
        Ok(match (one, shape) {
            (Some(one), _) => one,
            (None, Shape::SchemaOrBool(_)) => Value::from(allows),
            (None, _) => Value::Array(many),
        })
    }
}

/// The last value of field 1, as text.
fn first(name: &'static str, bytes: &[u8]) -> Result<String, DecodeError> {
    let mut reader = Reader::new(bytes);
    let mut found: &[u8] = &[];
    while let Some((number, wire)) = reader.tag()? {
        match (number, wire) {
            (1, Wire::Bytes) => found = reader.bytes()?,
            (_, wire) => reader.skip(wire)?,
        }
    }
    String::from_utf8(found.to_vec()).map_err(|_| DecodeError::Text(name))
}

/// Seconds and nanoseconds; nothing at all is null.
fn time(shape: &Shape, name: &'static str, bytes: &[u8]) -> Result<Value, DecodeError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let mut reader = Reader::new(bytes);
    let (mut seconds, mut nanos) = (0, 0);
    while let Some((number, wire)) = reader.tag()? {
        match (number, wire) {
            (1, Wire::Varint) => seconds = reader.int()?,
            (2, Wire::Varint) => nanos = reader.int()?,
            (_, wire) => reader.skip(wire)?,
        }
    }
    let out = |_| DecodeError::Range(name);
    let time = Timestamp::new(seconds, i32::try_from(nanos).map_err(|_| DecodeError::Range(name))?).map_err(out)?;
    // RFC 3339 has no years before zero.
    if seconds < YEAR_ZERO {
        return Err(DecodeError::Range(name));
    }
    Ok(Value::from(if matches!(shape, Shape::MicroTime) { micro_time_text(time) } else { time_text(time) }))
}

/// 0000-01-01T00:00:00Z.
const YEAR_ZERO: i64 = -62_167_219_200;

/// Which of the two, and both.
fn int_or_string(name: &'static str, bytes: &[u8]) -> Result<Value, DecodeError> {
    let mut reader = Reader::new(bytes);
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    while let Some((field, wire)) = reader.tag()? {
        match (field, wire) {
            (1, Wire::Varint) => is_text = reader.varint()? == 1,
            (2, Wire::Varint) => number = reader.int()?,
            (3, Wire::Bytes) => text = reader.text(name)?,
            (_, wire) => reader.skip(wire)?,
        }
    }
    Ok(if is_text { Value::from(text) } else { Value::from(number) })
}

/// JSON text within a message.
fn raw(name: &'static str, bytes: &[u8]) -> Result<Value, DecodeError> {
    let text = first(name, bytes)?;
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text).map_err(|error| DecodeError::Json { field: name, why: error.to_string() })
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Bool(flag) => !flag,
        Value::Number(number) => *number == Number::from(0) || number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Null => true,
        Value::Array(_) | Value::Object(_) => false,
    }
}
