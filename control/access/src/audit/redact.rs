//! What of a body about secrets may be on record: a list of what is shown, so that a misspelt field is not.

use serde_json::Value;

/// What stands where a secret was, or may have been.
const REDACTED: &str = "(not on record)";

/// How much of a member may be on record.
enum Shown {
    /// All of it, when it is no object and no list.
    Plain,
    /// Its entries that are plain: labels, and lists of words.
    Entries,
    /// The names of its entries.
    Names,
    /// Some members, of it or of each of its items.
    Members(&'static [(&'static str, Shown)]),
    /// What may be shown of a body: it has one in it, or several.
    Bodies,
}

use Shown::{Bodies, Entries, Members, Names, Plain};

/// Of Secrets and questions about tokens, lists and tables of them, options of deletions, answers, and users.
const BODY: &[(&str, Shown)] = &[
    ("kind", Plain),
    ("apiVersion", Plain),
    ("metadata", Members(METADATA)),
    ("type", Plain),
    ("immutable", Plain),
    ("data", Names),
    ("stringData", Names),
    ("spec", Members(&[("audiences", Entries), ("expirationSeconds", Plain), ("boundObjectRef", Entries)])),
    ("status", Members(STATUS)),
    ("items", Bodies),
    ("object", Bodies),
    ("rows", Members(&[("cells", Entries), ("object", Bodies)])),
    ("columnDefinitions", Members(&[("name", Plain), ("type", Plain), ("format", Plain), ("priority", Plain)])),
    ("gracePeriodSeconds", Plain),
    ("propagationPolicy", Plain),
    ("preconditions", Entries),
    ("dryRun", Entries),
    ("reason", Plain),
    ("code", Plain),
    ("details", Members(&[("name", Plain), ("group", Plain), ("kind", Plain), ("uid", Plain)])),
    ("name", Plain),
    ("groups", Entries),
    ("created", Plain),
    ("expires", Plain),
    ("by", Plain),
];

const METADATA: &[(&str, Shown)] = &[
    ("name", Plain),
    ("generateName", Plain),
    ("namespace", Plain),
    ("uid", Plain),
    ("resourceVersion", Plain),
    ("generation", Plain),
    ("creationTimestamp", Plain),
    ("deletionTimestamp", Plain),
    ("deletionGracePeriodSeconds", Plain),
    ("labels", Entries),
    ("annotations", Names),
    ("finalizers", Entries),
    ("ownerReferences", Members(REFERENCE)),
    ("managedFields", Members(&[("manager", Plain), ("operation", Plain), ("apiVersion", Plain), ("time", Plain)])),
    ("continue", Plain),
    ("remainingItemCount", Plain),
];

const REFERENCE: &[(&str, Shown)] =
    &[("apiVersion", Plain), ("kind", Plain), ("name", Plain), ("uid", Plain), ("controller", Plain)];

const STATUS: &[(&str, Shown)] = &[
    ("expirationTimestamp", Plain),
    ("authenticated", Plain),
    ("audiences", Entries),
    ("user", Members(&[("username", Plain), ("uid", Plain), ("groups", Entries)])),
];

/// What the status of a `Status` is. That of other kinds has members.
const OUTCOMES: [&str; 2] = ["Success", "Failure"];

/// Leaves in a body that [`is_secret`](super::is_secret) only what is known to hold no secret. What is no object (a JSON
/// patch) is taken out whole.
pub fn redact(body: &mut Value) {
    if !body.is_object() {
        *body = REDACTED.into();
    }
    leave(body, &Bodies);
}

fn leave(value: &mut Value, shown: &Shown) {
    match (shown, value) {
        (Plain, Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {}
        (Entries, Value::Object(entries)) => entries.values_mut().for_each(|entry| leave(entry, &Plain)),
        (Entries, Value::Array(entries)) => entries.iter_mut().for_each(|entry| leave(entry, &Plain)),
        (Names, Value::Object(entries)) => entries.values_mut().for_each(|entry| *entry = REDACTED.into()),
        (Members(_) | Bodies, Value::Array(items)) => items.iter_mut().for_each(|item| leave(item, shown)),
        (Members(known), Value::Object(members)) => leave_members(members, known),
        (Bodies, Value::Object(members)) => leave_members(members, BODY),
        (Members(_), Value::String(outcome)) if OUTCOMES.contains(&outcome.as_str()) => {}
        (_, value) => *value = REDACTED.into(),
    }
}

fn leave_members(members: &mut serde_json::Map<String, Value>, known: &[(&str, Shown)]) {
    for (name, value) in members {
        match known.iter().find(|(known, _)| known == name) {
            Some((_, shown)) => leave(value, shown),
            None => *value = REDACTED.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::is_secret;
    use super::*;
    use crate::ask::Ask;

    #[test]
    fn no_secret_is_left_in_a_body() {
        let secret = json!({
            "kind": "Secret", "metadata": {"name": "s", "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "{\"data\":{\"p\":\"hidden\"}}", "a": "hidden"}},
            "data": {"p": "hidden"}, "stringData": {"q": "hidden"}, "type": "Opaque",
        });
        let bodies = [
            secret.clone(),
            json!({"kind": "SecretList", "items": [secret]}),
            json!({"kind": "Table", "rows": [{"cells": ["s", ["hidden"]], "object": secret}]}),
            json!({"kind": "TokenRequest", "status": {"token": "hidden"}}),
            json!({"kind": "TokenReview", "spec": {"token": "hidden"}}),
            json!({"kind": "Status", "status": "Failure", "message": "not \"hidden\"", "details": {"causes": ["hidden"]}}),
            json!([{"op": "add", "path": "/data/p", "value": "hidden"}]),
            json!({"data": "hidden"}),
            json!("hidden"),
            // Fields that no Secret has, where somebody meant one that it has.
            json!({"stringdata": {"p": "hidden"}, "dta": {"p": "hidden"}, "type": {"p": "hidden"}, "status": "hidden"}),
            json!({"metadata": {"data": {"p": "hidden"}, "labels": {"a": {"p": "hidden"}}, "name": ["hidden"]}}),
            json!({"items": {"data": {"p": "hidden"}}, "spec": {"data": "hidden"}, "$patch": "hidden"}),
        ];
        for mut body in bodies {
            redact(&mut body);
            let text = body.to_string();
            assert!(!text.contains("hidden"), "{text}");
        }
        assert!(is_secret(&Ask::resource("get", "", "secrets")));
        assert!(!is_secret(&Ask::resource("get", "", "configmaps")));
    }

    #[test]
    fn who_reads_the_record_sees_which_secret_it_was_and_what_it_has() {
        let mut body = json!({
            "kind": "Secret", "type": "Opaque", "data": {"p": "hidden"}, "dta": {"p": "hidden"},
            "metadata": {"name": "s", "labels": {"a": "b"}, "annotations": {"c": "hidden"}},
        });
        redact(&mut body);
        let expected = json!({
            "kind": "Secret", "type": "Opaque", "data": {"p": REDACTED}, "dta": REDACTED,
            "metadata": {"name": "s", "labels": {"a": "b"}, "annotations": {"c": REDACTED}},
        });
        assert_eq!(body, expected);
    }
}
