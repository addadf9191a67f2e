//! Whether somebody is asked about a write: rules, selectors and conditions.

use serde_json::{Value, json};
use wk_access::{Ask, service_account};
use wk_api::expression::{AUTHORIZER, Answer, Authorizer, Expression, Question};
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
    /// The version in which one of `rules` names the resource, if one is about it and the operation: the one that was asked
    /// for before others. With `equivalent` any version that is served will do.
    pub(super) fn about(&self, rules: &[Value], equivalent: bool) -> Option<&'static Kind> {
        let own = [self.call.requested, self.call.kind()];
        let own = own.into_iter().find(|kind| self.names(rules, kind));
        if own.is_some() || !equivalent || rules.is_empty() {
            return own;
        }
        let collection = self.call.kind().collection();
        let others = self.kinds.get_or_init(|| {
            let all = wk_cluster::kinds_in(&self.view).into_iter();
            all.filter(|kind| kind.collection() == collection && !collection.is_empty()).collect()
        });
        others.iter().copied().find(|kind| self.names(rules, kind))
    }

    fn names(&self, rules: &[Value], kind: &Kind) -> bool {
        let lists = |rule: &Value, key: &str, word: &str| items(rule, key).iter().any(|own| own == "*" || own == word);
        let scope = if kind.is_namespaced() { "Namespaced" } else { "Cluster" };
        rules.iter().any(|rule| {
            let names = items(rule, "resourceNames");
            lists(rule, "operations", self.operation)
                && lists(rule, "apiGroups", kind.group)
                && lists(rule, "apiVersions", kind.version)
                && matches!(text(rule, "scope"), "" | "*") | (text(rule, "scope") == scope)
                && (names.is_empty() || names.iter().any(|name| name == self.call.name()))
                && items(rule, "resources").iter().filter_map(Value::as_str).any(|it| self.is_resource(it, kind))
        })
    }

    fn is_resource(&self, pattern: &str, kind: &Kind) -> bool {
        let below = self.call.target.subresource.as_deref().unwrap_or_default();
        let (resource, sub) = pattern.split_once('/').unwrap_or((pattern, ""));
        let same = resource == "*" || resource == kind.plural;
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
        let names: Vec<&str> = variables.iter().map(|(name, _)| *name).chain([AUTHORIZER]).collect();
        let decide = self.decider();
        let authorizer = Authorizer { decide: &decide, request: self.question() };
        let mut unknown = None;
        for condition in conditions {
            let outcome = Expression::parse(text(condition, "expression"), &names)
                .and_then(|expression| expression.evaluate(variables, &authorizer, &mut self.cost));
            match outcome {
                Ok(Value::Bool(true)) => {}
                Ok(_) => return Ok(false),
                Err(why) => unknown = unknown.or(Some(why)),
            }
        }
        unknown.map_or(Ok(true), Err)
    }

    /// What the request is about.
    pub(super) fn question(&self) -> Question {
        let kind = self.call.kind();
        Question {
            group: kind.group.to_owned(),
            resource: kind.plural.to_owned(),
            subresource: self.call.target.subresource.clone().unwrap_or_default(),
            namespace: self.call.namespace().unwrap_or_default().to_owned(),
            name: self.call.name().to_owned(),
            ..Question::default()
        }
    }

    /// Of which kind is what is sent, where the resource is asked for in the version of `kind`.
    fn sent(&self, kind: &'static Kind) -> Value {
        let or = |own: &'static str, other: &'static str| if own.is_empty() { other } else { own };
        let below = self.call.target.subresource.as_deref().unwrap_or_default();
        let (group, version, name) = match kind.subresources.iter().find(|sub| sub.name == below) {
            _ if below == "scale" => ("autoscaling", "v1", "Scale"),
            Some(sub) => (or(sub.group, kind.group), or(sub.version, kind.version), or(sub.kind, kind.kind)),
            None => (kind.group, kind.version, kind.kind),
        };
        json!({ "group": group, "version": version, "kind": name })
    }

    /// The parameters of the request as the options that they are.
    fn options(&self) -> Value {
        let call = self.call;
        let kind = match self.operation {
            "CREATE" => "CreateOptions",
            "DELETE" => "DeleteOptions",
            "UPDATE" if call.method == http::Method::PATCH => "PatchOptions",
            "UPDATE" => "UpdateOptions",
            // A connection has none.
            _ => return Value::Null,
        };
        let mut options = json!({ "kind": kind, "apiVersion": "meta.k8s.io/v1" });
        for key in ["fieldManager", "fieldValidation"] {
            if let Some(text) = call.query.get(key).filter(|text| !text.is_empty()) {
                options[key] = text.into();
            }
        }
        if call.query.flag("force") {
            options["force"] = true.into();
        }
        if self.dry_run {
            options["dryRun"] = json!(["All"]);
        }
        options
    }

    /// The `request` of a review, about the resource in the version of `kind`.
    pub(super) fn request(&self, kind: &'static Kind, object: Option<&Value>) -> Value {
        let requested = self.call.requested;
        let resource = |kind: &Kind| json!({ "group": kind.group, "version": kind.version, "resource": kind.plural });
        let given = object.and_then(|object| object["metadata"]["name"].as_str());
        let name = if self.call.name().is_empty() { given.unwrap_or_default() } else { self.call.name() };
        let mut request = json!({
            "uid": wk_base::id::uid(),
            "kind": self.sent(kind), "resource": resource(kind),
            "requestKind": self.sent(requested), "requestResource": resource(requested),
            "name": name,
            "operation": self.operation,
            "userInfo": { "username": self.call.user.name, "groups": self.call.user.groups },
            "dryRun": self.dry_run,
            "options": self.options(),
        });
        let user = &self.call.user;
        if !user.uid.is_empty() {
            request["userInfo"]["uid"] = user.uid.as_str().into();
        }
        if !user.extra.is_empty() {
            request["userInfo"]["extra"] = json!(user.extra);
        }
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

impl<'a> Asked<'a> {
    /// Answers what expressions ask with `authorizer`.
    pub(super) fn decider(&self) -> impl Fn(&Question) -> Answer + use<'a> {
        let (server, call, view) = (self.server, self.call, self.view.clone());
        move |question| {
            let account = question.account.as_ref().map(|(namespace, name)| service_account(namespace, name, ""));
            let user = account.as_ref().unwrap_or(&call.user);
            let ask = match &question.path {
                Some(path) => Ask::Path { verb: &question.verb, path },
                None => Ask::Resource(wk_access::Resource {
                    verb: &question.verb,
                    group: &question.group,
                    resource: &question.resource,
                    subresource: &question.subresource,
                    namespace: &question.namespace,
                    name: &question.name,
                    fields: &question.fields,
                }),
            };
            let decision = server.access.decide_in(&view, user, &ask);
            Answer { allowed: decision.allowed, reason: decision.reason }
        }
    }
}
