//! Numbers of pods or percentages of them: `maxSurge`, `minAvailable`.

use serde_json::Value;

use super::not_negative;
use crate::field::Errors;
use crate::json;

const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', \
    regex used for validation is '[0-9]+%')";

/// What is wrong with the share `key`; its number, if it is sound. A missing one is 0.
pub(crate) fn check(errors: &mut Errors, value: &Value, key: &str, path: &str) -> Option<i64> {
    let share = json::get(value, key);
    let Value::String(text) = share else {
        not_negative(errors, value, key, path);
        return Some(share.as_i64().unwrap_or_default());
    };
    let number = percent(text);
    if number.is_none() {
        errors.invalid(format!("{path}.{key}"), share, PERCENT);
    }
    number
}

/// A percentage may not be more than all.
pub(crate) fn at_most_all(errors: &mut Errors, value: &Value, key: &str, path: &str) {
    let share = json::get(value, key);
    if share.as_str().and_then(percent).is_some_and(|percent| percent > 100) {
        errors.invalid(format!("{path}.{key}"), share, "must not be greater than 100%");
    }
}

fn percent(text: &str) -> Option<i64> {
    let digits = text.strip_suffix('%').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok())
}
