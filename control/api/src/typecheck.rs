//! `status.typeChecking` of an admission policy: fields that its rules name and that the kinds do not have, and operators on
//! values of other types.
//!
//! Checked are rules about kinds that are named without `*`, as in Kubernetes, once with each write of the policy: a
//! definition that comes or changes later is not waited for. What cannot be told is not warned of: here all but `object` and
//! `oldObject` may be anything.
//!
//! Words: `k8s.io/apiserver/pkg/admission/plugin/policy/validating/typechecking.go`.

use serde_json::{Value, json};

use crate::cel::{self, Known, Program};
use crate::json;
use crate::kind::Kind;
use crate::schema::schema_of;

/// Kinds that one policy is checked against, as in Kubernetes.
const KINDS_MAX: usize = 10;

/// Kinds that are looked for on behalf of one policy: it may name any number that there are not.
const LOOKUPS_MAX: usize = 1_000;

/// The variables that are objects of the kind.
const OBJECTS: [&str; 2] = ["object", "oldObject"];

/// The variables whose type is not looked at.
const OTHERS: [&str; 5] = ["request", "params", "namespaceObject", "authorizer", "variables"];

/// What is said of a policy with this spec; `find` answers the kind of a group, version and plural.
pub fn told(spec: &Value, find: impl Fn(&str, &str, &str) -> Option<&'static Kind>) -> Value {
    let kinds = kinds(spec, find);
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
fn kinds(spec: &Value, find: impl Fn(&str, &str, &str) -> Option<&'static Kind>) -> Vec<&'static Kind> {
    let mut found: Vec<&'static Kind> = Vec::new();
    let mut lookups = 0;
    for rule in json::items(spec, &["matchConstraints", "resourceRules"]) {
        let texts = |key: &str| json::items(rule, &[key]).iter().filter_map(Value::as_str).collect::<Vec<_>>();
        let (groups, versions, mut plurals) = (texts("apiGroups"), texts("apiVersions"), texts("resources"));
        // What is below a resource is sent in another form.
        plurals.retain(|plural| !plural.contains('/'));
        let versions = if plurals.is_empty() { Vec::new() } else { versions };
        for (group, version) in groups.iter().flat_map(|group| versions.iter().map(move |version| (group, version))) {
            for plural in &plurals {
                if found.len() == KINDS_MAX || lookups == LOOKUPS_MAX {
                    return found;
                }
                lookups += 1;
                found.extend(find(group, version, plural).filter(|kind| !found.contains(kind)));
            }
        }
    }
    found
}

/// The first mistake in an expression about objects of `kind`, in the words of the compiler.
fn mistake(kind: &Kind, text: &str) -> Option<String> {
    let program = Program::parse(text).ok()?;
    let schema = schema_of(kind);
    let root = schema.root_shape();
    let objects = OBJECTS.map(|name| (name, Known::Node(schema.node(&root))));
    let variables: Vec<_> = objects.into_iter().chain(OTHERS.map(|name| (name, Known::Anything))).collect();
    let mut why = program.check(&variables).err()?;
    if let Some(field) = why.strip_prefix("undefined field '").and_then(|rest| rest.strip_suffix('\''))
        && let Some(at) = text.find(&format!(".{field}"))
    {
        why = format!("{why} at {at}");
    }
    let group = if kind.group.is_empty() { String::new() } else { format!("{}/", kind.group) };
    Some(format!("{group}{}, Kind={}: {}\n", kind.version, kind.kind, cel::told(text, &why)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Object;

    fn said(resource: (&str, &str, &str), expression: &str) -> Value {
        let (group, version, plural) = resource;
        let spec = json!({
            "matchConstraints": {"resourceRules": [{
                "apiGroups": [group], "apiVersions": [version], "resources": [plural], "operations": ["*"],
            }]},
            "validations": [{"expression": expression}],
        });
        told(&spec, Kind::find)
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
    fn operators_on_values_of_other_types_are_told() {
        let cases = [
            ("object.spec.replicas > '1'", "found no matching overload for '_>_' applied to '(int, string)'"),
            ("'got ' + object.spec.replicas == ''", "found no matching overload for '_+_' applied to '(string, int)'"),
            ("object.spec.template.spec.containers.all(c, c.image > 1)", "'_>_' applied to '(string, int)'"),
            ("object.metadata.labels['a'] == 1", "found no matching overload for '_==_' applied to '(string, int)'"),
            ("object.spec.replicas.more", "type 'int' does not support field selection"),
        ];
        for (expression, expected) in cases {
            let found = said(DEPLOYMENTS, expression);
            let warning = found["expressionWarnings"][0]["warning"].as_str().unwrap_or_default();
            assert!(warning.contains(expected), "{expression}: {warning}");
        }
    }

    #[test]
    fn what_is_sound_or_cannot_be_told_is_not_warned_of() {
        let sound = [
            "object.spec.template.spec.containers.all(c, c.image != '')",
            "object.metadata.labels.anything == 'x'",
            "object.metadata.annotations['a.b/c'] == 'x' && object.kind == 'Deployment'",
            "request.nosuch == 1",
            "object.spec.replicas > 1 && variables.any > 1 && object.spec.replicas == null",
            "object.spec.template.spec.containers.all(c, c.resources.limits['cpu'] == '1')",
            "object.spec.strategy.rollingUpdate.maxSurge == 1 || object.metadata.labels.exists(k, k == 'a')",
            "object.metadata.creationTimestamp == oldObject.metadata.creationTimestamp",
            "object.spec.foo +",
        ];
        for expression in sound {
            assert_eq!(said(DEPLOYMENTS, expression), json!({}), "{expression}");
        }
        for other in [("*", "*", "*"), ("example.com", "v1", "widgets"), ("apps", "v1", "deployments/scale")] {
            assert_eq!(said(other, "object.foo"), json!({}), "{other:?}");
        }
    }

    #[test]
    fn keys_of_custom_maps_and_texts_of_a_format_are_not_warned_of() {
        let integers = json!({"type": "object", "additionalProperties": {"type": "integer"}});
        let times = json!({"type": "array", "items": {"type": "string", "format": "date-time"}});
        let properties = json!({"limits": integers, "times": times, "name": {"type": "string"}});
        let spec = json!({"type": "object", "properties": properties});
        let definition = Object::new(json!({
            "metadata": {"name": "widgets.example.com"},
            "spec": {
                "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}}],
            },
            "status": {
                "acceptedNames": {"plural": "widgets", "kind": "Widget"},
                "conditions": [{"type": "Established", "status": "True"}],
            },
        }));
        let kinds = crate::custom::kinds(&definition);
        let told = |expression: &str| {
            let rule = json!({"apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["widgets"]});
            let constraints = json!({"resourceRules": [rule]});
            told(&json!({"matchConstraints": constraints, "validations": [{"expression": expression}]}), |_, _, _| {
                kinds.first().copied()
            })
        };
        for sound in [
            "object.spec.limits.all(k, k.startsWith('cpu'))",
            "object.spec.limits.all(k, v, v > 1)",
            "object.spec.times.all(t, t - t > duration('1s'))",
            "object.all(k, k != '')",
        ] {
            assert_eq!(told(sound), json!({}), "{sound}");
        }
        for wrong in ["object.spec.limits['cpu'] + 'c' == ''", "object.spec.name - 'a' == ''"] {
            assert!(told(wrong).to_string().contains("no matching overload"), "{wrong}");
        }
    }

    #[test]
    fn kinds_that_there_are_not_are_looked_for_a_thousand_times_at_most() {
        let names: Vec<String> = (0..1_000).map(|number| format!("n{number}")).collect();
        let below: Vec<String> = names.iter().map(|name| format!("{name}/status")).collect();
        let looked = std::cell::Cell::new(0);
        let find = |_: &str, _: &str, _: &str| {
            looked.set(looked.get() + 1);
            None
        };
        for resources in [&below, &names] {
            let rule = json!({"apiGroups": names, "apiVersions": names, "resources": resources});
            assert_eq!(told(&json!({"matchConstraints": {"resourceRules": [rule]}}), find), json!({}));
        }
        assert_eq!(looked.get(), LOOKUPS_MAX);
    }
}
