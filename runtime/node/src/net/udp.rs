//! UDP: datagrams between pods, in this process or one request each over the mesh, and out of the cluster by a socket of
//! the host.
//!
//! As everywhere, a datagram that finds no room is lost.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::{Request, Response, StatusCode, Uri};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use wk_base::body::{self, Body};
use wk_engine::{Datagrams, NetworkError, Place};
use wk_mesh::NodeName;
use wk_network::Lead;

use super::dial;
use super::guest::GuestNetwork;
use super::pods::Pod;
use crate::traffic::Apps;

/// The first path segment of a datagram over the mesh: `/datagram/<address>/<port>?<from>`.
pub const MESH_PREFIX: &str = "/datagram/";
/// The largest datagram that IPv4 carries.
const BYTES_MAX: usize = 65_507;
/// Datagrams that wait for a program.
const WAITING_MAX: usize = 64;
/// Bytes of them that wait for one pod, at all of its ports: a datagram can be 64 KiB, and what waits is nobody's memory.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// What one costs besides its bytes.
const DATAGRAM_BYTES: usize = 128;
/// UDP ports of one pod.
const PORTS_MAX: usize = 64;
/// Addresses that one socket remembers: whom it wrote to, who wrote to it, and which pod stands for which service.
const KNOWN_MAX: usize = 256;
/// A datagram is on its way over the mesh this long at most; by then its sender has sent it again.
const ON_THE_WAY_MAX: Duration = Duration::from_secs(2);

type Datagram = (Vec<u8>, SocketAddr);

/// One that waits, and its place.
type Waiting = (Datagram, OwnedSemaphorePermit);

type Ports = BTreeMap<u16, mpsc::Sender<Waiting>>;

/// The UDP ports of a pod, and the programs behind them.
pub(super) struct UdpPorts {
    ports: Mutex<Ports>,
    /// Bytes that may wait yet.
    room: Arc<Semaphore>,
}

impl Default for UdpPorts {
    fn default() -> Self {
        Self { ports: Mutex::default(), room: Arc::new(Semaphore::new(WAITING_BYTES_MAX)) }
    }
}

impl UdpPorts {
    fn table(&self) -> MutexGuard<'_, Ports> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a datagram to the program at `port`, if there is one with room for it.
    fn deliver(&self, port: u16, data: Vec<u8>, from: SocketAddr) {
        let bytes = u32::try_from(data.len() + DATAGRAM_BYTES).unwrap_or(u32::MAX);
        if let Some(queue) = self.table().get(&port)
            && let Ok(place) = Arc::clone(&self.room).try_acquire_many_owned(bytes)
        {
            let _ = queue.try_send(((data, from), place));
        }
    }
}

/// Addresses, the oldest forgotten first.
#[derive(Default)]
struct Known(VecDeque<SocketAddr>);

impl Known {
    fn insert(&mut self, address: SocketAddr) {
        if self.0.contains(&address) {
            return;
        }
        if self.0.len() >= KNOWN_MAX {
            self.0.pop_front();
        }
        self.0.push_back(address);
    }
}

/// One socket of a program.
struct Socket {
    network: GuestNetwork,
    at: SocketAddr,
    waiting: mpsc::Receiver<Waiting>,
    outside: Option<(UdpSocket, Place)>,
    buffer: Vec<u8>,
    /// Whom outside it wrote to: nobody else's datagrams are taken in.
    written: Known,
    /// Who wrote to it: it may answer.
    heard: Known,
    /// The pods that it reaches by a service's address, and that address.
    services: BTreeMap<SocketAddr, SocketAddr>,
    _place: OwnedSemaphorePermit,
}

