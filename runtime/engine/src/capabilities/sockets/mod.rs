//! `wasi:sockets` 0.2 and 0.3: TCP, UDP and names, answered by the sandbox's [`Network`] instead of the host's sockets.
//!
//! The generated interfaces are wasmtime's; their resources are handles of ours. A handle that wasmtime's interface
//! calls a `TcpSocket` is an index into the store's table, where a socket of ours lies: [`ours`] and [`theirs`] rename
//! it, and the table refuses one of another type.

mod names;
mod next;
mod options;
mod streams;
mod tcp;
mod udp;

use std::net::SocketAddr;
use std::sync::Arc;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::sockets as wit;
use wasmtime_wasi::p2::{SocketError, SocketResult};
use wit::network::{ErrorCode, IpAddressFamily};

use crate::host::Host;
use crate::network::{Network, NetworkError};

pub(crate) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    wit::network::add_to_linker::<_, Answers>(linker, &wit::network::LinkOptions::default(), sockets)?;
    wit::instance_network::add_to_linker::<_, Answers>(linker, sockets)?;
    wit::ip_name_lookup::add_to_linker::<_, Answers>(linker, sockets)?;
    wit::tcp_create_socket::add_to_linker::<_, Answers>(linker, sockets)?;
    wit::tcp::add_to_linker::<_, Answers>(linker, sockets)?;
    wit::udp_create_socket::add_to_linker::<_, Answers>(linker, sockets)?;
    wit::udp::add_to_linker::<_, Answers>(linker, sockets)?;
    next::link(linker)
}

fn sockets(host: &mut Host) -> Sockets<'_> {
    host.called();
    Sockets { table: &mut host.table, network: &host.sandbox.network }
}

struct Answers;

impl HasData for Answers {
    type Data<'a> = Sockets<'a>;
}

/// What the interfaces are answered from.
pub(crate) struct Sockets<'a> {
    table: &'a mut ResourceTable,
    network: &'a Arc<dyn Network>,
}

impl Sockets<'_> {
    fn check_given(&self) -> SocketResult<()> {
        if self.network.gives_sockets() { Ok(()) } else { Err(ErrorCode::AccessDenied.into()) }
    }
}

/// A handle of theirs as one of ours.
fn ours<Theirs: 'static, Ours: 'static>(handle: &Resource<Theirs>) -> Resource<Ours> {
    if handle.owned() { Resource::new_own(handle.rep()) } else { Resource::new_borrow(handle.rep()) }
}

/// A handle of ours as one of theirs.
fn theirs<Ours: 'static, Theirs: 'static>(handle: &Resource<Ours>) -> Resource<Theirs> {
    ours(handle)
}

/// What stands for the network: the capability is the sandbox's, this handle says nothing.
struct InstanceNetwork;

impl wit::instance_network::Host for Sockets<'_> {
    fn instance_network(&mut self) -> wasmtime::Result<Resource<wit::network::Network>> {
        Ok(theirs(&self.table.push(InstanceNetwork)?))
    }
}

impl wit::network::HostNetwork for Sockets<'_> {
    fn drop(&mut self, network: Resource<wit::network::Network>) -> wasmtime::Result<()> {
        self.table.delete::<InstanceNetwork>(ours(&network))?;
        Ok(())
    }
}

impl wit::network::Host for Sockets<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn network_error_code(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        let error = self.table.get(&error)?;
        Ok(error.downcast_ref::<std::io::Error>().map(ErrorCode::from))
    }
}

/// In the words of `wasi:sockets`.
fn code(error: &NetworkError) -> ErrorCode {
    match error {
        NetworkError::Denied => ErrorCode::AccessDenied,
        NetworkError::NoName => ErrorCode::NameUnresolvable,
        NetworkError::NameFailed => ErrorCode::TemporaryResolverFailure,
        NetworkError::Refused => ErrorCode::ConnectionRefused,
        NetworkError::Unreachable => ErrorCode::RemoteUnreachable,
        NetworkError::ConnectTimeout | NetworkError::ReadTimeout => ErrorCode::Timeout,
        NetworkError::InUse => ErrorCode::AddressInUse,
        NetworkError::NotHere => ErrorCode::AddressNotBindable,
        NetworkError::TooMany(_) => ErrorCode::NewSocketLimit,
        NetworkError::Reset => ErrorCode::ConnectionReset,
        NetworkError::Certificate(_) | NetworkError::Tls(_) | NetworkError::Protocol(_) | NetworkError::Failed(_) => {
            ErrorCode::Unknown
        }
    }
}

fn refused(error: &NetworkError) -> SocketError {
    code(error).into()
}

/// An address must be of its socket's family, and an IPv4 one must not be written as IPv6.
fn fits(address: SocketAddr, family_is_v4: bool) -> bool {
    match address {
        SocketAddr::V4(_) => family_is_v4,
        SocketAddr::V6(address) => !family_is_v4 && address.ip().to_ipv4_mapped().is_none(),
    }
}

/// An address that can be connected or sent to: somebody, at some port.
fn is_somebody(address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    !ip.is_unspecified() && !ip.is_multicast() && address.port() != 0
}

fn check_family(address: SocketAddr, family: IpAddressFamily) -> SocketResult<()> {
    let is_v4 = matches!(family, IpAddressFamily::Ipv4);
    if fits(address, is_v4) { Ok(()) } else { Err(ErrorCode::InvalidArgument.into()) }
}

fn check_remote(address: SocketAddr) -> SocketResult<()> {
    if is_somebody(address) { Ok(()) } else { Err(ErrorCode::InvalidArgument.into()) }
}
