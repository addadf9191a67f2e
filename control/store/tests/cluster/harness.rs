//! Several peers in one process, joined by a network that can be cut, drop and duplicate.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use wk_store::{
    Change, Expect, Key, Limits, MemberChange, MemberId, Op, Options, Revision, Start, Store, Timing, Transport, Txn,
    Value, View,
};

/// What a condition may take on a machine that does ten other things.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) fn quick() -> Timing {
    let deadline = Duration::from_secs(30);
    Timing { tick: Duration::from_millis(10), heartbeat: 2, election: 12, snapshot: 48, deadline }
}

#[derive(Default)]
struct Wires {
    peers: BTreeMap<MemberId, Store>,
    cut: BTreeSet<MemberId>,
}

/// As large as most pieces of a snapshot, and larger than any other message of the tests.
const LARGE: usize = 256 << 10;

#[derive(Default)]
pub(crate) struct Network {
    wires: Mutex<Wires>,
    sent: AtomicU64,
    /// Messages of at least [`LARGE`] bytes that arrived, and how many may.
    large: AtomicU64,
    large_max: AtomicU64,
    /// Every so many-th message is lost, another sent twice. 0: none.
    bad: AtomicU64,
}

impl Network {
    fn wires(&self) -> MutexGuard<'_, Wires> {
        self.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Network {
    fn takes_large(&self) -> bool {
        let max = self.large_max.load(Ordering::Relaxed);
        if self.large() >= max && max > 0 {
            return false;
        }
        self.large.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// How many large messages have arrived.
    pub(crate) fn large(&self) -> u64 {
        self.large.load(Ordering::Relaxed)
    }

    /// Loses large messages after so many; 0: none.
    pub(crate) fn lose_large_after(&self, max: u64) {
        self.large_max.store(max, Ordering::Relaxed);
    }
}

struct Port {
    from: MemberId,
    network: Arc<Network>,
}

impl Transport for Port {
    fn send(&self, to: MemberId, message: Bytes) {
        let wires = self.network.wires();
        if wires.cut.contains(&to) || wires.cut.contains(&self.from) {
            return;
        }
        let Some(peer) = wires.peers.get(&to) else { return };
        let (number, bad) =
            (self.network.sent.fetch_add(1, Ordering::Relaxed), self.network.bad.load(Ordering::Relaxed));
        if bad > 0 && number.is_multiple_of(bad) {
            return;
        }
        if message.len() >= LARGE && !self.network.takes_large() {
            return;
        }
        let _ = peer.receive(self.from, message.clone());
        if bad > 0 && number % bad == bad / 2 {
            let _ = peer.receive(self.from, message);
        }
    }
}

pub(crate) struct Cluster {
    pub(crate) network: Arc<Network>,
    dirs: BTreeMap<MemberId, TempDir>,
    pub(crate) limits: Limits,
    pub(crate) timing: Timing,
    /// Those that start as witnesses.
    pub(crate) witnesses: BTreeSet<u64>,
}

impl Cluster {
    /// Member 1, alone.
    pub(crate) fn alone(limits: Limits) -> Self {
        // `WK_LOG=debug` shows what Raft does.
        wk_base::trace::init("error");
        let mut cluster = Self {
            network: Arc::default(),
            dirs: BTreeMap::new(),
            limits,
            timing: quick(),
            witnesses: BTreeSet::new(),
        };
        cluster.start(1, Start::Bootstrap);
        cluster
    }

    /// Members 1, 2 and 3, all voting.
    pub(crate) async fn three(limits: Limits) -> Self {
        let mut cluster = Self::alone(limits);
        for id in [2, 3] {
            cluster.start(id, Start::Join);
            cluster.change(MemberChange::AddLearner(MemberId(id))).await;
            cluster.change(MemberChange::promote(MemberId(id))).await;
        }
        cluster.settled(&[1, 2, 3]).await;
        cluster
    }

    pub(crate) fn start(&mut self, id: u64, start: Start) {
        let member = MemberId(id);
        let dir = self.dirs.entry(member).or_insert_with(|| tempfile::tempdir().expect("a directory"));
        let options = Options {
            timing: self.timing,
            limits: self.limits,
            witness: self.witnesses.contains(&id),
            ..Options::new(dir.path().join("store"), member, start)
        };
        let port = Port { from: member, network: Arc::clone(&self.network) };
        let store = Store::open(options, Arc::new(port)).expect("opens");
        store.speak(wk_store::LEVEL);
        self.network.wires().peers.insert(member, store);
    }

    pub(crate) fn resume(&mut self, id: u64) {
        self.start(id, Start::Resume);
    }

    /// Stops a peer without handing over.
    pub(crate) async fn kill(&self, id: u64) {
        let store = self.network.wires().peers.remove(&MemberId(id)).expect("runs");
        store.stop().await;
    }

    pub(crate) fn peer(&self, id: u64) -> Store {
        self.network.wires().peers.get(&MemberId(id)).expect("runs").clone()
    }

    pub(crate) fn cut(&self, id: u64) {
        self.network.wires().cut.insert(MemberId(id));
    }

    pub(crate) fn mend(&self) {
        self.network.wires().cut.clear();
    }

    /// Loses and doubles one message in `one_in` each.
    pub(crate) fn be_bad(&self, one_in: u64) {
        self.network.bad.store(one_in, Ordering::Relaxed);
    }

    /// Whether any file of the peer `id` holds `text`.
    pub(crate) fn has_on_disk(&self, id: u64, text: &str) -> bool {
        let dir = self.dirs[&MemberId(id)].path().join("store");
        std::fs::read_dir(dir).expect("a directory").any(|file| {
            let bytes = std::fs::read(file.expect("a file").path()).expect("a file");
            bytes.windows(text.len()).any(|window| window == text.as_bytes())
        })
    }

    /// The leader that the peers `among` agree on.
    pub(crate) async fn leader(&self, among: &[u64]) -> u64 {
        eventually("the peers agree on a leader", async || {
            let leaders: BTreeSet<_> = among.iter().map(|&id| self.peer(id).status().borrow().leader).collect();
            let leader = leaders.first().copied().flatten().filter(|_| leaders.len() == 1)?;
            among.contains(&leader.0).then_some(leader.0)
        })
        .await
    }

    /// Waits until the peers `all` know themselves to be the voters.
    pub(crate) async fn settled(&self, all: &[u64]) {
        let voters: BTreeSet<_> = all.iter().copied().map(MemberId).collect();
        eventually("the peers are voters", async || {
            all.iter().all(|&id| self.peer(id).status().borrow().voters == voters).then_some(())
        })
        .await;
    }

    /// Changes members on whoever leads.
    pub(crate) async fn change(&self, change: MemberChange) {
        let running: Vec<u64> = self.network.wires().peers.keys().map(|id| id.0).collect();
        eventually("the members change", async || {
            let leads = running.iter().find(|&&id| self.peer(id).status().borrow().is_leader())?;
            self.peer(*leads).change_members(change.clone()).await.ok()
        })
        .await;
    }

    /// Waits until the peer `id` has applied `revision`.
    pub(crate) async fn applied(&self, id: u64, revision: Revision) -> View {
        eventually("the peer catches up", async || {
            let view = self.peer(id).view();
            (view.revision() >= revision).then_some(view)
        })
        .await
    }
}

/// Waits until `condition` has something to give.
pub(crate) async fn eventually<T>(what: &str, condition: impl AsyncFn() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = condition().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited in vain until {what}"))
}

pub(crate) fn key(name: &str) -> Key {
    Key::new("things", name)
}

pub(crate) fn put(name: &str, expect: Expect, text: &str) -> Txn {
    let value = Value { bytes: Bytes::copy_from_slice(text.as_bytes()), stamp: None };
    Op { key: key(name), expect, change: Change::Put(value) }.into()
}

pub(crate) fn text(view: &View, name: &str) -> Option<String> {
    view.get(&key(name)).map(|stored| String::from_utf8_lossy(&stored.bytes()).into_owned())
}
