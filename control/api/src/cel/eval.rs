//! What an expression comes to, step by step, until the budget is spent.

use std::rc::Rc;

use super::parser::{Expr, Macro};
use super::value::Value;
use super::{Binding, calls};

/// Steps that may still be taken.
#[derive(Debug)]
pub(crate) struct Budget {
    /// By this expression.
    call: u64,
    /// By all of one write.
    write: u64,
}

/// Why an expression came to nothing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    /// It makes no sense with these values.
    Error(String),
    /// It took too many steps.
    CallSpent,
    /// All expressions of the write together did.
    WriteSpent,
}

pub(super) type Evaluated<'a> = Result<Value<'a>, Fault>;

pub(super) fn error<T>(text: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Error(text.into()))
}

impl Budget {
    /// What one write may take.
    pub(crate) fn of_write() -> Self {
        Self { call: super::CALL_STEPS_MAX, write: super::WRITE_STEPS_MAX }
    }

    /// Takes `steps`.
    pub(super) fn take(&mut self, steps: u64) -> Result<(), Fault> {
        self.call = self.call.checked_sub(steps).ok_or(Fault::CallSpent)?;
        self.write = self.write.checked_sub(steps).ok_or(Fault::WriteSpent)?;
        Ok(())
    }
}

/// Evaluates one expression.
pub(super) fn run<'a>(expr: &Expr, variables: &[Binding<'a>], budget: &mut Budget) -> Evaluated<'a> {
    budget.call = super::CALL_STEPS_MAX;
    Scope { names: variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(), budget }
        .eval(expr)
}

