//! The cluster's certificate authority: it alone says who is who.
//!
//! Every certificate is made from what *we* say about its holder. Of a signing request only the public key is used.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{aead, hkdf};
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::identity::provider;
use crate::key::{Csr, CsrError, KeyError, NodeKey};
use crate::name::NodeName;
use crate::peer::{NODE_GROUP, NODE_USER_PREFIX};
use crate::pem::{CertPem, KeyPem, PemError};
use crate::subject;

/// Node `n1` is `n1.nodes.wk.internal` in its certificate (`.internal` is reserved for private use by ICANN).
pub(crate) const NODE_DOMAIN: &str = ".nodes.wk.internal";
/// Everything below is ours.
const OWN_DOMAIN: &str = ".wk.internal";
/// The name every node answers to and nothing else does; a joining node, which knows no name yet, verifies this one.
pub(crate) const ANY_NODE_DNS: &str = "kubernetes.default.svc";
/// Names under which Kubernetes' clients look for an API server.
const API_DNS: [&str; 5] =
    ["kubernetes", "kubernetes.default", ANY_NODE_DNS, "kubernetes.default.svc.cluster.local", "localhost"];
const ORGANIZATION: &str = "wk";
/// Common name of the authority, before the cluster's id.
const AUTHORITY_PREFIX: &str = "wk cluster ";

/// Clocks of machines differ; a certificate is good from an hour before it was made.
pub(crate) const CLOCK_SKEW: Duration = Duration::from_hours(1);
/// The authority is the cluster's identity; replacing it means joining again.
const AUTHORITY_VALID: Duration = Duration::from_hours(10 * 365 * 24);
/// Nodes ask for a new certificate at each start. 825 days is the longest that common TLS clients accept from a private
/// authority (Apple, 2019).
const LEAF_VALID: Duration = Duration::from_hours(825 * 24);
/// RFC 5280 allows 20 octets; 16 random ones never meet twice.
const SERIAL_BYTES: usize = 16;
/// RFC 5280 says 64 (ub-common-name), but a Kubernetes node's common name is its name with a prefix, which may be longer,
/// and nobody enforces it. Twice that holds any node of ours.
const SUBJECT_CHARS_MAX: usize = 128;
/// Names in one certificate: enough for an ingress, few enough for a handshake in one packet flight.
const SERVER_NAMES_MAX: usize = 64;

/// The certificate authority of a cluster.
#[derive(Clone)]
pub struct Authority {
    cluster: String,
    cert: CertPem,
    der: CertificateDer<'static>,
    key: NodeKey,
}

/// SHA-256 of a certificate in DER: what a join token pins.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// A text that is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 64 hexadecimal digits")]
pub struct FingerprintError;

