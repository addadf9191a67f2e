//! A cluster of one peer in one process: a real store and real controllers, nodes that only pretend.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;
use wk_api::strategy::DeleteOptions;
use wk_api::{Kind, Object, Status, kinds};
use wk_base::tasks::Tasks;
use wk_base::time::{Clock as _, ManualClock};
use wk_cluster::{Cluster, Subresource};
use wk_controllers::{Controllers, Electorate, Heartbeats, Parts, Roll, Told, Writes};
use wk_store::{MemberId, Options, Start, Store, Transport};

/// Longer than any condition takes on a busy machine; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

struct Nowhere;

impl Transport for Nowhere {
    fn send(&self, _to: MemberId, _message: Bytes) {}
}

pub(crate) struct Lab {
    pub(crate) cluster: Cluster,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) heartbeats: Arc<Heartbeats>,
    pub(crate) leads: watch::Sender<bool>,
    /// Names of nodes that do nothing any more.
    pub(crate) dead: watch::Sender<BTreeSet<String>>,
    tasks: Tasks,
    _dir: tempfile::TempDir,
}

impl Lab {
    /// A peer that leads, with `nodes` that are ready. Its clock stands still.
    pub(crate) async fn start(nodes: &[&str]) -> Self {
        let lab = Self::idle(nodes).await;
        lab.leads.send_replace(true);
        lab
    }

    /// As [`Lab::start`], but the controllers are told that another peer leads.
    pub(crate) async fn idle(nodes: &[&str]) -> Self {
        Self::writing(nodes, |cluster| Arc::new(cluster.clone())).await
    }

    /// As [`Lab::idle`], and they write in this way.
    pub(crate) async fn writing(nodes: &[&str], writes: impl FnOnce(&Cluster) -> Arc<dyn Writes>) -> Self {
        Self::with(nodes, writes, Arc::new(|_| BTreeMap::new())).await
    }

    /// As [`Lab::writing`], and the members are read in this way.
    pub(crate) async fn with(
        nodes: &[&str],
        writes: impl FnOnce(&Cluster) -> Arc<dyn Writes>,
        roll: Arc<Roll>,
    ) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut options = Options::new(dir.path().join("store"), MemberId(1), Start::Bootstrap);
        options.index = Some(wk_cluster::INDEX);
        let store = Store::open(options, Arc::new(Nowhere)).expect("open store");
        let mut status = store.status();
        let leading = status.wait_for(wk_store::Status::is_leader);
        drop(tokio::time::timeout(PATIENCE, leading).await.expect("the only peer leads").expect("store runs"));
        let clock = Arc::new(ManualClock::at("2025-01-01T00:00:00Z".parse().expect("time")));
        let cluster = Cluster::new(store, clock.clone());
        cluster.ensure_namespaces().await.expect("namespaces");
        let (leads, is_leader) = watch::channel(false);
        let (dead, _) = watch::channel(BTreeSet::new());
        let (heartbeats, tasks) = (Arc::new(Heartbeats::new()), Tasks::new());
        let lab = Self { cluster, clock, heartbeats, leads, dead, tasks, _dir: dir };
        for node in nodes {
            lab.add_node(node).await;
        }
        let electorate = Electorate { roll, limit: PATIENCE };
        let (cluster, beats) = (lab.cluster.clone(), lab.heartbeats.clone());
        let parts = Parts {
            writes: writes(&cluster),
            cluster,
            heartbeats: beats,
            measured: Arc::default(),
            electorate,
            authority: "certificate".into(),
        };
        Controllers::run(parts, is_leader, &lab.tasks);
        lab.tasks.spawn_until_stop("fake nodes", run_pods(lab.cluster.clone(), lab.dead.subscribe()));
        lab
    }

    async fn add_node(&self, name: &str) {
        let node = json!({"metadata": {"name": name}});
        self.cluster.create(&kinds::NODE, None, node).await.expect("create node");
        let ready = |old: &Object| {
            let mut new = old.0.clone();
            new["status"] = json!({
                "allocatable": {"cpu": "4", "memory": "4Gi", "pods": "110"},
                "conditions": [{"type": "Ready", "status": "True", "reason": "NodeReady", "message": "",
                    "lastTransitionTime": "2025-01-01T00:00:00Z"}],
            });
            Ok(new)
        };
        self.cluster.modify(&kinds::NODE, None, name, Subresource::Status, ready).await.expect("node status");
    }

    /// Every node that is not dead beats, and time moves on a little: less than a controller would notice as a gap.
    pub(crate) fn pass_time(&self) {
        self.clock.advance(Duration::from_millis(20));
        for node in self.list(&kinds::NODE).iter().filter(|node| !self.dead.borrow().contains(node.name())) {
            self.heartbeats.beat(node.name(), self.clock.now(), Told::default());
        }
    }

    pub(crate) async fn create(&self, kind: &Kind, body: Value) -> Arc<Object> {
        self.cluster.create(kind, Some("default"), body).await.expect("create")
    }

    pub(crate) async fn change(&self, kind: &Kind, name: &str, pointer: &str, value: Value) {
        let change = |old: &Object| {
            let mut new = old.0.clone();
            *new.pointer_mut(pointer).expect("the field is there") = value.clone();
            Ok(new)
        };
        self.cluster.modify(kind, Some("default"), name, Subresource::None, change).await.expect("change");
    }

    pub(crate) fn list(&self, kind: &Kind) -> Vec<Arc<Object>> {
        self.cluster.local(kind, None).items
    }

    /// The pods that count as replicas and are ready, in this view.
    pub(crate) fn ready_pods(&self) -> Vec<Arc<Object>> {
        let mut pods = self.list(&kinds::POD);
        pods.retain(|pod| is_ready(pod) && !pod.is_deleting());
        pods
    }

    /// Waits until `condition` holds.
    pub(crate) async fn until(&self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let wait = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            let all: Vec<String> = [&kinds::DEPLOYMENT, &kinds::REPLICASET, &kinds::POD, &kinds::NODE]
                .iter()
                .flat_map(|kind| self.list(kind))
                .map(|object| object.0.to_string())
                .collect();
            panic!("never: {what}\n{}", all.join("\n"));
        }
    }

    pub(crate) async fn stop(self) {
        assert!(self.tasks.stop(PATIENCE).await, "tasks end");
        self.cluster.store().stop().await;
    }
}

