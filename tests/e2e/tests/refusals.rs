//! Starts that `wk up` refuses: each with its own message and exit code, and nothing half-made left behind.
//!
//! The codes are those of the table in `wk --help`.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use wk_kit::{API, Cluster, HTTP, HTTPS, MESH, Node, Output, SOON, inventory};

const USAGE: i32 = 2;
const CONFLICT: i32 = 5;
const DATA_DIR_IN_USE: i32 = 10;
const PORT_TAKEN: i32 = 11;
const WRONG_TOKEN: i32 = 12;
const PEER_UNREACHABLE: i32 = 13;
const DATA_DIR_NEWER: i32 = 14;

/// Starts the node with options, sees it end, and returns how.
async fn refused(node: &mut Node, options: &[&str]) -> Output {
    node.start(options);
    node.ended(SOON).await
}

/// What a refused start may leave: nothing but the lock, which must not be removed while another start may hold it.
#[track_caller]
fn nothing_left(node: &Node) {
    let left: Vec<String> = inventory(&node.data_dir()).into_iter().filter(|name| name != "lock").collect();
    assert!(left.is_empty(), "a refused start left {left:?} in its data directory");
}

/// Checks code and words. The words are those of one run: standard error is kept over all of them, so the last counts.
#[track_caller]
fn says(output: &Output, code: i32, words: &[&str]) {
    let said = output.failed(code);
    let last = said.trim_end().lines().last().unwrap_or_default();
    for word in words {
        assert!(last.contains(word), "{word:?} is missing in the last line of\n{said}");
    }
    assert!(!output.stdout.contains("wk is up"), "{output:?}");
}

async fn one() -> Cluster {
    Cluster::start(1).await
}

/// The names of the members that the cluster knows.
async fn members(cluster: &Cluster) -> Vec<String> {
    let status = cluster.wk(&["status", "-o", "json"]).await.json();
    let members = status["cluster"]["members"].as_array().cloned().unwrap_or_default();
    members.iter().filter_map(|member| member["name"].as_str()).map(str::to_owned).collect()
}

