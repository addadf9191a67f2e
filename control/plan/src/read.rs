//! Reading fields of objects where they lie: a pass reads a few fields of many objects, and making a `k8s_openapi` struct
//! of each would cost more than every decision together.

use serde_json::{Map, Value};
use wk_api::Object;
use wk_base::time::Timestamp;

/// The value at `pointer`, unless it is null.
pub(crate) fn at<'a>(object: &'a Object, pointer: &str) -> Option<&'a Value> {
    object.at(pointer).filter(|value| !value.is_null())
}

pub(crate) fn map<'a>(object: &'a Object, pointer: &str) -> Option<&'a Map<String, Value>> {
    object.at(pointer)?.as_object()
}

/// When it was created; the beginning of time when it does not say.
pub(crate) fn created(object: &Object) -> Timestamp {
    object.creation_timestamp().unwrap_or(Timestamp::UNIX_EPOCH)
}

pub(crate) fn parse_time(value: Option<&Value>) -> Option<Timestamp> {
    value?.as_str()?.parse().ok()
}

/// As Kubernetes writes `metav1.Time`: whole seconds, UTC.
pub(crate) fn format_time(time: Timestamp) -> Value {
    Value::String(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// A text field of a value that is no object of its own.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Whether `labels` carry every pair of `wanted`.
pub(crate) fn has_all(labels: Option<&Map<String, Value>>, wanted: &Map<String, Value>) -> bool {
    wanted.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

/// An `IntOrString` of which percentages are taken of `whole`, rounded as told; never more pods than an `i32` counts.
pub(crate) fn share(value: Option<&Value>, whole: i64, round: Round) -> Option<i64> {
    match value? {
        Value::Number(number) => number.as_i64().map(|number| number.min(i64::from(i32::MAX))),
        Value::String(text) => {
            let percent: i64 = text.strip_suffix('%')?.parse().ok()?;
            let product = i128::from(whole) * i128::from(percent);
            let share = match round {
                Round::Up => (product + 99) / 100,
                Round::Down => product / 100,
            };
            // As far as `replicas` goes. What is within fits.
            i64::try_from(share.clamp(0, i128::from(i32::MAX))).ok()
        }
        _ => None,
    }
}

/// Which way a percentage of pods becomes a number of pods.
#[derive(Clone, Copy)]
pub(crate) enum Round {
    Up,
    Down,
}

/// Whether the status of `object` has each field of `status` already. What is not written (null, zero, empty) is the same
/// as what is not there: such values are dropped when an object is stored.
pub(crate) fn says(object: &Object, status: &Value) -> bool {
    let wanted = status.as_object().into_iter().flatten();
    wanted.into_iter().all(|(field, value)| same(object.0["status"].get(field).unwrap_or(&Value::Null), value))
}

/// Equal, or both say nothing.
pub(crate) fn same(there: &Value, wanted: &Value) -> bool {
    there == wanted || says_nothing(there) && says_nothing(wanted)
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}
