//! JSON text to a [`Value`], telling the fields that occur twice (the last one counts, as in Go).

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::PROBLEMS_MAX;

#[derive(Default)]
struct Notes {
    path: String,
    found: Vec<String>,
}

/// Parses `bytes`; answers the value and one text for each duplicate field.
pub(super) fn parse(bytes: &[u8]) -> Result<(Value, Vec<String>), serde_json::Error> {
    let notes = RefCell::new(Notes::default());
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Node(&notes).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok((value, notes.into_inner().found))
}

#[derive(Clone, Copy)]
struct Node<'a>(&'a RefCell<Notes>);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let end = self.enter(&format!("[{}]", list.len()));
            let item = items.next_element_seed(self)?;
            self.leave(end);
            match item {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            let dot = if self.0.borrow().path.is_empty() { "" } else { "." };
            let end = self.enter(&format!("{dot}{key}"));
            if object.contains_key(&key) {
                let mut notes = self.0.borrow_mut();
                if notes.found.len() < PROBLEMS_MAX {
                    let text = format!("duplicate field {:?}", notes.path);
                    notes.found.push(text);
                }
            }
            let value = members.next_value_seed(self)?;
            self.leave(end);
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

impl Node<'_> {
    fn enter(self, step: &str) -> usize {
        let mut notes = self.0.borrow_mut();
        let end = notes.path.len();
        notes.path.push_str(step);
        end
    }

    fn leave(self, end: usize) {
        self.0.borrow_mut().path.truncate(end);
    }
}
