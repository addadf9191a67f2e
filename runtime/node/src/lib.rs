//! The node agent: pods assigned to this node become running pods, and what becomes of them is reported.
//!
//! Not here: where a pod goes (`wk-plan`), how wasm runs (`wk-engine`), how requests are balanced (`wk-ingress`).
//! Decisions are pure and live in [`converge`], [`pod`], [`container`], [`routes`] and [`services`]; start at
//! [`Node::start`] for the wiring and at [`agent`] for the loop.
//!
//! A healthy pod does not depend on the cluster: the agent reads the local copy of the objects, so it starts its pods
//! from its own disk without a quorum, and a status that cannot be written waits while the pod runs on.

pub mod agent;
pub mod certificates;
pub mod container;
pub mod converge;
pub mod environment;
pub mod events;
pub mod flood;
pub mod follow;
pub mod ledger;
pub mod log_stream;
pub mod logs;
mod message;
pub mod net;
pub mod place;
pub mod pod;
pub mod pressure;
pub mod probes;
pub mod recent;
pub mod records;
pub mod register;
pub mod routes;
pub mod run;
pub mod services;
pub mod settings;
pub mod sources;
pub mod spec;
pub mod status;
pub mod streams;
#[cfg(test)]
mod testing;
pub mod traffic;
pub mod usage;
pub mod volumes;
pub mod worker;
pub mod write;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::{Request, Response};
use k8s_openapi::api::networking::v1::Ingress;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use wk_api::{Kind, kinds};
use wk_base::backoff::Backoff;
use wk_base::body::Body;
use wk_base::tasks::Tasks;
use wk_cluster::{Cluster, object};
use wk_engine::Engine;
use wk_image::{Blobs, Peers};
use wk_ingress::Routes;
use wk_mesh::{ClientTls, Mesh};
use wk_store::{Part, Stored, View};

use crate::agent::{Agent, Config, Event};
use crate::certificates::TlsSecrets;
use crate::follow::Followed;
use crate::ledger::Ledger;
use crate::logs::Logs;
use crate::net::Networks;
use crate::place::Places;
use crate::place::worker::Workers;
use crate::records::Records;
use crate::register::Facts;
use crate::run::{LONG_STARTS_MAX, Runner};
use crate::services::Tables;
use crate::sources::Sources;
use crate::spec::Standard;
use crate::streams::Streams;
use crate::streams::console::Consoles;
use crate::traffic::Apps;
use crate::usage::Meters;
use crate::volumes::Volumes;

/// What a node is given.
pub struct Parts {
    /// The cluster's objects.
    pub cluster: Cluster,
    /// Runs guests, and makes code of modules.
    pub engine: Engine,
    /// Runs guests apart from the node.
    pub workers: Workers,
    /// How far apart pods run whose namespaces say nothing.
    pub isolation: Standard,
    /// Modules on this disk.
    pub blobs: Blobs,
    /// Modules on other nodes.
    pub peers: Arc<dyn Peers>,
    /// Where containers' logs go.
    pub logs_dir: PathBuf,
    /// What pods' volumes need.
    pub volumes: volumes::Options,
    /// The ingress' certificates.
    pub certificates: Arc<TlsSecrets>,
    /// The way to other nodes.
    pub mesh: Mesh,
    /// TLS of pods' own requests.
    pub client_tls: ClientTls,
}

/// A running node agent, as the rest of the process sees it.
#[derive(Clone)]
pub struct Node {
    /// Runs guests, and makes code of modules.
    pub engine: Engine,
    /// HTTP containers that serve here.
    pub apps: Apps,
    /// What containers printed.
    pub logs: Logs,
    /// What is told of pods to whoever looks into one.
    pub ledger: Ledger,
    /// exec, attach and port-forward.
    pub streams: Streams,
    /// What runs here uses.
    pub meters: Meters,
    /// The ingress' routes, kept up to date.
    pub routes: Arc<ArcSwap<Routes>>,
    networks: Networks,
}

/// What wakes the route table.
static ROUTE_KINDS: &[&Kind] = &[&kinds::INGRESS, &kinds::SERVICE, &kinds::ENDPOINTSLICE, &kinds::SECRET, &kinds::NODE];

/// After looking through all objects of a kind, what looked rests for this many times as long: many changes never cost
/// more than a third of a core, they are looked at together. A node of few pods looks again at once.
const REST_FACTOR: u32 = 2;

