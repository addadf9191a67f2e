//! The wiring: every part of a node, started in an order that lets each rely on those before, and stopped in reverse.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wk_apiserver::{ApiServer, Dependencies};
use wk_base::tasks::Tasks;
use wk_base::time::{Clock, SystemClock};
use wk_cluster::Cluster;
use wk_controllers::{Controllers, Heartbeats};
use wk_engine::Engine;
use wk_image::Blobs;
use wk_ingress::{Ingress, Pem};
use wk_mesh::join::Member;
use wk_mesh::{Alpn, Authority, Fingerprint, Handler, Mesh, NodeName, Tls};
use wk_node::certificates::TlsSecrets;
use wk_node::register::{self, Facts};
use wk_node::traffic::Traffic;
use wk_store::{Options, Start, Store};

use super::cluster_status::ClusterStatus;
use super::copies::Copies;
use super::data_dir::DataDir;
use super::entry::Entry;
use super::front::{ApiFront, MeshFront};
use super::heartbeat::Heart;
use super::join::Door;
use super::members::{Members, Record};
use super::ports::Ports;
use super::raft_link::RaftLink;
use super::remote_pods::RemotePods;
use super::settings::Settings;
use super::{announce, bootstrap};

/// A node that cannot read its cluster for this long says so, and goes on trying while it serves what it knows.
const READY_MAX: Duration = Duration::from_secs(10);
/// Time between two tries to read the cluster.
const READY_PAUSE: Duration = Duration::from_millis(20);
/// Telling the others takes one write; without a leader it is not waited for.
const GOODBYE_MAX: Duration = Duration::from_secs(1);
/// Requests in flight get this long when the node stops.
const DRAIN_MAX: Duration = Duration::from_secs(10);

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
    store: Store,
    /// Listeners for clients: the first to stop.
    doors: Tasks,
    /// Everything else.
    tasks: Tasks,
}

impl Node {
    /// Starts everything and returns once the node serves.
    pub(crate) async fn start(
        settings: &Settings,
        data_dir: &DataDir,
        ports: Ports,
        entry: Entry,
    ) -> anyhow::Result<Self> {
        let (doors, tasks) = (Tasks::new(), Tasks::new());
        let Entry { identity, start, mut remark } = entry;
        let (file, authority) = (identity.file, identity.authority);
        let name = file.name.clone();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let csr = identity.key.csr().context("make the certificate request")?;
        let cert = authority.issue_node(&name, settings.listen, &csr).context("make the node's certificate")?;
        let mesh_identity =
            wk_mesh::Identity { name: name.clone(), cert, key: identity.key, ca: authority.cert_pem().clone() };
        let mesh = Mesh::new(mesh_identity.clone()).context("set up the mesh")?;
        let me = Member { id: file.member, name: name.clone(), address: settings.mesh_address() };
        let seeds: Vec<_> = file.seeds.iter().cloned().chain([me]).collect();
        let members = Members::new(mesh.clone(), &seeds);

        let link = RaftLink::new(mesh.clone(), members.clone(), tasks.clone());
        let options = Options::new(data_dir.join("store"), wk_store::MemberId(file.member), start);
        let store = Store::open(options, link).context("open the store")?;
        let cluster = Cluster::new(store.clone(), Arc::clone(&clock));
        members.take(&store.view());
        members.follow(&store, &tasks);
        members.admit_to_raft(&store, &tasks);

        let engine = Engine::new(wk_engine::Options::new(data_dir.join("compiled"))).context("start the engine")?;
        let blobs = Blobs::open(data_dir.join("blobs")).context("open the modules' directory")?;
        let copies =
            Copies { name: name.clone(), mesh: mesh.clone(), members: members.clone(), blobs: blobs.clone() };
        let certificates = Arc::new(TlsSecrets::new(ingress_certificate(&authority, settings)?));
        let parts = wk_node::Parts {
            cluster: cluster.clone(),
            engine,
            blobs: blobs.clone(),
            peers: Arc::new(copies.clone()),
            logs_dir: data_dir.join("pods"),
            certificates: Arc::clone(&certificates),
        };
        let agent = wk_node::Node::start(facts(settings, &name, file.member), parts, &tasks);

        let beats = Arc::new(Heartbeats::default());
        let heart = Heart {
            name: name.clone(),
            mesh: mesh.clone(),
            members: members.clone(),
            status: store.status(),
            beats: Arc::clone(&beats),
            clock: Arc::clone(&clock),
        };
        let door = Door {
            cluster: cluster.clone(),
            authority: authority.clone(),
            mesh: mesh.clone(),
            members: members.clone(),
        };
        let front = MeshFront {
            store: store.clone(),
            door,
            heart: heart.clone(),
            copies: copies.clone(),
            node: agent.clone(),
        };
        let tls = Tls::server(&mesh_identity, Alpn::Mesh).context("set up the mesh's TLS")?;
        serve(&tasks, ports.mesh, tls, Arc::new(front), wk_mesh::Limits::mesh());

        if start != Start::Join && !until_readable(&store).await {
            remark = Some("no leader yet: pods run from what is known here, the API waits for the other nodes".into());
        }
        if file.first {
            let record = Record { id: Some(file.member), address: settings.mesh_address(), csr: csr.as_str().to_owned() };
            let begin = bootstrap::begin(&cluster, authority.fingerprint(), &name, &record);
            match begin.await {
                Ok(()) => {}
                Err(error) if start == Start::Resume => tracing::warn!("{error:#}"),
                Err(error) => return Err(error),
            }
        } else if start == Start::Join && !until_readable(&store).await {
            remark = Some("admitted, but the cluster's leader has not been heard yet".into());
        }
        announce::start(&name, settings.mesh_address(), &store, &members, &mesh, &tasks);
        heart.start(&tasks);
        let leading = leading(&store, &tasks);
        Controllers::run(cluster.clone(), Arc::clone(&clock), beats, leading, &tasks);

        let traffic = Arc::new(Traffic::new(agent.apps.clone(), mesh.clone()));
        let ingress = Ingress::new(Arc::clone(&agent.routes), traffic, wk_ingress::Limits::default());
        let stopping = doors.stopping();
        doors.spawn("ingress-http", Arc::clone(&ingress).serve(ports.http, stopping.clone()));
        doors.spawn("ingress-https", ingress.serve_tls(ports.https, certificates, stopping.clone()));

        let pods = Arc::new(RemotePods { name: name.clone(), mesh, logs: agent.logs.clone() });
        let dependencies = Dependencies { pods, blobs, replicate: Arc::new(copies), shutdown: stopping };
        let server = Arc::new(ApiServer::new(cluster.clone(), dependencies));
        let status = ClusterStatus { store: store.clone(), members, cluster: file.cluster.clone() };
        let tls = Tls::server(&mesh_identity, Alpn::Api).context("set up the API's TLS")?;
        serve(&doors, ports.api, tls, Arc::new(ApiFront { server, status }), wk_mesh::Limits::api());

        let ca = authority.fingerprint();
        Ok(Self { name, cluster_id: file.cluster, authority, ca, cluster, remark, store, doors, tasks })
    }

