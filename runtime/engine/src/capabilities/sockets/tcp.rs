//! `wasi:sockets/tcp`.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Waker};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets as wit;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, Pollable, SocketError, SocketResult, subscribe};
use wit::network::{ErrorCode, IpAddressFamily, IpSocketAddress};
use wit::tcp::{ShutdownType, TcpSocket as Theirs};

use super::options::{Hints, options, positive};
use super::streams::{Reader, Writer};
use super::{InstanceNetwork, Sockets, check_family, check_remote, ours, refused, theirs};
use crate::network::{Connection, Listener, NetworkError};

/// A TCP socket.
struct TcpSocket {
    family: IpAddressFamily,
    state: State,
    hints: Hints,
}

/// Where it is in its life.
enum State {
    New,
    /// It has its port, which nobody else can have; `started` until the guest asked for the outcome.
    Bound {
        listener: Box<dyn Listener>,
        started: bool,
    },
    Connecting(BoxFuture<'static, Result<Connection, NetworkError>>),
    Answered(Result<Connection, NetworkError>),
    Connected {
        local: SocketAddr,
        remote: SocketAddr,
        reader: Reader,
        writer: Writer,
    },
    Listening {
        listener: Box<dyn Listener>,
        next: Option<Connection>,
        started: bool,
    },
    Closed,
}

impl TcpSocket {
    fn new(family: IpAddressFamily) -> Self {
        Self { family, state: State::New, hints: Hints::default() }
    }

    /// A socket of a connection that is up, and its two streams.
    fn connected(connection: Connection) -> (Self, Reader, Writer) {
        let Connection { stream, local, remote } = connection;
        let (reading, writing) = tokio::io::split(stream);
        let (reader, writer) = (Reader::new(reading), Writer::new(writing));
        let family = if remote.is_ipv4() { IpAddressFamily::Ipv4 } else { IpAddressFamily::Ipv6 };
        let state = State::Connected { local, remote, reader: reader.clone(), writer: writer.clone() };
        (Self { family, state, hints: Hints::default() }, reader, writer)
    }
}

#[async_trait::async_trait]
impl Pollable for TcpSocket {
    async fn ready(&mut self) {
        match &mut self.state {
            State::Connecting(connecting) => {
                let answer = connecting.await;
                self.state = State::Answered(answer);
            }
            State::Listening { listener, next: next @ None, started: false } => {
                *next = Some(poll_fn(|cx| listener.poll_accept(cx)).await);
            }
            State::New
            | State::Bound { .. }
            | State::Answered(_)
            | State::Connected { .. }
            | State::Listening { .. }
            | State::Closed => {}
        }
    }
}

impl wit::tcp_create_socket::Host for Sockets<'_> {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<Theirs>> {
        self.check_given()?;
        Ok(theirs(&self.table.push(TcpSocket::new(family))?))
    }
}

impl Sockets<'_> {
    fn tcp(&mut self, socket: &Resource<Theirs>) -> SocketResult<&mut TcpSocket> {
        Ok(self.table.get_mut::<TcpSocket>(&ours(socket))?)
    }

    fn hints(&mut self, socket: &Resource<Theirs>) -> SocketResult<&mut Hints> {
        Ok(&mut self.tcp(socket)?.hints)
    }

    fn network_handle(&self, network: &Resource<wit::network::Network>) -> SocketResult<()> {
        self.table.get::<InstanceNetwork>(&ours(network))?;
        Ok(())
    }

    fn streams(
        &mut self,
        socket: &Resource<TcpSocket>,
        reader: Reader,
        writer: Writer,
    ) -> SocketResult<(Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let input: DynInputStream = Box::new(reader);
        let output: DynOutputStream = Box::new(writer);
        Ok((self.table.push_child(input, socket)?, self.table.push_child(output, socket)?))
    }
}

impl wit::tcp::Host for Sockets<'_> {}

