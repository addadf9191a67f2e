//! `wasi:sockets` 0.3: the same network for asynchronous guests.
//!
//! As in 0.2 the generated interfaces are wasmtime's, and their handles lead to sockets of ours.

mod streams;
mod tcp;
mod udp;

use std::net::SocketAddr;
use std::sync::Arc;

use wasmtime::component::{Accessor, Linker};
use wasmtime_wasi::p3::bindings::sockets as wit;
use wasmtime_wasi::p3::sockets::{SocketError, SocketResult};
use wit::types::{ErrorCode, IpAddress, IpAddressFamily};

use super::{Answers, Sockets};
use crate::host::Host;
use crate::network::NetworkError;

pub(crate) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    wit::ip_name_lookup::add_to_linker::<_, Answers>(linker, super::sockets)?;
    wit::types::add_to_linker::<_, Answers>(linker, super::sockets)
}

impl wit::types::Host for Sockets<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }
}

impl wit::ip_name_lookup::Host for Sockets<'_> {}

impl<T: Send> wit::ip_name_lookup::HostWithStore<T> for Answers {
    async fn resolve_addresses(
        store: &Accessor<T, Self>,
        name: String,
    ) -> wasmtime::Result<Result<Vec<IpAddress>, wit::ip_name_lookup::ErrorCode>> {
        use wit::ip_name_lookup::ErrorCode;
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Ok(Err(ErrorCode::InvalidArgument));
        }
        let network = store.with(|mut store| Arc::clone(store.get().network));
        Ok(match network.resolve(&name).await {
            Ok(addresses) => Ok(addresses.into_iter().map(Into::into).collect()),
            Err(NetworkError::Denied) => Err(ErrorCode::AccessDenied),
            Err(NetworkError::NoName) => Err(ErrorCode::NameUnresolvable),
            Err(_) => Err(ErrorCode::TemporaryResolverFailure),
        })
    }
}

impl Sockets<'_> {
    fn given(&self) -> SocketResult<()> {
        if self.network.gives_sockets() { Ok(()) } else { Err(ErrorCode::AccessDenied.into()) }
    }
}

/// In the words of 0.3.
fn code(error: &NetworkError) -> ErrorCode {
    match error {
        NetworkError::Denied => ErrorCode::AccessDenied,
        NetworkError::Refused => ErrorCode::ConnectionRefused,
        NetworkError::Unreachable | NetworkError::NoName | NetworkError::NameFailed => ErrorCode::RemoteUnreachable,
        NetworkError::ConnectTimeout | NetworkError::ReadTimeout => ErrorCode::Timeout,
        NetworkError::InUse => ErrorCode::AddressInUse,
        NetworkError::NotHere => ErrorCode::AddressNotBindable,
        NetworkError::TooMany(_) => ErrorCode::OutOfMemory,
        NetworkError::Reset => ErrorCode::ConnectionReset,
        NetworkError::Certificate(_) | NetworkError::Tls(_) | NetworkError::Protocol(_) | NetworkError::Failed(_) => {
            ErrorCode::Other(None)
        }
    }
}

fn refused(error: &NetworkError) -> SocketError {
    code(error).into()
}

fn check_family(address: SocketAddr, family: IpAddressFamily) -> SocketResult<()> {
    if super::fits(address, is_v4(family)) { Ok(()) } else { Err(ErrorCode::InvalidArgument.into()) }
}

fn check_remote(address: SocketAddr) -> SocketResult<()> {
    if super::is_somebody(address) { Ok(()) } else { Err(ErrorCode::InvalidArgument.into()) }
}

fn is_v4(family: IpAddressFamily) -> bool {
    matches!(family, IpAddressFamily::Ipv4)
}
