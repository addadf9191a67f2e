//! `udp-socket` of `wasi:sockets/types` 0.3.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::component::{Accessor, Resource};
use wasmtime_wasi::p3::bindings::sockets as wit;
use wasmtime_wasi::p3::sockets::{SocketError, SocketResult};
use wit::types::{ErrorCode, IpAddressFamily, IpSocketAddress, UdpSocket as Theirs};

use super::super::options::{UdpHints, options, positive};
use super::super::udp::{DATAGRAM_BYTES_MAX, addressee};
use super::super::{Answers, Sockets, ours, theirs};
use super::{check_family, check_remote, refused};
use crate::network::{Datagrams, Network};

type Shared = Arc<Mutex<Box<dyn Datagrams>>>;

/// A UDP socket.
struct UdpSocket {
    family: IpAddressFamily,
    bound: Option<Shared>,
    remote: Option<SocketAddr>,
    hints: UdpHints,
}

impl UdpSocket {
    /// The bound socket; at any port if the guest did not say which.
    fn bound(&mut self, network: &dyn Network) -> SocketResult<Shared> {
        if let Some(bound) = &self.bound {
            return Ok(Arc::clone(bound));
        }
        let any: SocketAddr = if super::is_v4(self.family) { ([0_u8; 4], 0).into() } else { ([0_u16; 8], 0).into() };
        let bound = network.datagrams(any).map_err(|error| refused(&error))?;
        Ok(Arc::clone(self.bound.insert(Arc::new(Mutex::new(bound)))))
    }
}

impl Sockets<'_> {
    fn udp_0_3(&mut self, socket: &Resource<Theirs>) -> SocketResult<&mut UdpSocket> {
        self.table.get_mut::<UdpSocket>(&ours(socket)).map_err(SocketError::trap)
    }

    fn udp_hints_0_3(&mut self, socket: &Resource<Theirs>) -> SocketResult<&mut UdpHints> {
        Ok(&mut self.udp_0_3(socket)?.hints)
    }
}

impl<T: Send> wit::types::HostUdpSocketWithStore<T> for Answers {
    async fn send(
        store: &Accessor<T, Self>,
        socket: Resource<Theirs>,
        data: Vec<u8>,
        remote: Option<IpSocketAddress>,
    ) -> SocketResult<()> {
        store.with(|mut store| {
            let mut sockets = store.get();
            let network = Arc::clone(sockets.network);
            let socket = sockets.udp_0_3(&socket)?;
            let to = addressee(socket.remote, remote.map(SocketAddr::from)).ok_or(ErrorCode::InvalidArgument)?;
            check_family(to, socket.family)?;
            check_remote(to)?;
            if data.len() > DATAGRAM_BYTES_MAX {
                return Err(ErrorCode::DatagramTooLarge.into());
            }
            let bound = socket.bound(&*network)?;
            let mut bound = bound.lock().unwrap_or_else(PoisonError::into_inner);
            bound.send(data, to).map_err(|error| refused(&error))
        })
    }

    async fn receive(store: &Accessor<T, Self>, socket: Resource<Theirs>) -> SocketResult<(Vec<u8>, IpSocketAddress)> {
        let (bound, only) = store.with(|mut store| {
            let mut sockets = store.get();
            let socket = sockets.udp_0_3(&socket)?;
            let bound = socket.bound.clone().ok_or(ErrorCode::InvalidState)?;
            SocketResult::Ok((bound, socket.remote))
        })?;
        loop {
            let received = poll_fn(|cx| bound.lock().unwrap_or_else(PoisonError::into_inner).poll_receive(cx)).await;
            let (data, from) = received.map_err(|error| refused(&error))?;
            if only.is_none_or(|only| only == from) {
                return Ok((data, from.into()));
            }
        }
    }
}

impl wit::types::HostUdpSocket for Sockets<'_> {
    async fn create(&mut self, family: IpAddressFamily) -> SocketResult<Resource<Theirs>> {
        self.given()?;
        let socket = UdpSocket { family, bound: None, remote: None, hints: UdpHints::default() };
        Ok(theirs(&self.table.push(socket).map_err(SocketError::trap)?))
    }

    async fn bind(&mut self, socket: Resource<Theirs>, local: IpSocketAddress) -> SocketResult<()> {
        let network = Arc::clone(self.network);
        let socket = self.udp_0_3(&socket)?;
        let local = SocketAddr::from(local);
        if socket.bound.is_some() {
            return Err(ErrorCode::InvalidState.into());
        }
        check_family(local, socket.family)?;
        let bound = network.datagrams(local).map_err(|error| refused(&error))?;
        socket.bound = Some(Arc::new(Mutex::new(bound)));
        Ok(())
    }

    async fn connect(&mut self, socket: Resource<Theirs>, remote: IpSocketAddress) -> SocketResult<()> {
        let network = Arc::clone(self.network);
        let socket = self.udp_0_3(&socket)?;
        let remote = SocketAddr::from(remote);
        check_family(remote, socket.family)?;
        check_remote(remote)?;
        socket.bound(&*network)?;
        socket.remote = Some(remote);
        Ok(())
    }

    fn disconnect(&mut self, socket: Resource<Theirs>) -> SocketResult<()> {
        match self.udp_0_3(&socket)?.remote.take() {
            Some(_) => Ok(()),
            None => Err(ErrorCode::InvalidState.into()),
        }
    }

    fn get_local_address(&mut self, socket: Resource<Theirs>) -> SocketResult<IpSocketAddress> {
        let bound = self.udp_0_3(&socket)?.bound.as_ref().ok_or(ErrorCode::InvalidState)?;
        let local = bound.lock().unwrap_or_else(PoisonError::into_inner).local();
        Ok(local.into())
    }

    fn get_remote_address(&mut self, socket: Resource<Theirs>) -> SocketResult<IpSocketAddress> {
        let remote = self.udp_0_3(&socket)?.remote.ok_or(ErrorCode::InvalidState)?;
        Ok(remote.into())
    }

    fn get_address_family(&mut self, socket: Resource<Theirs>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get::<UdpSocket>(&ours(&socket))?.family)
    }

    options! { udp_hints_0_3;
        get_unicast_hop_limit, set_unicast_hop_limit: hops u8;
        get_receive_buffer_size, set_receive_buffer_size: receive_bytes u64;
        get_send_buffer_size, set_send_buffer_size: send_bytes u64;
    }

    fn drop(&mut self, socket: Resource<Theirs>) -> wasmtime::Result<()> {
        self.table.delete::<UdpSocket>(ours(&socket))?;
        Ok(())
    }
}
