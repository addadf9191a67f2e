//! The wiring: every part of a node, started in an order that lets each rely on those before, and stopped in reverse.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wk_base::tasks::Tasks;
use wk_cluster::Cluster;
use wk_controllers::{Controllers, Parts};
use wk_mesh::{Authority, Fingerprint, NodeName};
use wk_node::register;
use wk_store::{Start, Store};

use super::asking::Asking;
use super::base::{Base, ingress_certificates};
use super::data_dir::DataDir;
use super::entry::Entry;
use super::heartbeat::Heart;
use super::measure::Rounds;
use super::members::Record;
use super::ports::Ports;
use super::secrets_keys;
use super::settings::Settings;
use super::upgrade::Upgrade;
use super::{bootstrap, leave, signer};

/// A node that cannot read its cluster for this long says so, and goes on trying while it serves what it knows.
const READY_MAX: Duration = Duration::from_secs(10);
/// Time between two tries to read the cluster.
const READY_PAUSE: Duration = Duration::from_millis(20);
/// Telling the others takes one write; without a leader it is not waited for.
const GOODBYE_MAX: Duration = Duration::from_secs(1);
/// Requests in flight get this long when the node stops.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// Pods and other tasks get this long after that: they have been told to end, and none waits for anything.
const TASKS_MAX: Duration = Duration::from_secs(3);

/// A running node.
pub(crate) struct Node {
    /// Its name.
    pub(crate) name: NodeName,
    /// The cluster's id.
    pub(crate) cluster_id: String,
    /// The cluster's authority, and its fingerprint.
    pub(crate) authority: Authority,
    /// See above.
    pub(crate) ca: Fingerprint,
    /// The cluster's objects.
    pub(crate) cluster: Cluster,
    /// Something to tell the person who started it.
    pub(crate) remark: Option<String>,
    /// Whether it only votes.
    pub(crate) witness: bool,
    /// Whether it shall go on as another program.
    pub(crate) upgrade: Upgrade,
    heart: Heart,
    removed: CancellationToken,
    store: Store,
    /// Listeners for clients: the first to stop.
    doors: Tasks,
    /// Everything else.
    pub(super) tasks: Tasks,
}

impl Node {
    /// Starts everything and returns once the node serves.
    ///
    /// Pods and the ingress wait for nobody: they run from what this disk knows. Only then is the cluster waited for, unless
    /// what is known says that a key is missing here.
    pub(crate) async fn start(
        settings: &Settings,
        data_dir: &DataDir,
        ports: Ports,
        entry: Entry,
    ) -> anyhow::Result<Self> {
        let Entry { identity, start, mut remark } = entry;
        let (first, member) = (identity.file.first, identity.file.member);
        let csr = identity.key.csr().context("make the certificate request")?;
        let vault = secrets_keys::vault(settings.secrets_keys.as_ref(), &identity.authority).await?;
        let base = Base::new(settings, data_dir, identity, start, vault)?;
        report_failure(&base.store, &base.tasks);

        let (heart, status) = (base.heart(), base.status());
        let runs = base.serve_mesh(&heart, &status, ports.mesh)?;
        base.announcer(settings, member).start(&base.tasks);
        let keys = || {
            if base.witness || settings.secrets_key_lost {
                Ok(())
            } else {
                secrets_keys::require(&base.cluster, settings.secrets_keys.as_ref())
            }
        };
        // What is known here may be old; but as long as nothing better is known, nobody is told of empty Secrets, and no
        // pod begins that would end at once.
        if let Err(missing) = keys() {
            if !until_readable(&base.store, base.witness).await {
                tracing::warn!("no leader yet, and no pod begins before the cluster says if this holds: {missing:#}");
            }
            while !until_readable(&base.store, base.witness).await {}
            keys()?;
        }
        let agent = match ports.ingress {
            Some((http, https)) => {
                let certificates = Arc::new(ingress_certificates(&base.authority, settings)?);
                let agent = base.start_agent(settings, data_dir, member, Arc::clone(&certificates))?;
                base.serve_ingress(&agent, http, https, certificates);
                runs.get_or_init(|| base.runs(&agent));
                Some(agent)
            }
            None => None,
        };
        heart.start(&base.tasks);
        let server = base.serve_api(agent.as_ref(), status, &settings.access, ports.api, ports.kubelet)?;

        if !until_readable(&base.store, base.witness).await {
            remark = Some("no leader yet: pods run from what is known here, writes wait for the other nodes".into());
        }
        if let Err(missing) = keys() {
            base.doors.stop(DRAIN_MAX).await;
            base.tasks.stop(TASKS_MAX).await;
            base.store.stop().await;
            return Err(missing);
        }
        if first {
            let record = Record {
                id: Some(member),
                address: settings.mesh_address(),
                csr: csr.as_str().to_owned(),
                vote: settings.vote,
                level: wk_store::LEVEL,
                zone: settings.zone.clone(),
            };
            let begun = bootstrap::begin(&base.cluster, base.authority.fingerprint(), &base.name, &record).await;
            match begun {
                Err(error) if start == Start::Bootstrap => return Err(error),
                Err(error) => tracing::warn!("{error:#}"),
                Ok(()) => {}
            }
        }
        if !base.witness {
            secrets_keys::keep(&base.cluster, &base.name, settings.secrets_key_lost, &base.tasks);
            signer::start(&base.cluster, &base.authority, &base.tasks);
            let leading = leading(&base.store, &base.tasks);
            let (beats, measured) = (Arc::clone(&base.beats), Arc::default());
            let rounds = Rounds {
                name: base.name.clone(),
                cluster: base.cluster.clone(),
                mesh: base.mesh.clone(),
                meters: agent.as_ref().map(|agent| agent.meters.clone()),
                measured: Arc::clone(&measured),
            };
            rounds.start(leading.clone(), &base.tasks);
            let parts = Parts {
                cluster: base.cluster.clone(),
                writes: match server {
                    Some(server) => Arc::new(Asking(server)),
                    None => Arc::new(base.cluster.clone()),
                },
                heartbeats: beats,
                measured,
                electorate: base.electorate.clone(),
                authority: base.authority.cert_pem().as_str().into(),
            };
            Controllers::run(parts, leading, &base.tasks);
        }

        let ca = base.authority.fingerprint();
        let Base { name, authority, cluster_id, store, cluster, removed, witness, upgrade, doors, tasks, .. } = base;
        Ok(Self {
            name,
            cluster_id,
            authority,
            ca,
            cluster,
            remark,
            witness,
            upgrade,
            heart,
            removed,
            store,
            doors,
            tasks,
        })
    }

