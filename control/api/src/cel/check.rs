//! What can be said of an expression before there are values: names, functions, and fields where there is a schema.

use super::parser::{Expr, Macro};
use super::{calls, eval, library, strings};
use crate::custom::schema::{Schema, Type};

/// What is known of a value before it is there.
#[derive(Clone, Copy)]
enum Known<'a> {
    Anything,
    Schema(&'a Schema),
}

/// Checks an expression; the first thing that is wrong is told.
pub(super) fn check(expr: &Expr, variables: &[(&str, Option<&Schema>)]) -> Result<(), String> {
    let names =
        variables.iter().map(|(name, schema)| ((*name).to_owned(), schema.map_or(Known::Anything, Known::Schema)));
    Checking { names: names.collect() }.visit(expr).map(|_| ())
}

/// Whether an expression names a variable.
pub(super) fn names(expr: &Expr, variable: &str) -> bool {
    let mut found = false;
    walk(expr, &mut |expr| found |= matches!(expr, Expr::Ident(name) if name == variable));
    found
}

/// Whether a tree is deeper than `limit`.
pub(super) fn is_deeper(expr: &Expr, limit: usize) -> bool {
    limit == 0 || children(expr).into_iter().any(|child| is_deeper(child, limit - 1))
}

fn walk(expr: &Expr, each: &mut dyn FnMut(&Expr)) {
    each(expr);
    for child in children(expr) {
        walk(child, each);
    }
}

fn children(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::Null
        | Expr::Bool(_)
        | Expr::Int(_)
        | Expr::Uint(_)
        | Expr::Double(_)
        | Expr::Text(_)
        | Expr::Bytes(_)
        | Expr::Ident(_) => Vec::new(),
        Expr::Select { of, .. } | Expr::Has { of, .. } => vec![of],
        Expr::Not(inner) | Expr::Negate(inner) => vec![inner],
        Expr::Index { of: a, at: b, .. }
        | Expr::And(a, b)
        | Expr::Or(a, b)
        | Expr::Binary(_, a, b)
        | Expr::Bind { value: a, body: b, .. } => vec![a, b],
        Expr::Ternary(a, b, c) => vec![a, b, c],
        Expr::Call { target, args, .. } => target.as_deref().into_iter().chain(args).collect(),
        Expr::List(items) => items.iter().map(|(item, _)| item).collect(),
        Expr::Map(entries) => entries.iter().flat_map(|(key, value, _)| [key, value]).collect(),
        Expr::Each { over, when, body, .. } => {
            [Some(&**over), when.as_deref(), Some(&**body)].into_iter().flatten().collect()
        }
    }
}

struct Checking<'a> {
    names: Vec<(String, Known<'a>)>,
}

impl<'a> Checking<'a> {
    fn visit(&mut self, expr: &Expr) -> Result<Known<'a>, String> {
        match expr {
            Expr::Ident(name) => match self.names.iter().rev().find(|(own, _)| own == name) {
                Some((_, known)) => Ok(*known),
                None if calls::type_named(name).is_some() => Ok(Known::Anything),
                None => Err(format!("undeclared reference to '{name}' (in container '')")),
            },
            Expr::Select { of, field, .. } | Expr::Has { of, field } => {
                let of = self.visit(of)?;
                member(of, field)
            }
            Expr::Index { of, at, .. } => {
                let of = self.visit(of)?;
                self.visit(at)?;
                Ok(element(of))
            }
            Expr::Call { target, name, args } => {
                self.call(target.as_deref(), name, args)?;
                Ok(Known::Anything)
            }
            Expr::Each { macro_, over, names, when, body } => {
                let over = self.visit(over)?;
                let depth = self.names.len();
                let (first, second) = match names.len() {
                    1 if matches!(over, Known::Schema(schema) if schema.kind == Some(Type::Object)) => {
                        (Known::Anything, Known::Anything)
                    }
                    1 => (element(over), Known::Anything),
                    _ => (Known::Anything, element(over)),
                };
                let optional = matches!(macro_, Macro::OptMap | Macro::OptFlatMap);
                for (name, known) in names.iter().zip([first, second]) {
                    self.names.push((name.clone(), if optional { over } else { known }));
                }
                for expr in when.iter().chain([body]) {
                    self.visit(expr)?;
                }
                self.names.truncate(depth);
                Ok(if *macro_ == Macro::Filter { over } else { Known::Anything })
            }
            Expr::Bind { name, value, body } => {
                let value = self.visit(value)?;
                self.names.push((name.clone(), value));
                let found = self.visit(body)?;
                self.names.pop();
                Ok(found)
            }
            Expr::Ternary(condition, yes, no) => {
                self.visit(condition)?;
                self.visit(yes)?;
                self.visit(no)?;
                Ok(Known::Anything)
            }
            Expr::Not(inner) | Expr::Negate(inner) => self.visit(inner).map(|_| Known::Anything),
            Expr::And(a, b) | Expr::Or(a, b) | Expr::Binary(_, a, b) => {
                self.visit(a)?;
                self.visit(b)?;
                Ok(Known::Anything)
            }
            Expr::List(items) => {
                items.iter().try_for_each(|(item, _)| self.visit(item).map(|_| ())).map(|()| Known::Anything)
            }
            Expr::Map(entries) => {
                for (key, value, _) in entries {
                    self.visit(key)?;
                    self.visit(value)?;
                }
                Ok(Known::Anything)
            }
            Expr::Null
            | Expr::Bool(_)
            | Expr::Int(_)
            | Expr::Uint(_)
            | Expr::Double(_)
            | Expr::Text(_)
            | Expr::Bytes(_) => Ok(Known::Anything),
        }
    }

    fn call(&mut self, target: Option<&Expr>, name: &str, args: &[Expr]) -> Result<(), String> {
        let space = match target {
            Some(Expr::Ident(space)) if !self.names.iter().any(|(own, _)| own == space) => Some(space.as_str()),
            _ => None,
        };
        let known = match (target, space) {
            (_, Some(space)) if calls::SPACES.contains(&space) => {
                calls::FUNCTIONS.contains(&format!("{space}.{name}").as_str())
            }
            (Some(target), _) => {
                self.visit(target)?;
                let time = name.starts_with("get");
                time || strings::METHODS.contains(&name) || library::METHODS.contains(&name)
            }
            (None, _) => calls::FUNCTIONS.contains(&name),
        };
        if !known {
            return Err(format!("undeclared reference to '{name}' (in container '')"));
        }
        args.iter().try_for_each(|arg| self.visit(arg).map(|_| ()))
    }
}

fn element(of: Known<'_>) -> Known<'_> {
    let Known::Schema(schema) = of else { return Known::Anything };
    let below = schema.items.as_deref().or_else(|| schema.additional.as_ref()?.as_deref());
    below.map_or(Known::Anything, Known::Schema)
}

fn member<'a>(of: Known<'a>, field: &str) -> Result<Known<'a>, String> {
    let Known::Schema(schema) = of else { return Ok(Known::Anything) };
    let plain = eval::unescaped(field);
    let found = schema.member(field).or_else(|| schema.member(plain.as_deref()?));
    match (found, schema.kind) {
        (Some(found), _) => Ok(Known::Schema(found)),
        _ if schema.additional.is_some() => Ok(Known::Anything),
        _ if (schema.embedded || schema.root) && matches!(field, "apiVersion" | "kind" | "metadata") => {
            Ok(Known::Anything)
        }
        (None, Some(Type::Object) | None) => Err(format!("undefined field '{field}'")),
        (None, Some(kind)) => Err(format!("type '{}' does not support field selection", kind.as_str())),
    }
}
