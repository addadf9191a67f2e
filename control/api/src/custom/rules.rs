//! `x-kubernetes-validations`: rules in the Common Expression Language.

use serde_json::Value;

use super::schema::Schema;
use crate::field::Errors;
use crate::json;

/// One rule.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) text: String,
}

impl Rule {
    /// Reads a rule; None for one that is no rule.
    pub(crate) fn read(value: &Value) -> Option<Self> {
        let text = json::text(value, &["rule"]);
        (!text.trim().is_empty()).then(|| Self { text: text.to_owned() })
    }
}

/// Checks what a schema says of its rules, besides the expressions.
pub(crate) fn validate(_schema: &Value, _path: &str, _errors: &mut Errors) {}

/// Compiles the rules of a schema and of all below it.
pub(crate) fn compile(_value: &Value, _schema: &Schema, _path: &str, _errors: &mut Errors) {}

/// Checks `value` against all rules.
pub(crate) fn check(_value: &Value, _old: Option<&Value>, _schema: &Schema, _path: &str, _errors: &mut Errors) {}
