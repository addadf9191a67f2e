//! What must change in a live object so that it is as the file says.
//!
//! Three inputs: the file as applied last (kept in an annotation), the file now, and the live object. Fields that the
//! file had and has no more are removed; fields that the file never had belong to others and stay. Lists are replaced
//! as a whole, but only if they really differ: what the server filled in by default does not count.

use serde_json::{Map, Value};
/// The annotation that keeps the file as applied last; kubectl's own, so that both tools understand each other.
pub(crate) use wk_api::LAST_APPLIED;

/// The object with itself, as it is, in its annotation.
pub(crate) fn with_annotation(object: &Value) -> Value {
    let mut plain = object.clone();
    if let Some(annotations) = plain.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    let kept = plain.to_string() + "\n";
    if let Some(metadata) = plain.get_mut("metadata").and_then(Value::as_object_mut) {
        let annotations = metadata.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(annotations) = annotations {
            annotations.insert(LAST_APPLIED.to_owned(), kept.into());
        }
    }
    plain
}

/// The merge patch (RFC 7386) that brings `live` to `wanted`; `None` if it is there already.
pub(crate) fn patch(wanted: &Value, live: &Value) -> Option<Value> {
    let pointer = format!("/metadata/annotations/{}", LAST_APPLIED.replace('/', "~1"));
    let last = live.pointer(&pointer).and_then(Value::as_str);
    let last: Value = last.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let annotated = with_annotation(wanted);
    let mut target = wanted.clone();
    // The annotation alone is no change if it says the same in another order or spacing.
    let now = annotated.pointer(&pointer).and_then(Value::as_str).and_then(|text| serde_json::from_str(text).ok());
    if now.as_ref() != Some(&last) {
        target = annotated;
    }
    let mut changes = Map::new();
    compare(object(&last), object(&target)?, object(live)?, &mut changes);
    (!changes.is_empty()).then_some(Value::Object(changes))
}

fn object(value: &Value) -> Option<&Map<String, Value>> {
    value.as_object()
}

fn compare(
    last: Option<&Map<String, Value>>,
    wanted: &Map<String, Value>,
    live: &Map<String, Value>,
    changes: &mut Map<String, Value>,
) {
    for (key, wanted) in wanted {
        let last = last.and_then(|last| last.get(key));
        match (wanted, live.get(key)) {
            (Value::Null, Some(Value::Null) | None) => {}
            (Value::Object(wanted), Some(Value::Object(live))) => {
                let mut inner = Map::new();
                compare(last.and_then(object), wanted, live, &mut inner);
                if !inner.is_empty() {
                    changes.insert(key.clone(), inner.into());
                }
            }
            (Value::Array(_), Some(live)) if last.is_none_or(|last| last == wanted) && covers(live, wanted) => {}
            (_, Some(live)) if live == wanted => {}
            _ => {
                changes.insert(key.clone(), wanted.clone());
            }
        }
    }
    for key in last.into_iter().flatten().map(|(key, _)| key) {
        if !wanted.contains_key(key) && live.contains_key(key) {
            changes.insert(key.clone(), Value::Null);
        }
    }
}

/// Whether `live` has all that `wanted` asks for, and more only where a server fills in defaults.
fn covers(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().all(|(key, wanted)| match live.get(key) {
            Some(live) => covers(live, wanted),
            None => wanted.is_null(),
        }),
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| covers(live, wanted))
        }
        _ => live == wanted,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named(spec: &Value) -> Value {
        json!({"metadata": {"name": "a"}, "spec": spec})
    }

    /// The live object after the file was applied and others changed it.
    fn live(applied: &Value, others: &Value) -> Value {
        let mut object = with_annotation(applied);
        json_patch::merge(&mut object, others);
        object
    }

    #[test]
    fn same_file_changes_nothing_whatever_others_added() {
        let file = named(&json!({"replicas": 2, "containers": [{"name": "c"}]}));
        let live = live(
            &file,
            &json!({"spec": {"paused": true, "containers": [{"name": "c", "imagePullPolicy": "Always"}]}, "status": {}}),
        );
        assert_eq!(patch(&file, &live), None);
    }

    #[test]
    fn field_gone_from_the_file_is_removed_and_that_of_others_stays() {
        let old = named(&json!({"a": 1, "b": {"x": 1, "y": 2}}));
        let new = named(&json!({"b": {"x": 1}}));
        let changes = patch(&new, &live(&old, &json!({"spec": {"theirs": 1}}))).expect("changes");
        assert_eq!(changes["spec"], json!({"a": null, "b": {"y": null}}));
        assert!(changes["metadata"]["annotations"][LAST_APPLIED].as_str().expect("text").contains("\"x\":1"));
    }

    #[test]
    fn drift_is_put_back() {
        let file = named(&json!({"replicas": 2}));
        let changes = patch(&file, &live(&file, &json!({"spec": {"replicas": 9}}))).expect("changes");
        assert_eq!(changes, json!({"spec": {"replicas": 2}}));
    }

    #[test]
    fn list_that_changed_is_replaced_as_a_whole() {
        let old = named(&json!({"list": [{"n": 1, "gone": 1}]}));
        let new = named(&json!({"list": [{"n": 1}]}));
        let changes = patch(&new, &live(&old, &json!({}))).expect("changes");
        assert_eq!(changes["spec"], json!({"list": [{"n": 1}]}));
    }

    #[test]
    fn object_made_by_other_means_gets_what_the_file_says_and_loses_nothing() {
        let file = named(&json!({"a": 1}));
        let changes = patch(&file, &named(&json!({"a": 2, "b": 3}))).expect("changes");
        assert_eq!(changes["spec"], json!({"a": 1}));
        assert!(changes["metadata"]["annotations"][LAST_APPLIED].is_string());
    }

    #[test]
    fn null_in_the_file_removes() {
        let file = named(&json!({"a": null, "b": null}));
        let changes = patch(&file, &named(&json!({"a": 1}))).expect("changes");
        assert_eq!(changes["spec"], json!({"a": null}));
    }
}
