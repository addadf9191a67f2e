//! What every part of a node is made from, and the parts that differ between a node and a witness.
//!
//! Not here: in which order they start ([`super::node`]).

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use wk_access::tokens::Keyring;
use wk_apiserver::{ApiServer, Dependencies, Kubelet, Requests, signing_keys};
use wk_base::tasks::Tasks;
use wk_base::time::{Clock, SystemClock, Timestamp};
use wk_cluster::{Cluster, Manager, Vault};
use wk_controllers::{Electorate, Heartbeats};
use wk_engine::{Compiler, Engine};
use wk_image::Blobs;
use wk_ingress::{Ingress, Pem};
use wk_mesh::join::Member;
use wk_mesh::{Alpn, Authority, Handler, Mesh, NodeName, Tls};
use wk_node::certificates::TlsSecrets;
use wk_node::place::worker::{Program, Setup, Workers};
use wk_node::register::Facts;
use wk_node::traffic::Traffic;
use wk_store::{Options, Start, Store};

use super::access::Access;
use super::admit;
use super::age;
use super::announce::Announcer;
use super::backup::Backups;
use super::cluster_status::ClusterStatus;
use super::code::Handover;
use super::copies::Copies;
use super::data_dir::{DataDir, Identity};
use super::front::{ApiFront, MeshFront, Runs};
use super::hearing::Hearing;
use super::heartbeat::Heart;
use super::join::Door;
use super::members::{self, Members, Notice};
use super::metrics::Metrics;
use super::raft_link::RaftLink;
use super::remote_pods::RemotePods;
use super::settings::Settings;
use super::tend::{self, Tended};
use super::upgrade::{self, Upgrade};
use super::witness::{self, WitnessFront};

/// The longest that a pod may be given for a request, and a moment.
const HEAD_MAX: Duration = Duration::from_secs(3610);

/// What every part is made from.
pub(super) struct Base {
    pub(super) name: NodeName,
    pub(super) identity: wk_mesh::Identity,
    pub(super) authority: Authority,
    pub(super) cluster_id: String,
    pub(super) mesh: Mesh,
    pub(super) members: Members,
    pub(super) store: Store,
    pub(super) cluster: Cluster,
    pub(super) blobs: Blobs,
    pub(super) copies: Copies,
    pub(super) tended: Tended,
    pub(super) code: Arc<Handover>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) beats: Arc<Heartbeats>,
    pub(super) electorate: Electorate,
    /// Keys of service accounts' tokens.
    pub(super) keys: Keyring,
    /// Set off when the cluster says that this node was removed.
    pub(super) removed: CancellationToken,
    /// Whether this node is a witness.
    pub(super) witness: bool,
    /// Whether it shall go on as another program.
    pub(super) upgrade: Upgrade,
    /// What the API counts.
    requests: Requests,
    pub(super) doors: Tasks,
    pub(super) tasks: Tasks,
}

