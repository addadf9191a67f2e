//! What a node of the cluster gave in writing: bytes signed with its key, beside the certificate that names it.
//!
//! TLS says who is at the other end now; a statement says who vouched for something, whoever brings it and whenever.
//! Not here: what is stated, and whose word counts for it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rcgen::SigningKey as _;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::identity::{Identity, IdentityError, provider};
use crate::name::NodeName;
use crate::peer::{Peer, PeerError};

/// What no other signature of a node's key begins with: TLS 1.3 signs 64 spaces first (RFC 8446, section 4.4.3).
const CONTEXT: &[u8] = b"wk statement 1\0";

/// A signature and the certificate of who made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    certificate: Vec<u8>,
    signature: Vec<u8>,
}

/// A text that is no statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a statement is a certificate and a signature in hexadecimal digits, with a dot between")]
pub struct StatementTextError;

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", hex::encode(&self.certificate), hex::encode(&self.signature))
    }
}

impl FromStr for Statement {
    type Err = StatementTextError;

    fn from_str(text: &str) -> Result<Self, StatementTextError> {
        let (certificate, signature) = text.split_once('.').ok_or(StatementTextError)?;
        let bytes = |digits| hex::decode(digits).map_err(|_| StatementTextError);
        Ok(Self { certificate: bytes(certificate)?, signature: bytes(signature)? })
    }
}

/// Why a statement was not made, or does not count.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// The node's identity is not whole.
    #[error("use the node's identity")]
    Identity(#[from] IdentityError),
    /// The signing failed.
    #[error("sign a statement")]
    Sign(#[source] rcgen::Error),
    /// The authority's certificate makes no verifier.
    #[error("set up the verification of certificates")]
    Verifier(#[source] rustls::client::VerifierBuilderError),
    /// The certificate is not one of this cluster, or not now.
    #[error("the certificate of who states this is not good")]
    Certificate(#[source] rustls::Error),
    /// The certificate names nobody.
    #[error("find out who states this")]
    Peer(#[from] PeerError),
    /// A user's certificate, which vouches for nothing.
    #[error("a node's word is needed, and this is {0}'s")]
    NotANode(String),
    /// The signature is over something else, or of another key.
    #[error("the signature does not fit what is stated")]
    Signature,
}

impl Identity {
    /// This node's word for `said`. `purpose` keeps a statement of one kind from being taken for one of another.
    pub fn state(&self, purpose: &str, said: &[&[u8]]) -> Result<Statement, StatementError> {
        let certificate = self.cert.der().map_err(IdentityError::Cert)?.to_vec();
        let signature = self.key.pair().sign(&message(purpose, said)).map_err(StatementError::Sign)?;
        Ok(Statement { certificate, signature })
    }

    /// Who of this node's cluster gave their word for `said`. Whether that node is a member still is for the caller to
    /// know: certificates outlive membership.
    pub fn verify(&self, purpose: &str, said: &[&[u8]], statement: &Statement) -> Result<NodeName, StatementError> {
        let roots = self.parse()?.roots;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider())
            .build()
            .map_err(StatementError::Verifier)?;
        let certificate = CertificateDer::from(statement.certificate.as_slice());
        verifier.verify_client_cert(&certificate, &[], UnixTime::now()).map_err(StatementError::Certificate)?;
        let name = match Peer::from_verified(&certificate)? {
            Peer::Node(name) => name,
            other @ (Peer::User { .. } | Peer::Anonymous) => return Err(StatementError::NotANode(other.to_string())),
        };
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(PeerError::Parse)?;
        let key = parsed.public_key().subject_public_key.data.as_ref();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key)
            .verify(&message(purpose, said), &statement.signature)
            .map_err(|_| StatementError::Signature)?;
        Ok(name)
    }
}

/// What is signed: each part with its length before it, so that no two lists of parts are one message.
fn message(purpose: &str, said: &[&[u8]]) -> Vec<u8> {
    let mut message = CONTEXT.to_vec();
    for part in [purpose.as_bytes()].iter().chain(said) {
        message.extend((part.len() as u64).to_le_bytes());
        message.extend_from_slice(part);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{identity, name};
    use crate::{Authority, CertPem, NodeKey};

    #[test]
    fn a_nodes_word_counts_for_what_it_said_and_nothing_else() {
        let authority = Authority::create("c1").expect("an authority");
        let (one, two) = (identity(&authority, "n1"), identity(&authority, "n2"));
        let statement = one.state("code", &[b"digest", b"sum"]).expect("states");
        assert_eq!(two.verify("code", &[b"digest", b"sum"], &statement).expect("counts"), name("n1"));
        assert_eq!(statement.to_string().parse(), Ok(statement.clone()));
        assert_eq!("00".parse::<Statement>(), Err(StatementTextError));
        for (purpose, said) in
            [("other", [&b"digest"[..], b"sum"]), ("code", [b"digest", b"summ"]), ("code", [b"diges", b"tsum"])]
        {
            let refused = two.verify(purpose, &said, &statement).expect_err("must not count");
            assert!(matches!(refused, StatementError::Signature), "{refused}");
        }
        let of_two = two.state("code", &[b"digest", b"sum"]).expect("states");
        let mixed = Statement { certificate: statement.certificate, signature: of_two.signature };
        assert!(matches!(two.verify("code", &[b"digest", b"sum"], &mixed), Err(StatementError::Signature)));
    }

    #[test]
    fn another_cluster_and_a_user_vouch_for_nothing() {
        let (ours, theirs) = (Authority::create("c1").expect("one"), Authority::create("c1").expect("another"));
        let (node, stranger) = (identity(&ours, "n1"), identity(&theirs, "n1"));
        let statement = stranger.state("code", &[b"x"]).expect("states");
        assert!(matches!(node.verify("code", &[b"x"], &statement), Err(StatementError::Certificate(_))));

        let (cert, key) = ours.issue_user("kim", &["system:masters"]).expect("a user");
        let (cert, key): (CertPem, NodeKey) = (cert, NodeKey::from_pem(&key).expect("a key"));
        let user = Identity { name: name("n9"), cert, key, ca: ours.cert_pem().clone() };
        let statement = user.state("code", &[b"x"]).expect("states");
        assert!(matches!(node.verify("code", &[b"x"], &statement), Err(StatementError::NotANode(_))));
    }
}