pub(crate) fn deployment(name: &str, replicas: i64, image: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{
                    "name": "web", "image": image, "ports": [{"name": "http", "containerPort": 8080}],
                }]},
            },
        },
    })
}

pub(crate) fn is_ready(pod: &Object) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition["status"] == "True")
}

pub(crate) fn condition<'a>(object: &'a Object, kind: &str) -> Option<&'a Value> {
    object.items("/status/conditions").iter().find(|condition| condition["type"] == kind)
}

/// What nodes would do: pods bound to living ones run, and end when they are told to.
async fn run_pods(cluster: Cluster, dead: watch::Receiver<BTreeSet<String>>) {
    let mut address = 0_u16;
    loop {
        let revision = cluster.store().view().revision();
        for pod in cluster.local(&kinds::POD, None).items {
            let node = pod.text("/spec/nodeName");
            if node.is_empty() || dead.borrow().contains(node) {
                continue;
            }
            address += u16::from(pod.text("/status/podIP").is_empty());
            let _ = run_pod(&cluster, &pod, address).await;
        }
        let Ok(mut watch) = cluster.watch(&kinds::POD, None, revision) else { continue };
        let _ = watch.next().await;
    }
}

async fn run_pod(cluster: &Cluster, pod: &Object, address: u16) -> Result<(), Status> {
    let (namespace, name) = (Some(pod.namespace()), pod.name());
    if pod.is_deleting() {
        cluster.delete(&kinds::POD, namespace, name, &DeleteOptions::now(pod.uid())).await?;
    } else if !is_ready(pod) {
        let [high, low] = address.to_be_bytes();
        let run = |old: &Object| {
            let mut new = old.0.clone();
            new["status"]["phase"] = "Running".into();
            new["status"]["podIP"] = format!("10.128.{high}.{low}").into();
            let mut conditions = old.items("/status/conditions").to_vec();
            conditions.retain(|condition| condition["type"] != "Ready");
            conditions.push(json!({"type": "Ready", "status": "True", "lastTransitionTime": "2025-01-01T00:00:00Z"}));
            new["status"]["conditions"] = conditions.into();
            Ok(new)
        };
        cluster.modify(&kinds::POD, namespace, name, Subresource::Status, run).await?;
    }
    Ok(())
}