impl Base {
    /// Opens the store and what hangs on it. Nothing is served yet.
    pub(super) fn new(
        settings: &Settings,
        data_dir: &DataDir,
        identity: Identity,
        start: Start,
        vault: Vault,
    ) -> anyhow::Result<Self> {
        let Identity { file, authority, key } = identity;
        let (doors, tasks) = (Tasks::new(), Tasks::new());
        let name = file.name.clone();
        let csr = key.csr().context("make the certificate request")?;
        let cert = authority.issue_node(&name, settings.listen, &csr).context("make the node's certificate")?;
        let identity = wk_mesh::Identity { name: name.clone(), cert, key, ca: authority.cert_pem().clone() };
        let mesh = Mesh::new(identity.clone()).context("set up the mesh")?;
        let me = Member { id: file.member, name: name.clone(), address: settings.mesh_address() };
        // What is known best comes last.
        let remembered = if file.witness { witness::remembered(data_dir) } else { Vec::new() };
        let seeds: Vec<_> = file.seeds.iter().cloned().chain(remembered).chain([me]).collect();
        let members = Members::new(mesh.clone(), &seeds, !file.witness);

        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let keys = Keyring::default();
        let link = RaftLink::new(mesh.clone(), members.clone(), tasks.clone());
        let options = Options::new(data_dir.join("store"), wk_store::MemberId(file.member), start);
        let options = Options { witness: file.witness, index: Some(wk_cluster::INDEX), ..options };
        let store = Store::open(options, link).context("open the store")?;
        data_dir.note_begun()?;
        members.take(&store.view());
        age::start(&store, &tasks);
        if file.witness {
            witness::follow(&name, &members, &mesh, &store, data_dir, &tasks);
        } else {
            members.follow(&store, &tasks);
            admit::start(&store, &tasks);
        }
        if start == Start::Bootstrap {
            // Nobody else is there who could not understand.
            store.speak(wk_store::LEVEL);
        }
        let cluster = Cluster::new(store.clone(), Arc::clone(&clock)).with_vault(vault);
        if !file.witness {
            let age = Some(settings.token_key_age).filter(|age| !age.is_zero());
            signing_keys::follow(&cluster, &authority, &keys, age, &tasks);
        }
        let blobs = Blobs::open(data_dir.join("blobs")).context("open the modules' directory")?;
        let copies = Copies { name: name.clone(), mesh: mesh.clone(), members: members.clone(), blobs: blobs.clone() };
        let code = Arc::new(Handover { copies: copies.clone(), identity: identity.clone() });
        let cluster_id = file.cluster;
        let upgrade = Upgrade::new(name.clone(), mesh.clone());
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
            tended: Tended::default(),
            code,
            clock,
            beats: Arc::default(),
            keys,
            electorate: Electorate { roll: Arc::new(members::roll), limit: settings.voter_timeout },
            removed: CancellationToken::new(),
            witness: file.witness,
            upgrade,
            requests: Requests::default(),
            doors,
            tasks,
        })
    }

    /// Starts what runs pods.
    pub(super) fn start_agent(
        &self,
        settings: &Settings,
        data_dir: &DataDir,
        member: u64,
        certificates: Arc<TlsSecrets>,
    ) -> anyhow::Result<wk_node::Node> {
        let options = engine_options(settings, data_dir, &self.code);
        let workers = Workers::new(Setup {
            program: Program::itself(&[wk_node::worker::COMMAND]),
            volumes_dir: data_dir.join("volumes"),
            target: options.target.clone(),
            instances_max: options.instances_max,
        });
        let engine = Engine::new(options).context("start the engine")?;
        let parts = wk_node::Parts {
            cluster: self.cluster.as_manager(Manager::internal("wk-node")),
            engine,
            workers,
            isolation: settings.isolation,
            blobs: self.blobs.clone(),
            peers: Arc::new(self.copies.clone()),
            logs_dir: data_dir.join("pods"),
            volumes: wk_node::volumes::Options {
                root: data_dir.join("volumes"),
                host_paths: settings.host_paths.clone(),
                keys: self.keys.clone(),
            },
            certificates,
            mesh: self.mesh.clone(),
            client_tls: wk_mesh::ClientTls::new(self.authority.cert_pem().clone()),
        };
        tend::start(self.copies.clone(), self.tended.clone(), &self.tasks);
        Ok(wk_node::Node::start(facts(settings, &self.name, member, self.clock.now()), parts, &self.tasks))
    }

    /// Takes requests for pods.
    pub(super) fn serve_ingress(
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

    /// What beats, and where beats arrive.
    pub(super) fn heart(&self) -> Heart {
        Heart {
            name: self.name.clone(),
            mesh: self.mesh.clone(),
            members: self.members.clone(),
            store: self.store.clone(),
            beats: Arc::clone(&self.beats),
            clock: Arc::clone(&self.clock),
            electorate: self.electorate.clone(),
            leaving: Arc::default(),
            removed: self.removed.clone(),
            guide: Arc::default(),
        }
    }

    /// What this node says of itself when it starts.
    pub(super) fn announcer(&self, settings: &Settings, member: u64) -> Announcer {
        let notice = Notice {
            member: Some(member),
            address: settings.mesh_address(),
            vote: settings.vote,
            level: wk_store::LEVEL,
            zone: settings.zone.clone(),
        };
        Announcer {
            name: self.name.clone(),
            notice,
            store: (!self.witness).then(|| self.store.clone()),
            members: self.members.clone(),
            mesh: self.mesh.clone(),
            removed: self.removed.clone(),
        }
    }

    /// The state of the cluster, for clients and for members.
    pub(super) fn status(&self) -> Arc<ClusterStatus> {
        Arc::new(ClusterStatus {
            store: self.store.clone(),
            objects: self.cluster.clone(),
            members: self.members.clone(),
            cluster: self.cluster_id.clone(),
            mesh: self.mesh.clone(),
            electorate: self.electorate.clone(),
            beats: Arc::clone(&self.beats),
            clock: Arc::clone(&self.clock),
            copies: self.copies.clone(),
            tended: self.tended.clone(),
        })
    }

    /// Answers other nodes. What runs here is asked as soon as it stands in what is answered.
    pub(super) fn serve_mesh(
        &self,
        heart: &Heart,
        status: &Arc<ClusterStatus>,
        listener: TcpListener,
    ) -> anyhow::Result<Arc<OnceLock<Runs>>> {
        let runs = Arc::<OnceLock<Runs>>::default();
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
            status: Arc::clone(status),
            mesh: self.mesh.clone(),
            upgrade: self.upgrade.clone(),
            stopping: self.tasks.stopping(),
            runs: Arc::clone(&runs),
        };
        let tls = Tls::server(&self.identity, Alpn::Mesh).context("set up the mesh's TLS")?;
        serve(&self.tasks, listener, tls, Arc::new(front), wk_mesh::Limits::mesh());
        Ok(runs)
    }

    /// What other nodes may ask of this one's pods.
    pub(super) fn runs(&self, agent: &wk_node::Node) -> Runs {
        let (copies, code) = (self.copies.clone(), Arc::clone(&self.code));
        Runs { copies, code, node: agent.clone(), metrics: self.metrics(agent) }
    }

    fn metrics(&self, agent: &wk_node::Node) -> Metrics {
        let (meters, cluster) = (agent.meters.clone(), self.cluster.clone());
        Metrics::with_containers(&self.store, agent.engine.clone(), meters, cluster, &self.tended, &self.requests)
    }

    /// Answers clients. A witness has no API server.
    pub(super) fn serve_api(
        &self,
        agent: Option<&wk_node::Node>,
        status: Arc<ClusterStatus>,
        access: &Access,
        listener: TcpListener,
        kubelet: Option<TcpListener>,
    ) -> anyhow::Result<Option<Arc<ApiServer>>> {
        let tls = Tls::server(&self.identity, Alpn::Api).context("set up the API's TLS")?;
        let mut served = None;
        let front: Arc<dyn Handler> = match agent {
            None => Arc::new(WitnessFront { status, metrics: Metrics::new(&self.store) }),
            Some(agent) => {
                let (name, mesh) = (self.name.clone(), self.mesh.clone());
                let traffic = Traffic::new(agent.apps.clone(), mesh.clone());
                let metrics = self.metrics(agent);
                let (meters, ledger) = (agent.meters.clone(), agent.ledger.clone());
                let (logs, streams, own) = (agent.logs.clone(), agent.streams.clone(), metrics.clone());
                let hearing = Hearing {
                    store: self.store.clone(),
                    members: self.members.clone(),
                    mesh: mesh.clone(),
                    beats: Arc::clone(&self.beats),
                    last: Arc::default(),
                };
                let pods = RemotePods { name, mesh, logs, traffic, streams, metrics: own, meters, ledger, hearing };
                let pods = Arc::new(pods);
                let dependencies = Dependencies {
                    pods,
                    blobs: self.blobs.clone(),
                    replicate: Arc::new(self.copies.clone()),
                    security: access.security(&self.keys, &self.authority),
                    shutdown: self.doors.stopping(),
                    requests: self.requests.clone(),
                };
                let server = Arc::new(ApiServer::new(self.cluster.clone(), dependencies));
                if let Some(listener) = kubelet {
                    let front = Arc::new(Kubelet::new(Arc::clone(&server), self.name.to_string()));
                    serve(&self.doors, listener, tls.clone(), front, wk_mesh::Limits::api());
                }
                let (store, blobs, copies) = (self.store.clone(), self.blobs.clone(), self.copies.clone());
                let backups = Backups::new(store, self.cluster_id.clone(), blobs, copies, Arc::clone(&self.clock));
                let upgrade = self.upgrade.clone();
                served = Some(Arc::clone(&server));
                Arc::new(ApiFront { server, status, metrics, backups, upgrade })
            }
        };
        serve(&self.doors, listener, tls, front, wk_mesh::Limits::api());
        Ok(served)
    }
}

