//! What can be said of an expression before there are values: names, functions, and fields where there is a schema.

use super::parser::{Expr, Macro};
use super::{authorizer, calls, cost, eval, library, strings, types};
use crate::custom::schema::{Schema, Type};
use crate::schema::{Node, Shape};

/// What is known of a value before it is there.
#[derive(Clone, Copy)]
pub(crate) enum Known<'a> {
    Anything,
    /// A type, by its name.
    Plain(&'static str),
    /// A place in the schema that a definition gives.
    Schema(&'a Schema),
    /// A place in the schema of a kind, built-in or custom.
    Node(Node<'a>),
}

/// Checks an expression; the first thing that is wrong is told. Answers the name of its type, if that is known.
pub(super) fn check(expr: &Expr, variables: &[(&str, Known<'_>)]) -> Result<Option<&'static str>, String> {
    Checking::new(variables).visit(expr).map(types::name)
}

/// How often the loops of an expression run at most. Of one that is not sound, as far as it is.
pub(super) fn loops(expr: &Expr, variables: &[(&str, Known<'_>)]) -> u64 {
    let mut checking = Checking::new(variables);
    let _sound = checking.visit(expr);
    checking.loops
}

/// The fields of `variable` that an expression names.
pub(super) fn fields_of<'e>(expr: &'e Expr, variable: &str) -> Vec<&'e str> {
    let mut found = Vec::new();
    walk(expr, &mut |expr| {
        if let Expr::Select { of, field, .. } | Expr::Has { of, field } = expr
            && matches!(&**of, Expr::Ident(name) if name == variable)
        {
            found.push(field.as_str());
        }
    });
    found
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

fn walk<'e>(expr: &'e Expr, each: &mut dyn FnMut(&'e Expr)) {
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
    /// How often what is looked at is evaluated at most.
    times: u64,
    /// How often all loops run at most.
    loops: u64,
}

impl<'a> Checking<'a> {
    fn new(variables: &[(&str, Known<'a>)]) -> Self {
        let names = variables.iter().map(|(name, known)| ((*name).to_owned(), *known)).collect();
        Self { names, times: 1, loops: 1 }
    }

    fn visit(&mut self, expr: &Expr) -> Result<Known<'a>, String> {
        match expr {
            Expr::Ident(name) => match self.names.iter().rev().find(|(own, _)| own == name) {
                Some((_, known)) => Ok(*known),
                None if calls::type_named(name).is_some() => Ok(Known::Anything),
                None => Err(format!("undeclared reference to '{name}' (in container '')")),
            },
            Expr::Select { of, field, optional } => {
                let of = self.visit(of)?;
                let found = member(of, field)?;
                Ok(if *optional { Known::Anything } else { found })
            }
            Expr::Has { of, field } => {
                let of = self.visit(of)?;
                member(of, field).map(|_| Known::Plain("bool"))
            }
            Expr::Index { of, at, optional } => {
                let of = self.visit(of)?;
                self.visit(at)?;
                Ok(if *optional { Known::Anything } else { element(of) })
            }
            Expr::Call { target, name, args } => self.call(target.as_deref(), name, args),
            Expr::Each { macro_, over, names, when, body } => {
                let over = self.visit(over)?;
                let depth = self.names.len();
                let (first, second) = match names.len() {
                    1 if is_map(over) => (Known::Anything, Known::Anything),
                    1 => (element(over), Known::Anything),
                    _ => (Known::Anything, element(over)),
                };
                let optional = matches!(macro_, Macro::OptMap | Macro::OptFlatMap);
                for (name, known) in names.iter().zip([first, second]) {
                    self.names.push((name.clone(), if optional { over } else { known }));
                }
                let asks = matches!(macro_, Macro::All | Macro::Exists | Macro::ExistsOne | Macro::Filter);
                let outside = self.times;
                if let Known::Schema(schema) = over
                    && !optional
                {
                    self.times = outside.saturating_mul(cost::most(schema));
                    self.loops = self.loops.saturating_add(self.times);
                }
                if let Some(when) = when {
                    types::is_bool(self.visit(when)?, "_?_:_")?;
                }
                let found = self.visit(body)?;
                if asks {
                    types::is_bool(found, if *macro_ == Macro::All { "_&&_" } else { "_||_" })?;
                }
                self.names.truncate(depth);
                self.times = outside;
                Ok(match macro_ {
                    Macro::All | Macro::Exists | Macro::ExistsOne => Known::Plain("bool"),
                    Macro::Filter => over,
                    Macro::Map => Known::Plain("list"),
                    Macro::TransformMap => Known::Plain("map"),
                    Macro::OptMap | Macro::OptFlatMap => Known::Anything,
                })
            }
            Expr::Bind { name, value, body } => {
                let value = self.visit(value)?;
                self.names.push((name.clone(), value));
                let found = self.visit(body)?;
                self.names.pop();
                Ok(found)
            }
            Expr::Ternary(condition, yes, no) => {
                types::is_bool(self.visit(condition)?, "_?_:_")?;
                let (yes, no) = (self.visit(yes)?, self.visit(no)?);
                let same = types::name(yes).filter(|yes| types::name(no) == Some(*yes));
                Ok(same.map_or(Known::Anything, Known::Plain))
            }
            Expr::Not(inner) => {
                types::is_bool(self.visit(inner)?, "!_")?;
                Ok(Known::Plain("bool"))
            }
            Expr::Negate(inner) => types::negated(self.visit(inner)?),
            Expr::And(a, b) | Expr::Or(a, b) => {
                let operator = if matches!(expr, Expr::And(..)) { "_&&_" } else { "_||_" };
                types::is_bool(self.visit(a)?, operator)?;
                types::is_bool(self.visit(b)?, operator)?;
                Ok(Known::Plain("bool"))
            }
            Expr::Binary(operator, a, b) => {
                let (a, b) = (self.visit(a)?, self.visit(b)?);
                types::binary(operator, a, b)
            }
            Expr::List(items) => {
                items.iter().try_for_each(|(item, _)| self.visit(item).map(|_| ())).map(|()| Known::Plain("list"))
            }
            Expr::Map(entries) => {
                for (key, value, _) in entries {
                    self.visit(key)?;
                    self.visit(value)?;
                }
                Ok(Known::Plain("map"))
            }
            Expr::Null => Ok(Known::Plain("null")),
            Expr::Bool(_) => Ok(Known::Plain("bool")),
            Expr::Int(_) => Ok(Known::Plain("int")),
            Expr::Uint(_) => Ok(Known::Plain("uint")),
            Expr::Double(_) => Ok(Known::Plain("double")),
            Expr::Text(_) => Ok(Known::Plain("string")),
            Expr::Bytes(_) => Ok(Known::Plain("bytes")),
        }
    }

    fn call(&mut self, target: Option<&Expr>, name: &str, args: &[Expr]) -> Result<Known<'a>, String> {
        let space = match target {
            Some(Expr::Ident(space)) if !self.names.iter().any(|(own, _)| own == space) => Some(space.as_str()),
            _ => None,
        };
        let mut first = None;
        let known = match (target, space) {
            (_, Some(space)) if calls::SPACES.contains(&space) => {
                calls::FUNCTIONS.contains(&format!("{space}.{name}").as_str())
            }
            (Some(target), _) => {
                first = Some(self.visit(target)?);
                let time = name.starts_with("get");
                time || [&strings::METHODS[..], &library::METHODS, &authorizer::METHODS]
                    .iter()
                    .any(|all| all.contains(&name))
            }
            (None, _) => calls::FUNCTIONS.contains(&name),
        };
        if !known {
            return Err(format!("undeclared reference to '{name}' (in container '')"));
        }
        for arg in args {
            let found = self.visit(arg)?;
            first = first.or(Some(found));
        }
        if space.is_some() { Ok(Known::Anything) } else { types::call(name, first) }
    }
}

/// Whether a loop with one name goes over keys.
fn is_map(over: Known<'_>) -> bool {
    match over {
        Known::Schema(schema) => schema.kind == Some(Type::Object),
        Known::Node(node) => matches!(node.shape(), Shape::Map(..) | Shape::Struct(..)),
        Known::Anything | Known::Plain(_) => false,
    }
}

fn element(of: Known<'_>) -> Known<'_> {
    let found = match of {
        Known::Schema(schema) => {
            let below = schema.items.as_deref().or_else(|| schema.additional.as_ref()?.as_deref());
            below.map(Known::Schema)
        }
        Known::Node(node) if matches!(node.shape(), Shape::Map(..)) => node.member("").map(Known::Node),
        Known::Node(node) => node.items().map(Known::Node),
        Known::Anything | Known::Plain(_) => None,
    };
    found.unwrap_or(Known::Anything)
}

fn member<'a>(of: Known<'a>, field: &str) -> Result<Known<'a>, String> {
    let schema = match of {
        Known::Anything | Known::Plain("map") => return Ok(Known::Anything),
        Known::Plain(name) => return Err(format!("type '{name}' does not support field selection")),
        Known::Node(node) => return member_of(node, field),
        Known::Schema(schema) => schema,
    };
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

fn member_of<'a>(node: Node<'a>, field: &str) -> Result<Known<'a>, String> {
    let plain = eval::unescaped(field);
    let field = plain.as_deref().unwrap_or(field);
    if node.field(field).is_some_and(|(declared, _)| declared.nullable) {
        return Ok(Known::Anything);
    }
    match (node.member(field), types::name(Known::Node(node))) {
        (Some(below), _) => Ok(Known::Node(below)),
        (None, None) => Ok(Known::Anything),
        (None, Some("map")) => Err(format!("undefined field '{field}'")),
        (None, Some(name)) => Err(format!("type '{name}' does not support field selection")),
    }
}
