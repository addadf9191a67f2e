//! Who is at the other end, read from a certificate that was verified already.

use std::fmt;

use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::authority::CLOCK_SKEW;
use crate::name::NodeName;
use crate::pem::CertPem;

/// Common name of node certificates, before the node's name: Kubernetes' convention for kubelets.
pub(crate) const NODE_USER_PREFIX: &str = "system:node:";
/// Organization of node certificates: Kubernetes' group of kubelets.
pub(crate) const NODE_GROUP: &str = "system:nodes";
/// What Kubernetes calls a caller without credentials, and their group.
const ANONYMOUS_USER: &str = "system:anonymous";
const ANONYMOUS_GROUP: &str = "system:unauthenticated";

/// Who sent a request. What they may do is for handlers to decide.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A node of this cluster.
    Node(NodeName),
    /// A user: the common name and the organizations of a client certificate, as in Kubernetes.
    User {
        /// The common name.
        name: String,
        /// The organizations.
        groups: Vec<String>,
    },
    /// Somebody who presented no certificate.
    Anonymous,
}

/// Which certificate a user showed: an extension of each of their requests. What was issued can be told apart by it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientCertificate {
    /// Its serial number in hexadecimal digits: random, and never given twice.
    pub serial: String,
    /// When it was made, in seconds since 1970.
    pub issued: i64,
    /// Until when it is good, in seconds since 1970.
    pub expires: i64,
}

impl ClientCertificate {
    /// Reads one that this cluster's authority has issued.
    pub fn read(certificate: &CertPem) -> Option<Self> {
        Self::from_der(&certificate.der().ok()?)
    }

    pub(crate) fn from_der(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let (from, to) = (certificate.validity().not_before, certificate.validity().not_after);
        // It is good from a while before it was made.
        let issued = from.timestamp().saturating_add_unsigned(CLOCK_SKEW.as_secs());
        Some(Self { serial: hex::encode(certificate.raw_serial()), issued, expires: to.timestamp() })
    }
}

/// Why a verified certificate names nobody.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// Not parseable as X.509 by us, though it was by TLS.
    #[error("read the client certificate")]
    Parse(#[source] x509_parser::nom::Err<x509_parser::error::X509Error>),
    /// It has no common name, or several.
    #[error("the client certificate has {found} common names instead of one")]
    CommonNames {
        /// How many it has.
        found: usize,
    },
    /// A name or group that is not text.
    #[error("the client certificate's subject is not text")]
    NotText,
    /// It claims to be a node in one place and not in the other.
    #[error("the client certificate of {0:?} is half a node's: name and group do not fit")]
    HalfNode(String),
}

impl Peer {
    /// The user name that Kubernetes' authorization sees.
    pub fn user(&self) -> String {
        match self {
            Self::Node(name) => format!("{NODE_USER_PREFIX}{name}"),
            Self::User { name, .. } => name.clone(),
            Self::Anonymous => ANONYMOUS_USER.to_owned(),
        }
    }

    /// The groups that Kubernetes' authorization sees.
    pub fn groups(&self) -> Vec<String> {
        match self {
            Self::Node(_) => vec![NODE_GROUP.to_owned()],
            Self::User { groups, .. } => groups.clone(),
            Self::Anonymous => vec![ANONYMOUS_GROUP.to_owned()],
        }
    }

    /// Reads the subject of a certificate, in DER. The caller has verified it.
    pub(crate) fn from_verified(der: &[u8]) -> Result<Self, PeerError> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(PeerError::Parse)?;
        let subject = certificate.subject();
        let names = texts(subject.iter_common_name())?;
        let groups = texts(subject.iter_organization())?;
        let [name] = <[String; 1]>::try_from(names).map_err(|names| PeerError::CommonNames { found: names.len() })?;
        let in_node_group = groups.iter().any(|group| group == NODE_GROUP);
        match (name.strip_prefix(NODE_USER_PREFIX), in_node_group) {
            (None, false) => Ok(Self::User { name, groups }),
            (Some(node), true) if groups.len() == 1 => {
                node.parse().map(Self::Node).map_err(|_| PeerError::HalfNode(name))
            }
            _ => Err(PeerError::HalfNode(name)),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.user())
    }
}

fn texts<'a>(
    attributes: impl Iterator<Item = &'a x509_parser::x509::AttributeTypeAndValue<'a>>,
) -> Result<Vec<String>, PeerError> {
    attributes.map(|attribute| attribute.as_str().map(str::to_owned).map_err(|_| PeerError::NotText)).collect()
}
