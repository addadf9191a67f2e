//! Who a node is, how it joins, and the mutually authenticated HTTP/2 between nodes.
//!
//! Start at [`Authority`] (the cluster's certificate authority), [`serve()`] (the accepting side, which the API server
//! uses too) and [`Mesh`] (the calling side). Not here: what the requests mean, who may do what (handlers are told the
//! [`Peer`] and decide), and any knowledge of the store or of pods.
//!
//! **Guarantees.** A [`Peer`] is anything but anonymous only if its certificate was verified against the cluster's
//! authority. A [`Mesh`] request reaches only the node that holds the key of the name it was meant for, whatever
//! answers at its address. A joining node's secret is sent only to a server that proved to belong to the cluster whose
//! fingerprint its token carries.
//!
//! ```
//! use std::net::{IpAddr, Ipv4Addr};
//! use wk_mesh::{Authority, Identity, Mesh, NodeKey, NodeName};
//!
//! let authority = Authority::create("c1").expect("a new authority");
//! let name: NodeName = "n1".parse().expect("a DNS label");
//! let key = NodeKey::generate().expect("a key");
//! let cert = authority
//!     .issue_node(&name, IpAddr::V4(Ipv4Addr::LOCALHOST), &key.csr().expect("a request"))
//!     .expect("a certificate");
//! let identity = Identity { name, cert, key, ca: authority.cert_pem().clone() };
//! let mesh = Mesh::new(identity).expect("an identity that holds together");
//! # drop(mesh);
//! ```

mod authority;
mod client;
mod error;
mod https;
mod identity;
pub mod join;
mod key;
mod link;
mod metrics;
mod name;
mod outgoing;
mod own_root;
mod peer;
mod pem;
mod pin;
mod requested;
mod serve;
mod statement;
mod subject;
#[cfg(test)]
mod tests;
mod tls;
mod token;
mod upgrade;

pub use authority::{Authority, AuthorityError, Fingerprint, FingerprintError};
pub use client::{Lane, Mesh};
pub use error::MeshError;
pub use https::{FetchError, Https};
pub use identity::{Identity, IdentityError};
pub use key::{Csr, CsrError, KeyError, NodeKey};
pub use link::DialError;
pub use metrics::{MeshMetrics, ServeMetrics};
pub use name::{NodeName, NodeNameError};
pub use outgoing::{ClientTls, Trust, TrustError};
pub use peer::{ClientCertificate, Peer, PeerError};
pub use pem::{CertPem, KeyPem, PemError};
pub use requested::{RequestError, requested_groups};
pub use serve::{Handler, Limits, RemoteAddress, serve};
pub use statement::{Statement, StatementError, StatementTextError};
pub use tls::{AcceptError, Alpn, Tls, TlsError, TlsStream};
pub use token::{Secret, Token, TokenError};
pub use upgrade::Upgrade;
