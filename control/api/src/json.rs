//! Small readers and writers of [`Value`] trees that the rest of the crate shares. Nothing of Kubernetes in here.

use serde_json::{Map, Value};

/// An object's member, `Null` when it is absent or `value` is no object.
pub(crate) fn get<'a>(value: &'a Value, key: &str) -> &'a Value {
    value.get(key).unwrap_or(&Value::Null)
}

/// Follows members; `Null` when one is missing.
pub(crate) fn dig<'a>(value: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().fold(value, |value, key| get(value, key))
}

/// The string at `path`, empty when it is missing.
pub(crate) fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    dig(value, path).as_str().unwrap_or_default()
}

/// The integer at `path`.
pub(crate) fn int(value: &Value, path: &[&str]) -> Option<i64> {
    dig(value, path).as_i64()
}

/// The boolean at `path`; false when it is missing.
pub(crate) fn flag(value: &Value, path: &[&str]) -> bool {
    dig(value, path).as_bool().unwrap_or_default()
}

/// The items of the list at `path`; none when it is missing.
pub(crate) fn items<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    dig(value, path).as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The members of the object at `path`, in order; none when it is missing.
pub(crate) fn members<'a>(value: &'a Value, path: &[&str]) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
    dig(value, path).as_object().into_iter().flatten()
}

/// Whether Go would leave the field out: null, "", empty list or empty object.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The object at `key`, made when it is missing or something else.
pub(crate) fn object_at<'a>(value: &'a mut Value, key: &str) -> &'a mut Value {
    let entry = as_object(value).entry(key).or_insert_with(|| Value::Object(Map::new()));
    if !entry.is_object() {
        *entry = Value::Object(Map::new());
    }
    entry
}

/// `value` as an object, made one when it is something else.
pub(crate) fn as_object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("was just made an object")
}

/// Sets `key`.
pub(crate) fn set(value: &mut Value, key: &str, to: impl Into<Value>) {
    as_object(value).insert(key.to_owned(), to.into());
}

/// Removes `key`.
pub(crate) fn remove(value: &mut Value, key: &str) {
    if let Some(members) = value.as_object_mut() {
        members.remove(key);
    }
}

/// Sets `key` when it is absent, null or "".
pub(crate) fn default(value: &mut Value, key: &str, to: impl Into<Value>) {
    if matches!(get(value, key), Value::Null) || get(value, key).as_str() == Some("") {
        set(value, key, to);
    }
}

/// Sets `key` when it is absent, null or 0: for Go integers that are not pointers.
pub(crate) fn default_nonzero(value: &mut Value, key: &str, to: i64) {
    if get(value, key).as_i64().unwrap_or_default() == 0 {
        set(value, key, to);
    }
}

/// The mutable items of the list at `key`; none when it is missing.
pub(crate) fn items_mut<'a>(value: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    value.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Makes `to[key]` what `from[key]` is, absence included.
pub(crate) fn copy(to: &mut Value, from: &Value, key: &str) {
    match from.get(key) {
        Some(value) => set(to, key, value.clone()),
        None => remove(to, key),
    }
}

/// Equal as Kubernetes' "semantic" equality: absent, null and empty are the same at every depth.
pub(crate) fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Object(a), Value::Object(b)) => {
            a.iter().all(|(key, value)| same(value, b.get(key).unwrap_or(&Value::Null)))
                && b.iter().all(|(key, value)| a.contains_key(key) || same(&Value::Null, value))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(members), other) | (other, Value::Object(members)) if is_empty(other) => {
            members.values().all(|value| same(value, &Value::Null))
        }
        (a, b) => a == b || (is_empty(a) && is_empty(b)),
    }
}

/// Makes `to[name]` what `from[key]` is, if that is there.
pub(crate) fn copy_as(to: &mut Value, name: &str, from: &Value, key: &str) {
    if let Some(value) = from.get(key) {
        set(to, name, value.clone());
    }
}
