//! The Common Expression Language, as far as Kubernetes' rules use it: parsed, checked for names, and evaluated within a
//! budget of steps.
//!
//! Ours and not a crate's, because a rule is written by somebody else and judged while a write waits: the crates that
//! there are know no cost and no end. Types are judged when an expression is evaluated, and not before; what is found
//! before are syntax, unknown names, functions and fields.
//!
//! Language: <https://github.com/google/cel-spec>. Functions: those of `k8s.io/apiserver/pkg/cel/library` that rules use.

mod authorizer;
mod calls;
mod check;
pub(crate) mod cost;
mod eval;
mod lexer;
mod library;
mod parser;
mod strings;
mod types;
mod value;

#[cfg(test)]
mod tests;

pub(crate) use authorizer::Asking;
pub(crate) use check::Known;
pub(crate) use eval::{Budget, Fault};
pub use strings::duration;
pub(crate) use value::Value;

/// Longest expression, as long as those of any published definition several times over: parsing is recursive.
const EXPRESSION_BYTES_MAX: usize = 16 * 1024;

/// Steps of one expression, and of all that one write evaluates: as Kubernetes' `PerCallLimit` and
/// `RuntimeCELCostBudget`, where a step is what costs one there. A step takes about a tenth of a microsecond.
pub(crate) const CALL_STEPS_MAX: u64 = 1_000_000;
pub(crate) const WRITE_STEPS_MAX: u64 = 10_000_000;

/// What is wrong with an expression.
pub(crate) enum Mistake {
    /// It cannot be read, or names what there is not.
    Compilation(String),
    /// It is of another type than it should be.
    Type(String),
}

/// A mistake in `text` as the compiler of Kubernetes tells it: with line, column and a mark, where the place is known.
pub(crate) fn told(text: &str, why: &str) -> String {
    let place = why.rsplit_once(" at ").and_then(|(what, at)| Some((what, at.parse::<usize>().ok()?)));
    let Some((what, at)) = place else { return format!("ERROR: <input>: {why}\n | {text}") };
    let before = &text[..text.floor_char_boundary(at)];
    let line = before.matches('\n').count();
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
    let shown = text.lines().nth(line).unwrap_or_default();
    format!("ERROR: <input>:{}:{}: {what}\n | {shown}\n | {}^", line + 1, column + 1, ".".repeat(column))
}

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

    /// What of it is not known: `variables` are what it may name, each with what is known of it.
    pub(crate) fn check(&self, variables: &[(&str, Known<'_>)]) -> Result<(), String> {
        check::check(&self.0, variables).map(|_| ())
    }

    /// As [`Program::check`], also that it comes to a `wanted`: `bool`, `string`, `string or null`.
    pub(crate) fn check_is(&self, wanted: &str, variables: &[(&str, Known<'_>)]) -> Result<(), Mistake> {
        match check::check(&self.0, variables) {
            Err(why) => Err(Mistake::Compilation(why)),
            Ok(Some(found)) if wanted.split(" or ").all(|wanted| wanted != found) => {
                Err(Mistake::Type(format!("must evaluate to {wanted}")))
            }
            Ok(_) => Ok(()),
        }
    }

    /// How often its loops run at most, by what the schemas allow; once when it has none.
    pub(crate) fn loops(&self, variables: &[(&str, Known<'_>)]) -> u64 {
        check::loops(&self.0, variables)
    }

    /// The fields of `variable` that it names.
    pub(crate) fn fields_of(&self, variable: &str) -> Vec<&str> {
        check::fields_of(&self.0, variable)
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
