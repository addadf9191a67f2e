//! Operators, and which function is where: the language's own here, Kubernetes' in [`super::library`], those of texts and
//! lists in [`super::strings`].

use std::cmp::Ordering;
use std::rc::Rc;

use jiff::tz::{Offset, TimeZone};

use super::eval::{Budget, Evaluated, error, overflow};
use super::value::Value;
use super::{authorizer, library, strings};
use crate::zones;

/// Names before the dot of functions that belong to nothing.
pub(super) const SPACES: [&str; 4] = ["optional", "math", "sets", "ip"];

/// Functions that stand alone.
pub(super) const FUNCTIONS: [&str; 37] = [
    "size",
    "type",
    "int",
    "uint",
    "double",
    "string",
    "bool",
    "bytes",
    "dyn",
    "duration",
    "timestamp",
    "matches",
    "optional.of",
    "optional.none",
    "optional.ofNonZeroValue",
    "math.greatest",
    "math.least",
    "math.abs",
    "math.ceil",
    "math.floor",
    "math.round",
    "sets.contains",
    "sets.equivalent",
    "sets.intersects",
    "quantity",
    "isQuantity",
    "url",
    "isURL",
    "ip",
    "isIP",
    "cidr",
    "isCIDR",
    "ip.isCanonical",
    "min",
    "max",
    "semver",
    "isSemver",
];

/// The type that a name stands for.
pub(super) fn type_named(name: &str) -> Option<&'static str> {
    Some(match name {
        "bool" => "bool",
        "int" => "int",
        "uint" => "uint",
        "double" => "double",
        "string" => "string",
        "bytes" => "bytes",
        "list" => "list",
        "map" => "map",
        "null_type" => "null_type",
        "type" => "type",
        _ => return None,
    })
}

/// An operator between two values.
pub(super) fn binary<'a>(operator: &str, left: &Value<'a>, right: &Value<'a>, budget: &mut Budget) -> Evaluated<'a> {
    let ordered = |accept: fn(Ordering) -> bool| match left.compare(right) {
        Some(order) => Ok(Value::Bool(accept(order))),
        None => error(format!("no such overload: {} {operator} {}", left.type_name(), right.type_name())),
    };
    match operator {
        "==" | "!=" => {
            budget.take(left.steps_to_equal(right))?;
            Ok(Value::Bool(left.equals(right) == (operator == "==")))
        }
        "<" => ordered(Ordering::is_lt),
        "<=" => ordered(Ordering::is_le),
        ">" => ordered(Ordering::is_gt),
        ">=" => ordered(Ordering::is_ge),
        "in" => {
            budget.take(right.weight())?;
            if let Some(items) = right.items() {
                return Ok(Value::Bool(items.iter().any(|item| item.equals(left))));
            }
            if right.entries().is_some() {
                return Ok(Value::Bool(right.get(left).is_some()));
            }
            error("no such overload")
        }
        "+" => plus(left, right, budget),
        _ => arithmetic(operator, left, right),
    }
}

fn plus<'a>(left: &Value<'a>, right: &Value<'a>, budget: &mut Budget) -> Evaluated<'a> {
    budget.take(left.weight() + right.weight())?;
    Ok(match (left, right) {
        (Value::Text(a), Value::Text(b)) => Value::Text(format!("{a}{b}").into()),
        (Value::Bytes(a), Value::Bytes(b)) => Value::Bytes([&**a, &**b].concat().into()),
        (Value::Time(at), Value::Duration(span)) | (Value::Duration(span), Value::Time(at)) => {
            Value::Time(at.checked_add(*span).map_err(|_| overflow())?)
        }
        (Value::Duration(a), Value::Duration(b)) => Value::Duration(a.checked_add(*b).ok_or_else(overflow)?),
        (a, b) => match (a.items(), b.items()) {
            (Some(mut a), Some(b)) => {
                a.extend(b);
                Value::List(Rc::new(a))
            }
            _ => return arithmetic("+", left, right),
        },
    })
}

fn arithmetic<'a>(operator: &str, left: &Value<'a>, right: &Value<'a>) -> Evaluated<'a> {
    Ok(match (left, right) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) if operator == "/" => {
            return error("division by zero");
        }
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) if operator == "%" => {
            return error("modulus by zero");
        }
        (Value::Int(a), Value::Int(b)) => Value::Int(
            match operator {
                "+" => a.checked_add(*b),
                "-" => a.checked_sub(*b),
                "*" => a.checked_mul(*b),
                "/" => a.checked_div(*b),
                _ => a.checked_rem(*b),
            }
            .ok_or_else(overflow)?,
        ),
        (Value::Uint(a), Value::Uint(b)) => Value::Uint(
            match operator {
                "+" => a.checked_add(*b),
                "-" => a.checked_sub(*b),
                "*" => a.checked_mul(*b),
                "/" => a.checked_div(*b),
                _ => a.checked_rem(*b),
            }
            .ok_or_else(overflow)?,
        ),
        (Value::Double(a), Value::Double(b)) => Value::Double(match operator {
            "+" => a + b,
            "-" => a - b,
            "*" => a * b,
            "/" => a / b,
            _ => return error("no such overload"),
        }),
        (Value::Time(a), Value::Time(b)) if operator == "-" => Value::Duration(a.duration_since(*b)),
        (Value::Time(at), Value::Duration(span)) if operator == "-" => {
            Value::Time(at.checked_sub(*span).map_err(|_| overflow())?)
        }
        (Value::Duration(a), Value::Duration(b)) if operator == "-" => {
            Value::Duration(a.checked_sub(*b).ok_or_else(overflow)?)
        }
        (a, b) => return error(format!("no such overload: {} {operator} {}", a.type_name(), b.type_name())),
    })
}

