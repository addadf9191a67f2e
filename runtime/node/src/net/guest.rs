//! The network as one container sees it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use ::http::{Request, Response};
use async_trait::async_trait;
use tokio_util::task::AbortOnDropHandle;
use wk_base::body::Body;
use wk_engine::{Connection, Datagrams, Duplex, Listener, Network, NetworkError, Patience, Usage, charged};
use wk_network::{Lead, Named, Service};

use super::pods::Pod;
use super::ports::Caller;
use super::voice::Voice;
use super::{Node, dial, judge, udp};

/// The longest that a name may take to look up: the resolver's own default is two servers of five seconds each.
const LOOK_UP_MAX: Duration = Duration::from_secs(10);

/// A name as long as names can be (RFC 1035), and its dot.
const NAME_BYTES_MAX: usize = 254;

/// A container's network.
#[derive(Clone)]
pub(super) struct GuestNetwork {
    pub(super) node: Arc<Node>,
    pub(super) pod: Arc<Pod>,
    pub(super) voice: Arc<Voice>,
    pub(super) usage: Arc<Usage>,
}

#[async_trait]
impl Network for GuestNetwork {
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, NetworkError> {
        self.look_up(name).await
    }

    async fn connect(&self, to: SocketAddr) -> Result<Connection, NetworkError> {
        let lead = self.allowed(to)?;
        let place = self.pod.socket().map_err(|error| self.voice.told(error))?;
        let here = if to.ip().is_loopback() { to.ip() } else { self.pod.address };
        let local = SocketAddr::new(here, self.pod.port());
        let stream = self.open_from(to, lead, dial::CONNECT_MAX, local).await?;
        Ok(Connection { stream: Box::new(dial::Held::new(stream, place)), local, remote: to })
    }

    fn listen(&self, at: SocketAddr) -> Result<Box<dyn Listener>, NetworkError> {
        self.pod.listen(at, self.voice.limit()).map_err(|error| self.voice.told(error))
    }

    fn datagrams(&self, at: SocketAddr) -> Result<Box<dyn Datagrams>, NetworkError> {
        udp::bind(self, at).map_err(|error| self.voice.told(error))
    }

    fn may_send(&self, to: SocketAddr) -> Result<(), NetworkError> {
        self.allowed(to).map(drop)
    }

    async fn request(&self, request: Request<Body>, patience: Patience) -> Result<Response<Body>, NetworkError> {
        self.send(request, patience).await
    }
}

