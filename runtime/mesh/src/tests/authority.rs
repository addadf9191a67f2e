//! What certificates say, and what nobody can make them say.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, DnType, IsCa, KeyPair};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::{LOOPBACK, identity, name};
use crate::{Authority, AuthorityError, CertPem, Csr, NodeKey, Peer};

/// Subject alternative names, key usages and so on of a certificate, as text.
fn describe(pem: &CertPem) -> (Vec<String>, String, bool, bool) {
    let der = pem.der().expect("a certificate");
    let (_, certificate) = X509Certificate::from_der(&der).expect("X.509");
    let names = certificate.subject_alternative_name().expect("one extension").map(|extension| {
        let general = extension.value.general_names.iter();
        general.map(|name| match name {
            GeneralName::DNSName(dns) => (*dns).to_owned(),
            GeneralName::IPAddress(bytes) => format!("{bytes:?}"),
            other => panic!("unexpected {other:?}"),
        })
    });
    let names = names.map(Iterator::collect).unwrap_or_default();
    let usage = certificate.extended_key_usage().expect("one extension").expect("a usage").value;
    assert!(!certificate.is_ca());
    (names, certificate.subject().to_string(), usage.server_auth, usage.client_auth)
}

#[test]
fn a_hostile_request_lends_its_public_key_and_nothing_else() {
    let authority = Authority::create("c1").expect("an authority");
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let mut hostile = CertificateParams::new(vec!["evil.example".to_owned(), "10.9.9.9".to_owned()]).expect("names");
    hostile.distinguished_name.push(DnType::CommonName, "admin");
    hostile.distinguished_name.push(DnType::OrganizationName, "system:masters");
    hostile.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let csr = Csr::new(hostile.serialize_request(&key).expect("a request").pem().expect("PEM"));

    let listen = "127.0.0.7".parse().expect("an address");
    let issued = authority.issue_node(&name("n1"), listen, &csr).expect("a certificate");
    let (names, subject, server, client) = describe(&issued);
    assert_eq!(
        names,
        [
            "n1.nodes.wk.internal",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "localhost",
            "[127, 0, 0, 1]",
            "[127, 0, 0, 7]",
        ]
    );
    assert_eq!(subject, "O=system:nodes, CN=system:node:n1");
    assert!(server && client);
    assert_eq!(Peer::from_verified(&issued.der().expect("DER")).expect("a peer"), Peer::Node(name("n1")));
}

#[test]
fn certificates_start_an_hour_back_end_before_their_authority_and_never_share_a_serial() {
    let authority = Authority::create("c1").expect("an authority");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let now = i64::try_from(now).expect("a date");
    let ca = authority.cert_pem().der().expect("DER");
    let (_, ca) = X509Certificate::from_der(&ca).expect("X.509");
    let mut serials = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let (cert, _) = authority.issue_user("admin", &["system:masters"]).expect("a certificate");
        let der = cert.der().expect("DER");
        let (_, cert) = X509Certificate::from_der(&der).expect("X.509");
        let from = cert.validity().not_before.timestamp();
        assert!((now - 3660..=now - 3540).contains(&from), "{}", now - from);
        assert!(cert.validity().not_after <= ca.validity().not_after);
        assert!(cert.raw_serial()[0] & 0x80 == 0, "a serial is positive");
        assert!(serials.insert(cert.raw_serial().to_vec()));
    }
    assert!(ca.validity().time_to_expiration().expect("not expired") > Duration::from_hours(9 * 365 * 24));
}

#[test]
fn users_and_servers_are_what_they_are_called() {
    let authority = Authority::create("c1").expect("an authority");
    let (cert, key) = authority.issue_user("admin", &["system:masters"]).expect("a certificate");
    let (_, subject, server, client) = describe(&cert);
    assert_eq!((subject.as_str(), server, client), ("O=system:masters, CN=admin", false, true));
    assert!(NodeKey::from_pem(&key).is_ok());
    let peer = Peer::from_verified(&cert.der().expect("DER")).expect("a peer");
    assert_eq!((peer.user(), peer.groups()), ("admin".to_owned(), vec!["system:masters".to_owned()]));

    let (cert, _) = authority.issue_server(&["*.localhost", "app.example.org", "127.0.0.1"]).expect("a certificate");
    let (names, _, server, client) = describe(&cert);
    assert_eq!(names, ["*.localhost", "app.example.org", "[127, 0, 0, 1]"]);
    assert!(server && !client);
}

