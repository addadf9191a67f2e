//! What a container is told of its network in its own log, and what the agent is told of limits.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use wk_engine::{NetworkError, Output, Stream};
use wk_mesh::TrustError;

use super::judge::Denied;
use crate::sources::SourceError;
use crate::spec::{CA_CERTIFICATES, EGRESS};

/// Refusals that are written at once, and the time after which one more is: a person sees what is wrong from a few, and
/// a guest that tries in a loop fills no log.
const BURST: u32 = 10;
const PAUSE: Duration = Duration::from_secs(5);

/// Told about each breach of a limit, by the limit's name and its number. Must not wait.
pub type LimitSink = Arc<dyn Fn(&str) + Send + Sync>;

/// A container's.
pub(super) struct Voice {
    output: Arc<dyn Output>,
    limit: LimitSink,
    said: Mutex<Said>,
}

struct Said {
    left: u32,
    since: Instant,
    hidden: u64,
}

impl Voice {
    pub(super) fn new(output: Arc<dyn Output>, limit: LimitSink) -> Self {
        Self { output, limit, said: Mutex::new(Said { left: BURST, since: Instant::now(), hidden: 0 }) }
    }

    /// Where breaches of limits are told.
    pub(super) fn limit(&self) -> LimitSink {
        Arc::clone(&self.limit)
    }

    /// The guest was refused `what`.
    pub(super) fn denied(&self, what: &str, denied: &Denied) -> NetworkError {
        self.say(&format!("{what} refused: this pod may not reach it; add {} to its annotation {EGRESS}", denied.add));
        NetworkError::Denied
    }

    /// The guest looked up a Service that is not there.
    pub(super) fn no_service(&self, name: &str, service: &str, namespace: &str) -> NetworkError {
        self.say(&format!("looking up {name}: there is no Service {service} in namespace {namespace}"));
        NetworkError::NoName
    }

    /// The guest's request to `server` ended with its certificate. What is told here the guest's own error has no word for.
    pub(super) fn untrusted(&self, server: &str, why: &TrustError) -> NetworkError {
        let hint = match why {
            TrustError::UnknownIssuer => format!(
                "; put the authority's certificate into a ConfigMap and name it in the pod's annotation \
                 {CA_CERTIFICATES}: configmap/NAME"
            ),
            _ => String::new(),
        };
        self.say(&format!("request to {server} failed: {why}{hint}"));
        NetworkError::Certificate(why.to_string())
    }

    /// What the pod is to trust cannot be read.
    pub(super) fn no_authorities(&self, why: &SourceError) -> NetworkError {
        let why = format!("annotation {CA_CERTIFICATES}: {why}");
        self.say(&why);
        NetworkError::Certificate(why)
    }

    fn say(&self, what: &str) {
        if let Some(hidden) = self.turn() {
            let more = if hidden == 0 { String::new() } else { format!(" ({hidden} more were refused since)") };
            self.output.write(Stream::Err, format!("wk: {what}{more}\n").as_bytes());
        }
    }

    /// The same error, told where it is a breach of a limit.
    pub(super) fn told(&self, error: NetworkError) -> NetworkError {
        if let NetworkError::TooMany(which) = &error {
            let number = match &**which {
                "sockets of the pod" => super::pods::SOCKETS_MAX,
                "requests of the pod" => super::pods::REQUESTS_MAX,
                _ => return error,
            };
            (self.limit)(&format!("too many {which}: at most {number} at once"));
        }
        error
    }

    /// Whether this one is written, and how many were not since the last one.
    fn turn(&self) -> Option<u64> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.since.elapsed() >= PAUSE {
            said.left = said.left.saturating_add(1).min(BURST);
            said.since = Instant::now();
        }
        if said.left == 0 {
            said.hidden += 1;
            return None;
        }
        said.left -= 1;
        Some(std::mem::take(&mut said.hidden))
    }
}
