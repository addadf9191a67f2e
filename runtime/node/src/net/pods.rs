//! What the containers of one pod share of the network: its address, its ports, its limits, what it looked up.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;
use wk_base::turns::{Turn, Turns};
use wk_engine::NetworkError;

use super::idle::Idle;
use super::ports::Ports;
use super::udp::UdpPorts;
use crate::spec::NetworkSpec;

/// TCP connections of one pod at once, both ways, and its UDP sockets: a server with as many clients is a busy one, and
/// each holds two buffers of the host.
pub(super) const SOCKETS_MAX: usize = 512;

/// Requests of one pod that begin at the same moment: a millisecond of work.
const BEGINNING_MAX: usize = 8;

/// Requests that one pod may have under way at once: what a browser of a hundred tabs would have.
pub(super) const REQUESTS_MAX: usize = 128;

/// Names that one pod may be looking up at once, and all: each keeps a thread of the host for as long as the resolver takes,
/// ten seconds where its servers do not answer. All together have a quarter of the runtime's threads for such waits (tokio's
/// own number is 512), beside the half that guests' files have.
const LOOKUPS_MAX: usize = 4;
const ALL_LOOKUPS_MAX: usize = 128;
/// A namespace that looks up one name for so many turns that are free gets no more: as with descriptors, some are left for
/// the next, however many there are whose servers do not answer.
const LOOKUPS_FREE_PART: usize = 3;

/// Datagrams of one pod on their way over the mesh; more are lost, as in a full network.
const DATAGRAMS_MAX: usize = 64;

/// Addresses of which a pod's names are remembered: a program that looks up more at a time is a crawler, and asks again.
const LOOKED_UP_MAX: usize = 1024;

/// First and last of the ports that are handed out: Linux's own range.
const PORT_FIRST: u16 = 32_768;
const PORT_LAST: u16 = 60_999;

/// The pods of this node that have a network, by uid and by address. Clones share the table.
#[derive(Clone)]
pub struct Pods {
    table: Arc<Mutex<Table>>,
    /// Turns to look up a name, which namespaces share.
    lookups: Turns,
}

#[derive(Default)]
struct Table {
    by_uid: HashMap<Arc<str>, Weak<Pod>>,
    by_address: HashMap<IpAddr, Weak<Pod>>,
}

impl Default for Pods {
    fn default() -> Self {
        let lookups = Turns::with_part_of_free(ALL_LOOKUPS_MAX, LOOKUPS_FREE_PART);
        Self { table: Arc::default(), lookups }
    }
}

/// One pod.
pub(crate) struct Pod {
    pub(crate) uid: Arc<str>,
    pub(super) address: IpAddr,
    pub(super) spec: Arc<NetworkSpec>,
    /// Made when any of it is used first: of thousands of pods most only answer.
    used: OnceLock<Box<Used>>,
    pods: Pods,
}

/// What a pod's guests have taken of the network, and may take yet.
struct Used {
    ports: Ports,
    udp: UdpPorts,
    idle: Arc<Idle>,
    sockets: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    /// Requests that begin at this moment.
    beginning: Arc<Semaphore>,
    lookups: Arc<Semaphore>,
    datagrams: Arc<Semaphore>,
    names: Mutex<BTreeMap<IpAddr, Vec<String>>>,
    next_port: AtomicU16,
}

impl Pods {
    /// The pod, made if none of its containers is here yet. It is gone with the last of them.
    pub(super) fn enter(&self, uid: &Arc<str>, address: IpAddr, spec: &Arc<NetworkSpec>) -> Arc<Pod> {
        let mut table = self.table();
        if let Some(pod) = table.by_uid.get(uid).and_then(Weak::upgrade) {
            return pod;
        }
        let (uid, spec, used, pods) = (Arc::clone(uid), Arc::clone(spec), OnceLock::new(), self.clone());
        let pod = Arc::new(Pod { uid: Arc::clone(&uid), address, spec, used, pods });
        table.by_uid.insert(uid, Arc::downgrade(&pod));
        table.by_address.insert(address, Arc::downgrade(&pod));
        pod
    }

    /// The pod with this uid, if it runs here.
    pub(crate) fn by_uid(&self, uid: &str) -> Option<Arc<Pod>> {
        self.table().by_uid.get(uid).and_then(Weak::upgrade)
    }