/// Takes a UDP port.
pub(super) fn bind(network: &GuestNetwork, at: SocketAddr) -> Result<Box<dyn Datagrams>, NetworkError> {
    let pod = &network.pod;
    let ip = at.ip().to_canonical();
    if !(ip.is_unspecified() || ip.is_loopback() || ip == pod.address) {
        return Err(NetworkError::NotHere);
    }
    let place = pod.socket()?;
    let mut table = pod.udp().table();
    if table.len() >= PORTS_MAX {
        return Err(NetworkError::TooMany("UDP ports of the pod".into()));
    }
    let free = || (0..PORTS_MAX * 2).map(|_| pod.port()).find(|port| !table.contains_key(port));
    let port = if at.port() == 0 { free().ok_or(NetworkError::InUse)? } else { at.port() };
    if table.contains_key(&port) {
        return Err(NetworkError::InUse);
    }
    let (queue, waiting) = mpsc::channel(WAITING_MAX);
    table.insert(port, queue);
    drop(table);
    Ok(Box::new(Socket {
        network: network.clone(),
        at: SocketAddr::new(at.ip(), port),
        waiting,
        outside: None,
        buffer: Vec::new(),
        written: Known::default(),
        heard: Known::default(),
        services: BTreeMap::new(),
        _place: place,
    }))
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.network.pod.udp().table().remove(&self.at.port());
    }
}

impl Datagrams for Socket {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Datagram, NetworkError>> {
        if let Poll::Ready(Some(((data, from), _place))) = self.waiting.poll_recv(cx) {
            self.heard.insert(from);
            return Poll::Ready(Ok((data, self.services.get(&from).copied().unwrap_or(from))));
        }
        let Some((outside, _)) = &self.outside else { return Poll::Pending };
        self.buffer.resize(BYTES_MAX, 0);
        loop {
            let mut buffer = ReadBuf::new(&mut self.buffer);
            match std::task::ready!(outside.poll_recv_from(cx, &mut buffer)) {
                Ok(from) if self.written.0.contains(&from) => return Poll::Ready(Ok((buffer.filled().to_vec(), from))),
                // A stranger's.
                Ok(_) => {}
                // One that came back as undeliverable; the next may arrive.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
                Err(_) => return Poll::Ready(Err(NetworkError::Reset)),
            }
        }
    }

    fn send(&mut self, data: Vec<u8>, to: SocketAddr) -> Result<(), NetworkError> {
        let pod = &self.network.pod;
        let own = to.ip().is_loopback() || to.ip() == pod.address;
        if own {
            let from = if to.ip().is_loopback() { to.ip() } else { pod.address };
            pod.udp().deliver(to.port(), data, SocketAddr::new(from, self.at.port()));
            return Ok(());
        }
        let from = SocketAddr::new(pod.address, self.at.port());
        let lead = if self.heard.0.contains(&to) {
            self.network.node.table.load().lead(to)
        } else {
            match self.network.allowed(to)? {
                Some(lead) => lead,
                None => return Ok(()),
            }
        };
        match lead {
            Lead::Nobody => Ok(()),
            Lead::Pod(node) => self.carry(&node, data, to, from),
            Lead::Service(service, number) => {
                let chosen = self.services.iter().find(|(_, seen_as)| **seen_as == to).map(|(pod, _)| *pod);
                let Some(port) = service.port(number) else { return Ok(()) };
                let usable: Vec<_> = port.usable().collect();
                let at = |endpoint: &wk_network::Endpoint| SocketAddr::new(endpoint.address, endpoint.port);
                let same = usable.iter().find(|endpoint| Some(at(endpoint)) == chosen);
                let turn = usize::from(self.at.port()) % usable.len().max(1);
                let Some(endpoint) = same.or_else(|| usable.get(turn)) else { return Ok(()) };
                if self.services.len() >= KNOWN_MAX {
                    self.services.pop_first();
                }
                self.services.insert(at(endpoint), to);
                self.carry(&endpoint.node, data, at(endpoint), from)
            }
            Lead::Outside => self.send_outside(&data, to),
        }
    }

    fn local(&self) -> SocketAddr {
        self.at
    }
}

