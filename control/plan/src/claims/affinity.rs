//! Which nodes a volume can be reached from.

use serde_json::Value;
use wk_api::Object;

use crate::read;

/// Whether `node` is one that `volume` can be reached from. Terms are alternatives; the parts of one hold together.
pub(crate) fn fits_node(volume: &Object, node: &Object) -> bool {
    let terms = volume.items("/spec/nodeAffinity/required/nodeSelectorTerms");
    terms.is_empty() || holds_on(terms, node)
}

/// Whether one of these terms is about `node`.
pub(crate) fn holds_on(terms: &[Value], node: &Object) -> bool {
    terms.iter().any(|term| holds(term, node))
}

fn holds(term: &Value, node: &Object) -> bool {
    let parts = |field: &str| term.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let (labels, fields) = (parts("matchExpressions"), parts("matchFields"));
    // A term that says nothing holds nowhere, as in Kubernetes.
    !(labels.is_empty() && fields.is_empty())
        && labels.iter().all(|part| matches(part, node.label(read::text(part, "key"))))
        && fields.iter().all(|part| matches(part, Some(node.name()).filter(|_| part["key"] == "metadata.name")))
}

fn matches(part: &Value, found: Option<&str>) -> bool {
    let values = part.get("values").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let listed = found.is_some_and(|found| values.iter().any(|value| value == found));
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let bound = || number(values.first().and_then(Value::as_str));
    match read::text(part, "operator") {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => found.is_some(),
        "DoesNotExist" => found.is_none(),
        "Gt" => number(found).zip(bound()).is_some_and(|(found, bound)| found > bound),
        "Lt" => number(found).zip(bound()).is_some_and(|(found, bound)| found < bound),
        _ => false,
    }
}
