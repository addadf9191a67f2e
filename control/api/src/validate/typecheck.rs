//! `status.typeChecking` of an admission policy: fields that its rules name and that the kinds do not have.
//!
//! Checked are rules about built-in kinds that are named without `*`, as in Kubernetes; here only fields, and no custom
//! kinds: their schemas are somebody else's to change. What cannot be told is not warned of.
//!
//! Words: `k8s.io/apiserver/pkg/admission/plugin/policy/validating/typechecking.go`.

use serde_json::{Value, json};

use crate::cel::{self, Program};
use crate::json;
use crate::kind::Kind;
use crate::schema::{Node, schema_of};

/// Kinds that one policy is checked against, as in Kubernetes.
const KINDS_MAX: usize = 10;

/// The variables that are objects of the kind.
const OBJECTS: [&str; 2] = ["object", "oldObject"];

/// What is said of a policy with this spec.
pub(crate) fn told(spec: &Value) -> Value {
    let kinds = kinds(spec);
    let mut warnings: Vec<Value> = Vec::new();
    for (index, rule) in json::items(spec, &["validations"]).iter().enumerate() {
        for field in ["expression", "messageExpression"] {
            let text = json::text(rule, &[field]);
            let found: String = kinds.iter().filter_map(|kind| mistake(kind, text)).collect();
            if !found.is_empty() {
                warnings.push(json!({"fieldRef": format!("spec.validations[{index}].{field}"), "warning": found}));
            }
        }
    }
    if warnings.is_empty() { json!({}) } else { json!({ "expressionWarnings": warnings }) }
}

/// The kinds that the rules name by group, version and resource.
fn kinds(spec: &Value) -> Vec<&'static Kind> {
    let mut found: Vec<&'static Kind> = Vec::new();
    for rule in json::items(spec, &["matchConstraints", "resourceRules"]) {
        let texts = |key: &str| json::items(rule, &[key]).iter().filter_map(Value::as_str).collect::<Vec<_>>();
        for group in texts("apiGroups") {
            for version in texts("apiVersions") {
                for plural in texts("resources") {
                    // What is below a resource is sent in another form.
                    let kind = Kind::find(group, version, plural).filter(|_| !plural.contains('/'));
                    found.extend(kind.filter(|kind| !found.contains(kind)));
                }
            }
        }
    }
    found.truncate(KINDS_MAX);
    found
}

/// The first field in an expression that objects of `kind` do not have, in the words of the compiler.
fn mistake(kind: &Kind, text: &str) -> Option<String> {
    let program = Program::parse(text).ok()?;
    let schema = schema_of(kind);
    let root = schema.root_shape();
    let paths = OBJECTS.iter().flat_map(|variable| program.paths_of(variable));
    let unknown = paths.into_iter().find_map(|path| unknown(schema.node(&root), &path).map(str::to_owned))?;
    let group = if kind.group.is_empty() { String::new() } else { format!("{}/", kind.group) };
    let at = text.find(&format!(".{unknown}")).unwrap_or_default();
    let why = cel::told(text, &format!("undefined field '{unknown}' at {at}"));
    Some(format!("{group}{}, Kind={}: {why}\n", kind.version, kind.kind))
}

fn unknown<'p>(root: Node<'_>, path: &[&'p str]) -> Option<&'p str> {
    let mut node = root;
    for field in path {
        match node.member(field) {
            Some(below) => node = below,
            // What has no fields at all is another mistake.
            None => return node.of().map(|_| *field),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(resource: (&str, &str, &str), expression: &str) -> Value {
        let (group, version, plural) = resource;
        told(&json!({
            "matchConstraints": {"resourceRules": [{
                "apiGroups": [group], "apiVersions": [version], "resources": [plural], "operations": ["*"],
            }]},
            "validations": [{"expression": expression}],
        }))
    }

    const DEPLOYMENTS: (&str, &str, &str) = ("apps", "v1", "deployments");

    #[test]
    fn fields_that_a_kind_does_not_have_are_told() {
        let found = said(DEPLOYMENTS, "object.spec.replicas < 3 && object.spec.foo == 1");
        assert_eq!(found["expressionWarnings"][0]["fieldRef"], "spec.validations[0].expression");
        let warning = found["expressionWarnings"][0]["warning"].as_str().expect("a warning");
        let expected = "apps/v1, Kind=Deployment: ERROR: <input>:1:40: undefined field 'foo'\n";
        assert!(warning.starts_with(expected), "{warning}");
        let old = said(("", "v1", "pods"), "has(oldObject.spec.nosuch)");
        assert!(old.to_string().contains("v1, Kind=Pod"), "{old}");
    }

    #[test]
    fn what_is_sound_or_cannot_be_told_is_not_warned_of() {
        let sound = [
            "object.spec.template.spec.containers.all(c, c.image != '')",
            "object.metadata.labels.anything == 'x'",
            "object.metadata.annotations['a.b/c'] == 'x' && object.kind == 'Deployment'",
            "request.nosuch == 1",
            "object.spec.foo +",
        ];
        for expression in sound {
            assert_eq!(said(DEPLOYMENTS, expression), json!({}), "{expression}");
        }
        for other in [("*", "*", "*"), ("example.com", "v1", "widgets"), ("apps", "v1", "deployments/scale")] {
            assert_eq!(said(other, "object.foo"), json!({}), "{other:?}");
        }
    }
}
