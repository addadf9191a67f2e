//! Why a request to another node failed, and above all: whether that node may have acted on it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use wk_base::body::BoxError;

use crate::link::DialError;
use crate::name::NodeName;

/// Why a request to a node got no response.
///
/// | variant | sent? | may be repeated |
/// |---|---|---|
/// | `Unknown`, `Connect`, `NotSent` | surely not | by anybody, whatever the method |
/// | `Broken` | maybe | only if idempotent |
/// | `Deadline` | maybe | only if idempotent, and there is time left |
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// No address is known for the node.
    #[error("no address is known for node {node}")]
    Unknown {
        /// The node meant.
        node: NodeName,
    },
    /// No connection could be made: nothing was sent.
    #[error("connect to node {node} at {address}")]
    Connect {
        /// The node meant.
        node: NodeName,
        /// Where it was looked for.
        address: SocketAddr,
        /// Why that failed. Shared by everybody who waited for the same attempt.
        source: Arc<DialError>,
    },
    /// There was a connection, but it ended before the node began to work on the request.
    #[error("request to node {node} was not sent")]
    NotSent {
        /// The node meant.
        node: NodeName,
        /// What ended the connection.
        source: BoxError,
    },
    /// The connection or the stream ended after the request went out: the node may have acted on it.
    #[error("connection to node {node} broke before it answered")]
    Broken {
        /// The node meant.
        node: NodeName,
        /// What ended it.
        source: BoxError,
    },
    /// No answer within the deadline.
    #[error("node {node} did not answer within {after:?}")]
    Deadline {
        /// The node meant.
        node: NodeName,
        /// The deadline given.
        after: Duration,
    },
}

impl MeshError {
    /// True when the node surely did nothing with the request, so that anybody may send it again elsewhere.
    pub fn nothing_was_sent(&self) -> bool {
        match self {
            Self::Unknown { .. } | Self::Connect { .. } | Self::NotSent { .. } => true,
            Self::Broken { .. } | Self::Deadline { .. } => false,
        }
    }
}
