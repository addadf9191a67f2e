//! The formats of texts that schemas may name. One that is not known asks for nothing, as in Kubernetes.
//!
//! Source: `k8s.io/kube-openapi/pkg/validation/strfmt`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use base64::Engine as _;
use regex::Regex;

/// Formats that are patterns.
static PATTERNS: LazyLock<Vec<(&str, Regex)>> = LazyLock::new(|| {
    let rows = [
        ("bsonobjectid", "^[0-9a-fA-F]{24}$"),
        (
            "creditcard",
            "^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9]{2})[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11})$",
        ),
        (
            "duration",
            r"^[-+]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)\s*(ns|us|µs|μs|ms|s|m|h|d|w|nanos?|nanoseconds?|micros?|microseconds?|millis?|milliseconds?|seconds?|minutes?|hours?|days?|weeks?)\s*)+)$",
        ),
        ("email", r"^[^@\s<>]+@[^@\s<>]+$"),
        ("hexcolor", "^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$"),
        (
            "hostname",
            r"^([a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?)(\.[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?)*\.?$",
        ),
        ("isbn10", "^([0-9]-?){9}[0-9Xx]$"),
        ("isbn13", "^([0-9]-?){13}$"),
        (
            "mac",
            "^([0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}([:-][0-9a-fA-F]{2}){0,2}|[0-9a-fA-F]{4}(\\.[0-9a-fA-F]{4}){2,3})$",
        ),
        ("rgbcolor", r"^rgb\(\s*[0-9]{1,3}\s*,\s*[0-9]{1,3}\s*,\s*[0-9]{1,3}\s*\)$"),
        ("ssn", "^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$"),
        ("uri", r"^([a-zA-Z][a-zA-Z0-9+.-]*:\S+|/\S*)$"),
        ("uuid", "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$"),
        ("uuid3", "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$"),
        ("uuid4", "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$"),
        ("uuid5", "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$"),
    ];
    rows.into_iter().map(|(name, text)| (name, Regex::new(text).expect("a pattern of ours"))).collect()
});

/// Whether `text` has the format, whose name is written without dashes.
pub(crate) fn fits(format: &str, text: &str) -> bool {
    match format {
        "" => true,
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => cidr(text),
        "byte" => base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
        "date" => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
        "datetime" => text.len() > 10 && text.parse::<jiff::Timestamp>().is_ok(),
        "isbn" => fits("isbn10", text) || fits("isbn13", text),
        name => PATTERNS.iter().find(|(own, _)| *own == name).is_none_or(|(_, pattern)| pattern.is_match(text)),
    }
}

fn cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let Ok(bits) = bits.parse::<u8>() else { return false };
    match address.parse() {
        Ok(std::net::IpAddr::V4(_)) => bits <= 32,
        Ok(std::net::IpAddr::V6(_)) => bits <= 128,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_the_formats_they_should() {
        for (format, good, bad) in [
            ("ipv4", "10.0.0.1", "10.0.0"),
            ("ipv6", "fd00::1", "fd00"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("uuid", "8a6ce2f4-0a4e-4c7e-9d3f-5b6a1c2d3e4f", "8a6c"),
            ("email", "a@b.c", "a"),
            ("uri", "https://a.b/c", "a b"),
            ("hostname", "a.example.com", "-a"),
            ("datetime", "2025-01-01T00:00:00Z", "2025-01-01"),
            ("date", "2025-01-01", "2025-13-01"),
            ("duration", "1h30m", "1x"),
            ("byte", "YQ==", "%"),
            ("mac", "00:11:22:33:44:55", "00:11"),
        ] {
            assert!(fits(format, good), "{format} {good}");
            assert!(!fits(format, bad), "{format} {bad}");
        }
        assert!(fits("nobody-knows", "anything"));
    }
}
