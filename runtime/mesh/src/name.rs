//! Names of nodes. A name is an identity, never an address.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name is a label's value too (`kubernetes.io/hostname`), which has at most as many octets as one label of a DNS name
/// (RFC 1035, section 2.3.4).
const NAME_MAX: usize = 63;

/// The name of a node: DNS labels with dots between them (RFC 1123), so that it can be part of a certificate's DNS name and a
/// machine may be called by its whole name, as in Kubernetes. Certificates name one node each, no domain of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(String);

/// Why a text is no node name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "node name {0:?} must be 1 to 63 lower-case letters, digits, '-' and '.', and start and end each part with a letter or a \
     digit"
)]
pub struct NodeNameError(String);

impl NodeName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The DNS name in this node's certificate: what a client verifies instead of an address.
    pub fn dns(&self) -> String {
        format!("{}{}", self.0, crate::authority::NODE_DOMAIN)
    }
}

impl FromStr for NodeName {
    type Err = NodeNameError;

    fn from_str(text: &str) -> Result<Self, NodeNameError> {
        let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
        let edge = |byte: Option<&u8>| byte.is_some_and(|byte| *byte != b'-');
        let is_label = |label: &[u8]| label.iter().all(inner) && edge(label.first()) && edge(label.last());
        if text.len() <= NAME_MAX && text.as_bytes().split(|byte| *byte == b'.').all(is_label) {
            return Ok(Self(text.to_owned()));
        }
        // What is quoted back may come from a stranger: a prefix says enough.
        Err(NodeNameError(text.chars().take(NAME_MAX + 1).collect()))
    }
}

impl TryFrom<String> for NodeName {
    type Error = NodeNameError;

    fn try_from(text: String) -> Result<Self, NodeNameError> {
        text.parse()
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.0
    }
}

impl AsRef<str> for NodeName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dns_names_are_node_names() {
        let longest = "a".repeat(63);
        for good in ["a", "n1", "node-7", "0", "127.0.0.1", "n1.example.com", longest.as_str()] {
            assert_eq!(good.parse::<NodeName>().expect("a name").as_str(), good);
        }
        let too_long = "a".repeat(64);
        for bad in ["", "-a", "a-", "A", ".", "a.", ".a", "a..b", "a.-b", "a_b", "ä", "a b", "a/b", too_long.as_str()]
        {
            assert!(bad.parse::<NodeName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_is_checked_when_it_is_read_from_json() {
        assert!(serde_json::from_str::<NodeName>("\"n1\"").is_ok());
        assert!(serde_json::from_str::<NodeName>("\"n1..evil\"").is_err());
    }
}
