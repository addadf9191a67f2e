//! The strict problems of a JSON text in the order of the text, which a [`Value`] no longer has. Read only when there
//! are problems: most bodies have none.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::fmt::{self, Write as _};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{PROBLEMS_MAX, duplicate_field, unknown_field};

struct Notes<'a> {
    path: String,
    unknown: HashSet<&'a str>,
    told: Vec<String>,
    seen: HashSet<String>,
}

impl Notes<'_> {
    fn tell(&mut self, problem: String) {
        if self.told.len() < PROBLEMS_MAX && self.seen.insert(problem.clone()) {
            self.told.push(problem);
        }
    }
}

/// The problems that `unknown` names, and the duplicates of known fields, as they come in `bytes`. A text that cannot be
/// read has none.
pub(super) fn in_order(bytes: &[u8], unknown: &[String]) -> Vec<String> {
    let notes = RefCell::new(Notes {
        path: String::new(),
        unknown: unknown.iter().map(String::as_str).collect(),
        told: Vec::new(),
        seen: HashSet::new(),
    });
    let read = Node(&notes).deserialize(&mut serde_json::Deserializer::from_slice(bytes));
    let told = notes.into_inner().told;
    if read.is_ok() { told } else { Vec::new() }
}

#[derive(Clone, Copy)]
struct Node<'a, 'b>(&'a RefCell<Notes<'b>>);

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let end = self.0.borrow().path.len();
        for index in 0_usize.. {
            write!(self.0.borrow_mut().path, "[{index}]").expect("text has room");
            let item = items.next_element_seed(self)?;
            self.0.borrow_mut().path.truncate(end);
            if item.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut keys = BTreeSet::new();
        let end = self.0.borrow().path.len();
        while let Some(key) = members.next_key::<String>()? {
            let mut notes = self.0.borrow_mut();
            if end > 0 {
                notes.path.push('.');
            }
            notes.path.push_str(&key);
            let unknown = unknown_field(&notes.path);
            let known = !notes.unknown.contains(unknown.as_str());
            let again = !keys.insert(key);
            if !known {
                notes.tell(unknown);
            } else if again {
                let problem = duplicate_field(&notes.path);
                notes.tell(problem);
            }
            drop(notes);
            if known {
                members.next_value_seed(self)?;
            } else {
                // Below a field that nobody knows there is nothing more to say.
                members.next_value::<IgnoredAny>()?;
            }
            self.0.borrow_mut().path.truncate(end);
        }
        Ok(())
    }
}
