//! Addresses and ranges of addresses.

use std::net::IpAddr;

use serde_json::Value;

use super::BAD_IP;
use crate::field::Errors;
use crate::json;

/// The Service `kubernetes` in `default`.
const API_SERVICE: &str = "kubernetes";

const BAD_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// An address where something can listen for others: not one that only its own machine or link knows.
pub(crate) fn of_endpoint(errors: &mut Errors, field: &str, text: &str) {
    let Some(ip) = super::ip(text) else {
        errors.invalid_str(field, text, BAD_IP);
        return;
    };
    let (link_local, multicast) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(ip) => (ip.is_unicast_link_local(), ip.segments()[0] & 0xff0f == 0xff02),
    };
    for (holds, why) in [
        (ip.is_unspecified(), format!("may not be unspecified ({text})")),
        (ip.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned()),
        (link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned()),
        (multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned()),
    ] {
        if holds {
            errors.invalid_str(field, text, &why);
        }
    }
}

/// As [`of_endpoint`] for what stands behind the API, which may be the loopback where all nodes are of one machine.
pub(crate) fn of_api_endpoint(errors: &mut Errors, field: &str, text: &str) {
    if super::ip(text).is_none_or(|ip| !ip.is_loopback()) {
        of_endpoint(errors, field, text);
    }
}

/// Whether these are the endpoints of the API's own Service, which the cluster writes and mends. A pod's connection to
/// that Service ends at its own node whatever they say, so that nobody is led astray by them.
pub(crate) fn is_of_api(value: &Value, service: &str) -> bool {
    let metadata = |key| json::text(value, &["metadata", key]);
    let name = metadata("name");
    let number = name.strip_prefix(API_SERVICE).map(|rest| rest.strip_prefix('-').unwrap_or(rest));
    metadata("namespace") == "default"
        && service == API_SERVICE
        && number.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `10.0.0.0/8`, as address and length of its prefix.
pub(crate) fn cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let length: u8 = length.parse().ok()?;
    (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
}

/// A range of addresses.
pub(crate) fn range(errors: &mut Errors, field: &str, text: &str) {
    if cidr(text).is_none() {
        errors.invalid_str(field, text, BAD_CIDR);
    }
}

/// Whether the range `outer` holds all of `inner`.
pub(crate) fn contains(outer: (IpAddr, u8), inner: (IpAddr, u8)) -> bool {
    let bits = |address: IpAddr, length: u8| match address {
        IpAddr::V4(address) => u128::from(address.to_bits()).checked_shr(u32::from(32 - length)),
        IpAddr::V6(address) => address.to_bits().checked_shr(u32::from(128 - length)),
    };
    outer.0.is_ipv4() == inner.0.is_ipv4() && outer.1 <= inner.1 && bits(outer.0, outer.1) == bits(inner.0, outer.1)
}
