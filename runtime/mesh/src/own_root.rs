//! Servers that show the very certificate one trusts: self-signed ones, which nobody else vouches for.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::time::ASN1Time;

/// Takes what a chain to a root proves, and else a root itself: of one that is trusted by name, only its own names and its
/// dates are left to check.
#[derive(Debug)]
pub(crate) struct ChainOrRoot {
    pub(crate) chain: Arc<WebPkiServerVerifier>,
    pub(crate) roots: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for ChainOrRoot {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let error = match self.chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(error) if self.roots.iter().any(|root| root == end_entity) => error,
            verified => return verified,
        };
        let certificate = X509Certificate::from_der(end_entity).map_err(|_| error)?.1;
        verify_dates(&certificate, now)?;
        verify_usage(&certificate)?;
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

fn verify_dates(certificate: &X509Certificate<'_>, now: UnixTime) -> Result<(), Error> {
    let now = i64::try_from(now.as_secs()).ok().and_then(|seconds| ASN1Time::from_timestamp(seconds).ok());
    let validity = certificate.validity();
    match now {
        Some(now) if now < validity.not_before => Err(CertificateError::NotValidYet.into()),
        Some(now) if now <= validity.not_after => Ok(()),
        _ => Err(CertificateError::Expired.into()),
    }
}

/// A certificate that says what it is for has to be one for servers.
fn verify_usage(certificate: &X509Certificate<'_>) -> Result<(), Error> {
    match certificate.extended_key_usage() {
        Ok(None) => Ok(()),
        Ok(Some(usage)) if usage.value.any || usage.value.server_auth => Ok(()),
        _ => Err(CertificateError::InvalidPurpose.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair};
    use rustls::RootCertStore;

    use super::*;
    use crate::identity::provider;

    const NAME: &str = "hook.example.com";

    fn self_signed(is_ca: IsCa, usage: Option<ExtendedKeyUsagePurpose>) -> CertificateDer<'static> {
        let mut params = CertificateParams::new([NAME.to_owned()]).expect("a name");
        params.is_ca = is_ca;
        params.extended_key_usages = usage.into_iter().collect();
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().clone()
    }

    fn trusting(root: &CertificateDer<'static>) -> ChainOrRoot {
        let mut store = RootCertStore::empty();
        store.add(root.clone()).expect("a root");
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider()).build().expect("roots");
        ChainOrRoot { chain, roots: vec![root.clone()] }
    }

    #[test]
    fn a_certificate_for_clients_is_none_for_a_server() {
        let now = UnixTime::now();
        let name = ServerName::try_from(NAME).expect("a name");
        for (usage, expected) in
            [(ExtendedKeyUsagePurpose::ClientAuth, false), (ExtendedKeyUsagePurpose::ServerAuth, true)]
        {
            let shown = self_signed(IsCa::NoCa, Some(usage));
            assert_eq!(trusting(&shown).verify_server_cert(&shown, &[], &name, &[], now).is_ok(), expected);
        }
    }

    #[test]
    fn a_server_may_show_the_certificate_that_is_trusted() {
        let name = |text: &'static str| ServerName::try_from(text).expect("a name");
        for is_ca in [IsCa::Ca(BasicConstraints::Unconstrained), IsCa::ExplicitNoCa, IsCa::NoCa] {
            let (trusted, other) = (self_signed(is_ca, None), self_signed(is_ca, None));
            let verifier = trusting(&trusted);
            let verify = |shown: &CertificateDer<'_>, name: ServerName<'_>, now| {
                verifier.verify_server_cert(shown, &[], &name, &[], now)
            };
            let now = UnixTime::now();
            assert!(verify(&trusted, name(NAME), now).is_ok());
            assert!(verify(&other, name(NAME), now).is_err(), "it only calls itself so");
            assert!(verify(&trusted, name("other.example.com"), now).is_err());
            for wrong in [0, 100_000_000_000] {
                let now = UnixTime::since_unix_epoch(Duration::from_secs(wrong));
                assert!(verify(&trusted, name(NAME), now).is_err(), "{wrong}");
            }
        }
    }
}
