//! `wasi:sockets/udp`.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets as wit;
use wasmtime_wasi::p2::{DynPollable, Pollable, SocketError, SocketResult, subscribe};
use wit::network::{ErrorCode, IpAddressFamily, IpSocketAddress};
use wit::udp::{
    IncomingDatagram, IncomingDatagramStream, OutgoingDatagram, OutgoingDatagramStream, UdpSocket as Theirs,
};

use super::options::{UdpHints, options, positive};
use super::{Sockets, check_family, check_remote, ours, refused, theirs};
use crate::network::{Datagrams, NetworkError};

/// Datagrams of one call.
const DATAGRAMS_MAX: usize = 16;
/// Bytes that one call takes in before it stops.
const RECEIVED_BYTES_MAX: usize = 64 << 10;
/// The largest datagram that IPv4 carries.
pub(super) const DATAGRAM_BYTES_MAX: usize = 65_507;

type Shared = Arc<Mutex<Box<dyn Datagrams>>>;
type Received = Result<(Vec<u8>, SocketAddr), NetworkError>;

/// A UDP socket.
struct UdpSocket {
    family: IpAddressFamily,
    bound: Option<Shared>,
    binding: bool,
    remote: Option<SocketAddr>,
    hints: UdpHints,
}

/// What comes in.
struct Incoming {
    socket: Shared,
    from: Option<SocketAddr>,
    seen: Option<Received>,
}

/// What goes out.
struct Outgoing {
    socket: Shared,
    to: Option<SocketAddr>,
    family: IpAddressFamily,
    permitted: usize,
}

impl Incoming {
    fn poll_look(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.seen.is_none() {
            let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
            let received = std::task::ready!(socket.poll_receive(cx));
            let wanted = match &received {
                Ok((_, from)) => self.from.is_none_or(|only| only == *from),
                Err(_) => true,
            };
            if wanted {
                self.seen = Some(received);
            }
        }
        Poll::Ready(())
    }
}

#[async_trait::async_trait]
impl Pollable for UdpSocket {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl Pollable for Incoming {
    async fn ready(&mut self) {
        poll_fn(|cx| self.poll_look(cx)).await;
    }
}

#[async_trait::async_trait]
impl Pollable for Outgoing {
    async fn ready(&mut self) {}
}

impl Sockets<'_> {
    fn udp(&mut self, socket: &Resource<Theirs>) -> SocketResult<&mut UdpSocket> {
        Ok(self.table.get_mut::<UdpSocket>(&ours(socket))?)
    }

    fn udp_hints(&mut self, socket: &Resource<Theirs>) -> SocketResult<&mut UdpHints> {
        Ok(&mut self.udp(socket)?.hints)
    }
}

impl wit::udp_create_socket::Host for Sockets<'_> {
    async fn create_udp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<Theirs>> {
        self.check_given()?;
        let hints = UdpHints::default();
        let socket = UdpSocket { family, bound: None, binding: false, remote: None, hints };
        Ok(theirs(&self.table.push(socket)?))
    }
}

impl wit::udp::Host for Sockets<'_> {}

impl wit::udp::HostUdpSocket for Sockets<'_> {
    async fn start_bind(
        &mut self,
        socket: Resource<Theirs>,
        network: Resource<wit::network::Network>,
        local: IpSocketAddress,
    ) -> SocketResult<()> {
        self.table.get::<super::InstanceNetwork>(&ours(&network))?;
        let network = Arc::clone(self.network);
        let socket = self.udp(&socket)?;
        let local = SocketAddr::from(local);
        if socket.bound.is_some() {
            return Err(ErrorCode::InvalidState.into());
        }
        check_family(local, socket.family)?;
        let bound = network.datagrams(local).map_err(|error| refused(&error))?;
        socket.bound = Some(Arc::new(Mutex::new(bound)));
        socket.binding = true;
        Ok(())
    }

    fn finish_bind(&mut self, socket: Resource<Theirs>) -> SocketResult<()> {
        if std::mem::take(&mut self.udp(&socket)?.binding) { Ok(()) } else { Err(ErrorCode::NotInProgress.into()) }
    }

    async fn stream(
        &mut self,
        socket: Resource<Theirs>,
        remote: Option<IpSocketAddress>,
    ) -> SocketResult<(Resource<IncomingDatagramStream>, Resource<OutgoingDatagramStream>)> {
        let handle: Resource<UdpSocket> = ours(&socket);
        let busy = self.table.iter_children(&handle)?.any(|child| child.is::<Incoming>() || child.is::<Outgoing>());
        if busy {
            return Err(SocketError::trap(wasmtime::format_err!("the streams before are not dropped yet")));
        }
        let socket = self.udp(&socket)?;
        let remote = remote.map(SocketAddr::from);
        if let Some(remote) = remote {
            check_family(remote, socket.family)?;
            check_remote(remote)?;
        }
        let Some(bound) = socket.bound.clone().filter(|_| !socket.binding) else {
            return Err(ErrorCode::InvalidState.into());
        };
        socket.remote = remote;
        let family = socket.family;
        let incoming = Incoming { socket: Arc::clone(&bound), from: remote, seen: None };
        let outgoing = Outgoing { socket: bound, to: remote, family, permitted: 0 };
        let incoming = self.table.push_child(incoming, &handle)?;
        let outgoing = self.table.push_child(outgoing, &handle)?;
        Ok((theirs(&incoming), theirs(&outgoing)))
    }

    fn local_address(&mut self, socket: Resource<Theirs>) -> SocketResult<IpSocketAddress> {
        let bound = self.udp(&socket)?.bound.as_ref().ok_or(ErrorCode::InvalidState)?;
        let local = bound.lock().unwrap_or_else(PoisonError::into_inner).local();
        Ok(local.into())
    }

    fn remote_address(&mut self, socket: Resource<Theirs>) -> SocketResult<IpSocketAddress> {
        let remote = self.udp(&socket)?.remote.ok_or(ErrorCode::InvalidState)?;
        Ok(remote.into())
    }

    fn address_family(&mut self, socket: Resource<Theirs>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get::<UdpSocket>(&ours(&socket))?.family)
    }

    options! { udp_hints;
        unicast_hop_limit, set_unicast_hop_limit: hops u8;
        receive_buffer_size, set_receive_buffer_size: receive_bytes u64;
        send_buffer_size, set_send_buffer_size: send_bytes u64;
    }

    fn subscribe(&mut self, socket: Resource<Theirs>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe::<UdpSocket>(self.table, ours(&socket))
    }

    fn drop(&mut self, socket: Resource<Theirs>) -> wasmtime::Result<()> {
        self.table.delete::<UdpSocket>(ours(&socket))?;
        Ok(())
    }
}

