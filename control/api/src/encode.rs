//! An object as the bytes that are stored and served.
//!
//! The revision is known only when the store applies a write, so `resourceVersion` is left empty and its place is told.

use serde_json::Value;

use crate::object::Object;

/// JSON with `"resourceVersion":""` in `metadata`, and the offset at which the store inserts the digits.
pub fn stored(object: &Object) -> (Vec<u8>, u32) {
    const MEMBER: &[u8] = br#","resourceVersion":""#;
    let mut bytes = Vec::with_capacity(1024);
    let mut stamp = 0;
    bytes.push(b'{');
    // As Go writes it: clients that stop at the first mistake name the place.
    let first = ["kind", "apiVersion"];
    let named = first.iter().filter_map(|key| Some((*key, object.0.get(*key)?)));
    let others = object.0.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value));
    let members = named.chain(others.filter(|(key, _)| !first.contains(key)));
    for (index, (key, value)) in members.enumerate() {
        if index > 0 {
            bytes.push(b',');
        }
        push(&mut bytes, &Value::from(key));
        bytes.push(b':');
        if key != "metadata" {
            push(&mut bytes, value);
            continue;
        }
        let mut metadata = value.clone();
        crate::json::remove(&mut metadata, "resourceVersion");
        push(&mut bytes, &metadata);
        bytes.pop();
        let member = if bytes.last() == Some(&b'{') { &MEMBER[1..] } else { MEMBER };
        bytes.extend_from_slice(member);
        stamp = bytes.len();
        bytes.extend_from_slice(b"\"}");
    }
    bytes.push(b'}');
    (bytes, u32::try_from(stamp).expect("bodies are limited far below 4 GiB"))
}

fn push(bytes: &mut Vec<u8>, value: &Value) {
    serde_json::to_writer(&mut *bytes, value).expect("writing JSON values to memory cannot fail");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn digits_inserted_at_the_stamp_become_the_resource_version() {
        for value in [
            json!({"kind": "Pod", "metadata": {"name": "a", "resourceVersion": "7"}, "spec": {"x": "\"resourceVersion\":\"\""}}),
            json!({"apiVersion": "v1", "metadata": {}}),
        ] {
            let (mut bytes, stamp) = stored(&Object::new(value.clone()));
            let stamp = stamp as usize;
            bytes.splice(stamp..stamp, *b"1234");
            let read = Object::new(serde_json::from_slice(&bytes).unwrap());
            assert_eq!(read.resource_version(), "1234");
            assert_eq!(read.name(), Object::new(value).name());
        }
    }
}