/// The names that are known where an expression stands; inner ones come later.
pub(super) struct Scope<'a, 'b> {
    names: Vec<(String, Value<'a>)>,
    pub(super) budget: &'b mut Budget,
}

impl<'a> Scope<'a, '_> {
    pub(super) fn eval(&mut self, expr: &Expr) -> Evaluated<'a> {
        self.budget.take(1)?;
        Ok(match expr {
            Expr::Null => Value::Null,
            Expr::Bool(value) => Value::Bool(*value),
            Expr::Int(number) => Value::Int(*number),
            Expr::Uint(number) => Value::Uint(*number),
            Expr::Double(number) => Value::Double(*number),
            Expr::Text(text) => Value::text(text),
            Expr::Bytes(bytes) => Value::Bytes(bytes.as_slice().into()),
            Expr::Ident(name) => match self.names.iter().rev().find(|(own, _)| own == name) {
                Some((_, value)) => value.clone(),
                None => match calls::type_named(name) {
                    Some(kind) => Value::Type(kind),
                    None => return error(format!("undeclared reference to '{name}' (in container '')")),
                },
            },
            Expr::Select { of, field, optional } => {
                let of = self.eval(of)?;
                return select(&of, field, *optional);
            }
            Expr::Has { of, field } => match self.eval(of)? {
                Value::Optional(of) => Value::Bool(of.is_some_and(|of| member(&of, field).is_some())),
                of @ (Value::Map(_) | Value::JsonMap(..)) => Value::Bool(member(&of, field).is_some()),
                of => return error(format!("unexpected type '{}' in has()", of.type_name())),
            },
            Expr::Index { of, at, optional } => {
                let (of, at) = (self.eval(of)?, self.eval(at)?);
                return index(&of, &at, *optional);
            }
            Expr::Not(inner) => Value::Bool(!truth(&self.eval(inner)?)?),
            Expr::Negate(inner) => match self.eval(inner)? {
                Value::Int(number) => Value::Int(number.checked_neg().ok_or_else(overflow)?),
                Value::Double(number) => Value::Double(-number),
                Value::Duration(span) => Value::Duration(span.checked_neg().ok_or_else(overflow)?),
                _ => return error("no such overload"),
            },
            Expr::And(left, right) => return self.junction(left, right, false),
            Expr::Or(left, right) => return self.junction(left, right, true),
            Expr::Ternary(condition, yes, no) => {
                let branch = if truth(&self.eval(condition)?)? { yes } else { no };
                return self.eval(branch);
            }
            Expr::Binary(operator, left, right) => {
                let (left, right) = (self.eval(left)?, self.eval(right)?);
                self.budget.take(left.weight().min(right.weight()))?;
                return calls::binary(operator, &left, &right, self.budget);
            }
            Expr::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (item, optional) in items {
                    match (self.eval(item)?, optional) {
                        (Value::Optional(None), true) => {}
                        (Value::Optional(Some(value)), true) => list.push((*value).clone()),
                        (value, _) => list.push(value),
                    }
                }
                Value::List(Rc::new(list))
            }
            Expr::Map(entries) => {
                let mut map: Vec<(Value<'a>, Value<'a>)> = Vec::with_capacity(entries.len());
                for (key, value, optional) in entries {
                    let (key, value) = (self.eval(key)?, self.eval(value)?);
                    match (value, optional) {
                        (Value::Optional(None), true) => {}
                        (Value::Optional(Some(value)), true) => map.push((key, (*value).clone())),
                        (value, _) => map.push((key, value)),
                    }
                }
                Value::Map(Rc::new(map))
            }
            Expr::Bind { name, value, body } => {
                let value = self.eval(value)?;
                return self.with(name, value, |this| this.eval(body));
            }
            Expr::Call { target, name, args } => {
                let mut values = Vec::with_capacity(args.len() + 1);
                if let Some(target) = target {
                    if let Expr::Ident(space) = &**target
                        && calls::SPACES.contains(&space.as_str())
                        && !self.names.iter().any(|(own, _)| own == space)
                    {
                        for arg in args {
                            values.push(self.eval(arg)?);
                        }
                        return calls::function(&format!("{space}.{name}"), &values, self.budget);
                    }
                    values.push(self.eval(target)?);
                }
                for arg in args {
                    values.push(self.eval(arg)?);
                }
                self.budget.take(values.iter().map(Value::weight).sum())?;
                return match target {
                    Some(_) => calls::method(name, &values, self.budget),
                    None => calls::function(name, &values, self.budget),
                };
            }
            Expr::Each { macro_, over, names, when, body } => {
                let over = self.eval(over)?;
                return self.each(*macro_, &over, names, when.as_deref(), body);
            }
        })
    }

    /// `||` when `decisive`, `&&` otherwise: an error on one side does not matter when the other side decides.
    fn junction(&mut self, left: &Expr, right: &Expr, decisive: bool) -> Evaluated<'a> {
        let mut side = |expr: &Expr| match self.eval(expr).and_then(|value| truth(&value)) {
            Err(spent @ (Fault::CallSpent | Fault::WriteSpent)) => Err(spent),
            other => Ok(other),
        };
        let left = side(left)?;
        if left == Ok(decisive) {
            return Ok(Value::Bool(decisive));
        }
        let right = side(right)?;
        if right == Ok(decisive) {
            return Ok(Value::Bool(decisive));
        }
        left?;
        right?;
        Ok(Value::Bool(!decisive))
    }

    fn with<T>(&mut self, name: &str, value: Value<'a>, then: impl FnOnce(&mut Self) -> T) -> T {
        self.names.push((name.to_owned(), value));
        let found = then(self);
        self.names.pop();
        found
    }

    fn each(
        &mut self,
        macro_: Macro,
        over: &Value<'a>,
        names: &[String],
        when: Option<&Expr>,
        body: &Expr,
    ) -> Evaluated<'a> {
        let Some(first) = names.first() else { return error("a macro without a variable") };
        if let Value::Optional(value) = over {
            let Some(value) = value else { return Ok(Value::Optional(None)) };
            let found = self.with(first, (**value).clone(), |this| this.eval(body))?;
            return Ok(if macro_ == Macro::OptFlatMap { found } else { Value::Optional(Some(Rc::new(found))) });
        }
        let pairs: Vec<(Value<'a>, Value<'a>)> = match (over.items(), over.entries()) {
            (Some(items), _) => items
                .into_iter()
                .enumerate()
                .map(|(at, item)| (Value::Int(i64::try_from(at).unwrap_or(i64::MAX)), item))
                .collect(),
            (None, Some(entries)) => entries,
            (None, None) => return error(format!("no such overload: {} is no list or map", over.type_name())),
        };
        let is_list = over.entries().is_none();
        let mut found = Found { macro_, values: Vec::new(), count: 0, fault: None };
        for (key, value) in pairs {
            self.budget.take(1)?;
            let depth = self.names.len();
            match names.get(1) {
                Some(second) => {
                    self.names.push((first.clone(), key.clone()));
                    self.names.push((second.clone(), value.clone()));
                }
                None => self.names.push((first.clone(), if is_list { value.clone() } else { key.clone() })),
            }
            let kept = when.map_or(Ok(true), |when| self.eval(when).and_then(|value| truth(&value)));
            let outcome = match kept {
                Ok(false) => None,
                Ok(true) => Some(self.eval(body)),
                Err(fault) => Some(Err(fault)),
            };
            self.names.truncate(depth);
            let shown = if is_list || names.len() > 1 { value } else { key.clone() };
            if let Some(outcome) = outcome
                && let Some(done) = found.take(outcome, key, shown)?
            {
                return Ok(done);
            }
        }
        found.finish()
    }
}

/// What a macro has found so far.
struct Found<'a> {
    macro_: Macro,
    values: Vec<(Value<'a>, Value<'a>)>,
    count: usize,
    fault: Option<Fault>,
}

