//! What the annotation allows.

use std::net::IpAddr;

use super::{Egress, EgressError};

fn egress(text: &str) -> Egress {
    text.parse().expect("an annotation")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn reaches(egress: &Egress, address: &str, port: u16, names: &[&str]) -> bool {
    egress.may_connect(ip(address), port, names.iter().copied(), || address == "203.0.113.1")
}

#[test]
fn nothing_is_allowed_that_no_word_names() {
    let none = egress("");
    assert!(!none.cluster() && !none.may_look_up("example.com"));
    assert!(!reaches(&none, "198.51.100.7", 443, &["example.com"]));
    let cluster = egress("cluster");
    assert!(cluster.cluster() && !cluster.may_look_up("example.com") && !reaches(&cluster, "198.51.100.7", 443, &[]));
}

#[test]
fn internet_is_everything_but_this_machine_its_link_metadata_and_nodes() {
    let internet = egress("internet");
    for address in ["198.51.100.7", "10.0.0.7", "2001:db8::7"] {
        assert!(reaches(&internet, address, 443, &[]), "{address}");
    }
    for address in [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "169.254.169.254",
        "100.100.100.200",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "ff02::1",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "168.63.129.16",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "203.0.113.1",
    ] {
        assert!(!reaches(&internet, address, 443, &[]), "{address}");
    }
    assert!(!internet.cluster());
}

#[test]
fn name_allows_itself_at_its_port_and_no_other() {
    let named = egress("api.example.com:443");
    assert!(named.may_look_up("API.example.com.") && !named.may_look_up("www.example.com"));
    assert!(reaches(&named, "198.51.100.7", 443, &["api.example.com"]));
    assert!(!reaches(&named, "198.51.100.7", 80, &["api.example.com"]));
    assert!(!reaches(&named, "198.51.100.7", 443, &["www.example.com"]));
    assert!(!reaches(&named, "198.51.100.7", 443, &[]));
}

#[test]
fn owner_of_a_name_leads_nobody_to_this_machine_or_to_metadata() {
    let named = egress("api.example.com");
    for address in ["127.0.0.1", "169.254.169.254", "203.0.113.1"] {
        assert!(!reaches(&named, address, 443, &["api.example.com"]), "{address}");
    }
}

#[test]
fn wildcard_stands_for_names_below_it() {
    let below = egress("*.example.com");
    assert!(below.may_look_up("a.example.com") && below.may_look_up("a.b.example.com"));
    assert!(!below.may_look_up("example.com") && !below.may_look_up("badexample.com"));
}

#[test]
fn network_allows_its_addresses_whatever_they_are() {
    let networks = egress("198.51.100.0/24:5432, 2001:db8::/32, 192.0.2.7/32");
    assert!(reaches(&networks, "198.51.100.9", 5432, &[]) && !reaches(&networks, "198.51.100.9", 80, &[]));
    assert!(reaches(&networks, "::ffff:198.51.100.9", 5432, &[]));
    assert!(reaches(&networks, "2001:db8::9", 1, &[]) && !reaches(&networks, "2001:db9::9", 1, &[]));
    assert!(reaches(&networks, "192.0.2.7", 1, &[]) && !reaches(&networks, "192.0.2.8", 1, &[]));
    assert!(reaches(&egress("0.0.0.0/0"), "169.254.169.254", 80, &[]));
    assert!(!networks.may_look_up("example.com"));
}

#[test]
fn no_word_gives_the_loopback_of_this_machine() {
    let all = egress("0.0.0.0/0, ::/0, 127.0.0.0/8, internet, cluster");
    for address in ["127.0.0.1", "127.9.9.9", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1", "::ffff:0.0.0.0"] {
        assert!(!all.gives_address(address.parse().expect("an address"), 80), "{address}");
        assert!(!reaches(&all, address, 80, &[]), "{address}");
    }
}

#[test]
fn words_that_say_nothing_known_are_refused_with_what_would() {
    for word in
        ["clusters", "10.0.0.1", "10.0.0.0/33", "a_b.com", "api.example.com:0", "api.example.com:x", "*", "*.com:"]
    {
        let refused = word.parse::<Egress>().expect_err("must be refused");
        assert_eq!(refused, EgressError::Word(word.into()));
    }
    let refused = "10.0.0.1/8".parse::<Egress>().expect_err("host bits");
    assert_eq!(refused.to_string(), "\"10.0.0.1/8\" is not the first address of its network; did you mean 10.0.0.0/8?");
    let many = vec!["cluster"; 65].join(",");
    assert_eq!(many.parse::<Egress>(), Err(EgressError::TooMany(65)));
}
