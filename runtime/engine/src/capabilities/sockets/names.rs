//! `wasi:sockets/ip-name-lookup`.

use std::net::IpAddr;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets as wit;
use wasmtime_wasi::p2::{DynPollable, Pollable, SocketError, subscribe};
use wit::ip_name_lookup::ResolveAddressStream;
use wit::network::{ErrorCode, IpAddress};

use super::{InstanceNetwork, Sockets, code, ours, theirs};
use crate::network::NetworkError;

/// A name being looked up, then its addresses one by one.
enum Lookup {
    Asking(BoxFuture<'static, Result<Vec<IpAddr>, NetworkError>>),
    Answered(Result<std::vec::IntoIter<IpAddr>, ErrorCode>),
}

impl Lookup {
    fn take(&mut self, answer: Result<Vec<IpAddr>, NetworkError>) {
        *self = Self::Answered(answer.map(Vec::into_iter).map_err(|error| code(&error)));
    }
}

#[async_trait::async_trait]
impl Pollable for Lookup {
    async fn ready(&mut self) {
        if let Self::Asking(asking) = self {
            let answer = asking.await;
            self.take(answer);
        }
    }
}

impl wit::ip_name_lookup::Host for Sockets<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<wit::network::Network>,
        name: String,
    ) -> Result<Resource<ResolveAddressStream>, SocketError> {
        self.table.get::<InstanceNetwork>(&ours(&network))?;
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(ErrorCode::InvalidArgument.into());
        }
        let network = Arc::clone(self.network);
        let asking = async move { network.resolve(&name).await }.boxed();
        let lookup: Resource<Lookup> = self.table.push(Lookup::Asking(asking))?;
        Ok(theirs(&lookup))
    }
}

impl wit::ip_name_lookup::HostResolveAddressStream for Sockets<'_> {
    fn resolve_next_address(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> Result<Option<IpAddress>, SocketError> {
        let lookup = self.table.get_mut::<Lookup>(&ours(&stream))?;
        if let Lookup::Asking(asking) = lookup {
            let Some(answer) = asking.now_or_never() else { return Err(ErrorCode::WouldBlock.into()) };
            lookup.take(answer);
        }
        match lookup {
            Lookup::Answered(Ok(addresses)) => Ok(addresses.next().map(Into::into)),
            Lookup::Answered(Err(error)) => Err((*error).into()),
            Lookup::Asking(_) => Err(ErrorCode::WouldBlock.into()),
        }
    }

    fn subscribe(&mut self, stream: Resource<ResolveAddressStream>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe::<Lookup>(self.table, ours(&stream))
    }

    fn drop(&mut self, stream: Resource<ResolveAddressStream>) -> wasmtime::Result<()> {
        self.table.delete::<Lookup>(ours(&stream))?;
        Ok(())
    }
}
