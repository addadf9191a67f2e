//! Client certificates that somebody asked for and somebody else approved (`kubernetes.io/kube-apiserver-client`): the
//! subject is the request's, as Kubernetes' signer has it.
//!
//! Not here: who approved it. Names that mean more than a user of the API are refused whoever did.

use std::time::Duration;

use rcgen::{CertificateSigningRequestParams, ExtendedKeyUsagePurpose};
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509CertificationRequest};

use crate::authority::{Authority, AuthorityError, base_params, check_name};
use crate::key::CSR_BYTES_MAX;
use crate::peer::{NODE_GROUP, NODE_USER_PREFIX};
use crate::pem::CertPem;

/// The group that may do everything: Kubernetes lets nobody ask for it either (`CertificateSubjectRestriction`).
const MASTERS: &str = "system:masters";
/// Groups that say more than a group.
const OWN_GROUPS: &str = "wk:";
/// Groups of one person at most: each is looked up at every request.
const GROUPS_MAX: usize = 64;
/// As in Kubernetes (`--cluster-signing-duration`).
const VALID_MAX: Duration = Duration::from_hours(365 * 24);

/// Why a request is not signed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Longer than any honest one.
    #[error("a certificate request of {0} bytes")]
    TooLong(usize),
    /// Not a request, or one that does not prove possession of its key.
    #[error("read the certificate request: {0}")]
    Parse(String),
    /// Something of it may not be signed.
    #[error("{0}")]
    Refused(String),
    /// The signing failed.
    #[error(transparent)]
    Sign(#[from] AuthorityError),
}

