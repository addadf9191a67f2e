//! Addresses of this node's pods, from the CIDR the cluster gave it (`node.spec.podCIDR`). Only this node hands out
//! addresses of its CIDR, so no one else has to be asked.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 network such as `10.128.64.0/18`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    base: u32,
    prefix: u8,
}

/// Why a text is not a [`Cidr`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// Not `address/length`.
    #[error("`{0}` is not an IPv4 network such as 10.128.0.0/18")]
    Syntax(String),
    /// The length leaves no address for a pod, or is above 32.
    #[error("`{0}` must have a length from 1 to 30")]
    Length(String),
    /// Bits are set after the length.
    #[error("`{given}` is not the first address of its network; did you mean {meant}?")]
    HostBits {
        /// What was written.
        given: String,
        /// The network it lies in.
        meant: Cidr,
    },
}

impl Cidr {
    /// Whether `address` lies in it.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == self.base
    }

    /// The first address a pod may have: the network's own is left out.
    fn first(self) -> u32 {
        self.base + 1
    }

    /// The last address a pod may have: the broadcast address is left out.
    fn last(self) -> u32 {
        (self.base | !self.mask()) - 1
    }

    fn mask(self) -> u32 {
        u32::MAX << (32 - u32::from(self.prefix))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let syntax = || CidrError::Syntax(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(syntax)?;
        let address: Ipv4Addr = address.parse().map_err(|_| syntax())?;
        let prefix: u8 = prefix.parse().map_err(|_| syntax())?;
        if !(1..=30).contains(&prefix) {
            return Err(CidrError::Length(text.to_owned()));
        }
        let mut cidr = Self { base: u32::from(address), prefix };
        cidr.base &= cidr.mask();
        if cidr.base != u32::from(address) {
            return Err(CidrError::HostBits { given: text.to_owned(), meant: cidr });
        }
        Ok(cidr)
    }
}

/// Why an address could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// Every address is taken.
    #[error("all {taken} addresses of {cidr} are taken")]
    Exhausted {
        /// The pool's network.
        cidr: Cidr,
        /// How many that are.
        taken: usize,
    },
    /// The address belongs to another network, or is the network's own first or last.
    #[error("{address} is no pod address of {cidr}")]
    Outside {
        /// The pool's network.
        cidr: Cidr,
        /// The address asked for.
        address: Ipv4Addr,
    },
    /// Somebody has it.
    #[error("{address} is taken already")]
    Taken {
        /// The address asked for.
        address: Ipv4Addr,
    },
}

/// Hands out the addresses of one [`Cidr`]: the lowest free one after the one handed out last, so that an address rests
/// as long as possible before another pod gets it (connections and logs still name its last owner).
#[derive(Debug, Clone)]
pub struct Pool {
    cidr: Cidr,
    taken: BTreeSet<u32>,
    last: u32,
}

impl Pool {
    /// A pool with every address free.
    pub fn new(cidr: Cidr) -> Self {
        Self { cidr, taken: BTreeSet::new(), last: cidr.base }
    }

    /// The network it hands out from.
    pub fn cidr(&self) -> Cidr {
        self.cidr
    }

    /// Addresses handed out now.
    pub fn len(&self) -> usize {
        self.taken.len()
    }

    /// Whether no address is handed out.
    pub fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    /// Takes the next free address.
    pub fn allocate(&mut self) -> Result<Ipv4Addr, PoolError> {
        let (first, end) = (self.cidr.first(), self.cidr.last());
        let free = if self.last < end { self.free_in(self.last + 1, end) } else { None };
        let free = free.or_else(|| self.free_in(first, end));
        let address = free.ok_or(PoolError::Exhausted { cidr: self.cidr, taken: self.taken.len() })?;
        self.taken.insert(address);
        self.last = address;
        Ok(Ipv4Addr::from(address))
    }

    /// Takes this address: for a pod that has it already, when a node starts again.
    pub fn reserve(&mut self, address: Ipv4Addr) -> Result<(), PoolError> {
        let number = u32::from(address);
        if !(self.cidr.first()..=self.cidr.last()).contains(&number) {
            return Err(PoolError::Outside { cidr: self.cidr, address });
        }
        if !self.taken.insert(number) {
            return Err(PoolError::Taken { address });
        }
        // The next one comes after the highest seen, so that a restart hands out no address that was just given up.
        self.last = self.last.max(number);
        Ok(())
    }

    /// Gives an address back. False when it was not taken.
    pub fn release(&mut self, address: Ipv4Addr) -> bool {
        self.taken.remove(&u32::from(address))
    }

    /// The lowest free address from `from` to `to`, both included.
    fn free_in(&self, from: u32, to: u32) -> Option<u32> {
        let mut candidate = from;
        for &taken in self.taken.range(from..=to) {
            if taken != candidate {
                return Some(candidate);
            }
            candidate += 1;
        }
        (candidate <= to).then_some(candidate)
    }
}

#[cfg(test)]
mod tests;
