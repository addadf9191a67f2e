//! `tcp-socket` of `wasi:sockets/types` 0.3.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::oneshot;
use wasmtime::component::{Access, Accessor, FutureReader, Resource, StreamReader};
use wasmtime_wasi::p3::bindings::sockets as wit;
use wasmtime_wasi::p3::sockets::{SocketError, SocketResult};
use wit::types::{ErrorCode, IpAddressFamily, IpSocketAddress, TcpSocket as Theirs};

use super::super::options::{Hints, options, positive};
use super::super::{Answers, Sockets, ours, theirs};
use super::streams::{Accepting, Incoming, Outgoing};
use super::{check_family, check_remote, refused};
use crate::network::{Connection, Duplex, Listener};

/// A TCP socket.
pub(super) struct TcpSocket {
    family: IpAddressFamily,
    state: State,
    hints: Hints,
}

/// Where it is in its life.
enum State {
    New,
    /// It has its port, which nobody else can have.
    Bound(Box<dyn Listener>),
    Connecting,
    /// Each half is there until its stream is taken.
    Connected {
        local: SocketAddr,
        remote: SocketAddr,
        reading: Option<ReadHalf<Box<dyn Duplex>>>,
        writing: Option<WriteHalf<Box<dyn Duplex>>>,
    },
    Listening(SocketAddr),
    Closed,
}

impl TcpSocket {
    /// The socket of a connection that is up.
    pub(super) fn connected(connection: Connection) -> Self {
        let Connection { stream, local, remote } = connection;
        let family = if remote.is_ipv4() { IpAddressFamily::Ipv4 } else { IpAddressFamily::Ipv6 };
        Self { family, state: State::up(stream, local, remote), hints: Hints::default() }
    }
}

impl State {
    fn up(stream: Box<dyn Duplex>, local: SocketAddr, remote: SocketAddr) -> Self {
        let (reading, writing) = tokio::io::split(stream);
        Self::Connected { local, remote, reading: Some(reading), writing: Some(writing) }
    }
}

impl Sockets<'_> {
    fn tcp_0_3(&mut self, socket: &Resource<Theirs>) -> SocketResult<&mut TcpSocket> {
        self.table.get_mut::<TcpSocket>(&ours(socket)).map_err(SocketError::trap)
    }

    fn hints_0_3(&mut self, socket: &Resource<Theirs>) -> SocketResult<&mut Hints> {
        Ok(&mut self.tcp_0_3(socket)?.hints)
    }
}

impl<T: Send> wit::types::HostTcpSocketWithStore<T> for Answers {
    async fn connect(store: &Accessor<T, Self>, socket: Resource<Theirs>, remote: IpSocketAddress) -> SocketResult<()> {
        let remote = SocketAddr::from(remote);
        let network = store.with(|mut store| {
            let mut sockets = store.get();
            let network = Arc::clone(sockets.network);
            let socket = sockets.tcp_0_3(&socket)?;
            if !matches!(socket.state, State::New | State::Bound(_)) {
                return Err(ErrorCode::InvalidState.into());
            }
            check_family(remote, socket.family)?;
            check_remote(remote)?;
            socket.state = State::Connecting;
            SocketResult::Ok(network)
        })?;
        let answer = network.connect(remote).await;
        store.with(|mut store| {
            let mut sockets = store.get();
            let socket = sockets.tcp_0_3(&socket)?;
            match answer {
                Ok(Connection { stream, local, remote }) => {
                    socket.state = State::up(stream, local, remote);
                    Ok(())
                }
                Err(error) => {
                    socket.state = State::Closed;
                    Err(refused(&error))
                }
            }
        })
    }

    async fn listen(
        mut store: Access<'_, T, Self>,
        socket: Resource<Theirs>,
    ) -> SocketResult<StreamReader<Resource<Theirs>>> {
        let getter = store.getter();
        let mut sockets = store.get();
        let network = Arc::clone(sockets.network);
        let socket = sockets.tcp_0_3(&socket)?;
        let listener = match std::mem::replace(&mut socket.state, State::Closed) {
            State::Bound(listener) => listener,
            State::New => {
                let any: SocketAddr =
                    if super::is_v4(socket.family) { ([0_u8; 4], 0).into() } else { ([0_u16; 8], 0).into() };
                network.listen(any).map_err(|error| refused(&error))?
            }
            other => {
                socket.state = other;
                return Err(ErrorCode::InvalidState.into());
            }
        };
        socket.state = State::Listening(listener.local());
        StreamReader::new(&mut store, Accepting { listener, sockets: getter }).map_err(SocketError::trap)
    }

