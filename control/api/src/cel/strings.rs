//! Functions of texts and lists, and conversions between types.

use std::cmp::Ordering;
use std::rc::Rc;

use jiff::SignedDuration;

use super::eval::{Budget, Evaluated, error};
use super::value::Value;
use crate::custom::schema::pattern;

/// Methods of texts and lists.
pub(super) const METHODS: [&str; 32] = [
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "size",
    "charAt",
    "indexOf",
    "lastIndexOf",
    "lowerAscii",
    "upperAscii",
    "replace",
    "split",
    "substring",
    "trim",
    "reverse",
    "find",
    "findAll",
    "join",
    "isSorted",
    "sum",
    "min",
    "max",
    "distinct",
    "flatten",
    "slice",
    "sort",
    "first",
    "last",
    "format",
    "quote",
    "contains",
    "type",
];

/// A value as messages and `string()` show it.
pub(crate) fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Text(text) => text.to_string(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Time(at) => at.to_string(),
        Value::Duration(span) => format!("{}s", span.as_secs_f64()),
        Value::Type(name) => (*name).to_owned(),
        Value::Quantity(quantity) => quantity.to_string(),
        Value::Ip(address) => address.to_string(),
        Value::Cidr(address, bits) => format!("{address}/{bits}"),
        Value::Url(parts) => format!("{}://{}{}", parts.0, parts.1, parts.2),
        Value::Asking(_) | Value::Answer(_) => value.type_name().to_owned(),
        Value::Optional(None) => "optional.none()".to_owned(),
        Value::Optional(Some(value)) => format!("optional({})", shown(value)),
        Value::List(_) | Value::JsonList(..) => {
            let items: Vec<String> = value.items().unwrap_or_default().iter().map(shown).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(_) | Value::JsonMap(..) => {
            let entries = value.entries().unwrap_or_default();
            let entries: Vec<String> =
                entries.iter().map(|(key, value)| format!("{}: {}", shown(key), shown(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// A duration as Go writes it: `1h30m`, `-1.5s`.
pub fn duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let units = [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
        let (unit, factor) = units.iter().find(|(unit, _)| rest.starts_with(unit))?;
        total += number * factor;
        rest = &rest[unit.len()..];
    }
    SignedDuration::try_from_secs_f64(if negative { -total } else { total }).ok()
}

/// `int(x)` and its kin.
pub(super) fn convert<'a>(to: &str, value: &Value<'a>) -> Evaluated<'a> {
    let unfit = || error(format!("type conversion error from '{}' to '{to}'", value.type_name()));
    let found = match (to, value) {
        ("int", Value::Int(_))
        | ("uint", Value::Uint(_))
        | ("double", Value::Double(_))
        | ("bool", Value::Bool(_))
        | ("string", Value::Text(_))
        | ("bytes", Value::Bytes(_))
        | ("duration", Value::Duration(_))
        | ("timestamp", Value::Time(_)) => Some(value.clone()),
        ("int", Value::Uint(number)) => i64::try_from(*number).ok().map(Value::Int),
        ("int", Value::Double(number)) if number.abs() < 9.2e18 => Some(Value::Int(*number as i64)),
        ("int", Value::Text(text)) => text.parse().ok().map(Value::Int),
        ("int", Value::Time(at)) => Some(Value::Int(at.as_second())),
        ("uint", Value::Int(number)) => u64::try_from(*number).ok().map(Value::Uint),
        #[expect(clippy::cast_sign_loss, reason = "it is not negative")]
        ("uint", Value::Double(number)) if (0.0..1.8e19).contains(number) => Some(Value::Uint(*number as u64)),
        ("uint", Value::Text(text)) => text.parse().ok().map(Value::Uint),
        ("double", Value::Int(number)) => Some(Value::Double(*number as f64)),
        ("double", Value::Uint(number)) => Some(Value::Double(*number as f64)),
        ("double", Value::Text(text)) => text.parse().ok().map(Value::Double),
        ("bool", Value::Text(text)) => match &**text {
            "true" | "True" | "TRUE" | "t" | "1" => Some(Value::Bool(true)),
            "false" | "False" | "FALSE" | "f" | "0" => Some(Value::Bool(false)),
            _ => None,
        },
        ("string", Value::List(_) | Value::JsonList(..) | Value::Map(_) | Value::JsonMap(..) | Value::Null) => None,
        ("string", other) => Some(Value::Text(shown(other).into())),
        ("bytes", Value::Text(text)) => Some(Value::Bytes(text.as_bytes().into())),
        ("duration", Value::Text(text)) => duration(text).map(Value::Duration),
        ("timestamp", Value::Text(text)) => text.parse().ok().map(Value::Time),
        ("timestamp", Value::Int(number)) => jiff::Timestamp::from_second(*number).ok().map(Value::Time),
        _ => None,
    };
    found.map_or_else(unfit, Ok)
}

/// A method of a text.
pub(super) fn of_text<'a>(name: &str, args: &[Value<'a>], budget: &mut Budget) -> Evaluated<'a> {
    let Some(Value::Text(text)) = args.first() else { return error("no such overload") };
    let found =
        |at: Option<usize>| Value::Int(at.map_or(-1, |at| text[..at].chars().count().try_into().unwrap_or(i64::MAX)));
    let letters = || text.chars().collect::<Vec<_>>();
    Ok(match (name, &args[1..]) {
        ("contains", [Value::Text(part)]) => Value::Bool(text.contains(&**part)),
        ("startsWith", [Value::Text(part)]) => Value::Bool(text.starts_with(&**part)),
        ("endsWith", [Value::Text(part)]) => Value::Bool(text.ends_with(&**part)),
        ("matches" | "find" | "findAll", [Value::Text(written), rest @ ..]) => {
            // A pattern is compiled each time: that costs more than matching.
            budget.take(100 + written.len() as u64 * 20 + text.len() as u64)?;
            let Ok(pattern) = pattern(written) else { return error(format!("invalid regex: {written}")) };
            match (name, rest) {
                ("matches", []) => Value::Bool(pattern.is_match(text)),
                ("find", []) => Value::text(pattern.find(text).map_or("", |found| found.as_str())),
                (_, []) => list(pattern.find_iter(text).map(|found| Value::text(found.as_str()))),
                (_, [Value::Int(count)]) => {
                    let count = usize::try_from(*count).unwrap_or(usize::MAX);
                    list(pattern.find_iter(text).take(count).map(|found| Value::text(found.as_str())))
                }
                _ => return error("no such overload"),
            }
        }
        ("charAt", [Value::Int(at)]) => match usize::try_from(*at).ok().filter(|at| *at <= text.chars().count()) {
            Some(at) => Value::Text(text.chars().skip(at).take(1).collect::<String>().into()),
            None => return error(format!("index out of range: {at}")),
        },
        ("indexOf", [Value::Text(part)]) => found(text.find(&**part)),
        ("lastIndexOf", [Value::Text(part)]) => found(text.rfind(&**part)),
        ("lowerAscii", []) => Value::Text(text.to_ascii_lowercase().into()),
        ("upperAscii", []) => Value::Text(text.to_ascii_uppercase().into()),
        ("trim", []) => Value::text(text.trim()),
        ("reverse", []) => Value::Text(text.chars().rev().collect::<String>().into()),
        ("replace", [Value::Text(from), Value::Text(to), rest @ ..]) => {
            let count = match rest {
                [] => usize::MAX,
                [Value::Int(count)] => usize::try_from(*count).unwrap_or(usize::MAX),
                _ => return error("no such overload"),
            };
            let times = (text.len() / from.len().max(1) + 1).min(count) as u64;
            budget.take(times.saturating_mul(1 + to.len() as u64 / 10))?;
            Value::Text(text.replacen(&**from, to, count).into())
        }
        ("split", [Value::Text(by), rest @ ..]) => match rest {
            [] if by.is_empty() => list(letters().into_iter().map(|letter| Value::text(&letter.to_string()))),
            [] => list(text.split(&**by).map(Value::text)),
            [Value::Int(0)] => list(std::iter::empty()),
            [Value::Int(count)] => {
                let count = usize::try_from(*count).unwrap_or(usize::MAX);
                list(text.splitn(count, &**by).map(Value::text))
            }
            _ => return error("no such overload"),
        },
        ("substring", [Value::Int(from), rest @ ..]) => {
            let letters = letters();
            let to = match rest {
                [] => i64::try_from(letters.len()).unwrap_or(i64::MAX),
                [Value::Int(to)] => *to,
                _ => return error("no such overload"),
            };
            let range = usize::try_from(*from).ok().zip(usize::try_from(to).ok());
            match range.and_then(|(from, to)| letters.get(from..to)) {
                Some(part) => Value::Text(part.iter().collect::<String>().into()),
                None => return error(format!("index out of range: {from}, {to}")),
            }
        }
        ("format", [values]) => Value::Text(format(text, &values.items().unwrap_or_default())?.into()),
        ("quote", []) => Value::Text(format!("{text:?}").into()),
        _ => return super::library::method(name, args),
    })
}