impl Authority {
    /// A client certificate for the subject and the key of a request in PEM, for `valid` or less.
    pub fn issue_requested(&self, request: &str, valid: Option<Duration>) -> Result<CertPem, RequestError> {
        if request.len() > CSR_BYTES_MAX {
            return Err(RequestError::TooLong(request.len()));
        }
        let parsed = CertificateSigningRequestParams::from_pem(request);
        let parsed = parsed.map_err(|error| RequestError::Parse(error.to_string()))?;
        let (user, groups) = subject(request)?;
        let refused = |why: String| Err(RequestError::Refused(why));
        if user.starts_with(NODE_USER_PREFIX) || groups.iter().any(|group| group == NODE_GROUP) {
            return refused("nodes get their certificates by joining".to_owned());
        }
        if let Some(group) = groups.iter().find(|group| *group == MASTERS || group.starts_with(OWN_GROUPS)) {
            return refused(format!(
                "use of kubernetes.io/kube-apiserver-client signer with {group} group is not allowed"
            ));
        }
        if !parsed.params.subject_alt_names.is_empty() {
            return refused("a client certificate here has no alternative names".to_owned());
        }
        let first = groups.first().map_or("", String::as_str);
        let mut params = base_params(&user, first, valid.unwrap_or(VALID_MAX).min(VALID_MAX))?;
        for group in groups.iter().skip(1) {
            check_name(group)?;
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Ok(self.sign_for(params, &parsed.public_key, &user, &groups)?)
    }
}

/// The groups that a request in PEM asks for: the organizations of its subject. None for what cannot be read.
pub fn requested_groups(request: &str) -> Option<Vec<String>> {
    subject(request).ok().map(|(_, groups)| groups)
}

/// The common name and the organizations of a request.
fn subject(request: &str) -> Result<(String, Vec<String>), RequestError> {
    if request.len() > CSR_BYTES_MAX {
        return Err(RequestError::TooLong(request.len()));
    }
    let unread = |error: String| RequestError::Parse(error);
    let der = CertificateSigningRequestDer::from_pem_slice(request.as_bytes());
    let der = der.map_err(|error| unread(error.to_string()))?;
    let (_, parsed) = X509CertificationRequest::from_der(&der).map_err(|error| unread(error.to_string()))?;
    let subject = &parsed.certification_request_info.subject;
    let odd = |_| RequestError::Refused("a subject in another form than UTF-8 text".to_owned());
    let mut names = subject.iter_common_name();
    let user = names.next().map(|name| name.as_str().map_err(odd)).transpose()?.unwrap_or_default().to_owned();
    if names.next().is_some() {
        return Err(RequestError::Refused("a subject with several common names".to_owned()));
    }
    let mut groups: Vec<String> = Vec::new();
    for group in subject.iter_organization() {
        let group = group.as_str().map_err(odd)?;
        if !group.is_empty() && !groups.iter().any(|own| own == group) {
            groups.push(group.to_owned());
        }
    }
    if groups.len() > GROUPS_MAX {
        return Err(RequestError::Refused(format!("a subject with more than {GROUPS_MAX} organizations")));
    }
    Ok((user, groups))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
    use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
    use x509_parser::prelude::X509Certificate;

    use crate::Peer;

    use super::*;

    fn request(user: &str, group: &str) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, user);
        params.distinguished_name.push(DnType::OrganizationName, group);
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key");
        params.serialize_request(&key).expect("a request").pem().expect("PEM")
    }

    #[test]
    fn a_request_is_signed_with_its_subject_and_not_for_longer_than_it_asks() {
        let authority = Authority::create("test").expect("an authority");
        let asked = Duration::from_hours(1);
        let signed = authority.issue_requested(&request("ann", "developers"), Some(asked)).expect("signed");
        let der = signed.der().expect("DER");
        let (_, parsed) = X509Certificate::from_der(&der).expect("a certificate");
        let name = parsed.subject().to_string();
        assert!(name.contains("CN=ann") && name.contains("O=developers"), "{name}");
        let left = parsed.validity().time_to_expiration().expect("it is good");
        assert!(left.whole_seconds() <= 3600, "{left}");
    }

    /// Made by another program: the library that we use makes requests with one organization.
    /// `openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /O=dev/O=ops/CN=ann`
    const TWO_GROUPS: &str = include_str!("../tests/two_groups.csr");
    /// The same with `/O=dev/O=system:masters/CN=ann`.
    const WITH_MASTERS: &str = include_str!("../tests/with_masters.csr");

    #[test]
    fn every_organization_of_a_request_is_a_group_of_its_holder() {
        let authority = Authority::create("test").expect("an authority");
        assert_eq!(requested_groups(TWO_GROUPS).expect("groups"), ["dev", "ops"]);
        let signed = authority.issue_requested(TWO_GROUPS, None).expect("signed").der().expect("DER");
        let expected = Peer::User { name: "ann".to_owned(), groups: vec!["dev".to_owned(), "ops".to_owned()] };
        assert_eq!(Peer::from_verified(&signed).expect("a person"), expected);
        let ca = authority.cert_pem().der().expect("DER");
        let (_, ca) = X509Certificate::from_der(&ca).expect("a certificate");
        let (_, signed) = X509Certificate::from_der(&signed).expect("a certificate");
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &ca.public_key().subject_public_key.data);
        let signature = &signed.signature_value.data;
        key.verify(signed.tbs_certificate.as_ref(), signature).expect("the authority's signature");
    }

    #[test]
    fn a_group_that_nobody_may_ask_for_is_found_among_others() {
        let authority = Authority::create("test").expect("an authority");
        assert!(matches!(authority.issue_requested(WITH_MASTERS, None), Err(RequestError::Refused(_))));
    }

    #[test]
    fn nobody_becomes_a_node_or_a_master_by_asking() {
        let authority = Authority::create("test").expect("an authority");
        for (user, group) in [("system:node:n1", ""), ("ann", NODE_GROUP), ("ann", MASTERS), ("ann", "wk:user:x")] {
            let refused = authority.issue_requested(&request(user, group), None);
            assert!(matches!(refused, Err(RequestError::Refused(_))), "{user} {group}");
        }
        assert!(matches!(authority.issue_requested("nothing", None), Err(RequestError::Parse(_))));
    }
}
