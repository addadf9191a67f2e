//! What a request may name as its host and path, and how that is read.

use http::request::Parts;
use http::{Method, Request};
use proptest::prelude::*;

use super::{Refusal, host, normal_path, read};

fn head(uri: &str, hosts: &[&str]) -> Parts {
    let mut request = Request::get(uri);
    for host in hosts {
        request = request.header("host", *host);
    }
    request.body(()).expect("a request").into_parts().0
}

fn host_of(uri: &str, hosts: &[&str]) -> Result<String, Refusal> {
    read(&head(uri, hosts)).map(|target| target.host.into_owned())
}

#[test]
fn host_is_read_in_lower_case_without_port_and_root_dot() {
    for (given, expected) in [
        ("Web.LocalHost:8080", "web.localhost"),
        ("web.localhost.", "web.localhost"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]:80", "[::1]"),
        ("web_1.localhost:", "web_1.localhost"),
    ] {
        assert_eq!(host_of("/", &[given]).as_deref(), Ok(expected));
    }
}

#[test]
fn request_without_exactly_one_host_is_refused() {
    assert_eq!(host_of("/", &[]), Err(Refusal::HostMissing));
    assert_eq!(host_of("/", &[""]), Err(Refusal::HostMissing));
    assert_eq!(host_of("/", &["a", "a"]), Err(Refusal::HostAmbiguous));
    assert_eq!(host_of("http://a/", &["b"]), Err(Refusal::HostAmbiguous));
    assert_eq!(host_of("http://A:80/", &["a:80"]).as_deref(), Ok("a"));
    assert_eq!(host_of("http://a/", &[]).as_deref(), Ok("a"));
}

#[test]
fn host_that_is_no_name_or_address_is_refused() {
    for bad in ["a b", "user@a", "a/b", "a:b", "a:123456", "[::1", "[::1]x", "[a]", ":80", ".", "a,b", "a%2eb", "ä"] {
        assert!(host(bad).is_err(), "{bad}");
    }
    assert!(host(&"a".repeat(254)).is_err());
}

#[test]
fn target_that_is_no_path_is_refused() {
    let mut asterisk = head("*", &["a"]);
    asterisk.method = Method::OPTIONS;
    assert_eq!(read(&asterisk), Err(Refusal::NotAPath));
}

#[test]
fn path_is_matched_as_an_application_would_resolve_it() {
    for (given, expected) in [
        ("/a/b", "/a/b"),
        ("/public/../admin", "/admin"),
        ("/public/%2e%2E/admin", "/admin"),
        ("/./a/./b/.", "/a/b/"),
        ("/a/b/..", "/a/"),
        ("/a/..", "/"),
        ("/%61dmin/%7Eme", "/admin/~me"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a/.hidden/..b", "/a/.hidden/..b"),
        ("/100%/%zz%4", "/100%/%zz%4"),
        ("/a//b/", "/a//b/"),
        ("/%252e%252e/a", "/%252e%252e/a"),
    ] {
        assert_eq!(normal_path(given).as_deref(), Ok(expected), "{given}");
    }
}

#[test]
fn path_that_climbs_above_the_root_or_hides_a_nul_is_refused() {
    for bad in ["/..", "/../a", "/a/../../b", "/%2e%2e/a", "/a/..%2f/../../x"] {
        let expected = if bad.contains("%2f") { Ok("/x".to_owned()) } else { Err(Refusal::ClimbsAboveRoot) };
        let read = normal_path(bad).map(std::borrow::Cow::into_owned);
        // An escaped slash is part of its element: `..%2f` is a name like any other.
        assert_eq!(read, expected, "{bad}");
    }
    assert_eq!(normal_path("/a%00b"), Err(Refusal::NulInPath));
}

proptest! {
    #[test]
    fn reading_never_panics_and_a_normal_path_stays_as_it_is(path in "/(%2e|%2f|%|\\.|/|[a-z0-9]|é){0,24}") {
        if let Ok(once) = normal_path(&path) {
            prop_assert!(once.starts_with('/'));
            prop_assert!(!once.split('/').any(|segment| segment == ".." || segment == "."));
            let twice = normal_path(&once).map(std::borrow::Cow::into_owned);
            prop_assert_eq!(twice.as_deref(), Ok(&*once));
        }
    }

    #[test]
    fn no_authority_makes_reading_panic(authority in any::<String>()) {
        let _ = host(&authority);
    }
}
