//! Functions that Kubernetes adds: quantities, addresses, URLs, sets; and a little mathematics.

use std::net::IpAddr;
use std::rc::Rc;

use super::eval::{Evaluated, error};
use super::value::Value;
use crate::quantity::Quantity;

/// Methods of these.
pub(super) const METHODS: [&str; 32] = [
    "asInteger",
    "asApproximateFloat",
    "isInteger",
    "sign",
    "add",
    "sub",
    "compareTo",
    "isGreaterThan",
    "isLessThan",
    "getScheme",
    "getHost",
    "getHostname",
    "getPort",
    "getEscapedPath",
    "getQuery",
    "family",
    "isUnspecified",
    "isLoopback",
    "isLinkLocalMulticast",
    "isLinkLocalUnicast",
    "isGlobalUnicast",
    "containsIP",
    "containsCIDR",
    "ip",
    "masked",
    "prefixLength",
    "hasValue",
    "value",
    "orValue",
    "or",
    "optMap",
    "optFlatMap",
];

/// A function that stands alone.
pub(super) fn function<'a>(name: &str, args: &[Value<'a>]) -> Evaluated<'a> {
    Ok(match (name, args) {
        ("quantity", [Value::Text(text)]) => match Quantity::parse(text) {
            Ok(quantity) => Value::Quantity(quantity),
            Err(why) => return error(why.to_string()),
        },
        ("isQuantity", [Value::Text(text)]) => Value::Bool(Quantity::parse(text).is_ok()),
        ("ip", [Value::Text(text)]) => match text.parse() {
            Ok(address) => Value::Ip(address),
            Err(_) => return error(format!("IP Address {text:?} parse error during conversion from string")),
        },
        ("isIP", [Value::Text(text)]) => Value::Bool(text.parse::<IpAddr>().is_ok()),
        ("ip.isCanonical", [Value::Text(text)]) => {
            Value::Bool(text.parse::<IpAddr>().is_ok_and(|address| address.to_string() == **text))
        }
        ("cidr", [Value::Text(text)]) => match cidr(text) {
            Some((address, bits)) => Value::Cidr(address, bits),
            None => return error(format!("network address parse error during conversion from string: {text:?}")),
        },
        ("isCIDR", [Value::Text(text)]) => Value::Bool(cidr(text).is_some()),
        ("url", [Value::Text(text)]) => match url(text) {
            Some(url) => url,
            None => return error(format!("URL parse error during conversion from string: {text:?}")),
        },
        ("isURL", [Value::Text(text)]) => Value::Bool(url(text).is_some()),
        ("sets.contains", [all, some]) => Value::Bool(holds(all, some)),
        ("sets.equivalent", [a, b]) => Value::Bool(holds(a, b) && holds(b, a)),
        ("sets.intersects", [a, b]) => {
            let b = b.items().unwrap_or_default();
            Value::Bool(a.items().unwrap_or_default().iter().any(|item| b.iter().any(|other| other.equals(item))))
        }
        ("math.greatest" | "math.least", _) => {
            let items = match args {
                [one] => one.items().unwrap_or_else(|| vec![one.clone()]),
                many => many.to_vec(),
            };
            let method = if name == "math.greatest" { "max" } else { "min" };
            let list = Value::List(Rc::new(items));
            return super::strings::of_list(method, &[list], &mut super::Budget::of_write());
        }
        ("math.abs", [Value::Int(number)]) => Value::Int(number.checked_abs().ok_or_else(super::eval::overflow)?),
        ("math.abs", [Value::Double(number)]) => Value::Double(number.abs()),
        ("math.ceil", [Value::Double(number)]) => Value::Double(number.ceil()),
        ("math.floor", [Value::Double(number)]) => Value::Double(number.floor()),
        ("math.round", [Value::Double(number)]) => Value::Double(number.round()),
        _ => return error(format!("found no matching overload for '{name}'")),
    })
}

/// A method.
pub(super) fn method<'a>(name: &str, args: &[Value<'a>]) -> Evaluated<'a> {
    let Some((first, rest)) = args.split_first() else { return error("no such overload") };
    match (first, rest) {
        (Value::Quantity(own), _) => of_quantity(*own, name, rest),
        (Value::Url(parts), []) => of_url(parts, name),
        (Value::Ip(own), []) => of_ip(*own, name),
        (Value::Cidr(address, bits), _) => of_cidr(*address, *bits, name, rest),
        _ => error(format!("found no matching overload for '{name}' applied to '{}'", first.type_name())),
    }
}

fn of_quantity<'a>(own: Quantity, name: &str, rest: &[Value<'a>]) -> Evaluated<'a> {
    Ok(match (name, rest) {
        ("isInteger", []) => Value::Bool(own.is_whole()),
        ("asInteger", []) if own.is_whole() => Value::Int(own.value()),
        ("asInteger", []) => return error("cannot convert value to integer"),
        ("asApproximateFloat", []) => Value::Double(own.millis() as f64 / 1000.0),
        ("sign", []) => Value::Int(own.millis().signum()),
        ("add", [Value::Quantity(other)]) => Value::Quantity(own + *other),
        ("sub", [Value::Quantity(other)]) => Value::Quantity(own - *other),
        ("add", [Value::Int(other)]) => Value::Quantity(own + Quantity::from_millis(other.saturating_mul(1000))),
        ("sub", [Value::Int(other)]) => Value::Quantity(own - Quantity::from_millis(other.saturating_mul(1000))),
        ("compareTo", [Value::Quantity(other)]) => Value::Int(own.cmp(other) as i64),
        ("isGreaterThan", [Value::Quantity(other)]) => Value::Bool(own > *other),
        ("isLessThan", [Value::Quantity(other)]) => Value::Bool(own < *other),
        _ => return error(format!("found no matching overload for '{name}' applied to 'kubernetes.Quantity'")),
    })
}

