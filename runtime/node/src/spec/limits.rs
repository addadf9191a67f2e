//! Limits of a container: memory, and how long a request may take.

use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use wk_api::quantity::Quantity;

use super::{SpecError, refuse};

/// Memory one instance of a container may use when its spec sets no limit: enough for JavaScript and Python guests (20 to 80 MiB each),
/// small enough that a runaway one cannot take a small machine with it.
pub const MEMORY_DEFAULT: u64 = 256 * 1024 * 1024;
/// A WebAssembly memory with 32-bit addresses cannot grow past this.
pub(super) const MEMORY_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// How long a request may take when the pod does not say: the usual default of reverse proxies lies between 15 and 60 s.
const REQUEST_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// No request may hold an instance longer, whatever the pod says.
const REQUEST_TIMEOUT_MAX: Duration = Duration::from_hours(1);
/// The annotation that sets the deadline of one request, for instance `wk.dev/request-timeout: 5s`.
pub const REQUEST_TIMEOUT: &str = "wk.dev/request-timeout";

pub(super) fn request_timeout(pod: &core::Pod) -> Result<Duration, SpecError> {
    let Some(text) = pod.metadata.annotations.as_ref().and_then(|all| all.get(REQUEST_TIMEOUT)) else {
        return Ok(REQUEST_TIMEOUT_DEFAULT);
    };
    let field = format!("metadata.annotations[{REQUEST_TIMEOUT}]");
    match text.parse::<jiff::SignedDuration>().ok().and_then(|timeout| Duration::try_from(timeout).ok()) {
        Some(timeout) if !timeout.is_zero() && timeout <= REQUEST_TIMEOUT_MAX => Ok(timeout),
        _ => refuse(field, format!("{text:?} is not a duration between 1ms and 1h, such as 5s or 2m")),
    }
}

/// `requests.memory`: what the scheduler has kept for it. Without it the limit is one, as in Kubernetes.
pub(super) fn memory_request(container: &core::Container, field: &str) -> Result<u64, SpecError> {
    let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let Some(request) = requests.and_then(|requests| requests.get("memory")) else {
        return Ok(memory_limit(container, field)?.unwrap_or(0));
    };
    match Quantity::parse(&request.0).ok().and_then(|quantity| u64::try_from(quantity.value()).ok()) {
        Some(bytes) => Ok(bytes),
        None => {
            refuse(format!("{field}.resources.requests.memory"), format!("{:?} is not an amount of memory", request.0))
        }
    }
}

/// `limits.memory`: for all instances of the container together, as a kernel's cgroup holds all of its processes.
pub(super) fn memory_limit(container: &core::Container, field: &str) -> Result<Option<u64>, SpecError> {
    let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
    let Some(limit) = limits.and_then(|limits| limits.get("memory")) else { return Ok(None) };
    match Quantity::parse(&limit.0).ok().and_then(|quantity| u64::try_from(quantity.value()).ok()) {
        Some(bytes) if bytes > 0 => Ok(Some(bytes)),
        _ => refuse(format!("{field}.resources.limits.memory"), format!("{:?} is not an amount of memory", limit.0)),
    }
}