    fn send(
        mut store: Access<'_, T, Self>,
        socket: Resource<Theirs>,
        mut data: StreamReader<u8>,
    ) -> wasmtime::Result<FutureReader<Result<(), ErrorCode>>> {
        let mut sockets = store.get();
        let half = match &mut sockets.tcp_0_3(&socket)?.state {
            State::Connected { writing, .. } => writing.take(),
            _ => None,
        };
        let Some(half) = half else {
            data.close(&mut store)?;
            return FutureReader::new(&mut store, async { wasmtime::error::Ok(Err(ErrorCode::InvalidState)) });
        };
        let (tell, outcome) = oneshot::channel();
        data.pipe(&mut store, Outgoing::new(half, tell))?;
        FutureReader::new(&mut store, outcome)
    }

    fn receive(
        mut store: Access<'_, T, Self>,
        socket: Resource<Theirs>,
    ) -> wasmtime::Result<(StreamReader<u8>, FutureReader<Result<(), ErrorCode>>)> {
        let mut sockets = store.get();
        let half = match &mut sockets.tcp_0_3(&socket)?.state {
            State::Connected { reading, .. } => reading.take(),
            _ => None,
        };
        let Some(half) = half else {
            let nothing = StreamReader::new(&mut store, std::iter::empty())?;
            let why = FutureReader::new(&mut store, async { wasmtime::error::Ok(Err(ErrorCode::InvalidState)) })?;
            return Ok((nothing, why));
        };
        let (tell, outcome) = oneshot::channel();
        let stream = StreamReader::new(&mut store, Incoming::new(half, tell))?;
        Ok((stream, FutureReader::new(&mut store, outcome)?))
    }
}

impl wit::types::HostTcpSocket for Sockets<'_> {
    fn create(&mut self, family: IpAddressFamily) -> SocketResult<Resource<Theirs>> {
        self.given()?;
        let socket = TcpSocket { family, state: State::New, hints: Hints::default() };
        Ok(theirs(&self.table.push(socket).map_err(SocketError::trap)?))
    }

    async fn bind(&mut self, socket: Resource<Theirs>, local: IpSocketAddress) -> SocketResult<()> {
        let network = Arc::clone(self.network);
        let socket = self.tcp_0_3(&socket)?;
        let local = SocketAddr::from(local);
        check_family(local, socket.family)?;
        if !matches!(socket.state, State::New) {
            return Err(ErrorCode::InvalidState.into());
        }
        socket.state = State::Bound(network.listen(local).map_err(|error| refused(&error))?);
        Ok(())
    }

    fn get_local_address(&mut self, socket: Resource<Theirs>) -> SocketResult<IpSocketAddress> {
        match &self.tcp_0_3(&socket)?.state {
            State::Bound(listener) => Ok(listener.local().into()),
            State::Connected { local, .. } | State::Listening(local) => Ok((*local).into()),
            State::New | State::Connecting | State::Closed => Err(ErrorCode::InvalidState.into()),
        }
    }

    fn get_remote_address(&mut self, socket: Resource<Theirs>) -> SocketResult<IpSocketAddress> {
        match &self.tcp_0_3(&socket)?.state {
            State::Connected { remote, .. } => Ok((*remote).into()),
            _ => Err(ErrorCode::InvalidState.into()),
        }
    }

    fn get_is_listening(&mut self, socket: Resource<Theirs>) -> wasmtime::Result<bool> {
        Ok(matches!(self.table.get::<TcpSocket>(&ours(&socket))?.state, State::Listening(_)))
    }

    fn get_address_family(&mut self, socket: Resource<Theirs>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get::<TcpSocket>(&ours(&socket))?.family)
    }

    fn set_listen_backlog_size(&mut self, socket: Resource<Theirs>, value: u64) -> SocketResult<()> {
        positive(value, ErrorCode::InvalidArgument)?;
        match self.tcp_0_3(&socket)?.state {
            State::New | State::Bound(_) | State::Listening(_) => Ok(()),
            _ => Err(ErrorCode::InvalidState.into()),
        }
    }

    fn get_keep_alive_enabled(&mut self, socket: Resource<Theirs>) -> SocketResult<bool> {
        Ok(self.hints_0_3(&socket)?.keep_alive)
    }

    fn set_keep_alive_enabled(&mut self, socket: Resource<Theirs>, value: bool) -> SocketResult<()> {
        self.hints_0_3(&socket)?.keep_alive = value;
        Ok(())
    }

    options! { hints_0_3;
        get_keep_alive_idle_time, set_keep_alive_idle_time: idle_nanos u64;
        get_keep_alive_interval, set_keep_alive_interval: interval_nanos u64;
        get_keep_alive_count, set_keep_alive_count: count u32;
        get_hop_limit, set_hop_limit: hops u8;
        get_receive_buffer_size, set_receive_buffer_size: receive_bytes u64;
        get_send_buffer_size, set_send_buffer_size: send_bytes u64;
    }

    fn drop(&mut self, socket: Resource<Theirs>) -> wasmtime::Result<()> {
        self.table.delete::<TcpSocket>(ours(&socket))?;
        Ok(())
    }
}