#[test]
fn nobody_is_issued_a_certificate_that_passes_for_a_node() {
    let authority = Authority::create("c1").expect("an authority");
    assert!(matches!(authority.issue_user("system:node:n1", &[]), Err(AuthorityError::Refused { .. })));
    assert!(matches!(authority.issue_user("bob", &["system:nodes"]), Err(AuthorityError::Refused { .. })));
    assert!(matches!(authority.issue_user("", &[]), Err(AuthorityError::Refused { .. })));
    assert!(matches!(authority.issue_user("bob\n", &[]), Err(AuthorityError::Refused { .. })));
    assert!(matches!(authority.issue_user("bob", &["a", "b"]), Err(AuthorityError::Refused { .. })));
    for reserved in [
        "n1.nodes.wk.internal",
        "*.nodes.wk.internal",
        "N1.Nodes.WK.internal",
        "nodes.wk.internal",
        "*.wk.internal",
        "kubernetes.default.svc",
        "wk.internal",
        "*.default.svc",
        "not a name",
        "",
    ] {
        assert!(matches!(authority.issue_server(&[reserved]), Err(AuthorityError::Refused { .. })), "{reserved:?}");
    }
    assert!(authority.issue_server(&["*.svc", "default.svc", "wk.internal.example"]).is_ok());
    assert!(matches!(authority.issue_server(&[]), Err(AuthorityError::Refused { .. })));
}

#[test]
fn an_authority_survives_its_pem_files_and_no_other_pair_passes_for_one() {
    let authority = Authority::create("c1").expect("an authority");
    let (cert, key) = authority.to_pem();
    let again = Authority::from_pem(&cert, &key).expect("the same authority");
    assert_eq!((again.cluster_id(), again.fingerprint()), ("c1", authority.fingerprint()));
    assert_eq!(again.cert_pem(), &cert);
    assert!(!format!("{again:?}{key:?}").contains("PRIVATE"));

    let other = Authority::create("c2").expect("another authority").to_pem().1;
    assert!(matches!(Authority::from_pem(&cert, &other), Err(AuthorityError::Mismatch)));
    let node = identity(&authority, "n1");
    assert!(matches!(Authority::from_pem(&node.cert, &node.key.to_pem()), Err(AuthorityError::NotAnAuthority(_))));
    assert!(matches!(Authority::from_pem(&CertPem::new("?"), &key), Err(AuthorityError::Cert(_))));
}

#[test]
fn the_longest_node_name_fits_into_a_certificate() {
    let authority = Authority::create("c1").expect("an authority");
    let longest = name(&"n".repeat(63));
    let csr = NodeKey::generate().expect("a key").csr().expect("a request");
    let issued = authority.issue_node(&longest, LOOPBACK, &csr).expect("a certificate");
    assert_eq!(Peer::from_verified(&issued.der().expect("DER")).expect("a peer"), Peer::Node(longest));
}

#[test]
fn what_is_sealed_is_read_by_this_authority_for_this_purpose_only() {
    let (authority, other) = (Authority::create("c1").expect("one"), Authority::create("c1").expect("another"));
    let sealed = authority.seal("keys", b"secret").expect("sealed");
    assert!(!sealed.windows(6).any(|bytes| bytes == b"secret"));
    assert_eq!(authority.unseal("keys", &sealed).as_deref(), Some(&b"secret"[..]));
    assert_eq!(authority.unseal("others", &sealed), None);
    assert_eq!(other.unseal("keys", &sealed), None);
    let mut changed = sealed.clone();
    *changed.last_mut().expect("a tag") ^= 1;
    assert_eq!(authority.unseal("keys", &changed), None);
    assert_eq!(authority.unseal("keys", &[]), None);
}
