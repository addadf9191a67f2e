//! What a pool promises.

use std::net::Ipv4Addr;

use super::{Cidr, CidrError, Pool, PoolError};

fn cidr(text: &str) -> Cidr {
    text.parse().expect("a network")
}

fn address(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

#[test]
fn network_and_broadcast_addresses_are_never_handed_out() {
    let mut pool = Pool::new(cidr("10.128.0.0/29"));
    let all: Vec<_> = std::iter::from_fn(|| pool.allocate().ok()).collect();
    assert_eq!(all.first(), Some(&address("10.128.0.1")));
    assert_eq!(all.last(), Some(&address("10.128.0.6")));
    assert_eq!(all.len(), 6);
}

#[test]
fn released_address_rests_until_the_others_were_used() {
    let mut pool = Pool::new(cidr("10.128.0.0/29"));
    let first = pool.allocate().expect("free");
    assert!(pool.release(first));
    let next: Vec<_> = (0..6).map(|_| pool.allocate().expect("free")).collect();
    assert_eq!(next.iter().position(|&a| a == first), Some(5));
}

#[test]
fn full_pool_says_so_and_recovers_with_one_release() {
    let mut pool = Pool::new(cidr("10.128.0.0/30"));
    let one = pool.allocate().expect("free");
    pool.allocate().expect("free");
    let full = pool.allocate().expect_err("full");
    assert_eq!(full.to_string(), "all 2 addresses of 10.128.0.0/30 are taken");
    pool.release(one);
    assert_eq!(pool.allocate(), Ok(one));
}

#[test]
fn reserved_address_is_not_handed_out() {
    let mut pool = Pool::new(cidr("10.128.0.0/29"));
    pool.reserve(address("10.128.0.1")).expect("free");
    pool.reserve(address("10.128.0.3")).expect("free");
    assert_eq!(pool.reserve(address("10.128.0.3")), Err(PoolError::Taken { address: address("10.128.0.3") }));
    let rest: Vec<_> = std::iter::from_fn(|| pool.allocate().ok()).map(|a| a.octets()[3]).collect();
    assert_eq!(rest, [4, 5, 6, 2]);
}

#[test]
fn order_of_reservations_does_not_matter_to_what_comes_next() {
    let mut pool = Pool::new(cidr("10.128.0.0/29"));
    pool.reserve(address("10.128.0.3")).expect("free");
    pool.reserve(address("10.128.0.1")).expect("free");
    assert_eq!(pool.allocate(), Ok(address("10.128.0.4")));
}

#[test]
fn address_of_another_network_is_refused() {
    let mut pool = Pool::new(cidr("10.128.0.0/29"));
    for outside in ["10.128.0.0", "10.128.0.7", "10.128.0.8", "10.0.0.1"] {
        let refused = pool.reserve(address(outside)).expect_err("outside");
        assert_eq!(refused.to_string(), format!("{outside} is no pod address of 10.128.0.0/29"));
    }
    assert!(pool.is_empty());
}

#[test]
fn releasing_a_free_address_changes_nothing() {
    let mut pool = Pool::new(cidr("10.128.0.0/29"));
    assert!(!pool.release(address("10.128.0.1")));
    assert_eq!(pool.len(), 0);
}

#[test]
fn node_network_holds_sixteen_thousand_pods() {
    let mut pool = Pool::new(cidr("10.191.192.0/18"));
    assert_eq!(std::iter::from_fn(|| pool.allocate().ok()).count(), (1 << 14) - 2);
    assert!(pool.cidr().contains(address("10.191.255.254")));
}

#[test]
fn text_that_is_no_network_is_refused_with_its_reason() {
    assert!(matches!("10.128.0.0".parse::<Cidr>(), Err(CidrError::Syntax(_))));
    assert!(matches!("10.128.0/18".parse::<Cidr>(), Err(CidrError::Syntax(_))));
    assert!(matches!("10.128.0.0/31".parse::<Cidr>(), Err(CidrError::Length(_))));
    assert!(matches!("10.128.0.0/0".parse::<Cidr>(), Err(CidrError::Length(_))));
    let refused = "10.128.0.9/18".parse::<Cidr>().expect_err("host bits");
    assert_eq!(
        refused.to_string(),
        "`10.128.0.9/18` is not the first address of its network; did you mean 10.128.0.0/18?"
    );
}
