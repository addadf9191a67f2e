//! Client certificates that somebody asked for and somebody else approved (`kubernetes.io/kube-apiserver-client`): the
//! subject is the request's, as Kubernetes' signer has it.
//!
//! Not here: who approved it. Names that mean more than a user of the API are refused whoever did.

use std::time::Duration;

use rcgen::{CertificateSigningRequestParams, DnType, DnValue, ExtendedKeyUsagePurpose};

use crate::authority::{Authority, AuthorityError, base_params};
use crate::key::CSR_BYTES_MAX;
use crate::peer::{NODE_GROUP, NODE_USER_PREFIX};
use crate::pem::CertPem;

/// The group that may do everything: Kubernetes lets nobody ask for it either (`CertificateSubjectRestriction`).
const MASTERS: &str = "system:masters";
/// Groups that say more than a group.
const OWN_GROUPS: &str = "wk:";
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
        let text = |kind: &DnType| match parsed.params.distinguished_name.get(kind) {
            None => Ok(String::new()),
            Some(DnValue::Utf8String(text)) => Ok(text.clone()),
            Some(DnValue::PrintableString(text)) => Ok(text.as_str().to_owned()),
            Some(DnValue::Ia5String(text)) => Ok(text.as_str().to_owned()),
            Some(_) => Err(RequestError::Refused("a subject in another form than UTF-8 text".to_owned())),
        };
        let (user, group) = (text(&DnType::CommonName)?, text(&DnType::OrganizationName)?);
        let refused = |why: String| Err(RequestError::Refused(why));
        if user.starts_with(NODE_USER_PREFIX) || group == NODE_GROUP {
            return refused("nodes get their certificates by joining".to_owned());
        }
        if group == MASTERS || group.starts_with(OWN_GROUPS) {
            return refused(format!(
                "use of kubernetes.io/kube-apiserver-client signer with {group} group is not allowed"
            ));
        }
        if !parsed.params.subject_alt_names.is_empty() {
            return refused("a client certificate here has no alternative names".to_owned());
        }
        let mut params = base_params(&user, &group, valid.unwrap_or(VALID_MAX).min(VALID_MAX))?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Ok(self.sign(params, &parsed.public_key)?)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, KeyPair};
    use x509_parser::prelude::{FromDer as _, X509Certificate};

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
