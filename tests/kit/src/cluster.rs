//! Several nodes that are one cluster.

use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::api::Api;
use crate::command::Output;
use crate::{Lab, MESH, Net, Node, SOON, example, until};

/// Nodes n1, n2, … on addresses of their own. All of it ends when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes; dropped, and thereby ended, before their directories.
    pub nodes: Vec<Node>,
    place: Place,
    dir: TempDir,
}

/// Where the nodes are.
#[derive(Debug)]
enum Place {
    Loopback(Net),
    Lab(Lab),
}

/// More votes than this cost every write more than they protect.
const VOTERS_MAX: usize = 5;

impl Cluster {
    /// Starts `count` nodes, and waits until all are ready and have their votes.
    pub async fn start(count: usize) -> Self {
        let mut cluster = Self::empty();
        for _ in 0..count {
            cluster.add().await;
        }
        cluster.settled().await;
        cluster
    }

    /// The same with each node on a machine of a lab: node `nI` on machine I.
    pub async fn start_in(lab: Lab, count: usize) -> Self {
        let mut cluster = Self::at(Place::Lab(lab));
        for _ in 0..count {
            cluster.add().await;
        }
        cluster.settled().await;
        cluster
    }

    /// No node yet.
    pub fn empty() -> Self {
        Self::at(Place::Loopback(Net::claim()))
    }

    fn at(place: Place) -> Self {
        let dir = TempDir::with_prefix("wk-test-").expect("a temporary directory can be made");
        Self { nodes: Vec::new(), place, dir }
    }

    /// Its addresses: node `nI` has number I.
    ///
    /// # Panics
    /// If it is in a lab.
    pub fn net(&self) -> &Net {
        match &self.place {
            Place::Loopback(net) => net,
            Place::Lab(_) => panic!("its nodes are in a lab"),
        }
    }

    /// The machines of its nodes.
    ///
    /// # Panics
    /// If it is in no lab.
    pub fn lab(&self) -> &Lab {
        match &self.place {
            Place::Loopback(_) => panic!("its nodes are on loopback addresses"),
            Place::Lab(lab) => lab,
        }
    }

    /// A directory for the test's own files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file of the test's own, and returns its path as text.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir().join(name);
        std::fs::write(&path, text).expect("the temporary directory can be written");
        path.display().to_string()
    }

    /// Makes the next node, without starting it.
    pub fn next(&self) -> Node {
        let number = u8::try_from(self.nodes.len() + 1).expect("few nodes");
        let node = |ip| Node::new(&format!("n{number}"), ip, self.dir());
        match &self.place {
            Place::Loopback(net) => node(net.ip(number)),
            Place::Lab(lab) => node(lab.ip(number)).placed(lab.on(number)),
        }
    }

    /// Starts one more node and waits until it is up.
    pub async fn add(&mut self) {
        let mut node = self.next();
        match self.nodes.first() {
            None => node.start(&[]),
            Some(first) => {
                let (address, token) = (format!("{}:{MESH}", first.ip()), self.token().await);
                node.start(&["--join", &address, "--token", &token]);
            }
        }
        node.up().await;
        self.nodes.push(node);
    }

    /// The token a further node joins with.
    pub async fn token(&self) -> String {
        self.nodes[0].wk(&["token"]).await.ok().trim().to_owned()
    }

    /// Waits until every node that runs is Ready and the votes are given.
    pub async fn settled(&mut self) {
        let count = self.nodes.iter_mut().map(|node| usize::from(node.runs())).sum::<usize>();
        let most = self.nodes.len().min(VOTERS_MAX);
        let voters = most - usize::from(most.is_multiple_of(2));
        let api = self.api().await;
        until(&format!("{count} nodes are ready and {voters} vote"), SOON, async || {
            let nodes = api.get("/api/v1/nodes").await?;
            let ready = list(&nodes, "/items").filter(|node| is_true(node, "Ready")).count();
            let status = api.get("/apis/wk.dev/v1/cluster").await?;
            let votes = list(&status, "/voters").count();
            ensure!(ready == count && votes == voters, "{ready} nodes are ready, {votes} vote: {status}");
            Ok(())
        })
        .await;
    }

    /// The first node that runs.
    ///
    /// # Panics
    /// If none does.
    pub fn any(&mut self) -> &Node {
        let index = self.nodes.iter_mut().position(Node::runs).expect("a node runs");
        &self.nodes[index]
    }

    /// The API of the first node that runs.
    pub async fn api(&mut self) -> Api {
        self.any().api().await
    }

    /// Runs a `wk` command that talks to the first node.
    pub async fn wk(&self, words: &[&str]) -> Output {
        self.nodes[0].wk(words).await
    }

    /// The index of the node that leads.
    pub async fn leader(&mut self) -> usize {
        let api = self.api().await;
        let name = until("the cluster has a leader", SOON, async || {
            let status = api.get("/apis/wk.dev/v1/cluster").await?;
            Ok(status["leader"].as_str().context("nobody leads")?.to_owned())
        })
        .await;
        self.nodes.iter().position(|node| node.name() == name).expect("the leader is one of the test's nodes")
    }

    /// `wk deploy examples/hello-http/hello-http.wasm` with the name and replicas, through the first node.
    pub async fn deploy_hello(&self, name: &str, replicas: usize, more: &[&str]) -> Output {
        let file = example("hello-http");
        let replicas = replicas.to_string();
        let words = ["deploy", file.to_str().expect("a path of text"), "--name", name, "--replicas", &replicas];
        self.wk(&[&words[..], more].concat()).await
    }
}

/// The entries of a list inside a value.
pub(crate) fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// Whether a condition of an object is True.
pub(crate) fn is_true(object: &Value, condition: &str) -> bool {
    list(object, "/status/conditions").any(|it| it["type"] == condition && it["status"] == "True")
}
