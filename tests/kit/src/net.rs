//! Loopback addresses of a test's own, so that tests run side by side, each on the default ports.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Networks to choose from: 127.64.0.0/24 to 127.191.255.0/24. Nobody else uses them, and all of 127.0.0.0/8 is here.
const NETWORKS: u32 = 128 << 8;
/// The host part that stands for the claim on a network.
const CLAIM: u8 = 254;
/// The port of the claim: any.
const CLAIM_PORT: u16 = 7443;

/// A /24 of loopback addresses that is this test's as long as this lives.
#[derive(Debug)]
pub struct Net {
    middle: [u8; 2],
    /// Bound: that is what makes another test, of this process or another, look for another network.
    _claim: TcpListener,
}

impl Net {
    /// Takes a network nobody has.
    ///
    /// # Panics
    /// If there is none.
    pub fn claim() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Processes begin at different places; the bound claim is what keeps them apart.
        let begin = std::process::id().wrapping_mul(2_654_435_761) >> 7;
        for _ in 0..NETWORKS {
            let number = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % NETWORKS;
            let [.., high, low] = number.to_be_bytes();
            let middle = [64 + high, low];
            if let Ok(claim) = TcpListener::bind((address(middle, CLAIM), CLAIM_PORT)) {
                return Self { middle, _claim: claim };
            }
        }
        panic!("every network of loopback addresses is taken");
    }

    /// Address number `host` of the network.
    pub fn ip(&self, host: u8) -> Ipv4Addr {
        address(self.middle, host)
    }
}

fn address([high, low]: [u8; 2], host: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, high, low, host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tests_never_have_the_same_network() {
        let (one, other) = (Net::claim(), Net::claim());
        assert_ne!(one.ip(1), other.ip(1));
        assert!(one.ip(1).is_loopback());
    }
}
