//! The Common Expression Language, as far as Kubernetes' rules use it: parsed, checked for names, and evaluated within a
//! budget of steps.
//!
//! Ours and not a crate's, because a rule is written by somebody else and judged while a write waits: the crates that
//! there are know no cost and no end. Types are judged when an expression is evaluated, and not before; what is found
//! before are syntax, unknown names, functions and fields.
//!
//! Language: <https://github.com/google/cel-spec>. Functions: those of `k8s.io/apiserver/pkg/cel/library` that rules use.

mod calls;
mod check;
mod eval;
mod lexer;
mod library;
mod parser;
mod strings;
mod value;

#[cfg(test)]
mod tests;

use crate::custom::schema::Schema;

pub(crate) use eval::{Budget, Fault};
pub(crate) use value::Value;

/// Longest expression, as long as those of any published definition several times over: parsing is recursive.
const EXPRESSION_BYTES_MAX: usize = 16 * 1024;

/// Steps of one expression, and of all that one write evaluates: as Kubernetes' `PerCallLimit` and
/// `RuntimeCELCostBudget`, where a step is what costs one there. A step takes about a tenth of a microsecond.
pub(crate) const CALL_STEPS_MAX: u64 = 1_000_000;
pub(crate) const WRITE_STEPS_MAX: u64 = 10_000_000;

/// An expression that was read.
#[derive(Debug, Clone)]
pub(crate) struct Program(parser::Expr);

/// A variable's name and its value.
pub(crate) type Binding<'a> = (&'a str, Value<'a>);

impl Program {
    /// Reads an expression; the error is in the words of Kubernetes.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(format!("expression is longer than {EXPRESSION_BYTES_MAX} bytes"));
        }
        parser::parse(text).map(Self)
    }

    /// What of it is not known: `variables` are what it may name, each with its schema where there is one.
    pub(crate) fn check(&self, variables: &[(&str, Option<&Schema>)]) -> Result<(), String> {
        check::check(&self.0, variables)
    }

    /// Whether it names `variable`.
    pub(crate) fn names(&self, variable: &str) -> bool {
        check::names(&self.0, variable)
    }

    /// What it comes to.
    pub(crate) fn evaluate<'a>(&self, variables: &[Binding<'a>], budget: &mut Budget) -> Result<Value<'a>, Fault> {
        eval::run(&self.0, variables, budget)
    }
}