impl Node {
    /// Starts the agent and what follows the cluster's routes, in `tasks`.
    pub fn start(facts: Facts, parts: Parts, tasks: &Tasks) -> Self {
        let apps = Apps::default();
        let records = Records::new(parts.logs_dir.clone());
        // Of the data directory: that of logs is made with the first of them.
        let disk = parts.logs_dir.parent().unwrap_or(&parts.logs_dir).to_owned();
        let (logs, consoles) = (Logs::new(parts.logs_dir), Consoles::default());
        logs.expire(tasks);
        let meters = Meters::new(parts.workers.account().clone());
        meters.start(tasks);
        let registry = volumes::Registry { blobs: parts.blobs.clone(), peers: Arc::clone(&parts.peers) };
        let volumes = Volumes::new(parts.volumes, registry, parts.cluster.clone(), &facts.name, tasks);
        volumes.follow(tasks);
        let engine = parts.engine.clone();
        let ledger = Ledger::default();
        let config = Config { node: facts.name.clone(), ip: facts.ip, isolation: parts.isolation };
        let sources = Sources::new(parts.cluster.clone());
        let networks = Networks::new(&facts.name, apps.clone(), parts.mesh, parts.client_tls, sources.clone());
        networks.serve_node_ports(facts.ip, tasks);
        let runner = Arc::new(Runner {
            places: Places::new(parts.engine, parts.workers),
            blobs: parts.blobs,
            peers: parts.peers,
            logs: logs.clone(),
            apps: apps.clone(),
            consoles: consoles.clone(),
            meters: meters.clone(),
            volumes: volumes.clone(),
            networks: networks.clone(),
            clock: Arc::clone(parts.cluster.clock()),
            sources,
            host: config.clone(),
            ledger: ledger.clone(),
            long_starts: Semaphore::new(LONG_STARTS_MAX),
        });
        let streams = Streams::new(apps.clone(), consoles);
        let node = Self { engine, apps, logs, ledger, streams, meters, routes: Arc::default(), networks };

        let agent = Agent::new(config, parts.cluster.clone(), runner, records, tasks.clone());
        let (queue, pass) = (agent.queue(), agent.last_pass());
        volumes.watch(queue.clone(), tasks);
        let sources_queue = queue.clone();
        tasks.spawn("agent", agent.run());
        let mine = [
            Followed::selected(&kinds::POD, &format!("spec.nodeName={}", facts.name)),
            Followed::selected(&kinds::NODE, &format!("metadata.name={}", facts.name)),
        ];
        let mut changed = follow::follow(&parts.cluster, mine, tasks);
        tasks.spawn_until_stop("agent-wake", async move {
            while changed.recv().await.is_some() {
                let _ = queue.send(Event::Changed).await;
                tokio::time::sleep(pass.get() * REST_FACTOR).await;
            }
        });

        let sources = [Followed::all(&kinds::CONFIGMAP), Followed::all(&kinds::SECRET)];
        let mut changed = follow::follow(&parts.cluster, sources, tasks);
        tasks.spawn_until_stop("sources-wake", async move {
            while changed.recv().await.is_some() {
                let _ = sources_queue.send(Event::SourcesChanged).await;
            }
        });

        let (this, cluster, name) = (node.clone(), parts.cluster.clone(), facts.name.clone());
        let certificates = parts.certificates;
        let mut changed = follow::follow(&cluster, ROUTE_KINDS.iter().copied().map(Followed::all), tasks);
        // Before anybody is served: who waited for this node to start again is to find what was served before.
        let mut known = Known::default();
        node.update_routes(&cluster, &mut known, &facts.name, &certificates);
        tasks.spawn_until_stop("routes", async move {
            while changed.recv().await.is_some() {
                let (this, cluster, name) = (this.clone(), cluster.clone(), name.clone());
                let certificates = Arc::clone(&certificates);
                let begun = Instant::now();
                // Reading thousands of endpoints takes longer than a request may wait for its thread.
                let update = move || {
                    this.update_routes(&cluster, &mut known, &name, &certificates);
                    known
                };
                known = tokio::task::spawn_blocking(update).await.unwrap_or_else(|_| {
                    tracing::error!("the route table could not be made");
                    Known::default()
                });
                tokio::time::sleep(begun.elapsed() * REST_FACTOR).await;
            }
        });

        let cluster = parts.cluster;
        tasks.spawn_until_stop("pressure", pressure::watch(cluster.clone(), facts.name.clone(), disk));
        tasks.spawn_until_stop("register", async move {
            register_until_done(&cluster, &facts).await;
            register::keep_saying(&cluster, &facts.name).await;
        });
        node
    }

    /// Opens a connection to a pod of this node that another node asks for at [`net::MESH_PREFIX`].
    pub fn tunnel(&self, request: Request<Body>) -> Response<Body> {
        net::dial::tunnel(&self.apps, request)
    }

    /// Takes in a datagram of another node's pod, at [`net::DATAGRAM_MESH_PREFIX`].
    pub async fn datagram(&self, request: Request<Body>) -> Response<Body> {
        net::udp::arrive(&self.apps, request).await
    }

    fn update_routes(&self, cluster: &Cluster, known: &mut Known, node: &str, certificates: &TlsSecrets) {
        let view = cluster.store().view();
        let table = self.networks.update(known.tables.next(&view));
        let of = (view.part(kinds::INGRESS.collection()), view.part(kinds::SECRET.collection()));
        if known.of.as_ref() != Some(&of) {
            known.ingresses = read(&view, &kinds::INGRESS);
            certificates.update(&known.ingresses, &read(&view, &kinds::SECRET));
            known.of = Some(of);
        }
        self.routes.store(Arc::new(Routes::new(routes::routes(&known.ingresses, &table, node))));
    }
}

/// What routes were made of last: where a thousand endpoints come and go, the rest stays.
#[derive(Default)]
struct Known {
    tables: Tables,
    ingresses: Vec<Ingress>,
    /// The ingresses, and the secrets beside them.
    of: Option<(Part, Part)>,
}

/// All objects of a kind in the local copy, typed. One that does not fit its type is left out and named in the log.
fn read<T: DeserializeOwned>(view: &View, kind: &Kind) -> Vec<T> {
    view.list(kind.collection(), "").filter_map(|stored| typed(&stored)).collect()
}

/// An object typed; None, and named in the log, when it does not fit its type.
fn typed<T: DeserializeOwned>(stored: &Stored) -> Option<T> {
    let read = object(stored).read();
    read.inspect_err(|error| tracing::warn!(%error, object = %stored.key(), "skipped")).ok()
}

async fn register_until_done(cluster: &Cluster, facts: &Facts) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    while let Err(error) = register::register(cluster, facts).await {
        tracing::debug!(%error, "node not registered yet");
        tokio::time::sleep(backoff.next_delay()).await;
    }
    tracing::info!(node = facts.name, "node registered");
}