    /// Waits until the cluster says that this node was removed.
    pub(crate) async fn removed(&self) {
        self.removed.cancelled().await;
    }

    /// Stops in the order that harms others least: no new requests, those in flight end, leadership and vote go to other
    /// nodes, the pods stop, the log is closed.
    pub(crate) async fn stop(&self, limit: Duration) {
        let goodbye = async {
            if !self.witness {
                let _ = tokio::time::timeout(GOODBYE_MAX, register::leave(&self.cluster, self.name.as_str())).await;
            }
            self.doors.stop(DRAIN_MAX).await;
        };
        let leave = async {
            if !self.removed.is_cancelled() {
                leave::leave(&self.heart).await;
            }
        };
        let stop = async {
            tokio::join!(goodbye, leave);
            self.store.step_down().await;
            self.tasks.stop(TASKS_MAX).await;
            self.store.stop().await;
        };
        if tokio::time::timeout(limit, stop).await.is_err() {
            tracing::warn!("stopped before everything had ended");
        }
    }
}

/// Says once that the store gave up. The node goes on without it: its pods and its ingress serve what they know, the
/// leader hears of it by heartbeat, and a restart that met the same disk would change nothing.
fn report_failure(store: &Store, tasks: &Tasks) {
    let mut status = store.status();
    tasks.spawn_until_stop("store-failure", async move {
        let failed = status.wait_for(|status| status.failure.is_some()).await;
        if let Ok(Some(failure)) = failed.map(|status| status.failure.clone()) {
            tracing::error!(
                "the store gave up, this node takes no part in the cluster any more: {failure}; \
                 its pods run on; mend the disk and start it again"
            );
        }
    });
}

/// Waits until the cluster can be read here, or for a witness until somebody leads.
async fn until_readable(store: &Store, witness: bool) -> bool {
    let mut status = store.status();
    let read = async {
        if witness {
            let _ = status.wait_for(|status| status.leader.is_some()).await;
            return;
        }
        while store.read().await.is_err() {
            tokio::time::sleep(READY_PAUSE).await;
        }
    };
    tokio::time::timeout(READY_MAX, read).await.is_ok()
}

/// Whether this peer leads, as a signal of its own.
fn leading(store: &Store, tasks: &Tasks) -> watch::Receiver<bool> {
    let mut status = store.status();
    let (send, receive) = watch::channel(status.borrow().is_leader());
    tasks.spawn_until_stop("leading", async move {
        while status.changed().await.is_ok() {
            let now = status.borrow_and_update().is_leader();
            send.send_if_modified(|leads| std::mem::replace(leads, now) != now);
        }
    });
    receive
}