impl<'a> Found<'a> {
    /// Takes the body's value for one element; answers what the whole comes to when that is decided.
    fn take(&mut self, outcome: Evaluated<'a>, key: Value<'a>, element: Value<'a>) -> Result<Option<Value<'a>>, Fault> {
        let judged = outcome.as_ref().map_err(Clone::clone).and_then(truth);
        match (self.macro_, judged) {
            (_, Err(spent @ (Fault::CallSpent | Fault::WriteSpent))) => return Err(spent),
            (Macro::All, Ok(false)) => return Ok(Some(Value::Bool(false))),
            (Macro::Exists, Ok(true)) => return Ok(Some(Value::Bool(true))),
            (Macro::All | Macro::Exists, Err(fault)) => self.fault = Some(fault),
            (Macro::All | Macro::Exists, Ok(_)) | (Macro::Filter, Ok(false)) => {}
            (Macro::ExistsOne | Macro::Filter, Err(fault)) => return Err(fault),
            (Macro::ExistsOne, Ok(is)) => self.count += usize::from(is),
            (Macro::Filter, Ok(true)) => self.values.push((key, element)),
            (Macro::Map | Macro::TransformMap | Macro::OptMap | Macro::OptFlatMap, _) => {
                self.values.push((key, outcome?));
            }
        }
        Ok(None)
    }

    fn finish(self) -> Evaluated<'a> {
        match (self.macro_, self.fault) {
            (_, Some(fault)) => Err(fault),
            (Macro::All, None) => Ok(Value::Bool(true)),
            (Macro::Exists, None) => Ok(Value::Bool(false)),
            (Macro::ExistsOne, None) => Ok(Value::Bool(self.count == 1)),
            (Macro::TransformMap, None) => Ok(Value::Map(Rc::new(self.values))),
            (Macro::Filter | Macro::Map | Macro::OptMap | Macro::OptFlatMap, None) => {
                Ok(Value::List(Rc::new(self.values.into_iter().map(|(_, value)| value).collect())))
            }
        }
    }
}

pub(super) fn truth(value: &Value<'_>) -> Result<bool, Fault> {
    match value {
        Value::Bool(value) => Ok(*value),
        _ => error("no such overload"),
    }
}

pub(super) fn overflow() -> Fault {
    Fault::Error("integer overflow".to_owned())
}

/// A member by the name that an expression has for it: some names are written in another way there.
fn member<'a>(of: &Value<'a>, field: &str) -> Option<Value<'a>> {
    of.get(&Value::text(field)).or_else(|| {
        let name = unescaped(field)?;
        of.get(&Value::text(&name))
    })
}

/// `__dot__` is a dot, `__namespace__` a word that is reserved.
pub(super) fn unescaped(field: &str) -> Option<String> {
    if !field.contains("__") {
        return None;
    }
    let reserved = field.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"));
    if let Some(word) = reserved.filter(|word| !matches!(*word, "dot" | "dash" | "slash" | "underscores")) {
        return Some(word.to_owned());
    }
    let plain = field.replace("__dot__", ".").replace("__dash__", "-").replace("__slash__", "/");
    Some(plain.replace("__underscores__", "__"))
}

fn select<'a>(of: &Value<'a>, field: &str, optional: bool) -> Evaluated<'a> {
    let wrapped = |found: Option<Value<'a>>| Value::Optional(found.map(Rc::new));
    match of {
        Value::Optional(of) => Ok(wrapped(of.as_ref().and_then(|of| member(of, field)))),
        Value::Map(_) | Value::JsonMap(..) if optional => Ok(wrapped(member(of, field))),
        Value::Map(_) | Value::JsonMap(..) => match member(of, field) {
            Some(found) => Ok(found),
            None => error(format!("no such key: {field}")),
        },
        Value::Asking(own) => match own.field(field) {
            Some(found) => Ok(found),
            None => error(format!("no such key: {field}")),
        },
        other => error(format!("no such overload: {}.{field}", other.type_name())),
    }
}

fn index<'a>(of: &Value<'a>, at: &Value<'a>, optional: bool) -> Evaluated<'a> {
    let at = match at {
        Value::Uint(number) if of.items().is_some() => &Value::Int(i64::try_from(*number).unwrap_or(i64::MAX)),
        Value::Double(number) if of.items().is_some() && number.fract() == 0.0 => &Value::Int(*number as i64),
        other => other,
    };
    let wrapped = |found: Option<Value<'a>>| Value::Optional(found.map(Rc::new));
    match (of, at) {
        (Value::Optional(of), at) => Ok(wrapped(of.as_ref().and_then(|of| of.get(at)))),
        (_, at) if optional => Ok(wrapped(of.get(at))),
        (Value::List(_) | Value::JsonList(..), Value::Int(number)) => match of.get(at) {
            Some(found) => Ok(found),
            None => error(format!("index out of bounds: {number}")),
        },
        (Value::Map(_) | Value::JsonMap(..), key) => match of.get(key) {
            Some(found) => Ok(found),
            None => error(format!("no such key: {}", super::strings::shown(key))),
        },
        _ => error("no such overload"),
    }
}