/// A function that stands alone.
pub(super) fn function<'a>(name: &str, args: &[Value<'a>], budget: &mut Budget) -> Evaluated<'a> {
    match (name, args) {
        ("size" | "matches" | "min" | "max", _) => method(name, args, budget),
        ("type", [value]) => Ok(Value::Type(value.type_name())),
        ("dyn", [value]) => Ok(value.clone()),
        ("optional.of", [value]) => Ok(Value::Optional(Some(Rc::new(value.clone())))),
        ("optional.none", []) => Ok(Value::Optional(None)),
        ("optional.ofNonZeroValue", [value]) => {
            let zero = matches!(value, Value::Null | Value::Bool(false) | Value::Int(0) | Value::Uint(0))
                || value.size() == Some(0);
            Ok(Value::Optional((!zero).then(|| Rc::new(value.clone()))))
        }
        ("int" | "uint" | "double" | "string" | "bool" | "bytes" | "duration" | "timestamp", [value]) => {
            strings::convert(name, value)
        }
        ("sets.contains" | "sets.equivalent" | "sets.intersects", [a, b]) => {
            let items = |value: &Value<'_>| value.size().unwrap_or_default() as u64;
            budget.take(items(a).saturating_mul(items(b)).saturating_mul(2))?;
            library::function(name, args)
        }
        _ => library::function(name, args),
    }
}

/// A zone by its name in the database, or by its distance from UTC (`+05:30`).
fn zone(name: &str) -> Option<TimeZone> {
    if let Some(zone) = zones::named(name) {
        return Some(zone);
    }
    let (sign, rest) = match name.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, name.strip_prefix('+').unwrap_or(name)),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let seconds = i32::from(hours.parse::<u8>().ok()?) * 3600 + i32::from(minutes.parse::<u8>().ok()?) * 60;
    Offset::from_seconds(sign * seconds).ok().map(TimeZone::fixed)
}

/// A function of its first argument.
pub(super) fn method<'a>(name: &str, args: &[Value<'a>], budget: &mut Budget) -> Evaluated<'a> {
    match (name, args) {
        ("size", [value]) => match value.size() {
            Some(size) => Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX))),
            None => error("no such overload"),
        },
        ("hasValue", [Value::Optional(value)]) => Ok(Value::Bool(value.is_some())),
        ("value", [Value::Optional(value)]) => match value {
            Some(value) => Ok((**value).clone()),
            None => error("optional.none() dereference"),
        },
        ("orValue", [Value::Optional(value), other]) => {
            Ok(value.as_ref().map_or_else(|| other.clone(), |value| (**value).clone()))
        }
        ("or", [first @ Value::Optional(value), other]) => {
            Ok(if value.is_some() { first.clone() } else { other.clone() })
        }
        (_, [Value::Asking(own), rest @ ..]) => authorizer::method(own, name, rest, budget),
        (_, [Value::Answer(own), rest @ ..]) => authorizer::of_answer(own, name, rest),
        (_, [Value::Time(_) | Value::Duration(_), ..]) if name.starts_with("get") => part_of_time(name, args),
        (_, [Value::Text(_), ..]) => strings::of_text(name, args, budget),
        (_, [first, ..]) if first.items().is_some() => strings::of_list(name, args, budget),
        _ => library::method(name, args),
    }
}

fn part_of_time<'a>(name: &str, args: &[Value<'a>]) -> Evaluated<'a> {
    let number = |number: i64| Ok(Value::Int(number));
    match args {
        [Value::Duration(span)] => match name {
            "getHours" => number(span.as_hours()),
            "getMinutes" => number(span.as_mins()),
            "getSeconds" => number(span.as_secs()),
            "getMilliseconds" => number(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
            _ => error("no such overload"),
        },
        [Value::Time(at), rest @ ..] => {
            let zone = match rest {
                [] => TimeZone::UTC,
                [Value::Text(name)] => match zone(name) {
                    Some(zone) => zone,
                    None => return error(format!("unknown time zone {name}")),
                },
                _ => return error("no such overload"),
            };
            let at = at.to_zoned(zone);
            match name {
                "getFullYear" => number(at.year().into()),
                "getMonth" => number(i64::from(at.month()) - 1),
                "getDate" => number(at.day().into()),
                "getDayOfMonth" => number(i64::from(at.day()) - 1),
                "getDayOfYear" => number(i64::from(at.day_of_year()) - 1),
                "getDayOfWeek" => number(at.weekday().to_sunday_zero_offset().into()),
                "getHours" => number(at.hour().into()),
                "getMinutes" => number(at.minute().into()),
                "getSeconds" => number(at.second().into()),
                "getMilliseconds" => number(at.millisecond().into()),
                _ => error("no such overload"),
            }
        }
        _ => error("no such overload"),
    }
}