impl GuestNetwork {
    /// The addresses of a name: of the cluster's, or of an outside one that the pod may ask for.
    pub(super) async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, NetworkError> {
        if let Ok(address) = name.parse::<IpAddr>() {
            return Ok(vec![address.to_canonical()]);
        }
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(NetworkError::NoName);
        }
        let plain = wk_network::egress::plain(name);
        if plain == "localhost" {
            return Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]);
        }
        let aliases = self.pod.spec.aliases.iter().filter(|(alias, _)| *alias == plain);
        let aliases: Vec<_> = aliases.map(|(_, address)| *address).collect();
        if !aliases.is_empty() {
            return Ok(aliases);
        }
        let named = self.node.table.load().resolve(name, &self.pod.spec.namespace);
        match named {
            Named::Cluster(addresses) => {
                judge::cluster(&self.pod)
                    .map_err(|denied| self.voice.denied(&format!("looking up {name}"), &denied))?;
                if addresses.is_empty() { Err(NetworkError::NoName) } else { Ok(addresses) }
            }
            Named::Elsewhere(other) => self.look_up_outside(&other).await,
            Named::Outside => self.look_up_outside(name).await,
        }
    }

    async fn look_up_outside(&self, name: &str) -> Result<Vec<IpAddr>, NetworkError> {
        judge::look_up(&self.pod, name).map_err(|denied| match judge::no_service(&self.pod, name) {
            Some(service) => self.voice.no_service(name, service, &self.pod.spec.namespace),
            None => self.voice.denied(&format!("looking up {name}"), &denied),
        })?;
        let mut addresses = look_up_here(&self.pod, &self.usage, name).await?;
        addresses.dedup();
        if addresses.is_empty() {
            return Err(NetworkError::NoName);
        }
        self.pod.remember(name, &addresses);
        Ok(addresses)
    }

    /// Where an address leads that the pod may connect to; None when it is the pod's own. An IPv4 address is not written
    /// as IPv6: sockets refuse that, and [`Self::look_up`] answers none.
    pub(super) fn allowed(&self, to: SocketAddr) -> Result<Option<Lead>, NetworkError> {
        // Nobody's address stands for oneself, as with a kernel.
        if to.ip().is_loopback() || to.ip().is_unspecified() || to.ip() == self.pod.address {
            return Ok(None);
        }
        let table = self.node.table.load();
        let lead = table.lead(to);
        let judged = judge::connect(&self.pod, &table, to, &lead);
        let judged = judged.and_then(|()| if lead == Lead::Outside { judge::this_host(&self.pod, to) } else { Ok(()) });
        match judged {
            Ok(()) => Ok(Some(lead)),
            Err(denied) => Err(self.voice.denied(&format!("connection to {to}"), &denied)),
        }
    }

    /// Opens a connection to where an address leads.
    pub(super) async fn open(
        &self,
        to: SocketAddr,
        lead: Option<Lead>,
        patience: Duration,
    ) -> Result<Box<dyn Duplex>, NetworkError> {
        let local = SocketAddr::new(self.pod.address, self.pod.port());
        self.open_from(to, lead, patience, local).await
    }

    async fn open_from(
        &self,
        to: SocketAddr,
        lead: Option<Lead>,
        patience: Duration,
        from: SocketAddr,
    ) -> Result<Box<dyn Duplex>, NetworkError> {
        match lead {
            None => {
                let own = self.node.apps.connect(&self.pod.uid, to.port(), Caller::Inside(from));
                own.map_err(|_| NetworkError::Refused)
            }
            Some(Lead::Nobody) => Err(NetworkError::Refused),
            Some(Lead::Pod(node)) => dial::pod(&self.node, &node, &to.ip().to_string(), to.port(), from).await,
            Some(Lead::Service(service, port)) => self.open_service(&service, port, patience, from).await,
            Some(Lead::Outside) => dial::outside(&self.usage, to, patience).await,
        }
    }

    async fn open_service(
        &self,
        service: &Service,
        port: u16,
        patience: Duration,
        from: SocketAddr,
    ) -> Result<Box<dyn Duplex>, NetworkError> {
        let table = self.node.table.load_full();
        let Some(port) = service.port(port) else { return Err(NetworkError::Refused) };
        let usable: Vec<_> = port.usable().collect();
        let first = usize::from(from.port());
        let mut last = NetworkError::Refused;
        for turn in 0..usable.len().min(ENDPOINTS_MAX) {
            let endpoint = usable[(first + turn) % usable.len()];
            match dial::pod(&self.node, &endpoint.node, &endpoint.pod, endpoint.port, from).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        for to in judge::api(&table, &service.name, &self.node.name) {
            match dial::outside(&self.usage, to, patience).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        for turn in 0..port.written.len().min(ENDPOINTS_MAX) {
            let to = port.written[(first + turn) % port.written.len()];
            if let Err(denied) = judge::written(&self.pod, &table, to) {
                last = self.voice.denied(&format!("connection to {to} behind service {}", service.name), &denied);
                continue;
            }
            match dial::outside(&self.usage, to, patience).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Asks this machine's resolver, within a task: the turns to do so are everybody's, and the guest that asks may not be looked
/// at for a while, having used up its time.
pub(super) async fn look_up_here(pod: &Arc<Pod>, usage: &Arc<Usage>, name: &str) -> Result<Vec<IpAddr>, NetworkError> {
    let (pod, usage, name) = (Arc::clone(pod), Arc::clone(usage), name.to_owned());
    let answer = async move {
        let turn = pod.lookup().await;
        let ask = charged(&usage, move || {
            // The turn ends with the question, not with the guest's patience for its answer.
            let _turn = turn;
            let answer = (name.as_str(), 0).to_socket_addrs();
            answer.inspect_err(|error| tracing::debug!(name, %error, "name not found"))
        });
        tokio::task::spawn_blocking(ask).await
    };
    let answer = AbortOnDropHandle::new(tokio::spawn(tokio::time::timeout(LOOK_UP_MAX, answer))).await;
    match answer {
        Ok(Ok(Ok(Ok(all)))) => Ok(all.map(|it| it.ip().to_canonical()).collect()),
        Ok(Ok(Ok(Err(_)))) => Err(NetworkError::NoName),
        Ok(Ok(Err(_)) | Err(_)) | Err(_) => Err(NetworkError::NameFailed),
    }
}

/// Endpoints of a service that are tried in turn.
const ENDPOINTS_MAX: usize = 4;
