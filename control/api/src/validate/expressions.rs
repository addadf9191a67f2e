//! Expressions that are written to be judged later: match conditions, and the rules of admission policies. What can be
//! told of them is told when they are written, and not when a write of somebody else depends on them.
//!
//! Source of rules and words: `k8s.io/kubernetes/pkg/apis/admissionregistration/validation`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cel::{self, Known, Mistake, Program};
use crate::expression::AUTHORIZER;
use crate::field::Errors;
use crate::json;
use crate::names;

/// Conditions of one webhook or policy at most, as in Kubernetes.
const CONDITIONS_MAX: usize = 64;

/// What match conditions may name.
const OF_REQUEST: [&str; 4] = ["object", "oldObject", "request", AUTHORIZER];

/// Words that are no identifiers.
const RESERVED: [&str; 18] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
];

/// `matchConditions`.
pub(crate) fn conditions(errors: &mut Errors, conditions: &[Value], path: &str, variables: &[&str]) {
    if conditions.len() > CONDITIONS_MAX {
        errors.too_many(path, conditions.len(), CONDITIONS_MAX);
    }
    let mut seen = BTreeSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let (name, text) = (json::text(condition, &["name"]), json::text(condition, &["expression"]));
        if text.trim().is_empty() {
            errors.required(format!("{path}.expression"), "");
        } else {
            expression(errors, &format!("{path}.expression"), text, "bool", variables);
        }
        if name.is_empty() {
            errors.required(format!("{path}.name"), "");
        } else {
            super::text(errors, &format!("{path}.name"), name, names::qualified_name);
            if !seen.insert(name) {
                errors.duplicate(format!("{path}.name"), &Value::from(name));
            }
        }
    }
}

/// `matchConditions` of a webhook.
pub(crate) fn of_webhook(errors: &mut Errors, hook: &Value, path: &str) {
    conditions(errors, json::items(hook, &["matchConditions"]), &format!("{path}.matchConditions"), &OF_REQUEST);
}

/// Every expression of an admission policy.
pub(crate) fn of_policy(errors: &mut Errors, value: &Value) {
    let spec = json::get(value, "spec");
    let mut known: Vec<&str> = [&OF_REQUEST[..], &["namespaceObject"]].concat();
    if !json::get(spec, "paramKind").is_null() {
        known.push("params");
    }
    conditions(errors, json::items(spec, &["matchConditions"]), "spec.matchConditions", &known);
    known.push("variables");
    let variables = json::items(spec, &["variables"]);
    let mut fields: Vec<&str> = Vec::new();
    for (index, variable) in variables.iter().enumerate() {
        let path = format!("spec.variables[{index}]");
        let (name, text) = (json::text(variable, &["name"]), json::text(variable, &["expression"]));
        if name.is_empty() {
            errors.required(format!("{path}.name"), "name is not specified");
        } else if !is_identifier(name) {
            errors.invalid_str(format!("{path}.name"), name, "name is not a valid CEL identifier");
        } else if fields.contains(&name) {
            errors.duplicate(format!("{path}.name"), &Value::from(name));
        }
        if text.trim().is_empty() {
            errors.required(format!("{path}.expression"), "expression is not specified");
        } else {
            with_variables(errors, &format!("{path}.expression"), text, "", &known, &fields);
        }
        fields.push(name);
    }
    for (index, rule) in json::items(spec, &["validations"]).iter().enumerate() {
        validation(errors, rule, &format!("spec.validations[{index}]"), &known, &fields);
    }
    let mut keys = BTreeSet::new();
    for (index, annotation) in json::items(spec, &["auditAnnotations"]).iter().enumerate() {
        let path = format!("spec.auditAnnotations[{index}]");
        let (key, text) = (json::text(annotation, &["key"]), json::text(annotation, &["valueExpression"]));
        let full = format!("{}/{key}", json::text(value, &["metadata", "name"]));
        if key.is_empty() {
            errors.required(format!("{path}.key"), "");
        } else if let Some(why) = names::qualified_name(&full).first() {
            errors.invalid_str(format!("{path}.key"), key, &format!("Invalid value: {full:?}: {why}"));
        }
        if !keys.insert(key) {
            errors.duplicate(format!("{path}.key"), &Value::from(key));
        }
        if text.trim().is_empty() {
            errors.required(format!("{path}.valueExpression"), "valueExpression is not specified");
        } else {
            with_variables(errors, &format!("{path}.valueExpression"), text, "string or null", &known, &fields);
        }
    }
}

