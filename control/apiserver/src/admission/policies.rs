//! ValidatingAdmissionPolicies: rules in CEL that a write must pass, put into force by bindings.
//!
//! Wording: `k8s.io/apiserver/pkg/admission/plugin/policy/validating`. Not here: audit annotations.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use wk_api::expression::{AUTHORIZER, Authorizer, Expression};
use wk_api::selector::Labels;
use wk_api::{Kind, Object, Reason, Status, kinds};
use wk_cluster::{key, object, object_as};

use super::Asked;
use super::matching::{items, text};
use super::webhooks::reason;

/// What expressions of policies may name.
const VARIABLES: [&str; 7] = ["object", "oldObject", "request", "params", "namespaceObject", "variables", AUTHORIZER];

/// Parameters that one binding may lead to at most: each is judged by itself.
const PARAMS_MAX: usize = 100;

/// What a rule said when it did not hold.
struct Failure {
    message: String,
    reason: Reason,
}

impl Asked<'_> {
    /// The policies that are about the operation and the resource, each with the version that it names it in.
    pub(super) fn policies_about_it(&self) -> Vec<(Arc<Object>, &'static Kind)> {
        let all = self.view.list(kinds::VALIDATINGADMISSIONPOLICY.collection(), "").map(|stored| object(&stored));
        let about = |policy: Arc<Object>| Some((self.matched(&policy.0["spec"]["matchConstraints"])?, policy));
        all.filter_map(about).map(|(kind, policy)| (policy, kind)).collect()
    }

    /// The version in which these constraints are about the resource; without rules they are in any.
    fn matched(&self, constraints: &Value) -> Option<&'static Kind> {
        let any_version = text(constraints, "matchPolicy") != "Exact";
        let rules = items(constraints, "resourceRules");
        let kind = if rules.is_empty() { Some(self.call.requested) } else { self.about(rules, any_version) };
        kind.filter(|_| self.about(items(constraints, "excludeResourceRules"), any_version).is_none())
    }

    /// Judges the write by every policy that is in force for it. Each sees the object in the version that it names.
    pub(super) async fn judge(&mut self, new: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
        let policies = self.policies.clone();
        if policies.is_empty() {
            return Ok(());
        }
        let bindings = self.view.list(kinds::VALIDATINGADMISSIONPOLICYBINDING.collection(), "");
        let bindings: Vec<_> = bindings.map(|stored| object(&stored)).collect();
        for (policy, kind) in &policies {
            if !self.selects(&policy.0["spec"]["matchConstraints"], new, old) {
                continue;
            }
            let own = |binding: &&Arc<Object>| binding.text("/spec/policyName") == policy.name();
            for binding in bindings.iter().filter(own) {
                let matched = &binding.0["spec"]["matchResources"];
                if self.matched(matched).is_some() && self.selects(matched, new, old) {
                    let (new, old) = self.in_version(kind, new, old).await?;
                    self.by_binding((policy, kind), binding, new.as_ref(), old.as_ref())?;
                }
            }
        }
        Ok(())
    }

    fn by_binding(
        &mut self,
        (policy, kind): (&Object, &'static Kind),
        binding: &Object,
        new: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        let failures = match self.params(policy, binding) {
            Ok(all) => {
                let mut failures = Vec::new();
                for params in all {
                    failures.extend(self.failures((policy, kind), &params, new, old));
                }
                failures
            }
            Err(message) => vec![Failure { message, reason: Reason::Invalid }],
        };
        let (policy, binding_name) = (policy.name(), binding.name());
        for Failure { message, reason } in failures {
            let actions = binding.items("/spec/validationActions");
            if actions.iter().any(|action| action == "Warn") {
                let who = format!("ValidatingAdmissionPolicy '{policy}' with binding '{binding_name}'");
                self.warnings.push(format!("Validation failed for {who}: {message}"));
            }
            if actions.iter().any(|action| action == "Audit") {
                let failure = json!([{
                    "message": message, "policy": policy, "binding": binding_name, "validationActions": actions,
                }]);
                let name = "validation.policy.admission.k8s.io/validation_failure".to_owned();
                self.call.notes.extend([(name, failure.to_string())]);
            }
            if actions.iter().any(|action| action == "Deny") {
                let who = format!("ValidatingAdmissionPolicy '{policy}' with binding '{binding_name}'");
                let why = format!("{who} denied request: {message}");
                let name = new.or(old).and_then(|object| object["metadata"]["name"].as_str()).unwrap_or_default();
                let mut status = Status::forbidden(self.call.kind(), name, &why);
                status.code = code(reason);
                status.reason = reason;
                return Err(status.with_cause("", &why));
            }
        }
        Ok(())
    }

    /// The objects that the rules are judged with, one after the other; one null when the policy takes none.
    fn params(&self, policy: &Object, binding: &Object) -> Result<Vec<Value>, String> {
        let Some(kind) = policy.at("/spec/paramKind").filter(|kind| kind.is_object()) else {
            return Ok(vec![Value::Null]);
        };
        let (version, word) = (text(kind, "apiVersion"), text(kind, "kind"));
        let served = wk_cluster::kinds_in(&self.view);
        let found = served.into_iter().find(|own| own.kind == word && own.api_version() == version);
        let found =
            found.ok_or_else(|| format!("failed to configure policy: no kind {word} in {version} is served"))?;
        let Some(reference) = binding.at("/spec/paramRef").filter(|reference| reference.is_object()) else {
            return Ok(vec![Value::Null]);
        };
        let namespace = match text(reference, "namespace") {
            "" => self.call.namespace(),
            own => Some(own),
        };
        let namespace = namespace.filter(|_| found.is_namespaced());
        let all: Vec<Value> = match text(reference, "name") {
            "" => {
                let labels = Labels::from_label_selector(&reference["selector"]).map_err(|status| status.message)?;
                let prefix = namespace.map(|namespace| format!("{namespace}/")).unwrap_or_default();
                let all = self.view.list(found.collection(), &prefix).map(|stored| object_as(found, &stored));
                all.filter(|object| labels.matches(&object.labels())).take(PARAMS_MAX).map(|it| it.0.clone()).collect()
            }
            name => {
                let stored = self.view.get(&key(found, namespace, name));
                stored.map(|stored| object_as(found, &stored).0.clone()).into_iter().collect()
            }
        };
        if all.is_empty() && text(reference, "parameterNotFoundAction") != "Allow" {
            return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
        }
        Ok(all)
    }

    /// The rules of a policy that do not hold.
    fn failures(
        &mut self,
        (policy, kind): (&Object, &'static Kind),
        params: &Value,
        new: Option<&Value>,
        old: Option<&Value>,
    ) -> Vec<Failure> {
        let ignores = policy.text("/spec/failurePolicy") == "Ignore";
        let request = self.request(kind, new);
        let decide = self.decider();
        let authorizer = Authorizer { decide: &decide, request: self.question() };
        let (null, namespace) = (Value::Null, self.namespace().map_or(Value::Null, |namespace| namespace.0));
        let failed = |message: String| vec![Failure { message, reason: Reason::Invalid }];
        let mut known = Value::Object(Map::new());
        macro_rules! variables {
            () => {
                [
                    ("object", new.unwrap_or(&null)),
                    ("oldObject", old.unwrap_or(&null)),
                    ("request", &request),
                    ("params", params),
                    ("namespaceObject", &namespace),
                    ("variables", &known),
                ]
            };
        }
        match self.conditions_hold(policy.items("/spec/matchConditions"), &variables!()[..5]) {
            Ok(true) => {}
            Ok(false) => return Vec::new(),
            Err(_) if ignores => return Vec::new(),
            Err(why) => return failed(why),
        }
        for variable in policy.items("/spec/variables") {
            let expression = Expression::parse(text(variable, "expression"), &VARIABLES);
            let found =
                expression.and_then(|expression| expression.evaluate(&variables!(), &authorizer, &mut self.cost));
            // One that cannot be told is missed only by a rule that needs it.
            if let Ok(value) = found {
                known[text(variable, "name")] = value;
            }
        }
        let mut failures = Vec::new();
        for rule in policy.items("/spec/validations") {
            let text_of = text(rule, "expression");
            let found = Expression::parse(text_of, &VARIABLES)
                .and_then(|expression| expression.evaluate(&variables!(), &authorizer, &mut self.cost));
            let said = match found {
                Ok(Value::Bool(true)) => continue,
                Ok(_) => self.message(rule, &variables!(), &authorizer),
                Err(_) if ignores => continue,
                Err(why) => format!("expression '{text_of}' resulted in error: {why}"),
            };
            let reason = match text(rule, "reason") {
                "" => Reason::Invalid,
                word => reason(word),
            };
            failures.push(Failure { message: said, reason });
        }
        failures
    }

    fn message(&mut self, rule: &Value, variables: &[(&str, &Value)], authorizer: &Authorizer<'_>) -> String {
        let own = text(rule, "messageExpression");
        let said = Expression::parse(own, &VARIABLES)
            .and_then(|expression| expression.evaluate(variables, authorizer, &mut self.cost))
            .ok()
            .and_then(|value| value.as_str().map(|text| text.trim().to_owned()))
            .filter(|text| !text.is_empty() && !text.contains('\n'));
        match (said, text(rule, "message")) {
            (Some(said), _) => said,
            (None, "") => format!("failed expression: {}", text(rule, "expression").trim()),
            (None, message) => message.trim().to_owned(),
        }
    }
}

/// The status code of a refusal with this reason.
fn code(reason: Reason) -> u16 {
    match reason {
        Reason::Unauthorized => 401,
        Reason::Forbidden => 403,
        Reason::RequestEntityTooLarge => 413,
        _ => 422,
    }
}
