//! Comparing pod templates, and naming a ReplicaSet after its own.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;
use wk_api::Object;

use crate::read;

pub(super) const HASH_LABEL: &str = "pod-template-hash";

/// The template of a Deployment or ReplicaSet as text that is equal exactly when the templates mean the same: keys
/// sorted, nulls and empty maps left out, without the hash label.
pub(super) fn canonical(object: &Object) -> String {
    let mut text = String::new();
    if let Some(template) = read::at(object, "/spec/template") {
        write_canonical(&mut text, template);
    }
    text
}

/// The hash for the ReplicaSet of today's template, other than any whose name is taken by another template already.
pub(super) fn free_hash(deployment: &Object, taken: &BTreeSet<&str>) -> String {
    let mut free =
        template_hashes(deployment).filter(|hash| !taken.contains(format!("{}-{hash}", deployment.name()).as_str()));
    free.next().expect("there are more hashes than a namespace can hold names")
}

/// The hashes of an object's pod template: the first, and what is taken in its place where a name with that is taken.
pub(crate) fn template_hashes(object: &Object) -> impl Iterator<Item = String> + use<> {
    let template = canonical(object);
    (0_u32..).map(move |collisions| hash(&template, collisions))
}

fn write_canonical(text: &mut String, value: &Value) {
    match value {
        Value::Object(map) => {
            // Sorted here too: whether serde_json's map is sorted depends on a feature that any crate may switch on.
            let mut keys: Vec<&String> = map.keys().filter(|key| *key != HASH_LABEL && !is_empty(&map[*key])).collect();
            keys.sort();
            text.push('{');
            for key in keys {
                let _ = write!(text, "{key:?}:");
                write_canonical(text, &map[key]);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(list) => {
            text.push('[');
            for value in list {
                write_canonical(text, value);
                text.push(',');
            }
            text.push(']');
        }
        scalar => {
            let _ = write!(text, "{scalar}");
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.iter().all(|(key, value)| key == HASH_LABEL || value.is_null()),
        _ => false,
    }
}

/// FNV-1a in 32 bits over the template and the number of names found taken, in letters that spell no words
/// (`rand.SafeEncodeString` of Kubernetes, which hashes Go structs and so has other hashes).
fn hash(template: &str, collisions: u32) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let salt = if collisions == 0 { String::new() } else { collisions.to_string() };
    let sum = template
        .bytes()
        .chain(salt.bytes())
        .fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    sum.to_string().bytes().map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()])).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates_that_mean_the_same_have_one_hash() {
        let plain =
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let noisy = json!({
            "spec": {"containers": [{"image": "i", "name": "c", "env": null}], "securityContext": {}},
            "metadata": {"creationTimestamp": null, "labels": {"pod-template-hash": "x", "app": "web"}},
        });
        let of = |template| canonical(&Object(json!({"spec": {"template": template}})));
        assert_eq!(of(plain.clone()), of(noisy));
        let mut other = plain.clone();
        other["spec"]["containers"][0]["image"] = "j".into();
        assert_ne!(of(plain), of(other));
    }

    #[test]
    fn hash_is_the_same_on_every_machine_and_in_every_version() {
        assert_eq!((hash("{}", 0).as_str(), hash("{}", 1).as_str()), ("5859f96865", "846dbd44b4"));
    }
}