fn of_url<'a>(parts: &(String, String, String), name: &str) -> Evaluated<'a> {
    let (scheme, host, rest) = parts;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let end = host.rfind(':').filter(|at| !host[*at..].contains(']')).unwrap_or(host.len());
    Ok(match name {
        "getScheme" => Value::text(scheme),
        "getHost" => Value::text(host),
        "getHostname" => Value::text(host[..end].trim_start_matches('[').trim_end_matches(']')),
        "getPort" => Value::text(host[end..].trim_start_matches(':')),
        "getEscapedPath" => Value::text(path),
        "getQuery" => {
            let mut found: Vec<(Value<'a>, Value<'a>)> = Vec::new();
            for pair in query.split('&').filter(|pair| !pair.is_empty()) {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                let (key, value) = (Value::text(key), Value::text(value));
                match found.iter_mut().find(|(own, _)| own.equals(&key)) {
                    Some((_, Value::List(list))) => Rc::make_mut(list).push(value),
                    _ => found.push((key, Value::List(Rc::new(vec![value])))),
                }
            }
            Value::Map(Rc::new(found))
        }
        _ => return error(format!("found no matching overload for '{name}' applied to 'kubernetes.URL'")),
    })
}

fn of_ip<'a>(own: IpAddr, name: &str) -> Evaluated<'a> {
    let unicast_link = match own {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    Ok(match name {
        "family" => Value::Int(if own.is_ipv4() { 4 } else { 6 }),
        "isUnspecified" => Value::Bool(own.is_unspecified()),
        "isLoopback" => Value::Bool(own.is_loopback()),
        "isLinkLocalUnicast" => Value::Bool(unicast_link),
        "isLinkLocalMulticast" => Value::Bool(match own {
            IpAddr::V4(address) => address.octets()[..3] == [224, 0, 0],
            IpAddr::V6(address) => address.segments()[0] & 0xff0f == 0xff02,
        }),
        "isGlobalUnicast" => {
            let broadcast = matches!(own, IpAddr::V4(address) if address.is_broadcast());
            let other = own.is_unspecified() || own.is_loopback() || own.is_multicast() || unicast_link;
            Value::Bool(!other && !broadcast)
        }
        _ => return error(format!("found no matching overload for '{name}' applied to 'net.IP'")),
    })
}

fn of_cidr<'a>(address: IpAddr, bits: u8, name: &str, rest: &[Value<'a>]) -> Evaluated<'a> {
    let inside = |other: IpAddr| mask(other, bits) == mask(address, bits) && other.is_ipv4() == address.is_ipv4();
    Ok(match (name, rest) {
        ("containsIP", [Value::Ip(other)]) => Value::Bool(inside(*other)),
        ("containsIP", [Value::Text(text)]) => match text.parse() {
            Ok(other) => Value::Bool(inside(other)),
            Err(_) => return error(format!("IP Address {text:?} parse error during conversion from string")),
        },
        ("containsCIDR", [Value::Cidr(other, own)]) => Value::Bool(*own >= bits && inside(*other)),
        ("containsCIDR", [Value::Text(text)]) => match cidr(text) {
            Some((other, own)) => Value::Bool(own >= bits && inside(other)),
            None => return error(format!("network address parse error during conversion from string: {text:?}")),
        },
        ("ip", []) => Value::Ip(address),
        ("masked", []) => Value::Cidr(mask(address, bits), bits),
        ("prefixLength", []) => Value::Int(bits.into()),
        _ => return error(format!("found no matching overload for '{name}' applied to 'net.CIDR'")),
    })
}

fn mask(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(own) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            IpAddr::V4((u32::from(own) & mask).into())
        }
        IpAddr::V6(own) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            IpAddr::V6((u128::from(own) & mask).into())
        }
    }
}

fn cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let (address, bits) = (address.parse::<IpAddr>().ok()?, bits.parse::<u8>().ok()?);
    (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, bits))
}

fn url<'a>(text: &str) -> Option<Value<'a>> {
    if text.starts_with('/') {
        return Some(Value::Url(Rc::new((String::new(), String::new(), text.to_owned()))));
    }
    let (scheme, rest) = text.split_once("://")?;
    let sound = !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    if !sound || text.contains(char::is_whitespace) {
        return None;
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    Some(Value::Url(Rc::new((scheme.to_owned(), rest[..end].to_owned(), rest[end..].to_owned()))))
}

fn holds(all: &Value<'_>, some: &Value<'_>) -> bool {
    let all = all.items().unwrap_or_default();
    some.items().unwrap_or_default().iter().all(|item| all.iter().any(|own| own.equals(item)))
}
