//! Expressions over JSON, for those who ask before a write: match conditions of webhooks, and admission policies.
//!
//! What an expression may be is in the language's own module. Values go in and come out as JSON.

use serde_json::Value;

use crate::cel::{Asking, Budget, Fault, Known, Program, Value as CelValue};

/// The name under which expressions ask whether somebody may do something.
pub const AUTHORIZER: &str = "authorizer";

/// Something that an expression asks whether somebody may do. What is empty is not meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// Namespace and name of the service account that is asked about; None: whoever sent the request.
    pub account: Option<(String, String)>,
    /// `get`, `create`, …
    pub verb: String,
    /// The path, if it is about one that is no resource.
    pub path: Option<String>,
    /// API group.
    pub group: String,
    /// Plural of the kind.
    pub resource: String,
    /// `status`, `log`, …
    pub subresource: String,
    /// In which namespace.
    pub namespace: String,
    /// Which one.
    pub name: String,
    /// The field selector of a list.
    pub fields: String,
}

/// What is answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Whether they may.
    pub allowed: bool,
    /// Why, where there is something to say.
    pub reason: String,
}

/// Answers the questions of expressions.
#[derive(Clone)]
pub struct Authorizer<'a> {
    /// Decides.
    pub decide: &'a dyn Fn(&Question) -> Answer,
    /// What the request itself is about (`authorizer.requestResource`), without its verb.
    pub request: Question,
}

/// An expression that was read and whose names are known.
#[derive(Debug, Clone)]
pub struct Expression(Program);

/// What all expressions of one write may cost together.
#[derive(Debug)]
pub struct Cost(Budget);

impl Default for Cost {
    fn default() -> Self {
        Self(Budget::of_write())
    }
}

impl Expression {
    /// Reads an expression that may name these variables.
    pub fn parse(text: &str, variables: &[&str]) -> Result<Self, String> {
        let program = Program::parse(text)?;
        let variables: Vec<_> = variables.iter().map(|name| (*name, Known::Anything)).collect();
        program.check(&variables)?;
        Ok(Self(program))
    }

    /// What it comes to. Times, durations and the like come out as their texts.
    pub fn evaluate(
        &self,
        variables: &[(&str, &Value)],
        authorizer: &Authorizer<'_>,
        cost: &mut Cost,
    ) -> Result<Value, String> {
        let asking = CelValue::Asking(Asking::new(authorizer.clone()).into());
        let variables = variables.iter().map(|(name, value)| (*name, CelValue::of(value, None)));
        let variables: Vec<_> = variables.chain([(AUTHORIZER, asking)]).collect();
        match self.0.evaluate(&variables, &mut cost.0) {
            Ok(value) => Ok(value.to_json()),
            Err(Fault::Error(why)) => Err(why),
            Err(Fault::CallSpent | Fault::WriteSpent) => {
                Err("operation cancelled: actual cost limit exceeded".to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Answers as somebody who may get pods in `shop`, and the account `web` nothing but paths.
    fn come_to(text: &str) -> Result<Value, String> {
        let decide = |question: &Question| {
            let allowed = match &question.account {
                Some((_, account)) => account == "web" && question.path.as_deref() == Some("/healthz"),
                None => question.verb == "get" && question.resource == "pods" && question.namespace == "shop",
            };
            let reason = if allowed { String::new() } else { format!("no {}", question.verb) };
            Answer { allowed, reason }
        };
        let (resource, namespace) = ("pods".to_owned(), "shop".to_owned());
        let request = Question { resource, namespace, ..Question::default() };
        let authorizer = Authorizer { decide: &decide, request };
        let object = json!({"spec": {}});
        let expression = Expression::parse(text, &["object", AUTHORIZER])?;
        expression.evaluate(&[("object", &object)], &authorizer, &mut Cost::default())
    }

    #[test]
    fn expressions_ask_who_may_do_what() {
        let yes = [
            "authorizer.group('').resource('pods').namespace('shop').check('get').allowed()",
            "!authorizer.group('').resource('pods').namespace('other').check('get').allowed()",
            "authorizer.requestResource.check('get').allowed()",
            "authorizer.requestResource.check('delete').reason() == 'no delete'",
            "authorizer.serviceAccount('shop', 'web').path('/healthz').check('get').allowed()",
            "!authorizer.serviceAccount('shop', 'web').requestResource.check('get').allowed()",
            "!authorizer.path('/x').check('get').errored()",
        ];
        for text in yes {
            assert_eq!(come_to(text), Ok(json!(true)), "{text}");
        }
        assert!(come_to("authorizer.resource('pods')").is_err(), "a resource has a group");
        assert!(come_to("authorizer.check('get')").is_err(), "check what?");
        let thrice = "[1, 2, 3].all(i, authorizer.path('/x').check('get').reason() != '')";
        assert!(come_to(thrice).is_err_and(|why| why.contains("cost limit")), "an expression may ask twice");
    }
}
