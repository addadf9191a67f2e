//! What a pod may reach: the words of the annotation `wk.dev/egress`, and what each allows.
//!
//! Not here: where an address leads ([`crate::Table::lead`]). Nothing is allowed that no word names.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The most words of one annotation: each connection looks at all of them.
const WORDS_MAX: usize = 64;
/// The longest name in the DNS (RFC 1035, section 2.3.4).
const NAME_BYTES_MAX: usize = 253;

/// What one pod may reach. The default is nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Egress {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Cluster,
    Internet,
    Name { wildcard: bool, name: String, port: Option<u16> },
    Block { block: Block, port: Option<u16> },
}

/// A word of the annotation that says nothing known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// Not one of the four forms.
    #[error(
        "{0:?} is none of `cluster`, `internet`, a host name such as api.example.com or *.example.com:443, and a \
         network such as 10.0.0.0/8 or 192.0.2.7/32:5432"
    )]
    Word(String),
    /// Bits are set after the length of a network.
    #[error("{given:?} is not the first address of its network; did you mean {meant}?")]
    HostBits {
        /// What was written.
        given: String,
        /// The network it lies in.
        meant: String,
    },
    /// Too many words.
    #[error("{0} entries, and at most {WORDS_MAX} are looked at")]
    TooMany(usize),
}

impl FromStr for Egress {
    type Err = EgressError;

    fn from_str(text: &str) -> Result<Self, EgressError> {
        let words: Vec<&str> = text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
        if words.len() > WORDS_MAX {
            return Err(EgressError::TooMany(words.len()));
        }
        Ok(Self { rules: words.into_iter().map(str::parse).collect::<Result<_, _>>()? })
    }
}

impl FromStr for Rule {
    type Err = EgressError;

    fn from_str(word: &str) -> Result<Self, EgressError> {
        let unknown = || EgressError::Word(word.to_owned());
        match word {
            "cluster" => return Ok(Self::Cluster),
            "internet" => return Ok(Self::Internet),
            _ => {}
        }
        if let Some((address, rest)) = word.split_once('/') {
            let (length, port) = split_port(rest).ok_or_else(unknown)?;
            let address = address.trim_start_matches('[').trim_end_matches(']');
            let block = Block::new(address.parse().map_err(|_| unknown())?, length.parse().map_err(|_| unknown())?);
            let block = block.ok_or_else(unknown)?;
            if !block.is_first(address) {
                return Err(EgressError::HostBits { given: word.to_owned(), meant: block.to_string() });
            }
            return Ok(Self::Block { block, port });
        }
        let (name, port) = split_port(word).ok_or_else(unknown)?;
        let (wildcard, name) = name.strip_prefix("*.").map_or((false, name), |name| (true, name));
        if !is_host_name(name) {
            return Err(unknown());
        }
        Ok(Self::Name { wildcard, name: plain(name), port })
    }
}

/// `rest:port` or `rest`.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    match text.rsplit_once(':') {
        None => Some((text, None)),
        Some((rest, port)) => Some((rest, Some(port.parse().ok().filter(|port| *port != 0)?))),
    }
}

/// Labels of letters, digits and hyphens, at least two of them, the last no number: a word alone is more likely a
/// misspelt `cluster`, and an address without a length is no name.
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= NAME_BYTES_MAX
        && name.contains('.')
        && name.split('.').all(is_label)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

/// A name as names are compared: in small letters, without the dot at the end.
pub fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

impl Egress {
    /// Whether it may reach the cluster's services and pods.
    pub fn cluster(&self) -> bool {
        self.rules.contains(&Rule::Cluster)
    }

    /// Whether it may ask what addresses a name outside the cluster has. A question reaches the name's owner, so it is
    /// for those only whom the pod may reach.
    pub fn may_look_up(&self, name: &str) -> bool {
        let name = plain(name);
        self.rules.iter().any(|rule| match rule {
            Rule::Internet => true,
            Rule::Name { .. } => rule.names(&name),
            Rule::Cluster | Rule::Block { .. } => false,
        })
    }

