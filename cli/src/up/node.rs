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
use super::data_dir::{DataDir, Identity};
use super::entry::Entry;
use super::front::{ApiFront, MeshFront};
use super::heartbeat::Heart;
use super::join::Door;
use super::members::{Members, Record};
use super::metrics::Metrics;
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
/// Pods and other tasks get this long after that: they have been told to end, and none waits for anything.
const TASKS_MAX: Duration = Duration::from_secs(3);
/// The longest that a pod may be given for a request, and a moment.
const HEAD_MAX: Duration = Duration::from_secs(3610);

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

/// What every part is made from.
struct Base {
    name: NodeName,
    identity: wk_mesh::Identity,
    authority: Authority,
    cluster_id: String,
    mesh: Mesh,
    members: Members,
    store: Store,
    cluster: Cluster,
    blobs: Blobs,
    copies: Copies,
    clock: Arc<dyn Clock>,
    doors: Tasks,
    tasks: Tasks,
}

impl Node {
    /// Starts everything and returns once the node serves.
    ///
    /// Pods and the ingress come first and wait for nobody: they run from what this disk knows. Only then is the cluster
    /// waited for.
    pub(crate) async fn start(
        settings: &Settings,
        data_dir: &DataDir,
        ports: Ports,
        entry: Entry,
    ) -> anyhow::Result<Self> {
        let Entry { identity, start, mut remark } = entry;
        let (first, member) = (identity.file.first, identity.file.member);
        let csr = identity.key.csr().context("make the certificate request")?;
        let base = Base::new(settings, data_dir, identity, start)?;

        let certificates = Arc::new(ingress_certificates(&base.authority, settings)?);
        let agent = base.start_agent(settings, data_dir, member, Arc::clone(&certificates))?;
        base.serve_ingress(&agent, ports.http, ports.https, certificates);
        let beats = Arc::new(Heartbeats::default());
        let heart = base.heart(&beats);
        base.serve_mesh(&agent, &heart, ports.mesh)?;
        announce::start(&base.name, settings.mesh_address(), &base.store, &base.members, &base.mesh, &base.tasks);
        heart.start(&base.tasks);
        base.serve_api(&agent, ports.api)?;

        if !until_readable(&base.store).await {
            remark = Some("no leader yet: pods run from what is known here, writes wait for the other nodes".into());
        }
        if first {
            let record = Record { id: Some(member), address: settings.mesh_address(), csr: csr.as_str().to_owned() };
            let begun = bootstrap::begin(&base.cluster, base.authority.fingerprint(), &base.name, &record).await;
            match begun {
                Err(error) if start == Start::Bootstrap => return Err(error),
                Err(error) => tracing::warn!("{error:#}"),
                Ok(()) => {}
            }
        }
        let leading = leading(&base.store, &base.tasks);
        Controllers::run(base.cluster.clone(), Arc::clone(&base.clock), beats, leading, &base.tasks);

        let ca = base.authority.fingerprint();
        let Base { name, authority, cluster_id, store, cluster, doors, tasks, .. } = base;
        Ok(Self { name, cluster_id, authority, ca, cluster, remark, store, doors, tasks })
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
            self.tasks.stop(TASKS_MAX).await;
            self.store.stop().await;
        };
        if tokio::time::timeout(limit, stop).await.is_err() {
            tracing::warn!("stopped before everything had ended");
        }
    }
}

impl Base {
    fn new(settings: &Settings, data_dir: &DataDir, identity: Identity, start: Start) -> anyhow::Result<Self> {
        let Identity { file, authority, key } = identity;
        let (doors, tasks) = (Tasks::new(), Tasks::new());
        let name = file.name.clone();
        let csr = key.csr().context("make the certificate request")?;
        let cert = authority.issue_node(&name, settings.listen, &csr).context("make the node's certificate")?;
        let identity = wk_mesh::Identity { name: name.clone(), cert, key, ca: authority.cert_pem().clone() };
        let mesh = Mesh::new(identity.clone()).context("set up the mesh")?;
        let me = Member { id: file.member, name: name.clone(), address: settings.mesh_address() };
        let seeds: Vec<_> = file.seeds.iter().cloned().chain([me]).collect();
        let members = Members::new(mesh.clone(), &seeds);

        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let link = RaftLink::new(mesh.clone(), members.clone(), tasks.clone());
        let mut options = Options::new(data_dir.join("store"), wk_store::MemberId(file.member), start);
        options.index = Some(wk_cluster::INDEX);
        let store = Store::open(options, link).context("open the store")?;
        data_dir.note_begun()?;
        members.take(&store.view());
        members.follow(&store, &tasks);
        members.admit_to_raft(&store, &tasks);
        let cluster = Cluster::new(store.clone(), Arc::clone(&clock));
        let blobs = Blobs::open(data_dir.join("blobs")).context("open the modules' directory")?;
        let copies = Copies { name: name.clone(), mesh: mesh.clone(), members: members.clone(), blobs: blobs.clone() };
        let cluster_id = file.cluster;
        Ok(Self {
            name,
            identity,
            authority,
            cluster_id,
            mesh,
            members,
            store,
            cluster,
            blobs,
            copies,
            clock,
            doors,
            tasks,
        })
    }