impl wit::tcp::HostTcpSocket for Sockets<'_> {
    async fn start_bind(
        &mut self,
        socket: Resource<Theirs>,
        network: Resource<wit::network::Network>,
        local: IpSocketAddress,
    ) -> SocketResult<()> {
        self.network_handle(&network)?;
        let network = Arc::clone(self.network);
        let socket = self.tcp(&socket)?;
        let local = SocketAddr::from(local);
        check_family(local, socket.family)?;
        if !matches!(socket.state, State::New) {
            return Err(ErrorCode::InvalidState.into());
        }
        let listener = network.listen(local).map_err(|error| refused(&error))?;
        socket.state = State::Bound { listener, started: true };
        Ok(())
    }

    fn finish_bind(&mut self, socket: Resource<Theirs>) -> SocketResult<()> {
        match &mut self.tcp(&socket)?.state {
            State::Bound { started, .. } if *started => {
                *started = false;
                Ok(())
            }
            _ => Err(ErrorCode::NotInProgress.into()),
        }
    }

    fn start_connect(
        &mut self,
        socket: Resource<Theirs>,
        network: Resource<wit::network::Network>,
        remote: IpSocketAddress,
    ) -> SocketResult<()> {
        self.network_handle(&network)?;
        let network = Arc::clone(self.network);
        let socket = self.tcp(&socket)?;
        let remote = SocketAddr::from(remote);
        match &socket.state {
            State::New | State::Bound { started: false, .. } => {}
            State::Connecting(_) | State::Answered(_) | State::Bound { .. } => {
                return Err(ErrorCode::ConcurrencyConflict.into());
            }
            State::Connected { .. } | State::Listening { .. } | State::Closed => {
                return Err(ErrorCode::InvalidState.into());
            }
        }
        check_family(remote, socket.family)?;
        check_remote(remote)?;
        socket.state = State::Connecting(async move { network.connect(remote).await }.boxed());
        Ok(())
    }

    fn finish_connect(
        &mut self,
        socket: Resource<Theirs>,
    ) -> SocketResult<(Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let handle: Resource<TcpSocket> = ours(&socket);
        let socket = self.tcp(&socket)?;
        if let State::Connecting(connecting) = &mut socket.state {
            let Some(answer) = connecting.now_or_never() else { return Err(ErrorCode::WouldBlock.into()) };
            socket.state = State::Answered(answer);
        }
        if !matches!(socket.state, State::Answered(_)) {
            return Err(ErrorCode::NotInProgress.into());
        }
        let State::Answered(answer) = std::mem::replace(&mut socket.state, State::Closed) else {
            return Err(ErrorCode::NotInProgress.into());
        };
        let (connected, reader, writer) = TcpSocket::connected(answer.map_err(|error| refused(&error))?);
        socket.state = connected.state;
        self.streams(&handle, reader, writer)
    }

    async fn start_listen(&mut self, socket: Resource<Theirs>) -> SocketResult<()> {
        let socket = self.tcp(&socket)?;
        match std::mem::replace(&mut socket.state, State::Closed) {
            State::Bound { listener, started: false } => {
                socket.state = State::Listening { listener, next: None, started: true };
                Ok(())
            }
            other => {
                let busy = matches!(other, State::Bound { .. } | State::Connecting(_));
                socket.state = other;
                Err(if busy { ErrorCode::ConcurrencyConflict } else { ErrorCode::InvalidState }.into())
            }
        }
    }

    fn finish_listen(&mut self, socket: Resource<Theirs>) -> SocketResult<()> {
        match &mut self.tcp(&socket)?.state {
            State::Listening { started, .. } if *started => {
                *started = false;
                Ok(())
            }
            _ => Err(ErrorCode::NotInProgress.into()),
        }
    }

    fn accept(
        &mut self,
        socket: Resource<Theirs>,
    ) -> SocketResult<(Resource<Theirs>, Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let State::Listening { listener, next, started: false } = &mut self.tcp(&socket)?.state else {
            return Err(ErrorCode::InvalidState.into());
        };
        let connection = match next.take() {
            Some(connection) => connection,
            None => match listener.poll_accept(&mut Context::from_waker(Waker::noop())) {
                std::task::Poll::Ready(connection) => connection,
                std::task::Poll::Pending => return Err(ErrorCode::WouldBlock.into()),
            },
        };
        let (accepted, reader, writer) = TcpSocket::connected(connection);
        let accepted = self.table.push(accepted)?;
        let (input, output) = self.streams(&accepted, reader, writer)?;
        Ok((theirs(&accepted), input, output))
    }

    fn local_address(&mut self, socket: Resource<Theirs>) -> SocketResult<IpSocketAddress> {
        match &self.tcp(&socket)?.state {
            State::Bound { listener, .. } | State::Listening { listener, .. } => Ok(listener.local().into()),
            State::Connected { local, .. } => Ok((*local).into()),
            State::New | State::Connecting(_) | State::Answered(_) | State::Closed => {
                Err(ErrorCode::InvalidState.into())
            }
        }
    }

    fn remote_address(&mut self, socket: Resource<Theirs>) -> SocketResult<IpSocketAddress> {
        match &self.tcp(&socket)?.state {
            State::Connected { remote, .. } => Ok((*remote).into()),
            _ => Err(ErrorCode::InvalidState.into()),
        }
    }

    fn is_listening(&mut self, socket: Resource<Theirs>) -> wasmtime::Result<bool> {
        let socket = self.table.get::<TcpSocket>(&ours(&socket))?;
        Ok(matches!(socket.state, State::Listening { started: false, .. }))
    }

    fn address_family(&mut self, socket: Resource<Theirs>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get::<TcpSocket>(&ours(&socket))?.family)
    }

    fn set_listen_backlog_size(&mut self, socket: Resource<Theirs>, value: u64) -> SocketResult<()> {
        positive(value, ErrorCode::InvalidArgument)?;
        match self.tcp(&socket)?.state {
            // The network has a backlog of its own size; the size is a hint.
            State::New | State::Bound { .. } | State::Listening { .. } => Ok(()),
            _ => Err(ErrorCode::InvalidState.into()),
        }
    }

    fn keep_alive_enabled(&mut self, socket: Resource<Theirs>) -> SocketResult<bool> {
        Ok(self.hints(&socket)?.keep_alive)
    }

    fn set_keep_alive_enabled(&mut self, socket: Resource<Theirs>, value: bool) -> SocketResult<()> {
        self.hints(&socket)?.keep_alive = value;
        Ok(())
    }

    options! { hints;
        keep_alive_idle_time, set_keep_alive_idle_time: idle_nanos u64;
        keep_alive_interval, set_keep_alive_interval: interval_nanos u64;
        keep_alive_count, set_keep_alive_count: count u32;
        hop_limit, set_hop_limit: hops u8;
        receive_buffer_size, set_receive_buffer_size: receive_bytes u64;
        send_buffer_size, set_send_buffer_size: send_bytes u64;
    }

    fn subscribe(&mut self, socket: Resource<Theirs>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe::<TcpSocket>(self.table, ours(&socket))
    }

    fn shutdown(&mut self, socket: Resource<Theirs>, how: ShutdownType) -> SocketResult<()> {
        let State::Connected { reader, writer, .. } = &self.tcp(&socket)?.state else {
            return Err(SocketError::from(ErrorCode::InvalidState));
        };
        if matches!(how, ShutdownType::Receive | ShutdownType::Both) {
            reader.shutdown();
        }
        if matches!(how, ShutdownType::Send | ShutdownType::Both) {
            writer.shutdown();
        }
        Ok(())
    }

    fn drop(&mut self, socket: Resource<Theirs>) -> wasmtime::Result<()> {
        self.table.delete::<TcpSocket>(ours(&socket))?;
        Ok(())
    }
}
