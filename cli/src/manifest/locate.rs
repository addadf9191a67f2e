//! The line of a field in a YAML text.
//!
//! The YAML library tells positions only with errors, so a field is found by reading the text with a visitor that
//! fails exactly there. That costs one parse a question and is right for every style YAML has, anchors included.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The message of the error raised at the field; no key can contain a NUL.
const FOUND: &str = "\0found";

/// One step down into an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// Splits a field as servers write it: `spec.containers[0].image`, `metadata.labels[a.b/c]`.
pub(crate) fn parse(field: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = field;
    while !rest.is_empty() {
        if let Some((inside, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            steps.push(inside.parse().map_or_else(|_| Step::Key(inside.trim_matches('"').to_owned()), Step::Index));
            rest = after;
        } else {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            // An unclosed bracket is part of the name.
            let end = if end == 0 { rest.len() } else { end };
            if end > 0 {
                steps.push(Step::Key(rest[..end].to_owned()));
            }
            rest = &rest[end..];
        }
    }
    steps
}

/// The line (from 1) of a field in a document (from 0) of the text; if the field is not there, of the nearest thing
/// around it that is.
pub(crate) fn line(text: &str, document: usize, steps: &[Step]) -> Option<usize> {
    (0..=steps.len()).rev().find_map(|depth| exact(text, document, &steps[..depth]))
}

fn exact(text: &str, document: usize, steps: &[Step]) -> Option<usize> {
    let document = serde_yaml::Deserializer::from_str(text).nth(document)?;
    let error = Probe { steps }.deserialize(document).err()?;
    let found = error.to_string().contains(FOUND);
    error.location().filter(|_| found).map(|location| location.line())
}

/// Walks down the steps and fails at the end of them.
struct Probe<'a> {
    steps: &'a [Step],
}

impl<'de> DeserializeSeed<'de> for Probe<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.steps.is_empty() {
            // Whatever is here is what was looked for.
            deserializer.deserialize_any(Here)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for Probe<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping or a sequence")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let [Step::Key(wanted), rest @ ..] = self.steps else { return Err(A::Error::custom("no such key")) };
        while let Some(matches) = map.next_key_seed(Key { wanted, last: rest.is_empty() })? {
            if matches {
                return map.next_value_seed(Probe { steps: rest });
            }
            map.next_value::<IgnoredAny>()?;
        }
        Err(A::Error::custom("no such key"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        // Some messages leave the index out; the first element is the best guess then.
        let (skip, rest) = match self.steps {
            [Step::Index(index), rest @ ..] => (*index, rest),
            all => (0, all),
        };
        for _ in 0..skip {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Err(A::Error::custom("no such element"));
            }
        }
        seq.next_element_seed(Probe { steps: rest })?;
        Err(A::Error::custom("no such element"))
    }
}

/// Fails at whatever comes.
struct Here;

impl<'de> Visitor<'de> for Here {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Scalars fail with "invalid type: …, expected" and this.
        f.write_str(FOUND)
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(A::Error::custom(FOUND))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(A::Error::custom(FOUND))
    }
}

/// Reads a key: whether it is the wanted one; fails at it if it is the last step. It must fail within the visit of the
/// key: only there does the library know the key's position.
struct Key<'a> {
    wanted: &'a str,
    last: bool,
}

impl Key<'_> {
    fn compare<E: Error>(&self, key: &str) -> Result<bool, E> {
        let matches = key == self.wanted;
        if matches && self.last { Err(E::custom(FOUND)) } else { Ok(matches) }
    }
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        self.compare(key)
    }

    fn visit_bool<E: Error>(self, key: bool) -> Result<bool, E> {
        self.compare(&key.to_string())
    }

    fn visit_i64<E: Error>(self, key: i64) -> Result<bool, E> {
        self.compare(&key.to_string())
    }

    fn visit_u64<E: Error>(self, key: u64) -> Result<bool, E> {
        self.compare(&key.to_string())
    }

    fn visit_f64<E: Error>(self, key: f64) -> Result<bool, E> {
        self.compare(&key.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
kind: A
---
# comment
metadata:
  labels:
    app.example/name: x
spec:
  containers:
  - name: one
    image: a
  - name: two
    ports: [{containerPort: 1},
            {containerPort: 2}]
";

    fn find(field: &str) -> Option<usize> {
        line(TEXT, 1, &parse(field))
    }

    #[test]
    fn fields_are_split_as_servers_write_them() {
        let steps = parse("spec.c[2].x[a.b/c]");
        let key = |text: &str| Step::Key(text.to_owned());
        assert_eq!(steps, [key("spec"), key("c"), Step::Index(2), key("x"), key("a.b/c")]);
        assert_eq!(parse("[broken"), [key("[broken")]);
        assert!(parse("").is_empty());
    }

    #[test]
    fn field_is_found_on_its_line() {
        assert_eq!(find("metadata"), Some(4));
        assert_eq!(find("metadata.labels[app.example/name]"), Some(6));
        assert_eq!(find("spec.containers[0].image"), Some(10));
        assert_eq!(find("spec.containers[1]"), Some(11));
        assert_eq!(find("spec.containers[1].ports[1].containerPort"), Some(13));
        assert_eq!(find("spec.containers.image"), Some(10));
    }

    #[test]
    fn missing_field_is_placed_at_what_it_is_missing_from() {
        assert_eq!(find("spec.selector"), Some(7));
        assert_eq!(find("spec.containers[5].image"), Some(8));
        assert_eq!(find("spec.containers[1].image"), Some(11));
        assert_eq!(line(TEXT, 0, &parse("spec")), Some(1));
        assert_eq!(line(TEXT, 7, &parse("spec")), None);
    }
}
