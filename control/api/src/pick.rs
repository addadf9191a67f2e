//! Some members of an object out of its text, in one pass and without decoding the rest: what columns are made of, for lists
//! of thousands.
//!
//! For text that was encoded here, as [`crate::slices`]: what is no JSON is not found out, it only yields nothing of use.

use serde_json::{Map, Value};

use crate::object::Object;
use crate::slices::value_length;

/// What is wanted of a value.
#[derive(Debug)]
pub(crate) enum Pick {
    /// All of it.
    All,
    /// Nothing of it.
    Nothing,
    /// Of an object all members, and of these as much as is said.
    But(&'static [(&'static str, Pick)]),
    /// Of an object these members, of a list the same of each of its items, and nothing of what is left out.
    Of(&'static [(&'static str, Pick)]),
}

/// What is asked of every object whenever something changes: see `brief` of `wk-cluster`.
const OUTLINE: Pick = Pick::Of(&[
    (
        "metadata",
        Pick::Of(&[
            ("deletionTimestamp", Pick::All),
            ("finalizers", Pick::All),
            ("labels", Pick::All),
            ("ownerReferences", Pick::All),
            ("uid", Pick::All),
        ]),
    ),
    // Of pods.
    (
        "spec",
        Pick::Of(&[
            ("affinity", Pick::Of(&[("podAntiAffinity", Pick::All)])),
            ("containers", Pick::Of(&[("resources", Pick::All)])),
            ("initContainers", Pick::Of(&[("resources", Pick::All), ("restartPolicy", Pick::All)])),
            ("nodeName", Pick::All),
            ("overhead", Pick::All),
            ("priority", Pick::All),
            ("schedulerName", Pick::All),
            ("schedulingGates", Pick::All),
            ("volumes", Pick::All),
        ]),
    ),
    ("status", Pick::Of(&[("nominatedNodeName", Pick::All), ("phase", Pick::All)])),
]);

/// Of the object that is stored as `text`: what of its metadata says whose it is and whether it goes, and of a pod what it asks
/// for and where it runs. Nothing else is decoded.
pub fn outline(text: &[u8]) -> Option<Object> {
    pick(text, &OUTLINE, "metadata").map(|(object, _)| Object(object))
}

/// What is `wanted` of the object that `text` is, and the text of its member `raw`; None when it has no such member.
pub(crate) fn pick<'a>(text: &'a [u8], wanted: &Pick, raw: &str) -> Option<(Value, &'a [u8])> {
    let mut found = None;
    let keep = |key: &[u8], value: &'a [u8]| {
        if key == raw.as_bytes() {
            found = Some(value);
        }
    };
    let (value, _) = object(text, wanted, keep)?;
    Some((value, found?))
}

/// What is wanted of the value that `text` begins with, and how long that is.
fn value(text: &[u8], wanted: &Pick) -> Option<(Value, usize)> {
    match (wanted, text.first()?) {
        (Pick::Of(_) | Pick::But(_), b'{') => object(text, wanted, |_, _| ()),
        (Pick::Of(_), b'[') => list(text, wanted),
        _ => {
            let length = value_length(text)?;
            Some((whole(text.get(..length)?)?, length))
        }
    }
}

/// `each` is told all members, also those that are not wanted.
fn object<'a>(text: &'a [u8], wanted: &Pick, mut each: impl FnMut(&[u8], &'a [u8])) -> Option<(Value, usize)> {
    let (mut members, mut at) = (Map::new(), 1);
    if text.get(1)? == &b'}' {
        return Some((Value::Object(members), 2));
    }
    loop {
        let key = value_length(text.get(at..)?)?;
        let name = text.get(at + 1..(at + key).checked_sub(1)?)?;
        at += key;
        if text.get(at)? != &b':' {
            return None;
        }
        at += 1;
        let begin = text.get(at..)?;
        let length = match wanted.of(name) {
            Some(wanted) => {
                let (value, length) = value(begin, wanted)?;
                members.insert(key_of(text.get(at - 1 - key..at - 1)?)?, value);
                length
            }
            None => value_length(begin)?,
        };
        each(name, begin.get(..length)?);
        at += length;
        match text.get(at)? {
            b',' => at += 1,
            b'}' => return Some((Value::Object(members), at + 1)),
            _ => return None,
        }
    }
}

impl Pick {
    /// What is wanted of the member with this name, as it is written; None when nothing is.
    fn of(&self, name: &[u8]) -> Option<&Self> {
        match self {
            Self::All => Some(&Self::All),
            Self::Nothing => None,
            Self::Of(members) => named(members, name),
            Self::But(members) => named(members, name).or(Some(&Self::All)),
        }
        .filter(|wanted| !matches!(wanted, Self::Nothing))
    }
}

