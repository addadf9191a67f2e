//! Patches: what their types are called, and what they do to an object. JSON patches (RFC 6902) are the API server's,
//! server-side apply is in [`crate::managed`].

pub mod strategic;

use serde_json::Value;

use crate::status::{Details, Reason, Status};

/// The patch formats Kubernetes knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' own, with merge keys.
    StrategicMerge,
    /// Server-side apply.
    Apply,
}

impl PatchType {
    /// The type a `Content-Type` names, parameters ignored.
    pub fn from_content_type(content_type: &str) -> Option<Self> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Some(Self::Json),
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::StrategicMerge),
            "application/apply-patch+yaml" => Some(Self::Apply),
            _ => None,
        }
    }

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json-patch+json",
            Self::Merge => "application/merge-patch+json",
            Self::StrategicMerge => "application/strategic-merge-patch+json",
            Self::Apply => "application/apply-patch+yaml",
        }
    }
}

/// 422 for a patch that cannot be applied: Kubernetes says no more than this.
pub fn unprocessable() -> Status {
    let mut status =
        Status::new(422, Reason::Invalid, "the server rejected our request due to an error in our request");
    status.details = Some(Box::new(Details::default()));
    status
}

/// Applies an RFC 7386 merge patch: null removes, objects merge, anything else replaces.
pub fn merge(target: &mut Value, patch: &Value) {
    json_patch::merge(target, patch);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn null_removes_objects_merge_and_lists_are_replaced() {
        let mut target = json!({"a": {"b": 1, "c": [1, 2]}, "d": 1});
        merge(&mut target, &json!({"a": {"b": null, "c": [3], "e": {"f": null}}, "d": {"g": 1}}));
        assert_eq!(target, json!({"a": {"c": [3], "e": {}}, "d": {"g": 1}}));
        assert_eq!(PatchType::from_content_type("application/merge-patch+json; charset=utf-8"), Some(PatchType::Merge));
        assert_eq!(PatchType::from_content_type("application/json"), None);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..4).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_patch_applied_twice_is_a_patch_applied_once(mut target in any_json(), patch in any_json()) {
            merge(&mut target, &patch);
            let once = target.clone();
            merge(&mut target, &patch);
            prop_assert_eq!(target, once);
        }

        #[test]
        fn an_empty_patch_changes_no_object(target in prop::collection::btree_map("[a-d]", any_json(), 0..4)) {
            let before: Value = target.into_iter().collect();
            let mut after = before.clone();
            merge(&mut after, &json!({}));
            prop_assert_eq!(after, before);
        }
    }
}