fn serve(tasks: &Tasks, listener: TcpListener, tls: Tls, handler: Arc<dyn Handler>, limits: wk_mesh::Limits) {
    let stopping: CancellationToken = tasks.stopping();
    tasks.spawn("serve", wk_mesh::serve(listener, tls, handler, limits, stopping));
}

/// Hosts without a Secret of their own are shown a certificate of the cluster's authority.
pub(super) fn ingress_certificates(authority: &Authority, settings: &Settings) -> anyhow::Result<TlsSecrets> {
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

fn engine_options(settings: &Settings, data_dir: &DataDir, code: &Arc<Handover>) -> wk_engine::Options {
    if !wk_engine::LIMITED {
        tracing::warn!("this build holds no guest to any limit: it is for measuring");
    }
    let compiler = Compiler::Process {
        // This very build, also after another was installed in its place.
        program: "/proc/self/exe".into(),
        arguments: vec!["compile-worker".to_owned()],
        limits: settings.compile_limits,
    };
    wk_engine::Options {
        target: settings.engine.clone(),
        cache_bytes_max: settings.compiled_max,
        compiler,
        colleagues: Some(Arc::<Handover>::clone(code)),
        ..wk_engine::Options::new(data_dir.join("compiled"))
    }
}

fn facts(settings: &Settings, name: &NodeName, member: u64, now: Timestamp) -> Facts {
    let at = |port| std::net::SocketAddr::new(settings.listen, port).to_string();
    Facts {
        name: name.to_string(),
        ip: settings.listen,
        disk: settings.data_dir.clone(),
        zone: settings.zone.clone(),
        annotations: BTreeMap::from([
            ("wk.dev/member".to_owned(), member.to_string()),
            ("wk.dev/ingress-http".to_owned(), at(settings.http_port)),
            ("wk.dev/ingress-https".to_owned(), at(settings.https_port)),
            ("wk.dev/mesh".to_owned(), at(settings.mesh_port)),
            (upgrade::STARTED.to_owned(), now.to_string()),
            (wk_node::register::API_ANNOTATION.to_owned(), at(settings.api_port)),
        ]),
        version: wk_api::discovery::version()["gitVersion"].as_str().unwrap_or_default().to_owned(),
        runtime: format!("wasmtime://{}", wk_engine::VERSION),
    }
}
