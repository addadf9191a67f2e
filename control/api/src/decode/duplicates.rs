//! Text to a [`Value`], telling the fields that occur twice (the last one counts, as in Go), within a budget where the
//! format can say much in few bytes.

use std::cell::RefCell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{PROBLEMS_MAX, duplicate_field};

struct Notes {
    path: String,
    found: Vec<String>,
    /// What may still be read: one for each value or key, and one for each byte of a text.
    left: usize,
    /// Whether that was not enough.
    spent: bool,
    /// At which duplicate to stop.
    stop_at: Option<usize>,
    /// The key that it stopped at.
    stopped_at: Option<String>,
}

impl Notes {
    fn new(limit: usize) -> RefCell<Self> {
        RefCell::new(Self {
            path: String::new(),
            found: Vec::new(),
            left: limit,
            spent: false,
            stop_at: None,
            stopped_at: None,
        })
    }
}

/// Why a value was not read.
#[derive(Debug)]
pub enum BoundedError<E> {
    /// It says more than the limit.
    TooLarge,
    /// It cannot be read.
    Unreadable(E),
}

/// Reads a value that, written out, has at most about `limit` bytes: for formats like YAML, where an alias repeats in
/// two bytes whatever it stands for.
pub fn bounded<'de, D: Deserializer<'de>>(deserializer: D, limit: usize) -> Result<Value, BoundedError<D::Error>> {
    let notes = Notes::new(limit);
    let result = Node(&notes).deserialize(deserializer);
    let spent = notes.borrow().spent;
    result.map_err(|error| if spent { BoundedError::TooLarge } else { BoundedError::Unreadable(error) })
}

/// Parses `bytes`; answers the value and one text for each duplicate field.
pub(super) fn parse(bytes: &[u8]) -> Result<(Value, Vec<String>), serde_json::Error> {
    // JSON has no aliases: the value is no larger than its text.
    let notes = Notes::new(usize::MAX);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Node(&notes).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok((value, notes.into_inner().found))
}

/// The key that comes twice in a map for the `nth` time (from zero) and the error of the deserializer there, which may
/// know where that is; None when there are not so many. `limit` as in [`bounded`].
pub fn nth_duplicate<'de, D: Deserializer<'de>>(
    deserializer: D,
    nth: usize,
    limit: usize,
) -> Option<(String, D::Error)> {
    let notes = Notes::new(limit);
    notes.borrow_mut().stop_at = Some(nth);
    let error = Node(&notes).deserialize(deserializer).err()?;
    notes.into_inner().stopped_at.map(|key| (key, error))
}

#[derive(Clone, Copy)]
struct Node<'a>(&'a RefCell<Notes>);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.charge(1)?;
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

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        self.charge(value.len())?;
        Ok(Value::from(value))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        self.charge(value.len())?;
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
        while let Some(key) = members.next_key_seed(Key(self, &object))? {
            self.charge(key.len() + 1)?;
            let dot = if self.0.borrow().path.is_empty() { "" } else { "." };
            let end = self.enter(&format!("{dot}{key}"));
            if object.contains_key(&key) {
                let mut notes = self.0.borrow_mut();
                if notes.found.len() < PROBLEMS_MAX {
                    let text = duplicate_field(&notes.path);
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

/// A key of a map, beside those that were there before it.
struct Key<'a>(Node<'a>, &'a Map<String, Value>);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_string(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<String, E> {
        let mut notes = self.0.0.borrow_mut();
        match notes.stop_at {
            Some(0) if self.1.contains_key(key) => {
                notes.stopped_at = Some(key.to_owned());
                return Err(E::custom("a key comes twice"));
            }
            Some(nth) if self.1.contains_key(key) => notes.stop_at = Some(nth - 1),
            _ => {}
        }
        Ok(key.to_owned())
    }
}

impl Node<'_> {
    /// Takes `amount` from what may still be read.
    fn charge<E: de::Error>(self, amount: usize) -> Result<(), E> {
        let mut notes = self.0.borrow_mut();
        if let Some(left) = notes.left.checked_sub(amount) {
            notes.left = left;
            return Ok(());
        }
        notes.spent = true;
        Err(E::custom("it says more than the limit"))
    }

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