fn named<'a>(members: &'a [(&str, Pick)], name: &[u8]) -> Option<&'a Pick> {
    members.iter().find(|(wanted, _)| wanted.as_bytes() == name).map(|(_, wanted)| wanted)
}

fn key_of(text: &[u8]) -> Option<String> {
    match whole(text)? {
        Value::String(key) => Some(key),
        _ => None,
    }
}

fn list(text: &[u8], wanted: &Pick) -> Option<(Value, usize)> {
    let (mut items, mut at) = (Vec::new(), 1);
    if text.get(1)? == &b']' {
        return Some((Value::Array(items), 2));
    }
    loop {
        let (item, length) = value(text.get(at..)?, wanted)?;
        items.push(item);
        at += length;
        match text.get(at)? {
            b',' => at += 1,
            b']' => return Some((Value::Array(items), at + 1)),
            _ => return None,
        }
    }
}

/// All of a value, which is a plain string more often than not.
fn whole(text: &[u8]) -> Option<Value> {
    match text {
        [b'"', plain @ .., b'"'] if !plain.contains(&b'\\') => {
            std::str::from_utf8(plain).ok().map(|text| Value::String(text.to_owned()))
        }
        _ => serde_json::from_slice(text).ok(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const WANTED: Pick = Pick::Of(&[
        ("a", Pick::All),
        ("b", Pick::Of(&[("c", Pick::All), ("d", Pick::Of(&[]))])),
        ("metadata", Pick::Of(&[("name", Pick::All)])),
    ]);
    const MOST: Pick =
        Pick::But(&[("a", Pick::But(&[("b", Pick::Nothing), ("c", Pick::Of(&[]))])), ("z", Pick::Nothing)]);

    /// The slow way.
    fn reduced(value: &Value, wanted: &Pick) -> Value {
        match (value, wanted) {
            (Value::Object(members), Pick::Of(wanted)) => wanted
                .iter()
                .filter_map(|(name, wanted)| Some(((*name).to_owned(), reduced(members.get(*name)?, wanted))))
                .collect(),
            (Value::Object(members), Pick::But(but)) => members
                .iter()
                .filter_map(|(name, value)| {
                    let wanted = but.iter().find(|(but, _)| but == name).map_or(&Pick::All, |(_, wanted)| wanted);
                    (!matches!(wanted, Pick::Nothing)).then(|| (name.clone(), reduced(value, wanted)))
                })
                .collect(),
            (Value::Array(items), Pick::Of(_)) => items.iter().map(|item| reduced(item, wanted)).collect(),
            (value, _) => value.clone(),
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z\"\\\\{}:,\\[\\]é\n]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            let key = prop_oneof!["[abcd]", Just("name".to_owned()), Just("metadata".to_owned()), "[a-z\"\\\\]{0,3}"];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(key, inner, 0..5).prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_picked_is_what_decoding_all_of_it_shows(other in any_value(), a in any_value(), b in any_value()) {
            let object = json!({"a": a, "b": b, "metadata": other, "z": other});
            let text = object.to_string();
            let (picked, raw) = pick(text.as_bytes(), &WANTED, "metadata").expect("it is there");
            prop_assert_eq!(picked, reduced(&object, &WANTED));
            prop_assert_eq!(serde_json::from_slice::<Value>(raw).expect("JSON"), other.clone());
            let (most, raw) = pick(text.as_bytes(), &MOST, "z").expect("it is there");
            prop_assert_eq!(most, reduced(&object, &MOST));
            prop_assert_eq!(serde_json::from_slice::<Value>(raw).expect("JSON"), other);
        }

        #[test]
        fn no_text_does_harm(text: Vec<u8>, like in "[{}\\[\\]:,\"\\\\a1]{0,40}", cut in 0_usize..40) {
            let object = json!({"a": {"b": [1, "\\\"", {}]}, "metadata": {"name": "x"}}).to_string();
            for text in [&text[..], like.as_bytes(), &object.as_bytes()[..cut], &object.as_bytes()[cut..]] {
                let _ = (pick(text, &WANTED, "metadata"), pick(text, &MOST, "metadata"));
            }
        }
    }

    #[test]
    fn object_without_the_raw_member_yields_nothing() {
        assert_eq!(pick(b"{}", &WANTED, "metadata"), None);
        assert_eq!(pick(b"[]", &MOST, "metadata"), None);
    }
}
