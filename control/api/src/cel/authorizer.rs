//! The variable `authorizer`: whether somebody may do something, asked step by step.
//!
//! Functions and costs: `k8s.io/apiserver/pkg/cel/library/authz.go`. Not here: the answer.

use std::fmt;
use std::rc::Rc;

use super::eval::{Budget, Evaluated, error};
use super::value::Value;
use crate::expression::{Answer, Authorizer, Question};

/// Methods of these.
pub(super) const METHODS: [&str; 14] = [
    "path",
    "group",
    "serviceAccount",
    "resource",
    "subresource",
    "namespace",
    "name",
    "fieldSelector",
    "labelSelector",
    "check",
    "allowed",
    "reason",
    "errored",
    "error",
];

/// Steps that one question takes, as in Kubernetes: an expression may ask twice.
const CHECK_STEPS: u64 = 350_000;

/// How much of a question has been said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Begun,
    Path,
    Group,
    Resource,
}

/// A question in the making.
#[derive(Clone)]
pub(crate) struct Asking<'a> {
    of: Authorizer<'a>,
    stage: Stage,
    question: Question,
}

impl fmt::Debug for Asking<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asking").field("question", &self.question).finish_non_exhaustive()
    }
}

impl<'a> Asking<'a> {
    pub(crate) fn new(of: Authorizer<'a>) -> Self {
        Self { of, stage: Stage::Begun, question: Question::default() }
    }

    /// What `type()` calls it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self.stage {
            Stage::Begun => "kubernetes.authorization.Authorizer",
            Stage::Path => "kubernetes.authorization.PathCheck",
            Stage::Group => "kubernetes.authorization.GroupCheck",
            Stage::Resource => "kubernetes.authorization.ResourceCheck",
        }
    }

    /// `authorizer.requestResource`.
    pub(super) fn field(&self, field: &str) -> Option<Value<'a>> {
        let request = self.of.request.clone();
        let is_known = self.stage == Stage::Begun && field == "requestResource";
        is_known.then(|| self.next(Stage::Resource, Question { account: self.question.account.clone(), ..request }))
    }

    fn next(&self, stage: Stage, question: Question) -> Value<'a> {
        Value::Asking(Rc::new(Self { of: self.of.clone(), stage, question }))
    }
}

/// A method of a question in the making.
pub(super) fn method<'a>(own: &Asking<'a>, name: &str, rest: &[Value<'a>], budget: &mut Budget) -> Evaluated<'a> {
    let texts: Option<Vec<&str>> = rest
        .iter()
        .map(|value| match value {
            Value::Text(text) => Some(&**text),
            _ => None,
        })
        .collect();
    let with = |change: &dyn Fn(&mut Question)| {
        let mut question = own.question.clone();
        change(&mut question);
        question
    };
    let unknown = || error(format!("found no matching overload for '{name}' applied to '{}'", own.type_name()));
    let Some(texts) = texts else { return unknown() };
    Ok(match (own.stage, name, texts.as_slice()) {
        (Stage::Begun, "path", [path]) if !path.is_empty() => {
            own.next(Stage::Path, with(&|it| it.path = Some((*path).to_owned())))
        }
        (Stage::Begun, "path", [_]) => return error("path must not be empty"),
        (Stage::Begun, "group", [group]) => own.next(Stage::Group, with(&|it| (*group).clone_into(&mut it.group))),
        (Stage::Begun, "serviceAccount", [namespace, account]) => {
            own.next(Stage::Begun, with(&|it| it.account = Some(((*namespace).to_owned(), (*account).to_owned()))))
        }
        (Stage::Group, "resource", [resource]) => {
            own.next(Stage::Resource, with(&|it| (*resource).clone_into(&mut it.resource)))
        }
        (Stage::Resource, "subresource", [text]) => {
            own.next(Stage::Resource, with(&|it| (*text).clone_into(&mut it.subresource)))
        }
        (Stage::Resource, "namespace", [text]) => {
            own.next(Stage::Resource, with(&|it| (*text).clone_into(&mut it.namespace)))
        }
        (Stage::Resource, "name", [text]) => own.next(Stage::Resource, with(&|it| (*text).clone_into(&mut it.name))),
        (Stage::Resource, "fieldSelector", [text]) => {
            own.next(Stage::Resource, with(&|it| (*text).clone_into(&mut it.fields)))
        }
        // Roles know nothing of labels.
        (Stage::Resource, "labelSelector", [_]) => own.next(Stage::Resource, own.question.clone()),
        (Stage::Path | Stage::Resource, "check", [verb]) => {
            budget.take(CHECK_STEPS)?;
            Value::Answer(Rc::new((own.of.decide)(&with(&|it| (*verb).clone_into(&mut it.verb)))))
        }
        _ => return unknown(),
    })
}

/// A method of an answer.
pub(super) fn of_answer<'a>(own: &Answer, name: &str, rest: &[Value<'a>]) -> Evaluated<'a> {
    Ok(match (name, rest) {
        ("allowed", []) => Value::Bool(own.allowed),
        ("reason", []) => Value::text(&own.reason),
        // Here every question has an answer.
        ("errored", []) => Value::Bool(false),
        ("error", []) => Value::text(""),
        _ => {
            let kind = "kubernetes.authorization.Decision";
            return error(format!("found no matching overload for '{name}' applied to '{kind}'"));
        }
    })
}