    /// Whether a network of the annotation holds `address`: then it is meant, whatever it is. But for the loopback: that is
    /// each pod's own, and this machine's is given to nobody.
    pub fn gives_address(&self, address: IpAddr, port: u16) -> bool {
        let address = address.to_canonical();
        if address.is_loopback() || address.is_unspecified() {
            return false;
        }
        self.rules.iter().any(|rule| match rule {
            Rule::Block { block, port: only } => block.contains(address) && only.is_none_or(|only| only == port),
            Rule::Cluster | Rule::Internet | Rule::Name { .. } => false,
        })
    }

    /// Whether it may connect to `address`, which is no pod's and no service's, at `port`. `names` are those that it
    /// looked `address` up by: what the owner of a name says is believed for ordinary addresses only.
    pub fn may_connect<'a>(
        &self,
        address: IpAddr,
        port: u16,
        names: impl IntoIterator<Item = &'a str>,
        is_node: impl FnOnce() -> bool,
    ) -> bool {
        let address = address.to_canonical();
        if self.gives_address(address, port) {
            return true;
        }
        let names: Vec<&str> = names.into_iter().collect();
        let allows = |rule: &Rule| match rule {
            Rule::Internet => true,
            Rule::Name { port: only, .. } => {
                only.is_none_or(|only| only == port) && names.iter().any(|name| rule.names(&plain(name)))
            }
            Rule::Cluster | Rule::Block { .. } => false,
        };
        self.rules.iter().any(allows) && !is_special(address) && !is_node()
    }
}

impl Rule {
    /// Whether it is a rule of this (plain) name.
    fn names(&self, of: &str) -> bool {
        let Self::Name { wildcard, name, .. } = self else { return false };
        if *wildcard { of.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.')) } else { of == name }
    }
}

/// An address that no name and no `internet` leads to: this machine, its link, its cloud's metadata, or nobody.
pub fn is_special(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_special_v4(address),
        IpAddr::V6(address) => {
            // Of Amazon (the machine's, and a pod's identity) and of Google.
            const METADATA: [[u16; 8]; 3] = [
                [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254],
                [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23],
                [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254],
            ];
            let segments = address.segments();
            address.is_loopback()
                || address.is_unspecified()
                || address.is_multicast()
                || segments[0] & 0xffc0 == 0xfe80
                || METADATA.contains(&segments)
                || embedded_v4(segments).is_some_and(is_special_v4)
        }
    }
}

fn is_special_v4(address: Ipv4Addr) -> bool {
    // Metadata of Alibaba's and of Oracle's cloud, and what Azure tells its machines; that of all others is link-local.
    const METADATA: [Ipv4Addr; 3] =
        [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192), Ipv4Addr::new(168, 63, 129, 16)];
    address.octets()[0] == 0
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || METADATA.contains(&address)
}

/// The IPv4 address that a translator would go on to: NAT64 (RFC 6052) and 6to4 (RFC 3056), and the old compatible form.
fn embedded_v4(segments: [u16; 8]) -> Option<Ipv4Addr> {
    let pair = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            Some(pair(high, low))
        }
        _ => None,
    }
}

/// A network of either family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    first: IpAddr,
    length: u8,
}

impl Block {
    fn new(address: IpAddr, length: u8) -> Option<Self> {
        let first = match address {
            IpAddr::V4(address) if length <= 32 => IpAddr::V4(Ipv4Addr::from(
                u32::from(address) & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0),
            )),
            IpAddr::V6(address) if length <= 128 => {
                let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(address) & mask))
            }
            IpAddr::V4(_) | IpAddr::V6(_) => return None,
        };
        Some(Self { first, length })
    }

    fn contains(self, address: IpAddr) -> bool {
        Self::new(address, self.length).is_some_and(|block| block.first == self.first)
    }

    fn is_first(self, address: &str) -> bool {
        address.parse() == Ok(self.first)
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.length)
    }
}

#[cfg(test)]
mod tests;
