//! What a request asks for: its host and its path, checked and in the one form that routes are matched in.
//!
//! A path is *matched* in normal form and *forwarded as sent*, as nginx does: dot segments are resolved and escaped
//! letters, digits and `-._~` are read as what they are (RFC 3986, 6.2.2), so that `/public/../admin` and `/%61dmin`
//! take the route of `/admin`, which is also what an application that resolves them takes them for. An escaped slash
//! stays a part of its element. Refused outright: a path that climbs above the root, and a NUL in it.

use std::borrow::Cow;

use http::request::Parts;
use http::{Method, header};

/// Longest host accepted: what DNS allows.
const HOST_MAX: usize = 253;

/// Where a request wants to go.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// Lower case, without port and without the root's dot.
    pub(crate) host: Cow<'a, str>,
    /// In normal form.
    pub(crate) path: Cow<'a, str>,
    /// The authority as the client wrote it.
    pub(crate) authority: &'a str,
}

/// Why a request is not looked at any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the request names no host")]
    HostMissing,
    #[error("the request names more than one host")]
    HostAmbiguous,
    #[error("the request's host is not a host name or address")]
    HostInvalid,
    #[error("the request's target is not a path")]
    NotAPath,
    #[error("the request's path climbs above the root")]
    ClimbsAboveRoot,
    #[error("the request's path contains a NUL")]
    NulInPath,
}

/// Reads a request's target.
pub(crate) fn read(head: &Parts) -> Result<Target<'_>, Refusal> {
    let authority = authority(head)?;
    let host = host(authority)?;
    if head.method == Method::CONNECT || !head.uri.path().starts_with('/') {
        return Err(Refusal::NotAPath);
    }
    Ok(Target { host, path: normal_path(head.uri.path())?, authority })
}

/// The authority asked for. HTTP/2 says it in `:authority`, HTTP/1 in `Host` or in an absolute target; where a request
/// says it twice, both must agree: RFC 9112 lets a server ignore `Host` beside an absolute target, but whatever stands
/// behind us may not.
fn authority(head: &Parts) -> Result<&str, Refusal> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let named = hosts.next();
    if hosts.next().is_some() {
        return Err(Refusal::HostAmbiguous);
    }
    let named = named.map(|value| value.to_str().map_err(|_| Refusal::HostInvalid)).transpose()?;
    match (head.uri.authority().map(http::uri::Authority::as_str), named) {
        (None, None) => Err(Refusal::HostMissing),
        (Some(one), None) | (None, Some(one)) => Ok(one),
        (Some(target), Some(named)) if target.eq_ignore_ascii_case(named) => Ok(named),
        (Some(_), Some(_)) => Err(Refusal::HostAmbiguous),
    }
}

/// The host of an authority, in the form that routes are matched in.
fn host(authority: &str) -> Result<Cow<'_, str>, Refusal> {
    if authority.is_empty() {
        return Err(Refusal::HostMissing);
    }
    let (host, port) = if authority.starts_with('[') {
        let end = authority.find(']').ok_or(Refusal::HostInvalid)?;
        authority[1..end].parse::<std::net::Ipv6Addr>().map_err(|_| Refusal::HostInvalid)?;
        authority.split_at(end + 1)
    } else {
        let end = authority.find(':').unwrap_or(authority.len());
        let (host, port) = authority.split_at(end);
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if !host.bytes().all(known) {
            return Err(Refusal::HostInvalid);
        }
        (host.strip_suffix('.').unwrap_or(host), port)
    };
    let port_is_fine = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.len() <= 5,
    };
    if !port_is_fine || host.is_empty() || host.len() > HOST_MAX {
        return Err(Refusal::HostInvalid);
    }
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Ok(Cow::Owned(host.to_ascii_lowercase()));
    }
    Ok(Cow::Borrowed(host))
}

/// A path in normal form. Nearly every path is in it already, and is lent back.
pub(crate) fn normal_path(path: &str) -> Result<Cow<'_, str>, Refusal> {
    if !path.contains('%') && !path.contains("/.") {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode_unreserved(path)?;
    resolve_dots(&decoded).map(Cow::Owned)
}

/// Replaces `%41` by `A` and the like: escapes of characters that mean the same with and without (RFC 3986, 2.3).
fn decode_unreserved(path: &str) -> Result<String, Refusal> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let byte = rest.get(1..3).filter(|two| two.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let byte = byte.and_then(|two| u8::from_str_radix(two, 16).ok());
        match byte {
            Some(0) => return Err(Refusal::NulInPath),
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                out.push(char::from(byte));
                rest = &rest[3..];
            }
            // Another character's escape, or no escape at all: it stands for itself.
            Some(_) | None => {
                out.push('%');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// RFC 3986, 5.2.4, but a `..` too many is refused, not swallowed.
fn resolve_dots(path: &str) -> Result<String, Refusal> {
    let mut out = String::with_capacity(path.len());
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => {
                let parent = out.rfind('/').ok_or(Refusal::ClimbsAboveRoot)?;
                out.truncate(parent);
            }
            name => {
                out.push('/');
                out.push_str(name);
                continue;
            }
        }
        if last {
            out.push('/');
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
