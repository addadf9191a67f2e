//! Whether somebody is asked about a write: rules, selectors and conditions.

use serde_json::{Value, json};
use wk_api::expression::Expression;
use wk_api::selector::Labels;
use wk_api::{Kind, Object, kinds};
use wk_cluster::{key, object};

use super::Asked;

pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

impl Asked<'_> {
    /// Whether one of `rules` is about the operation and the resource.
    pub(super) fn is_about(&self, rules: &[Value], any_version: bool) -> bool {
        let kind: &Kind = self.call.kind();
        let lists = |rule: &Value, key: &str, word: &str| items(rule, key).iter().any(|own| own == "*" || own == word);
        let scope = if kind.is_namespaced() { "Namespaced" } else { "Cluster" };
        rules.iter().any(|rule| {
            let names = items(rule, "resourceNames");
            lists(rule, "operations", self.operation)
                && lists(rule, "apiGroups", kind.group)
                && (any_version || lists(rule, "apiVersions", kind.version))
                && matches!(text(rule, "scope"), "" | "*") | (text(rule, "scope") == scope)
                && (names.is_empty() || names.iter().any(|name| name == self.call.name()))
                && items(rule, "resources").iter().filter_map(Value::as_str).any(|resource| self.is_resource(resource))
        })
    }

    fn is_resource(&self, pattern: &str) -> bool {
        let below = self.call.target.subresource.as_deref().unwrap_or_default();
        let (resource, sub) = pattern.split_once('/').unwrap_or((pattern, ""));
        let same = resource == "*" || resource == self.call.kind().plural;
        // `*` alone is all resources without what is below them.
        same && (sub == below || sub == "*")
    }

    /// Whether both selectors let the write through.
    pub(super) fn selects(&self, who: &Value, object: Option<&Value>, old: Option<&Value>) -> bool {
        let labels_of = |value: Option<&Value>| value.map(|value| Object(json!({ "metadata": value["metadata"] })));
        let fits = |selector: &Value, owner: &Object| {
            Labels::from_label_selector(selector).is_ok_and(|labels| labels.matches(&owner.labels()))
        };
        let by_object = who.get("objectSelector").filter(|selector| !selector.is_null());
        let objects = [labels_of(object), labels_of(old)];
        if by_object.is_some_and(|selector| !objects.iter().flatten().any(|owner| fits(selector, owner))) {
            return false;
        }
        let Some(by_namespace) = who.get("namespaceSelector").filter(|selector| !selector.is_null()) else {
            return true;
        };
        match self.namespace() {
            Some(namespace) => fits(by_namespace, &namespace),
            None if *self.call.kind() == kinds::NAMESPACE => {
                objects.iter().flatten().next().is_none_or(|owner| fits(by_namespace, owner))
            }
            None => true,
        }
    }

    /// The namespace of the object.
    pub(super) fn namespace(&self) -> Option<Object> {
        let stored = self.view.get(&key(&kinds::NAMESPACE, None, self.call.namespace()?))?;
        Some(object(&stored).as_ref().clone())
    }

    /// Whether all conditions hold: `Ok(false)` when one does not, an error when one cannot be told and none fails.
    pub(super) fn conditions_hold(
        &mut self,
        conditions: &[Value],
        variables: &[(&str, &Value)],
    ) -> Result<bool, String> {
        let names: Vec<&str> = variables.iter().map(|(name, _)| *name).collect();
        let mut unknown = None;
        for condition in conditions {
            let outcome = Expression::parse(text(condition, "expression"), &names)
                .and_then(|expression| expression.evaluate(variables, &mut self.cost));
            match outcome {
                Ok(Value::Bool(true)) => {}
                Ok(_) => return Ok(false),
                Err(why) => unknown = unknown.or(Some(why)),
            }
        }
        unknown.map_or(Ok(true), Err)
    }

    /// The `request` of a review.
    pub(super) fn request(&self, object: Option<&Value>) -> Value {
        let kind = self.call.kind();
        let own = json!({ "group": kind.group, "version": kind.version, "kind": kind.kind });
        let resource = json!({ "group": kind.group, "version": kind.version, "resource": kind.plural });
        let given = object.and_then(|object| object["metadata"]["name"].as_str());
        let name = if self.call.name().is_empty() { given.unwrap_or_default() } else { self.call.name() };
        let options = match self.operation {
            "CREATE" => "CreateOptions",
            "DELETE" => "DeleteOptions",
            "UPDATE" if self.call.method == http::Method::PATCH => "PatchOptions",
            _ => "UpdateOptions",
        };
        let mut request = json!({
            "uid": wk_base::id::uid(),
            "kind": own, "resource": resource, "requestKind": own, "requestResource": resource,
            "name": name,
            "operation": self.operation,
            "userInfo": { "username": self.call.user.name, "groups": self.call.user.groups },
            "dryRun": self.dry_run,
            "options": { "kind": options, "apiVersion": "meta.k8s.io/v1" },
        });
        if let Some(namespace) = self.call.namespace() {
            request["namespace"] = namespace.into();
        } else if *kind == kinds::NAMESPACE {
            request["namespace"] = name.into();
        }
        if let Some(sub) = &self.call.target.subresource {
            request["subResource"] = sub.as_str().into();
            request["requestSubResource"] = sub.as_str().into();
        }
        request
    }
}