    /// Waits until the store gives up: its disk failed, or an invariant broke.
    pub(crate) async fn failed(&self) -> String {
        let mut status = self.store.status();
        loop {
            if let Some(failure) = status.borrow_and_update().failure.clone() {
                return failure.to_string();
            }
            if status.changed().await.is_err() {
                return "the store stopped".to_owned();
            }
        }
    }

    /// Stops in the order that harms others least: no new requests, those in flight end, leadership goes to another
    /// node, the pods stop, the log is closed.
    pub(crate) async fn stop(&self, limit: Duration) {
        let stop = async {
            let _ = tokio::time::timeout(GOODBYE_MAX, register::leave(&self.cluster, self.name.as_str())).await;
            self.doors.stop(DRAIN_MAX).await;
            self.store.step_down().await;
            self.tasks.stop(DRAIN_MAX).await;
            self.store.stop().await;
        };
        if tokio::time::timeout(limit, stop).await.is_err() {
            tracing::warn!("stopped before everything had ended");
        }
    }
}

fn serve(tasks: &Tasks, listener: TcpListener, tls: Tls, handler: Arc<dyn Handler>, limits: wk_mesh::Limits) {
    let stopping: CancellationToken = tasks.stopping();
    tasks.spawn("serve", wk_mesh::serve(listener, tls, handler, limits, stopping));
}

async fn until_readable(store: &Store) -> bool {
    let read = async {
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

fn ingress_certificate(authority: &Authority, settings: &Settings) -> anyhow::Result<Pem> {
    let listen = settings.listen.to_string();
    let (certificate, key) = authority
        .issue_server(&["localhost", "*.localhost", &listen])
        .context("make the ingress' certificate")?;
    Ok(Pem { certificate: certificate.as_str().to_owned(), key: key.as_str().to_owned() })
}

fn facts(settings: &Settings, name: &NodeName, member: u64) -> Facts {
    let at = |port| std::net::SocketAddr::new(settings.listen, port).to_string();
    Facts {
        name: name.to_string(),
        ip: settings.listen,
        annotations: BTreeMap::from([
            ("wk.dev/member".to_owned(), member.to_string()),
            ("wk.dev/ingress-http".to_owned(), at(settings.http_port)),
            ("wk.dev/ingress-https".to_owned(), at(settings.https_port)),
            ("wk.dev/mesh".to_owned(), at(settings.mesh_port)),
        ]),
        version: wk_api::discovery::version()["gitVersion"].as_str().unwrap_or_default().to_owned(),
        runtime: format!("wasmtime://{}", wk_engine::VERSION),
    }
}