fn format(text: &str, values: &[Value<'_>]) -> Result<String, super::Fault> {
    let mut written = String::new();
    let mut values = values.iter();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            written.push(letter);
            continue;
        }
        let mut precision = String::new();
        while let Some(digit) = letters.next_if(|letter| letter.is_ascii_digit() || *letter == '.') {
            precision.push(digit);
        }
        let verb = letters.next();
        if verb == Some('%') {
            written.push('%');
            continue;
        }
        let Some(value) = values.next() else { return error("index out of range: too few arguments for format") };
        let digits: usize = precision.trim_start_matches('.').parse().unwrap_or(6).min(64);
        match (verb, value) {
            (Some('s'), value) => written.push_str(&shown(value)),
            (Some('d'), Value::Int(number)) => written.push_str(&number.to_string()),
            (Some('d'), Value::Uint(number)) => written.push_str(&number.to_string()),
            (Some('f'), Value::Double(number)) => push(&mut written, format_args!("{number:.digits$}")),
            (Some('x'), Value::Int(number)) => push(&mut written, format_args!("{number:x}")),
            (Some('X'), Value::Int(number)) => push(&mut written, format_args!("{number:X}")),
            (Some('o'), Value::Int(number)) => push(&mut written, format_args!("{number:o}")),
            (Some('b'), Value::Int(number)) => push(&mut written, format_args!("{number:b}")),
            _ => return error("no such overload: format"),
        }
    }
    Ok(written)
}