fn validation(errors: &mut Errors, rule: &Value, path: &str, known: &[&str], fields: &[&str]) {
    let text = |key: &str| json::text(rule, &[key]);
    let expression = text("expression").trim();
    if expression.is_empty() {
        errors.required(format!("{path}.expression"), "expression is not specified");
    } else {
        with_variables(errors, &format!("{path}.expression"), text("expression"), "bool", known, fields);
    }
    let message = text("message");
    if !message.is_empty() && message.trim().is_empty() {
        errors.invalid_str(format!("{path}.message"), message, "message must be non-empty if specified");
    } else if message.trim().contains('\n') {
        errors.invalid_str(format!("{path}.message"), message, "message must not contain line breaks");
    } else if message.is_empty() && expression.contains('\n') {
        let why = "message must be specified if expression contains line breaks";
        errors.required(format!("{path}.message"), why);
    }
    let own = text("messageExpression");
    if own.is_empty() {
        return;
    }
    if own.trim().is_empty() {
        errors.invalid_str(format!("{path}.messageExpression"), own, "must be non-empty if specified");
        return;
    }
    with_variables(errors, &format!("{path}.messageExpression"), own, "string", known, fields);
}

/// As [`expression`]; the fields of `variables` are those that come before it.
fn with_variables(errors: &mut Errors, field: &str, text: &str, wanted: &str, known: &[&str], fields: &[&str]) {
    if let Ok(program) = Program::parse(text)
        && let Some(unknown) = program.fields_of("variables").iter().find(|name| !fields.contains(name))
    {
        let why = cel::told(text, &format!("undefined field '{unknown}'"));
        errors.invalid_str(field, text, &format!("compilation failed: {why}"));
        return;
    }
    expression(errors, field, text, wanted, known);
}

/// Tells what is wrong with an expression that is to come to a `wanted`; empty for any type.
fn expression(errors: &mut Errors, field: &str, text: &str, wanted: &str, known: &[&str]) {
    let variables: Vec<_> = known.iter().map(|name| (*name, Known::Anything)).collect();
    let found = Program::parse(text).map_err(Mistake::Compilation).and_then(|program| {
        if wanted.is_empty() {
            program.check(&variables).map_err(Mistake::Compilation)
        } else {
            program.check_is(wanted, &variables)
        }
    });
    match found {
        Ok(()) => {}
        Err(Mistake::Compilation(why)) => {
            errors.invalid_str(field, text, &format!("compilation failed: {}", cel::told(text, &why)));
        }
        Err(Mistake::Type(why)) => errors.invalid_str(field, text, &why),
    }
}

fn is_identifier(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !RESERVED.contains(&name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(spec: &Value) -> Vec<String> {
        let mut errors = Errors::new();
        of_policy(&mut errors, &json!({"metadata": {"name": "p"}, "spec": spec}));
        errors.into_vec().into_iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
    }

    #[test]
    fn a_sound_policy_is_taken() {
        let spec = json!({
            "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "matchConditions": [{"name": "a.b/c", "expression": "request.operation == 'CREATE'"}],
            "variables": [
                {"name": "replicas", "expression": "object.spec.replicas"},
                {"name": "many", "expression": "variables.replicas > 3"},
            ],
            "validations": [{
                "expression": "!variables.many || has(params.data.many)",
                "messageExpression": "'too many: ' + string(variables.replicas)",
            }],
            "auditAnnotations": [{"key": "replicas", "valueExpression": "string(variables.replicas)"}],
        });
        assert_eq!(told(&spec), Vec::<String>::new());
    }

    #[test]
    fn what_can_never_be_judged_is_told_when_it_is_written() {
        let rule = |text: &str| json!({"validations": [{"expression": text}]});
        let syntax = "spec.validations[0].expression: Invalid value: \"object.foo +\": compilation failed: ERROR: \
            <input>:1:13: Syntax error: mismatched input '<EOF>'\n | object.foo +\n | ............^";
        assert_eq!(told(&rule("object.foo +")), [syntax]);
        let rows = [
            (rule("1"), "spec.validations[0].expression: Invalid value: \"1\": must evaluate to bool"),
            (rule("nosuch.x"), "undeclared reference to 'nosuch'"),
            (rule("variables.b"), "undefined field 'b'"),
            (rule("params.x == 1"), "undeclared reference to 'params'"),
            (json!({"validations": [{"expression": "true", "messageExpression": "1"}]}), "must evaluate to string"),
            (json!({"validations": [{"expression": "true", "message": "a\nb"}]}), "must not contain line breaks"),
            (json!({"variables": [{"name": "1a", "expression": "1"}]}), "name is not a valid CEL identifier"),
            (json!({"auditAnnotations": [{"key": "a b", "valueExpression": "'x'"}]}), "spec.auditAnnotations[0].key"),
            (json!({"matchConditions": [{"name": "a", "expression": "1"}]}), "must evaluate to bool"),
            (json!({"matchConditions": [{"name": "x y", "expression": "true"}]}), "spec.matchConditions[0].name"),
            (
                json!({"matchConditions": [{"name": "a", "expression": "true"}, {"name": "a", "expression": "true"}]}),
                "spec.matchConditions[1].name: Duplicate value: \"a\"",
            ),
        ];
        for (spec, expected) in rows {
            let found = told(&spec);
            assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:?}");
        }
    }
}
