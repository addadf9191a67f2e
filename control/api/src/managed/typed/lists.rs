//! Items of lists by what tells them apart.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::schema::{ListType, Node};

/// The step to each item; an error when one cannot be told apart.
pub(super) fn steps(items: Node<'_>, of: &ListType, values: &[Value]) -> Result<Vec<String>, String> {
    let step = |(index, value)| step(items, of, value).map_err(|why| format!("element {index}: {why}"));
    values.iter().enumerate().map(step).collect()
}

/// The step to one item of a list that is no atomic one.
pub(super) fn step(items: Node<'_>, of: &ListType, value: &Value) -> Result<String, String> {
    let ListType::Map(keys) = of else {
        return match value {
            Value::Null => Err("associative list without keys has an element that's an explicit null".to_owned()),
            Value::Object(_) | Value::Array(_) => {
                Err("associative list without keys has an element that's a map type".to_owned())
            }
            scalar => Ok(format!("v:{scalar}")),
        };
    };
    let members = match value {
        Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
        Value::Object(members) => members,
        _ => return Err("associative list with keys may not have non-map elements".to_owned()),
    };
    let mut found = Map::new();
    for key in keys {
        let value = members.get(key).cloned().or_else(|| items.key_default(key));
        if let Some(value) = value {
            found.insert(key.clone(), value);
        }
    }
    if found.is_empty() {
        let keys: Vec<String> = keys.iter().map(|key| format!("{key:?}")).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values \
             for any key fields)",
            keys.join(" ")
        ));
    }
    Ok(format!("k:{}", Value::Object(found)))
}

/// The items by their step. What has none, which validation does not let in, is left out.
pub(super) fn grouped<'v>(items: Node<'_>, of: &ListType, values: &'v [Value]) -> BTreeMap<String, Vec<&'v Value>> {
    let mut groups: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for value in values {
        if let Ok(step) = step(items, of, value) {
            groups.entry(step).or_default().push(value);
        }
    }
    groups
}