impl wit::udp::HostIncomingDatagramStream for Sockets<'_> {
    fn receive(&mut self, stream: Resource<IncomingDatagramStream>, most: u64) -> SocketResult<Vec<IncomingDatagram>> {
        let stream = self.table.get_mut::<Incoming>(&ours(&stream))?;
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(DATAGRAMS_MAX);
        let (mut received, mut bytes) = (Vec::new(), 0);
        while received.len() < most && bytes < RECEIVED_BYTES_MAX {
            if stream.poll_look(&mut Context::from_waker(Waker::noop())).is_pending() {
                break;
            }
            match stream.seen.take() {
                Some(Ok((data, from))) => {
                    bytes += data.len();
                    received.push(IncomingDatagram { data, remote_address: from.into() });
                }
                Some(Err(error)) if received.is_empty() => return Err(refused(&error)),
                Some(Err(_)) | None => break,
            }
        }
        Ok(received)
    }

    fn subscribe(&mut self, stream: Resource<IncomingDatagramStream>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe::<Incoming>(self.table, ours(&stream))
    }

    fn drop(&mut self, stream: Resource<IncomingDatagramStream>) -> wasmtime::Result<()> {
        self.table.delete::<Incoming>(ours(&stream))?;
        Ok(())
    }
}

impl wit::udp::HostOutgoingDatagramStream for Sockets<'_> {
    fn check_send(&mut self, stream: Resource<OutgoingDatagramStream>) -> SocketResult<u64> {
        let stream = self.table.get_mut::<Outgoing>(&ours(&stream))?;
        stream.permitted = DATAGRAMS_MAX;
        Ok(DATAGRAMS_MAX as u64)
    }

    fn send(
        &mut self,
        stream: Resource<OutgoingDatagramStream>,
        datagrams: Vec<OutgoingDatagram>,
    ) -> SocketResult<u64> {
        let stream = self.table.get_mut::<Outgoing>(&ours(&stream))?;
        if datagrams.len() > stream.permitted {
            return Err(SocketError::trap(wasmtime::format_err!("sent more datagrams than was permitted")));
        }
        stream.permitted = 0;
        let mut sent = 0;
        for OutgoingDatagram { data, remote_address } in datagrams {
            match stream.send(data, remote_address.map(SocketAddr::from)) {
                Ok(()) => sent += 1,
                Err(error) if sent == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(sent)
    }

    fn subscribe(&mut self, stream: Resource<OutgoingDatagramStream>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe::<Outgoing>(self.table, ours(&stream))
    }

    async fn drop(&mut self, stream: Resource<OutgoingDatagramStream>) -> wasmtime::Result<()> {
        self.table.delete::<Outgoing>(ours(&stream))?;
        Ok(())
    }
}

/// To whom a datagram goes: a connected socket's are for its peer alone.
pub(super) fn addressee(connected: Option<SocketAddr>, given: Option<SocketAddr>) -> Option<SocketAddr> {
    match (connected, given) {
        (Some(connected), Some(given)) if connected != given => None,
        (connected, given) => given.or(connected),
    }
}

impl Outgoing {
    fn send(&mut self, data: Vec<u8>, to: Option<SocketAddr>) -> SocketResult<()> {
        let to = addressee(self.to, to).ok_or(ErrorCode::InvalidArgument)?;
        check_family(to, self.family)?;
        check_remote(to)?;
        if data.len() > DATAGRAM_BYTES_MAX {
            return Err(ErrorCode::DatagramTooLarge.into());
        }
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        socket.send(data, to).map_err(|error| refused(&error))
    }
}