/// Why the authority could not be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its certificate is not readable.
    #[error("read the cluster authority's certificate")]
    Cert(#[from] PemError),
    /// Its key is not readable.
    #[error("read the cluster authority's key")]
    Key(#[from] KeyError),
    /// The certificate is not one of a cluster authority.
    #[error("the certificate is not a wk cluster authority's: {0}")]
    NotAnAuthority(&'static str),
    /// The key belongs to another certificate.
    #[error("the cluster authority's key does not belong to its certificate")]
    Mismatch,
    /// The node's request is refused.
    #[error("use the node's certificate request")]
    Csr(#[from] CsrError),
    /// A subject that would pass for somebody else, or that X.509 does not hold.
    #[error("cannot issue a certificate to {name:?}: {why}")]
    Refused {
        /// Who or what it was for.
        name: String,
        /// The reason.
        why: &'static str,
    },
    /// Something could not be sealed.
    #[error("seal with the cluster authority's key")]
    Seal,
    /// The signing itself failed.
    #[error("sign a certificate")]
    Sign(#[source] rcgen::Error),
}

impl Authority {
    /// A new authority for the cluster with this id.
    pub fn create(cluster: &str) -> Result<Self, AuthorityError> {
        let name = format!("{AUTHORITY_PREFIX}{cluster}");
        let mut params = base_params(&name, ORGANIZATION, AUTHORITY_VALID)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = NodeKey::generate()?;
        let signed = params.self_signed(key.pair()).map_err(AuthorityError::Sign)?;
        Ok(Self { cluster: cluster.to_owned(), cert: CertPem::new(signed.pem()), der: signed.into(), key })
    }

    /// Reads what [`Authority::to_pem`] wrote, and checks that certificate and key belong together.
    pub fn from_pem(cert: &CertPem, key: &KeyPem) -> Result<Self, AuthorityError> {
        let der = cert.der()?;
        let key = NodeKey::from_pem(key)?;
        let (_, parsed) =
            X509Certificate::from_der(&der).map_err(|_| AuthorityError::NotAnAuthority("it is not X.509"))?;
        if !parsed.is_ca() {
            return Err(AuthorityError::NotAnAuthority("it may not sign others"));
        }
        let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default();
        let Some(cluster) = name.strip_prefix(AUTHORITY_PREFIX) else {
            return Err(AuthorityError::NotAnAuthority("its name is another"));
        };
        if parsed.public_key().subject_public_key.data.as_ref() != key.pair().der_bytes() {
            return Err(AuthorityError::Mismatch);
        }
        Ok(Self { cluster: cluster.to_owned(), cert: cert.clone(), der: der.clone(), key })
    }

    /// Certificate and key, to be kept. The key is the cluster's most precious secret.
    pub fn to_pem(&self) -> (CertPem, KeyPem) {
        (self.cert.clone(), self.key.to_pem())
    }

    /// The id of the cluster.
    pub fn cluster_id(&self) -> &str {
        &self.cluster
    }

    /// The certificate, for everybody who is to trust this cluster.
    pub fn cert_pem(&self) -> &CertPem {
        &self.cert
    }

    /// The fingerprint that join tokens carry.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }

    /// A certificate for a node: server and client in the mesh, and server of the Kubernetes API.
    ///
    /// `listen` is the address it serves on; an unspecified one (`0.0.0.0`) is left out.
    pub fn issue_node(&self, name: &NodeName, listen: IpAddr, csr: &Csr) -> Result<CertPem, AuthorityError> {
        let public_key = csr.public_key()?;
        let mut params = base_params(&format!("{NODE_USER_PREFIX}{name}"), NODE_GROUP, LEAF_VALID)?;
        params.subject_alt_names = vec![dns(&name.dns())?];
        for name in API_DNS {
            params.subject_alt_names.push(dns(name)?);
        }
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        params.subject_alt_names.push(SanType::IpAddress(loopback));
        if listen != loopback && !listen.is_unspecified() {
            params.subject_alt_names.push(SanType::IpAddress(listen));
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, &public_key)
    }

    /// A client certificate and its key for a user of the API, as Kubernetes reads it: common name and organization.
    ///
    /// At most one group: the certificate library writes one organization.
    pub fn issue_user(&self, user: &str, groups: &[&str]) -> Result<(CertPem, KeyPem), AuthorityError> {
        let refused = |why| AuthorityError::Refused { name: user.to_owned(), why };
        if user.starts_with(NODE_USER_PREFIX) || groups.contains(&NODE_GROUP) {
            return Err(refused("nodes get theirs by joining"));
        }
        let group = match groups {
            [] => "",
            [group] => group,
            _ => return Err(refused("a certificate holds one group")),
        };
        let mut params = base_params(user, group, LEAF_VALID)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = NodeKey::generate()?;
        Ok((self.sign(params, key.pair())?, key.to_pem()))
    }

    /// A client certificate of bounded life for a key that its holder made: the request's key and nothing else of it.
    pub fn issue_client(&self, user: &str, group: &str, valid: Duration, csr: &Csr) -> Result<CertPem, AuthorityError> {
        if user.starts_with(NODE_USER_PREFIX) || group == NODE_GROUP {
            return Err(AuthorityError::Refused { name: user.to_owned(), why: "nodes get theirs by joining" });
        }
        let public_key = csr.public_key()?;
        let mut params = base_params(user, group, valid.min(LEAF_VALID))?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, &public_key)
    }

    /// A server certificate and its key for names or addresses that are not nodes: the ingress' default.
    pub fn issue_server(&self, names: &[&str]) -> Result<(CertPem, KeyPem), AuthorityError> {
        let Some(first) = names.first() else {
            return Err(AuthorityError::Refused { name: String::new(), why: "no name given" });
        };
        if names.len() > SERVER_NAMES_MAX {
            return Err(AuthorityError::Refused { name: (*first).to_owned(), why: "more than 64 names" });
        }
        let mut params = base_params("wk ingress", ORGANIZATION, LEAF_VALID)?;
        for name in names {
            params.subject_alt_names.push(server_name(name)?);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = NodeKey::generate()?;
        Ok((self.sign(params, key.pair())?, key.to_pem()))
    }

    /// `plain` so that only holders of the authority's key can read it, and nobody can change it. `purpose` keeps what
    /// is sealed for one thing from being taken for another.
    pub fn seal(&self, purpose: &str, plain: &[u8]) -> Result<Vec<u8>, AuthorityError> {
        let mut nonce = [0; aead::NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| AuthorityError::Seal)?;
        let mut sealed = plain.to_vec();
        let key = self.sealing_key(purpose);
        let of = aead::Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(of, aead::Aad::empty(), &mut sealed).map_err(|_| AuthorityError::Seal)?;
        Ok([nonce.to_vec(), sealed].concat())
    }

    /// What was sealed for this purpose by this authority; None for everything else.
    pub fn unseal(&self, purpose: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(aead::NONCE_LEN)?;
        let nonce = aead::Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = sealed.to_vec();
        let plain = self.sealing_key(purpose).open_in_place(nonce, aead::Aad::empty(), &mut plain).ok()?;
        Some(plain.to_vec())
    }

    /// AES-256-GCM with a key derived from the authority's (HKDF, RFC 5869).
    fn sealing_key(&self, purpose: &str) -> aead::LessSafeKey {
        let der = self.key.der();
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, self.cluster.as_bytes()).extract(der.secret_der());
        let purpose = [purpose.as_bytes()];
        let derived = secret.expand(&purpose, &aead::AES_256_GCM).expect("a key is shorter than HKDF's longest answer");
        aead::LessSafeKey::new(derived.into())
    }

    /// As [`Self::sign`], for somebody who is in any number of groups.
    pub(crate) fn sign_for(
        &self,
        params: CertificateParams,
        key: &impl PublicKeyData,
        user: &str,
        groups: &[String],
    ) -> Result<CertPem, AuthorityError> {
        let signed = self.sign(params, key)?;
        if groups.len() < 2 {
            return Ok(signed);
        }
        let replaced = subject::replaced(&signed.der()?, user, groups, self.key.pair());
        let replaced = replaced.ok_or(AuthorityError::NotAnAuthority("what it signed is not X.509"))?;
        replaced.map_err(AuthorityError::Sign)
    }

    pub(crate) fn sign(
        &self,
        mut params: CertificateParams,
        key: &impl PublicKeyData,
    ) -> Result<CertPem, AuthorityError> {
        let (_, parsed) =
            X509Certificate::from_der(&self.der).map_err(|_| AuthorityError::NotAnAuthority("it is not X.509"))?;
        // Nothing outlives the authority: it would be refused then, with a more puzzling message.
        params.not_after = params.not_after.min(parsed.validity().not_after.to_datetime());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_der(&self.der, self.key.pair()).map_err(AuthorityError::Sign)?;
        let signed = params.signed_by(key, &issuer).map_err(AuthorityError::Sign)?;
        Ok(CertPem::new(signed.pem()))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl Fingerprint {
    /// The fingerprint of a certificate in DER.
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| FingerprintError)?;
        Ok(Self(bytes))
    }
}

pub(crate) fn base_params(
    common_name: &str,
    organization: &str,
    valid: Duration,
) -> Result<CertificateParams, AuthorityError> {
    for text in [common_name, organization] {
        check_name(text)?;
    }
    if common_name.is_empty() {
        return Err(AuthorityError::Refused { name: String::new(), why: "the name is empty" });
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if !organization.is_empty() {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.distinguished_name.push(DnType::CommonName, common_name);
    let now = SystemTime::now();
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + valid).into();
    params.serial_number = Some(serial()?);
    Ok(params)
}

/// Refuses what no name in a certificate may be.
pub(crate) fn check_name(text: &str) -> Result<(), AuthorityError> {
    let why = if text.chars().count() > SUBJECT_CHARS_MAX {
        "a name in a certificate has at most 128 characters"
    } else if text.chars().any(char::is_control) {
        "a name in a certificate has no control characters"
    } else {
        return Ok(());
    };
    Err(AuthorityError::Refused { name: text.chars().take(SUBJECT_CHARS_MAX).collect(), why })
}

fn serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0; SERIAL_BYTES];
    provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| AuthorityError::Key(KeyError::Generate(rcgen::Error::RingUnspecified)))?;
    // A serial is positive and not zero (RFC 5280, section 4.1.2.2).
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn dns(name: &str) -> Result<SanType, AuthorityError> {
    name.try_into().map(SanType::DnsName).map_err(AuthorityError::Sign)
}

/// A name for a server that is no node: it must not pass for one.
fn server_name(name: &str) -> Result<SanType, AuthorityError> {
    let refused = |why| AuthorityError::Refused { name: name.chars().take(253).collect(), why };
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let plain = name.strip_prefix("*.").unwrap_or(name);
    let lower = plain.to_ascii_lowercase();
    let of_nodes = format!(".{lower}").ends_with(OWN_DOMAIN);
    let of_api = API_DNS.iter().filter(|api| **api != "localhost").any(|api| {
        // A wildcard stands for one label.
        let covers = api.split_once('.').is_some_and(|(_, parent)| parent == lower);
        if plain == name { lower == **api } else { covers }
    });
    if of_nodes || of_api {
        return Err(refused("the name is reserved for nodes"));
    }
    rustls::pki_types::DnsName::try_from(plain).map_err(|_| refused("not a DNS name or an address"))?;
    dns(name)
}
