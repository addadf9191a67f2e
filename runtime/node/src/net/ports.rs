//! The ports that a pod's programs listen at, and the connections that wait to be accepted.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use wk_engine::{Connection, Duplex, Listener, NetworkError};

use super::pods::{Pod, SOCKETS_MAX};
use super::voice::LimitSink;

/// Connections that wait at one port: the kernel's default for what it calls the backlog is no lower.
const BACKLOG_MAX: usize = 128;

/// Ports that one pod listens at.
const PORTS_MAX: usize = 64;

/// Bytes that wait in one direction of a connection in this process. With what is in flight behind it that is enough
/// for a link across a continent, and a pod's sockets together hold some megabytes.
pub(super) const PIPE_BYTES: usize = 16 << 10;

/// Who connects, as the listening program is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Somebody in the pod, or who stands in for one: reaches what listens at the loopback too.
    Inside(SocketAddr),
    /// Anybody else.
    Outside(SocketAddr),
}

impl Caller {
    /// This node itself: a probe, a forwarded port.
    pub const NODE: Self = Self::Inside(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0));
    /// Somebody's request that this node passes on: the ingress', another pod's, a client's of the API.
    pub const TRAFFIC: Self = Self::Outside(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0));

    fn address(self) -> SocketAddr {
        match self {
            Self::Inside(address) | Self::Outside(address) => address,
        }
    }
}

/// Nothing of the pod takes connections at the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nobody listens there, or the pod is not here.
    #[error("connection refused")]
    Nobody,
    /// As many connections wait, or are open, as may.
    #[error("connection refused: the pod has as many connections as it may")]
    Full,
}

/// The listening ports of a pod.
#[derive(Default)]
pub(super) struct Ports(Mutex<BTreeMap<u16, Arc<Open>>>);

/// One of them.
struct Open {
    at: IpAddr,
    queue: mpsc::Sender<Connection>,
    limit: LimitSink,
}

impl Ports {
    fn table(&self) -> std::sync::MutexGuard<'_, BTreeMap<u16, Arc<Open>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pod {
    /// Takes a port. Connections that are refused because of a limit are told to `limit`.
    pub(super) fn listen(
        self: &Arc<Self>,
        at: SocketAddr,
        limit: LimitSink,
    ) -> Result<Box<dyn Listener>, NetworkError> {
        let ip = at.ip().to_canonical();
        if !(ip.is_unspecified() || ip.is_loopback() || ip == self.address) {
            return Err(NetworkError::NotHere);
        }
        let mut table = self.ports().table();
        if table.len() >= PORTS_MAX {
            return Err(NetworkError::TooMany("ports that the pod listens at".into()));
        }
        let free = || (0..PORTS_MAX * 2).map(|_| self.port()).find(|port| !table.contains_key(port));
        let port = if at.port() == 0 { free().ok_or(NetworkError::InUse)? } else { at.port() };
        if table.contains_key(&port) {
            return Err(NetworkError::InUse);
        }
        let (queue, waiting) = mpsc::channel(BACKLOG_MAX);
        let open = Arc::new(Open { at: ip, queue, limit });
        table.insert(port, Arc::clone(&open));
        drop(table);
        Ok(Box::new(Listening { pod: Arc::downgrade(self), at: SocketAddr::new(at.ip(), port), open, waiting }))
    }

    /// Whether a program of the pod listens at `port` for `caller`.
    pub(crate) fn listens(&self, port: u16, caller: Caller) -> bool {
        self.ports_taken().is_some_and(|ports| ports.table().get(&port).is_some_and(|open| open.takes(caller)))
    }

    /// Connects to the program that listens at `port`.
    pub(crate) fn connect(&self, port: u16, caller: Caller) -> Result<Box<dyn Duplex>, Refused> {
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        self.accept(port, caller, Box::new(far))?;
        Ok(Box::new(near))
    }

    /// Hands `stream` to the program that listens at `port`.
    fn accept(&self, port: u16, caller: Caller, stream: Box<dyn Duplex>) -> Result<(), Refused> {
        let ports = self.ports_taken().ok_or(Refused::Nobody)?;
        let open = ports.table().get(&port).filter(|open| open.takes(caller)).cloned().ok_or(Refused::Nobody)?;
        let here = if open.at.is_unspecified() { self.address } else { open.at };
        let place = self.socket().map_err(|_| {
            (open.limit)(&format!("too many sockets of the pod: at most {SOCKETS_MAX} at once"));
            Refused::Full
        })?;
        let stream = Box::new(super::dial::Held::new(stream, place));
        let connection = Connection { stream, local: SocketAddr::new(here, port), remote: caller.address() };
        open.queue.try_send(connection).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                (open.limit)(&format!("too many connections wait at port {port}: at most {BACKLOG_MAX} at once"));
                Refused::Full
            }
            mpsc::error::TrySendError::Closed(_) => Refused::Nobody,
        })
    }
}

impl Open {
    fn takes(&self, caller: Caller) -> bool {
        matches!(caller, Caller::Inside(_)) || !self.at.is_loopback()
    }
}

/// The listening end: the port is free again when it goes.
struct Listening {
    pod: Weak<Pod>,
    at: SocketAddr,
    open: Arc<Open>,
    waiting: mpsc::Receiver<Connection>,
}

impl Listener for Listening {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Connection> {
        match self.waiting.poll_recv(cx) {
            Poll::Ready(Some(connection)) => Poll::Ready(connection),
            // Not before this end goes, which holds the other.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn local(&self) -> SocketAddr {
        self.at
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let Some(pod) = self.pod.upgrade() else { return };
        let mut table = pod.ports().table();
        if table.get(&self.at.port()).is_some_and(|open| Arc::ptr_eq(open, &self.open)) {
            table.remove(&self.at.port());
        }
    }
}
