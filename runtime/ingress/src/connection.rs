//! One client connection: what its requests share, and whether it still does anything.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use http::header::CONNECTION;
use http::{HeaderValue, Response, StatusCode, Version};

use crate::certificates::Resolver;
use crate::{Ingress, Limits};

/// What is known of a connection.
pub(crate) struct Connection {
    ingress: Arc<Ingress>,
    /// The client's address as a header value: written once, shared by all requests.
    client: HeaderValue,
    security: Security,
    open: AtomicU32,
    /// Requests begun and ended, pieces of bodies passed on: it matters only whether it changes.
    moves: AtomicU64,
    /// Whether it ends soon: each answer over it says so.
    leaving: AtomicBool,
}

/// How a connection is protected.
pub(crate) enum Security {
    Plain,
    Tls {
        /// The name the client asked a certificate for.
        sni: Option<String>,
        certificates: Arc<Resolver>,
    },
}

impl Connection {
    pub(crate) fn new(ingress: Arc<Ingress>, client: IpAddr, security: Security) -> Self {
        let client = client.to_canonical().to_string();
        let client = HeaderValue::try_from(client).expect("an address is made of visible ASCII characters");
        Self {
            ingress,
            client,
            security,
            open: AtomicU32::new(0),
            moves: AtomicU64::new(0),
            leaving: AtomicBool::new(false),
        }
    }

    /// Whether no request has come yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.moves.load(Ordering::Relaxed) == 0 && self.open.load(Ordering::Relaxed) == 0
    }

    /// From now on answers say that the connection ends with them.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Says in an answer of HTTP/1 that it is the last, if that is so: a client that was told sends nothing more over this
    /// connection, and needs not wonder whether what it sent was taken.
    pub(crate) fn announce<B>(&self, response: &mut Response<B>, version: Version) {
        let is_http1 = matches!(version, Version::HTTP_10 | Version::HTTP_11);
        // One that becomes something else says that there.
        let is_http = response.status() != StatusCode::SWITCHING_PROTOCOLS;
        if self.leaving.load(Ordering::Relaxed) && is_http1 && is_http {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }

    pub(crate) fn ingress(&self) -> &Ingress {
        &self.ingress
    }

    pub(crate) fn client(&self) -> &HeaderValue {
        &self.client
    }

    pub(crate) fn scheme(&self) -> &'static str {
        match self.security {
            Security::Plain => "http",
            Security::Tls { .. } => "https",
        }
    }

    /// The name this connection was made for, if `host` would have been shown another certificate (RFC 9110, 7.4): a
    /// client that shares one connection between names that share no certificate is told to open another.
    pub(crate) fn misdirected(&self, host: &str) -> Option<&str> {
        match &self.security {
            Security::Tls { sni: Some(sni), certificates } if sni != host => {
                (!certificates.same(sni, host)).then_some(sni)
            }
            Security::Tls { .. } | Security::Plain => None,
        }
    }

    /// Something happened.
    pub(crate) fn moved(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
    }
}

/// A request that is open; it counts until this is dropped.
pub(crate) struct Open(Arc<Connection>);

impl Open {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        connection.moved();
        connection.open.fetch_add(1, Ordering::Relaxed);
        connection.ingress.metrics().requests_open.up();
        Self(connection)
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.0
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.moved();
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.ingress.metrics().requests_open.down();
    }
}

/// What is to be done with a connection after a look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    Fine,
    /// It does nothing: let it end in order.
    Finish,
    /// It keeps us waiting: end it.
    Cut,
}

/// Looks at a connection now and then. One timer a connection, none a request: hyper's own header timer is armed anew
/// for every request, and knows nothing of HTTP/2, of the version's detection, or of a client that does not read.
pub(crate) struct Watch {
    seen: u64,
    /// Looks in a row with requests open and nothing moving.
    still: u32,
    finishing: bool,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self { seen: 0, still: 0, finishing: false }
    }

    /// A look after `limits.head_read` at first and then every `limits.connection_idle`.
    pub(crate) fn look(&mut self, connection: &Connection, limits: &Limits) -> Look {
        let moves = connection.moves.load(Ordering::Relaxed);
        let open = connection.open.load(Ordering::Relaxed);
        if moves == 0 {
            return Look::Cut;
        }
        let moved = std::mem::replace(&mut self.seen, moves) != moves;
        if moved {
            self.still = 0;
            return Look::Fine;
        }
        if open > 0 {
            self.still += 1;
            let stalled = limits.connection_idle * self.still >= limits.connection_stalled;
            return if stalled { Look::Cut } else { Look::Fine };
        }
        if std::mem::replace(&mut self.finishing, true) { Look::Cut } else { Look::Finish }
    }
}
