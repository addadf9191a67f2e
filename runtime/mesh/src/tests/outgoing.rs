//! Whom pods' own requests believe.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::TlsAcceptor;

use crate::identity::provider;
use crate::{Authority, ClientTls, Trust, TrustError};

/// A server with a certificate of `authority` for `name`, which says hello to whoever shook its hand.
fn server(authority: &Authority, name: &str) -> DuplexStream {
    let (certificate, key) = authority.issue_server(&[name]).expect("a certificate");
    let chain: Vec<CertificateDer<'static>> = vec![certificate.der().expect("a certificate")];
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key.der().expect("a key"))
        .expect("they fit");
    let (near, far) = tokio::io::duplex(16 << 10);
    tokio::spawn(async move {
        if let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(far).await {
            let _ = stream.write_all(b"hello").await;
            let _ = stream.shutdown().await;
        }
    });
    near
}

async fn said(
    tls: &ClientTls,
    trust: Trust,
    private: &str,
    host: &str,
    server: DuplexStream,
) -> Result<String, TrustError> {
    let mut stream = tls.connect(trust, private, host, server).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("it says hello");
    Ok(text)
}

#[tokio::test]
async fn server_of_a_private_authority_is_believed_by_who_names_that_authority() {
    let (cluster, private) = (Authority::create("c").expect("one"), Authority::create("p").expect("one"));
    let tls = ClientTls::new(cluster.cert_pem().clone());
    let shop = || server(&private, "shop.example");
    let pem = private.cert_pem().as_str();
    for trust in [Trust::Public, Trust::Cluster] {
        let unknown = said(&tls, trust, "", "shop.example", shop()).await;
        assert!(matches!(unknown, Err(TrustError::UnknownIssuer)), "{unknown:?}");
        // The second time from what was kept.
        for _ in 0..2 {
            assert_eq!(said(&tls, trust, pem, "shop.example", shop()).await.expect("is believed"), "hello");
        }
        let other = said(&tls, trust, pem, "bank.example", shop()).await;
        assert!(matches!(&other, Err(TrustError::Certificate(why)) if why.contains("bank.example")), "{other:?}");
    }
    let junk = said(&tls, Trust::Public, "no certificate", "shop.example", shop()).await;
    assert!(matches!(junk, Err(TrustError::NoAuthority)), "{junk:?}");

    let own = || server(&cluster, "api");
    assert_eq!(said(&tls, Trust::Cluster, "", "api", own()).await.expect("is believed"), "hello");
    let stranger = said(&tls, Trust::Public, pem, "api", own()).await;
    assert!(matches!(stranger, Err(TrustError::UnknownIssuer)), "{stranger:?}");
}