    fn start_agent(
        &self,
        settings: &Settings,
        data_dir: &DataDir,
        member: u64,
        certificates: Arc<TlsSecrets>,
    ) -> anyhow::Result<wk_node::Node> {
        let engine = Engine::new(wk_engine::Options::new(data_dir.join("compiled"))).context("start the engine")?;
        let parts = wk_node::Parts {
            cluster: self.cluster.clone(),
            engine,
            blobs: self.blobs.clone(),
            peers: Arc::new(self.copies.clone()),
            logs_dir: data_dir.join("pods"),
            certificates,
        };
        Ok(wk_node::Node::start(facts(settings, &self.name, member), parts, &self.tasks))
    }

    fn serve_ingress(
        &self,
        agent: &wk_node::Node,
        http: TcpListener,
        https: TcpListener,
        certificates: Arc<TlsSecrets>,
    ) {
        let traffic = Arc::new(Traffic::new(agent.apps.clone(), self.mesh.clone()));
        // A pod has its own deadline, which the engine keeps; the ingress' is for what would outlive the longest of them.
        let limits = wk_ingress::Limits { response_head: HEAD_MAX, ..wk_ingress::Limits::default() };
        let ingress = Ingress::new(Arc::clone(&agent.routes), traffic, limits);
        let stopping = self.doors.stopping();
        self.doors.spawn("ingress-http", Arc::clone(&ingress).serve(http, stopping.clone()));
        self.doors.spawn("ingress-https", ingress.serve_tls(https, certificates, stopping));
    }

    fn heart(&self, beats: &Arc<Heartbeats>) -> Heart {
        Heart {
            name: self.name.clone(),
            mesh: self.mesh.clone(),
            members: self.members.clone(),
            status: self.store.status(),
            beats: Arc::clone(beats),
            clock: Arc::clone(&self.clock),
        }
    }

    fn serve_mesh(&self, agent: &wk_node::Node, heart: &Heart, listener: TcpListener) -> anyhow::Result<()> {
        let door = Door {
            cluster: self.cluster.clone(),
            authority: self.authority.clone(),
            mesh: self.mesh.clone(),
            members: self.members.clone(),
        };
        let front = MeshFront {
            store: self.store.clone(),
            door,
            heart: heart.clone(),
            copies: self.copies.clone(),
            node: agent.clone(),
        };
        let tls = Tls::server(&self.identity, Alpn::Mesh).context("set up the mesh's TLS")?;
        serve(&self.tasks, listener, tls, Arc::new(front), wk_mesh::Limits::mesh());
        Ok(())
    }

    fn serve_api(&self, agent: &wk_node::Node, listener: TcpListener) -> anyhow::Result<()> {
        let pods = Arc::new(RemotePods { name: self.name.clone(), mesh: self.mesh.clone(), logs: agent.logs.clone() });
        let dependencies = Dependencies {
            pods,
            blobs: self.blobs.clone(),
            replicate: Arc::new(self.copies.clone()),
            shutdown: self.doors.stopping(),
        };
        let server = Arc::new(ApiServer::new(self.cluster.clone(), dependencies));
        let status = ClusterStatus {
            store: self.store.clone(),
            members: self.members.clone(),
            cluster: self.cluster_id.clone(),
        };
        let tls = Tls::server(&self.identity, Alpn::Api).context("set up the API's TLS")?;
        serve(
            &self.doors,
            listener,
            tls,
            Arc::new(ApiFront { server, status, metrics: Metrics::new(&self.store) }),
            wk_mesh::Limits::api(),
        );
        Ok(())
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

/// Hosts without a Secret of their own are shown a certificate of the cluster's authority.
fn ingress_certificates(authority: &Authority, settings: &Settings) -> anyhow::Result<TlsSecrets> {
    let issue = |authority: &Authority, names: &[&str]| {
        let (certificate, key) = authority.issue_server(names)?;
        let (certificate, key) = (certificate.as_str().to_owned(), key.as_str().to_owned());
        Ok::<_, wk_mesh::AuthorityError>(Pem { certificate, key })
    };
    let fallback =
        issue(authority, &["localhost", &settings.listen.to_string()]).context("make the ingress' certificate")?;
    let authority = authority.clone();
    let for_host = move |host: &str| {
        let made = issue(&authority, &[host]);
        made.inspect_err(|error| tracing::warn!(host, %error, "no certificate for a routed host")).ok()
    };
    Ok(TlsSecrets::new(fallback, Box::new(for_host)))
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