/// A method of a list.
pub(super) fn of_list<'a>(name: &str, args: &[Value<'a>], budget: &mut Budget) -> Evaluated<'a> {
    let mut items = args.first().and_then(Value::items).unwrap_or_default();
    let count = items.len() as u64;
    let none = || error(format!("{name} called on an empty list"));
    Ok(match (name, &args[1..]) {
        ("join", rest) => {
            let by = match rest {
                [] => "",
                [Value::Text(by)] => by,
                _ => return error("no such overload"),
            };
            let texts: Vec<String> = items.iter().map(shown).collect();
            Value::Text(texts.join(by).into())
        }
        ("indexOf", [wanted]) => Value::Int(
            items.iter().position(|item| item.equals(wanted)).map_or(-1, |at| i64::try_from(at).unwrap_or(i64::MAX)),
        ),
        ("lastIndexOf", [wanted]) => Value::Int(
            items.iter().rposition(|item| item.equals(wanted)).map_or(-1, |at| i64::try_from(at).unwrap_or(i64::MAX)),
        ),
        ("isSorted", []) => Value::Bool(items.is_sorted_by(|a, b| a.compare(b).is_some_and(Ordering::is_le))),
        ("sum", []) => {
            let mut items = items.into_iter();
            let Some(first) = items.next() else { return Ok(Value::Int(0)) };
            items.try_fold(first, |sum, item| super::calls::binary("+", &sum, &item, budget))?
        }
        ("min" | "max", []) => {
            let by = |a: &Value<'a>, b: &Value<'a>| a.compare(b).unwrap_or(Ordering::Equal);
            let found = if name == "min" { items.into_iter().min_by(by) } else { items.into_iter().max_by(by) };
            return found.map_or_else(none, Ok);
        }
        ("distinct", []) => {
            budget.take(count.saturating_mul(count) / 2)?;
            let mut seen: Vec<Value<'a>> = Vec::new();
            for item in items {
                if !seen.iter().any(|own| own.equals(&item)) {
                    seen.push(item);
                }
            }
            Value::List(Rc::new(seen))
        }
        ("flatten", []) => list(items.into_iter().flat_map(|item| item.items().unwrap_or_else(|| vec![item]))),
        ("slice", [Value::Int(from), Value::Int(to)]) => {
            let range = usize::try_from(*from).ok().zip(usize::try_from(*to).ok());
            match range.and_then(|(from, to)| items.get(from..to)) {
                Some(part) => Value::List(Rc::new(part.to_vec())),
                None => return error("index out of range: slice"),
            }
        }
        ("sort", []) => {
            items.sort_by(|a, b| a.compare(b).unwrap_or(Ordering::Equal));
            Value::List(Rc::new(items))
        }
        ("reverse", []) => {
            items.reverse();
            Value::List(Rc::new(items))
        }
        ("first" | "last", []) => {
            let found = if name == "first" { items.into_iter().next() } else { items.pop() };
            Value::Optional(found.map(Rc::new))
        }
        _ => return error(format!("found no matching overload for '{name}'")),
    })
}

fn list<'a>(items: impl Iterator<Item = Value<'a>>) -> Value<'a> {
    Value::List(Rc::new(items.collect()))
}

fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    std::fmt::Write::write_fmt(text, what).expect("writing to memory cannot fail");
}
