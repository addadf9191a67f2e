//! Node ports: this node listens at the numbers that Services hold, and leads each connection to a pod behind the Service.
//!
//! Not here: giving out numbers (`wk-cluster`); UDP; and addresses that somebody wrote down behind a Service: what lies
//! there is judged by the policy of the pod that goes there, and here nobody goes whom it could be asked of.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use wk_base::tasks::Tasks;
use wk_engine::Duplex;
use wk_network::{Endpoint, ServiceName, Table};

use super::ports::PIPE_BYTES;
use super::{Networks, Node, dial};

/// Connections to all node ports of a node at once: each holds two sockets' worth of buffers. Those of the ingress are
/// bounded likewise.
const CONNECTIONS_MAX: usize = 4096;
/// Of those at most to one port, so that who holds many open holds those of one Service.
const CONNECTIONS_EACH_MAX: usize = CONNECTIONS_MAX / 4;
/// Endpoints tried for one connection.
const ENDPOINTS_MAX: usize = 3;
/// A port that another program has is tried again after this. So is one that changes hands among Services.
const RETRY: Duration = Duration::from_secs(2);
/// After a failed accept: the process has no file left for a socket.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a number leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    service: ServiceName,
    port: u16,
    /// Only to pods of this node (`externalTrafficPolicy: Local`).
    local: bool,
}

impl Networks {
    /// Listens at `listen` for as long as the tasks run.
    pub fn serve_node_ports(&self, listen: IpAddr, tasks: &Tasks) {
        let node = Arc::clone(&self.0);
        let group = tasks.clone();
        tasks.spawn_until_stop("node-ports", async move {
            let mut changed = node.changed.subscribe();
            let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
            let mut open: BTreeMap<u16, (Place, CancellationToken)> = BTreeMap::new();
            // Said once, not at each try.
            let mut told = BTreeSet::new();
            loop {
                changed.borrow_and_update();
                let wanted = wanted(&node.table.load());
                open.retain(|number, (place, stop)| {
                    let stays = wanted.get(number) == Some(place);
                    if !stays {
                        stop.cancel();
                    }
                    stays
                });
                let mut refused = false;
                for (number, place) in wanted {
                    if open.contains_key(&number) {
                        continue;
                    }
                    match TcpListener::bind((listen, number)).await {
                        Ok(listener) => {
                            let stop = CancellationToken::new();
                            let room = Room::new(Arc::clone(&places));
                            let serving = serve(Arc::clone(&node), listener, place.clone(), room);
                            let ends = stop.clone();
                            group.spawn_until_stop("node-port", async move {
                                ends.run_until_cancelled(serving).await;
                            });
                            told.remove(&number);
                            open.insert(number, (place, stop));
                        }
                        Err(error) => {
                            let service = &place.service;
                            if told.insert(number) {
                                tracing::warn!(%service, "node port {listen}:{number} is not served here yet: {error}");
                            }
                            refused = true;
                        }
                    }
                }
                let patience = if refused { RETRY } else { Duration::MAX };
                if tokio::time::timeout(patience, changed.changed()).await.is_ok_and(|changed| changed.is_err()) {
                    return;
                }
            }
        });
    }
}

/// Which numbers lead where.
fn wanted(table: &Table) -> BTreeMap<u16, Place> {
    let places = table.services().flat_map(|service| {
        service.node_ports.iter().map(|port| {
            (port.number, Place { service: service.name.clone(), port: port.port, local: service.local_traffic })
        })
    });
    places.collect()
}

/// Room for connections: to all ports, and to one.
struct Room {
    all: Arc<Semaphore>,
    own: Arc<Semaphore>,
}

impl Room {
    /// Of one port.
    fn new(all: Arc<Semaphore>) -> Self {
        Self { all, own: Arc::new(Semaphore::new(CONNECTIONS_EACH_MAX)) }
    }

    /// For one connection, until it is dropped.
    fn take(&self) -> Option<[OwnedSemaphorePermit; 2]> {
        let take = |of: &Arc<Semaphore>| Arc::clone(of).try_acquire_owned().ok();
        Some([take(&self.own)?, take(&self.all)?])
    }
}

async fn serve(node: Arc<Node>, listener: TcpListener, place: Place, room: Room) {
    let turn = Arc::new(AtomicUsize::new(0));
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a connection to a node port was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Where there is no room they are closed at once, so that the caller learns of it.
        let Some(held) = room.take() else { continue };
        let (node, place) = (Arc::clone(&node), place.clone());
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        // It outlives a change of the Service, as a connection through a kernel's rule does.
        tokio::spawn(async move {
            let _held = held;
            if let Some(pod) = open(&node, &place, turn, from).await {
                join(stream, pod).await;
            }
        });
    }
}

/// A connection to one of the pods behind a place.
async fn open(node: &Node, place: &Place, turn: usize, from: SocketAddr) -> Option<Box<dyn Duplex>> {
    let table = node.table.load_full();
    let port = table.service(&place.service)?.port(place.port)?;
    let usable: Vec<&Endpoint> = port.usable().filter(|it| !place.local || *it.node == *node.name).collect();
    for nth in 0..usable.len().min(ENDPOINTS_MAX) {
        let endpoint = usable[turn.wrapping_add(nth) % usable.len()];
        match dial::pod(node, &endpoint.node, &endpoint.pod, endpoint.port, from).await {
            Ok(stream) => return Some(stream),
            Err(error) => tracing::debug!(?error, pod = &*endpoint.pod, "a pod behind a node port takes no connection"),
        }
    }
    None
}

async fn join(mut outside: TcpStream, mut pod: Box<dyn Duplex>) {
    // Guests write what they mean to send; waiting for more helps nobody.
    let _ = outside.set_nodelay(true);
    let _ = tokio::io::copy_bidirectional_with_sizes(&mut outside, &mut pod, PIPE_BYTES, PIPE_BYTES).await;
}

#[cfg(test)]
mod tests {
    use wk_network::{NodePort, Service};

    use super::*;

    #[test]
    fn one_port_has_its_share_of_the_connections_and_leaves_others_theirs() {
        let all = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let (one, other) = (Room::new(Arc::clone(&all)), Room::new(Arc::clone(&all)));
        let held: Vec<_> = std::iter::from_fn(|| one.take()).collect();
        assert_eq!(held.len(), CONNECTIONS_EACH_MAX);
        assert!(other.take().is_some());
        drop(held);
        assert!(one.take().is_some());
        assert_eq!(all.available_permits(), CONNECTIONS_MAX);
    }

    #[test]
    fn every_number_of_a_service_leads_to_its_port() {
        let service = |name: &str, local: bool, number: u16| Service {
            name: ServiceName::new("shop", name),
            cluster_ip: None,
            ports: Vec::new(),
            elsewhere: None,
            node_ports: vec![NodePort { number, port: 80 }],
            local_traffic: local,
        };
        let table = Table::new([service("web", false, 30_080), service("api", true, 30_081)]);
        let wanted = wanted(&table);
        let place = |name: &str, local| Place { service: ServiceName::new("shop", name), port: 80, local };
        assert_eq!(wanted, BTreeMap::from([(30_080, place("web", false)), (30_081, place("api", true))]));
    }
}