fn join_address(cluster: &Cluster) -> String {
    cluster.nodes[0].ip().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn data_directory_in_use_is_refused_and_left_alone() {
    let cluster = one().await;
    let before = inventory(&cluster.nodes[0].data_dir());
    let mut second = Node::new("n1", cluster.net().ip(2), cluster.dir());
    // The files of its output would be those of the first: give it its own.
    let other_root = cluster.dir().join("second");
    std::fs::create_dir(&other_root).expect("a directory of the test's own");
    let mut outside = Node::new("second", second.ip(), &other_root);
    let data_dir = second.data_dir().display().to_string();
    let listen = second.ip().to_string();
    let words = ["up", "--listen", &listen, "--data-dir", &data_dir].map(str::to_owned);
    outside.start_exactly(&words);
    let output = outside.ended(SOON).await;
    says(&output, DATA_DIR_IN_USE, &[&data_dir, "in use", "--data-dir"]);
    assert_eq!(inventory(&cluster.nodes[0].data_dir()), before);
    cluster.wk(&["get", "nodes"]).await.ok();
    // Its ports were not what kept it out, and it took none.
    second = Node::new("fresh", second.ip(), &other_root);
    second.start(&[]);
    second.up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_taken_port_is_named_and_nothing_is_made() {
    let cluster = Cluster::empty();
    for (port, option) in [(API, "--api-port"), (HTTP, "--http-port"), (HTTPS, "--https-port"), (MESH, "--mesh-port")] {
        let mut node = Node::new(&format!("n{port}"), cluster.net().ip(1), cluster.dir());
        let taken = TcpListener::bind((node.ip(), port)).expect("an address of the test's own");
        let output = refused(&mut node, &[]).await;
        let address = format!("{}:{port}", node.ip());
        says(&output, PORT_TAKEN, &[&address, option, "--listen"]);
        nothing_left(&node);
        drop(taken);
        node.start(&[]);
        node.up().await;
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_are_refused_and_a_right_one_then_works() {
    let cluster = one().await;
    let other = one().await;
    let (right, foreign) = (cluster.token().await, other.token().await);
    let parts: Vec<&str> = right.split('.').collect();
    let [kind, id, secret, ca] = parts[..] else { panic!("not four parts: {right}") };
    let unknown_secret = format!("{kind}.{id}.{}.{ca}", "0".repeat(secret.len()));
    let unknown_id = format!("{kind}.{}.{secret}.{ca}", "z".repeat(id.len()));
    let address = join_address(&cluster);
    let mut node = Node::new("n2", cluster.net().ip(2), cluster.dir());
    for malformed in ["", "nonsense", "wk1.abc.def", &right[..right.len() - 1]] {
        let output = refused(&mut node, &["--join", &address, "--token", malformed]).await;
        says(&output, WRONG_TOKEN, &["--token", "wk token"]);
        assert!(!node.data_dir().exists(), "a token that is none is found out before anything is made");
    }
    let output = refused(&mut node, &["--join", &address, "--token", &foreign]).await;
    says(&output, WRONG_TOKEN, &[&address, "wk token"]);
    nothing_left(&node);
    for unknown in [&unknown_secret, &unknown_id] {
        let output = refused(&mut node, &["--join", &address, "--token", unknown]).await;
        says(&output, WRONG_TOKEN, &[&address, "does not know this token", "wk token"]);
        nothing_left(&node);
        assert!(!output.stderr.contains(unknown.as_str()), "a secret is not repeated");
    }
    assert_eq!(members(&cluster).await, ["n1"], "a refused node is no member");
    node.start(&["--join", &address, "--token", &right]);
    node.up().await;
    assert_eq!(members(&cluster).await, ["n1", "n2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_peer_is_named_and_nothing_is_made() {
    let cluster = one().await;
    let token = cluster.token().await;
    let mut node = Node::new("n2", cluster.net().ip(2), cluster.dir());
    let nobody = cluster.net().ip(9).to_string();
    let output = refused(&mut node, &["--join", &nobody, "--token", &token]).await;
    says(&output, PEER_UNREACHABLE, &[&nobody, "mesh port"]);
    nothing_left(&node);
    let output = refused(&mut node, &["--join", "no-such-host.invalid:7443", "--token", &token]).await;
    says(&output, PEER_UNREACHABLE, &["no-such-host.invalid", "no such host"]);
    nothing_left(&node);
    // Somebody listens, but never says a word.
    let silent = TcpListener::bind((cluster.net().ip(8), MESH)).expect("an address of the test's own");
    let address = cluster.net().ip(8).to_string();
    let output = refused(&mut node, &["--join", &address, "--token", &token]).await;
    says(&output, PEER_UNREACHABLE, &[&address]);
    nothing_left(&node);
    drop(silent);
    node.start(&["--join", &join_address(&cluster), "--token", &token]);
    node.up().await;
}

fn set_version(data_dir: &Path, version: u32) {
    let path = data_dir.join("identity/node.json");
    let text = std::fs::read_to_string(&path).expect("a node that ran has an identity");
    let mut file: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    file["version"] = version.into();
    std::fs::write(&path, file.to_string()).expect("the test's own file");
}

#[tokio::test(flavor = "multi_thread")]
async fn data_directory_of_a_newer_version_is_refused_and_left_alone() {
    let mut cluster = one().await;
    let node = &mut cluster.nodes[0];
    node.stop().await;
    set_version(&node.data_dir(), 99);
    let before = inventory(&node.data_dir());
    let output = refused(node, &[]).await;
    says(&output, DATA_DIR_NEWER, &["newer", "99", &node.data_dir().display().to_string()]);
    assert_eq!(inventory(&node.data_dir()), before);
    set_version(&node.data_dir(), 1);
    node.start(&[]);
    node.up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn taken_name_is_refused_and_another_one_then_works() {
    let cluster = one().await;
    let (address, token) = (join_address(&cluster), cluster.token().await);
    let root = cluster.dir().join("other");
    std::fs::create_dir(&root).expect("a directory of the test's own");
    let mut node = Node::new("n1", cluster.net().ip(2), &root);
    let output = refused(&mut node, &["--join", &address, "--token", &token]).await;
    says(&output, CONFLICT, &["n1", "another node", "--name"]);
    nothing_left(&node);
    let (listen, data_dir) = (node.ip().to_string(), node.data_dir().display().to_string());
    let words =
        ["up", "--listen", &listen, "--data-dir", &data_dir, "--name", "n2", "--join", &address, "--token", &token];
    node.start_exactly(&words.map(str::to_owned));
    node.up().await;
    assert_eq!(members(&cluster).await, ["n1", "n2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn known_data_directory_keeps_its_name_and_its_cluster() {
    let mut cluster = one().await;
    let other = one().await;
    let (address, foreign) = (other.nodes[0].ip().to_string(), other.token().await);
    let node = &mut cluster.nodes[0];
    node.stop().await;
    let before = inventory(&node.data_dir());
    let output = refused(node, &["--join", &address, "--token", &foreign]).await;
    says(&output, WRONG_TOKEN, &["belongs to cluster", "--data-dir"]);
    let (listen, data_dir) = (node.ip().to_string(), node.data_dir().display().to_string());
    node.start_exactly(&["up", "--listen", &listen, "--data-dir", &data_dir, "--name", "other"].map(str::to_owned));
    let output = node.ended(SOON).await;
    says(&output, USAGE, &["belongs to node n1", "other"]);
    assert_eq!(inventory(&node.data_dir()), before);
    node.start(&[]);
    node.up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn senseless_options_are_refused_before_anything_is_made() {
    let cluster = Cluster::empty();
    // An address kept for documentation (RFC 5737): no machine has it.
    let mut node = Node::new("n1", Ipv4Addr::new(192, 0, 2, 1), cluster.dir());
    let output = refused(&mut node, &[]).await;
    says(&output, USAGE, &["192.0.2.1", "does not have that address", "--listen"]);
    nothing_left(&node);
    let mut node = Node::new("Not-A-Label", cluster.net().ip(1), cluster.dir());
    let output = refused(&mut node, &[]).await;
    says(&output, USAGE, &["--name", "DNS name"]);
    assert!(!node.data_dir().exists());
    let mut node = Node::new("n3", cluster.net().ip(1), cluster.dir());
    let said = refused(&mut node, &["--token", "wk1.x"]).await.failed(USAGE).to_owned();
    assert!(said.contains("--join"), "{said}");
    let said = refused(&mut node, &["--join", "https://n1:7443", "--token", "x"]).await.failed(USAGE).to_owned();
    assert!(said.contains("a URL is not an address"), "{said}");
    assert!(!node.data_dir().exists());
}