    /// The pod with this address, if it runs here.
    pub(crate) fn by_address(&self, address: IpAddr) -> Option<Arc<Pod>> {
        self.table().by_address.get(&address).and_then(Weak::upgrade)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pod {
    fn used(&self) -> &Used {
        self.used.get_or_init(|| {
            Box::new(Used {
                ports: Ports::default(),
                udp: UdpPorts::default(),
                idle: Arc::default(),
                sockets: Arc::new(Semaphore::new(SOCKETS_MAX)),
                requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
                beginning: Arc::new(Semaphore::new(BEGINNING_MAX)),
                lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
                datagrams: Arc::new(Semaphore::new(DATAGRAMS_MAX)),
                names: Mutex::default(),
                next_port: AtomicU16::new(0),
            })
        })
    }

    pub(super) fn ports(&self) -> &Ports {
        &self.used().ports
    }

    /// Its ports, if it ever took one.
    pub(super) fn ports_taken(&self) -> Option<&Ports> {
        Some(&self.used.get()?.ports)
    }

    pub(super) fn udp(&self) -> &UdpPorts {
        &self.used().udp
    }

    pub(super) fn idle(&self) -> &Arc<Idle> {
        &self.used().idle
    }

    /// How long the pod's programs may take to answer a request.
    pub(super) fn patience(&self) -> Duration {
        self.spec.request_timeout
    }

    /// A place for one more socket.
    pub(crate) fn socket(&self) -> Result<OwnedSemaphorePermit, NetworkError> {
        Arc::clone(&self.used().sockets)
            .try_acquire_owned()
            .map_err(|_| NetworkError::TooMany("sockets of the pod".into()))
    }

    /// A place for one more request.
    pub(super) fn request(&self) -> Result<OwnedSemaphorePermit, NetworkError> {
        Arc::clone(&self.used().requests)
            .try_acquire_owned()
            .map_err(|_| NetworkError::TooMany("requests of the pod".into()))
    }

    /// Waits until one more request may begin: some at once, and each of the next after whatever else is to be done by then. A
    /// guest asks for a hundred in one breath, and others' requests would wait until all of them have begun.
    pub(super) async fn begin_request(self: &Arc<Self>) {
        let beginning = Arc::clone(&self.used().beginning);
        if let Ok(turn) = Arc::clone(&beginning).try_acquire_owned() {
            return pass_on(turn);
        }
        // A task has the turn: the guest that asks may not be looked at for a while.
        let waits = tokio::spawn(async move { beginning.acquire_owned().await.map(pass_on) });
        let _ = AbortOnDropHandle::new(waits).await;
    }

    /// A place for one more datagram over the mesh.
    pub(super) fn datagram(&self) -> Result<OwnedSemaphorePermit, NetworkError> {
        Arc::clone(&self.used().datagrams)
            .try_acquire_owned()
            .map_err(|_| NetworkError::TooMany("datagrams of the pod".into()))
    }

    /// A turn to look up a name; waits for it.
    pub(super) async fn lookup(&self) -> (OwnedSemaphorePermit, Turn) {
        let own = Arc::clone(&self.used().lookups).acquire_owned().await.expect("nobody closes it");
        (own, self.pods.lookups.take(&self.spec.namespace).await)
    }

    /// A number for the near end of a connection, or for a listener that wants any.
    pub(super) fn port(&self) -> u16 {
        let span = PORT_LAST - PORT_FIRST + 1;
        PORT_FIRST + self.used().next_port.fetch_add(1, Ordering::Relaxed) % span
    }

    /// Remembers what a name led to.
    pub(super) fn remember(&self, name: &str, addresses: &[IpAddr]) {
        let mut names = self.used().names.lock().unwrap_or_else(PoisonError::into_inner);
        for address in addresses {
            if names.len() >= LOOKED_UP_MAX && !names.contains_key(address) {
                names.pop_first();
            }
            let of = names.entry(*address).or_default();
            if !of.iter().any(|known| known == name) {
                // An address of many names is a proxy's: the last few are those in use.
                of.truncate(7);
                of.insert(0, name.to_owned());
            }
        }
    }

    /// The names that this address was looked up by.
    pub(super) fn names_of(&self, address: IpAddr) -> Vec<String> {
        let names = self.used().names.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(&address).cloned().unwrap_or_default()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // Another of the same uid or address may have entered by now; it is alive and stays.
        let mut table = self.pods.table();
        if table.by_uid.get(&self.uid).is_some_and(|pod| pod.strong_count() == 0) {
            table.by_uid.remove(&self.uid);
        }
        if table.by_address.get(&self.address).is_some_and(|pod| pod.strong_count() == 0) {
            table.by_address.remove(&self.address);
        }
    }
}

/// Gives a turn to the next when what else waits for this thread had its own.
fn pass_on(turn: OwnedSemaphorePermit) {
    tokio::spawn(async move {
        tokio::task::yield_now().await;
        drop(turn);
    });
}
