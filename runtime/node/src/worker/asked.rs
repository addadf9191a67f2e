//! What a guest in a worker asks of the node while it runs, as it travels: names, connections, ports, settings, and
//! requests. Each is one request over a third socket, on which the worker is the client.
//!
//! The node answers from what the container was given there: its numbers are good for its own worker alone.

use std::net::{IpAddr, SocketAddr};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use wk_engine::{NetworkError, Patience};

/// What is asked, as a header, in JSON: [`Asked`].
pub(crate) const ASKED: &str = "wk-worker-asked";
/// On the answer, in JSON: [`Answered`].
pub(crate) const ANSWERED: &str = "wk-worker-answered";

/// What a setting's name may have: Kubernetes' limit of keys in ConfigMaps and Secrets.
pub(crate) const KEY_BYTES_MAX: usize = 253;
/// The longest answer about settings: some ConfigMaps and Secrets of 1 MiB, in JSON.
pub(crate) const SETTINGS_BYTES_MAX: usize = 16 << 20;

/// The longest answer about a name: some ten thousand addresses.
pub(crate) const ADDRESSES_BYTES_MAX: usize = 1 << 20;

/// What is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Asked {
    /// The addresses of a name.
    Resolve(String),
    /// A connection: its bytes are the two bodies.
    Connect(SocketAddr),
    /// A port: the answer's body tells of each connection that comes, as [`Came`].
    Listen(SocketAddr),
    /// A connection that came, by its number: its bytes are the two bodies.
    Take(u64),
    /// A UDP port: the two bodies are rows of datagrams.
    Datagrams(SocketAddr),
    /// Whether datagrams may go to an address that has sent none: those that travel are sent or lost, and nobody waits.
    MaySend(SocketAddr),
    /// A request, as it is, and the patience for it.
    Request(Patience),
    /// A request for the next container of the pod, as it is.
    Next,
    /// A setting by its name, or all of them. The answer's body is the `Config`'s own, in JSON.
    Settings(Option<String>),
    /// The content of the container's mount of this number, which is made when somebody looks.
    Fill(usize),
    /// So many bytes of what all containers may hold: for all of the worker's, as is the next one.
    Borrow(Pot, u64),
    /// They are not needed any more.
    GiveBack(Pot, u64),
}

/// Which containers share memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Pot {
    /// All.
    All,
    /// Those that have no limit of their own.
    Unlimited,
}

/// The answer, beside its body.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Answered {
    /// To [`Asked::Resolve`]: the body has them, in JSON. A Service without an address of its own may have thousands.
    Addresses,
    /// To [`Asked::Connect`] and [`Asked::Take`]: both ends.
    Connected(SocketAddr, SocketAddr),
    /// To [`Asked::Listen`] and [`Asked::Datagrams`]: where.
    Bound(SocketAddr),
    /// The response is the answer, or its body.
    Response,
    /// It is refused.
    Refused(NetworkError),
    /// Nobody answers the request for the next container.
    NoNext(String),
    /// The mount's content is there.
    Filled,
    /// It cannot be made.
    NotFilled(String),
    /// It is lent, or there is not so much.
    Lent(bool),
}

/// A connection that came to a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Came(pub(crate) u64);

impl Came {
    /// As it travels.
    pub(crate) fn bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self.0.to_be_bytes())
    }

    /// The first of these bytes, if it is there whole.
    pub(crate) fn read(bytes: &mut BytesMut) -> Option<Self> {
        (bytes.len() >= size_of::<u64>()).then(|| Self(bytes.get_u64()))
    }
}

/// A datagram's address and length travel before it.
const DATAGRAM_HEAD_BYTES: usize = 1 + 16 + 2 + 4;
/// The longest datagram.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;

/// A datagram as it travels.
pub(crate) fn datagram(data: &[u8], address: SocketAddr) -> Bytes {
    let mut bytes = BytesMut::with_capacity(DATAGRAM_HEAD_BYTES + data.len());
    let (kind, octets) = match address.ip() {
        IpAddr::V4(ip) => (4, ip.to_ipv6_mapped().octets()),
        IpAddr::V6(ip) => (6, ip.octets()),
    };
    bytes.put_u8(kind);
    bytes.put_slice(&octets);
    bytes.put_u16(address.port());
    bytes.put_u32(u32::try_from(data.len()).unwrap_or(u32::MAX));
    bytes.put_slice(data);
    bytes.freeze()
}

/// The first datagram of these bytes, if it is there whole; an error if what is there is none.
pub(crate) fn read_datagram(bytes: &mut BytesMut) -> Result<Option<(Vec<u8>, SocketAddr)>, ()> {
    let mut head = &bytes[..];
    if head.len() < DATAGRAM_HEAD_BYTES {
        return Ok(None);
    }
    let kind = head.get_u8();
    let ip = std::net::Ipv6Addr::from(head.get_u128());
    let (port, length) = (head.get_u16(), head.get_u32() as usize);
    let ip = match (kind, ip.to_ipv4_mapped()) {
        (4, Some(ip)) => IpAddr::V4(ip),
        (6, _) => IpAddr::V6(ip),
        _ => return Err(()),
    };
    if length > DATAGRAM_BYTES_MAX {
        return Err(());
    }
    if head.len() < length {
        return Ok(None);
    }
    let data = head[..length].to_vec();
    bytes.advance(DATAGRAM_HEAD_BYTES + length);
    Ok(Some((data, SocketAddr::new(ip, port))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_arrive_whole_however_they_are_cut() {
        for address in ["10.0.0.1:53", "[::1]:9"] {
            let address: SocketAddr = address.parse().unwrap();
            let whole = datagram(b"hello", address);
            for cut in 0..whole.len() {
                let mut bytes = BytesMut::from(&whole[..cut]);
                assert_eq!(read_datagram(&mut bytes), Ok(None));
                bytes.extend_from_slice(&whole[cut..]);
                assert_eq!(read_datagram(&mut bytes), Ok(Some((b"hello".to_vec(), address))));
                assert!(bytes.is_empty());
            }
        }
        assert!(read_datagram(&mut BytesMut::from(&[9; 64][..])).is_err());
    }
}