impl Socket {
    /// To a pod.
    fn carry(&self, node: &str, data: Vec<u8>, to: SocketAddr, from: SocketAddr) -> Result<(), NetworkError> {
        let here = &self.network.node;
        if *node == *here.name {
            if let Some(pod) = here.apps.pods().by_address(to.ip()) {
                pod.udp().deliver(to.port(), data, from);
            }
            return Ok(());
        }
        let Ok(turn) = self.network.pod.datagram() else { return Ok(()) };
        let name = NodeName::from_str(node).map_err(|_| NetworkError::Unreachable)?;
        let request = Request::post(format!("{MESH_PREFIX}{}/{}?{from}", to.ip(), to.port())).body(body::full(data));
        let request = request.map_err(|_| NetworkError::Unreachable)?;
        let mesh = here.mesh.clone();
        tokio::spawn(async move {
            let _turn = turn;
            let _ = mesh.request(&name, request, ON_THE_WAY_MAX).await;
        });
        Ok(())
    }

    fn send_outside(&mut self, data: &[u8], to: SocketAddr) -> Result<(), NetworkError> {
        if self.outside.is_none() {
            let any = match to {
                SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            };
            let place = dial::descriptor(&self.network.usage)?;
            let made = std::net::UdpSocket::bind((any, 0)).and_then(|socket| {
                socket.set_nonblocking(true)?;
                UdpSocket::from_std(socket)
            });
            self.outside = Some((made.map_err(|_| NetworkError::Unreachable)?, place));
        }
        self.written.insert(to);
        match self.outside.as_ref().map(|(outside, _)| outside.try_send_to(data, to)) {
            Some(Err(error)) if error.kind() != std::io::ErrorKind::WouldBlock => Err(NetworkError::Unreachable),
            _ => Ok(()),
        }
    }
}

/// Takes in a datagram of another node's pod, at [`MESH_PREFIX`].
pub(crate) async fn arrive(apps: &Apps, request: Request<Body>) -> Response<Body> {
    let answer = |code: StatusCode| {
        let mut response = Response::new(body::empty());
        *response.status_mut() = code;
        response
    };
    let (parts, data) = request.into_parts();
    let Some((pod, port, from)) = place(apps, &parts.uri) else { return answer(StatusCode::BAD_REQUEST) };
    let Ok(data) = body::collect(data, BYTES_MAX).await else { return answer(StatusCode::BAD_REQUEST) };
    if let Some(pod) = pod {
        pod.udp().deliver(port, data.to_vec(), from);
    }
    answer(StatusCode::NO_CONTENT)
}

fn place(apps: &Apps, uri: &Uri) -> Option<(Option<Arc<Pod>>, u16, SocketAddr)> {
    let (address, port) = uri.path().strip_prefix(MESH_PREFIX)?.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    Some((apps.pods().by_address(address), port.parse().ok()?, uri.query()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_that_wait_have_a_limit_in_bytes_for_all_ports_of_a_pod() {
        let ports = UdpPorts::default();
        let from = SocketAddr::from(([10, 128, 0, 5], 4000));
        let mut queues: Vec<_> = (1..=4)
            .map(|port| {
                let (queue, waiting) = mpsc::channel(WAITING_MAX);
                ports.table().insert(port, queue);
                waiting
            })
            .collect();
        for _ in 0..WAITING_MAX {
            (1..=4).for_each(|port| ports.deliver(port, vec![0; BYTES_MAX], from));
        }
        let waiting: usize = queues.iter().map(mpsc::Receiver::len).sum();
        assert_eq!(waiting, WAITING_BYTES_MAX / (BYTES_MAX + DATAGRAM_BYTES));
        // What is taken makes room for others.
        let taken = queues[0].try_recv().expect("one waits");
        drop(taken);
        ports.deliver(4, vec![0; BYTES_MAX], from);
        assert_eq!(queues.iter().map(mpsc::Receiver::len).sum::<usize>(), waiting);
    }
}
