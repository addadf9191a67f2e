//! Machine code: between nodes, where who cannot compile well is given it by who can; and its making, which no module may
//! take the node's resources with.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::json;
use wk_kit::{Cluster, MESH, Node, SOON, until};

/// The names of a node's compiled modules: each says module, settings and target.
fn compiled(data_dir: &Path) -> BTreeSet<String> {
    let files = std::fs::read_dir(data_dir.join("compiled")).into_iter().flatten().flatten();
    files
        .map(|file| file.file_name().to_string_lossy().into_owned())
        .filter(|name| Path::new(name).extension().is_some_and(|end| end == "cwasm"))
        .collect()
}

/// Two like nodes need one compilation, and an interpreting one, which asks the others first, needs another. That one of
/// them has the very same code afterwards, which it has no use for, says who made it.
#[tokio::test(flavor = "multi_thread")]
async fn module_is_compiled_once_for_like_nodes_and_by_a_strong_one_for_a_weak_one() {
    let mut cluster = Cluster::start(2).await;
    let mut weak = cluster.next();
    let (address, token) = (format!("{}:{MESH}", cluster.nodes[0].ip()), cluster.token().await);
    weak.start(&["--join", &address, "--token", &token, "--engine", "pulley64"]);
    weak.up().await;
    cluster.nodes.push(weak);
    cluster.settled().await;
    cluster.deploy_hello("hello", 3, &[]).await.ok();

    let code: Vec<_> = cluster.nodes.iter().map(|node| compiled(&node.data_dir())).collect();
    assert_eq!(code[2].len(), 1, "code for one module: {code:?}");
    assert!(code[..2].iter().any(|strong| strong.is_superset(&code[2])), "a strong node has it too: {code:?}");
    let compilations = |node: &Node| node.stderr().matches("module compiled").count();
    let made: Vec<usize> = cluster.nodes.iter().map(compilations).collect();
    assert_eq!((made[2], made.iter().sum::<usize>()), (0, 2), "one for each kind of machine: {made:?}");

    cluster.nodes[0].stop().await;
    cluster.nodes[1].stop().await;
    let address = cluster.nodes[2].http();
    until("the interpreted replica answers alone", SOON, async || {
        let answer = wk_kit::get(address, "hello.localhost", "/").await?;
        ensure!(answer.status == 200, "{}", answer.body);
        Ok(())
    })
    .await;
}

/// A program whose functions are so long that a compiler is at them for seconds: numbers are added to a local.
fn bomb() -> Vec<u8> {
    const STEP: [u8; 7] = [0x20, 0, 0x41, 1, 0x6a, 0x21, 0];
    const FUNCTIONS: u8 = 4;
    fn sized(content: &[u8]) -> Vec<u8> {
        let (mut bytes, mut rest) = (Vec::new(), content.len());
        loop {
            let low = u8::try_from(rest & 0x7f).expect("seven bits");
            rest >>= 7;
            bytes.push(if rest == 0 { low } else { low | 0x80 });
            if rest == 0 {
                break;
            }
        }
        bytes.extend_from_slice(content);
        bytes
    }
    // Just within what a function may be: 7,654,321 bytes.
    let body = [&[1, 1, 0x7f][..], &STEP.repeat(1_000_000), &[0x0b]].concat();
    let bodies = sized(&body).repeat(usize::from(FUNCTIONS));
    let exports = [&[2, 6][..], b"_start", &[0, 0, 6], b"memory", &[2, 0]].concat();
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    for (id, content) in [
        (1, vec![1, 0x60, 0, 0]),
        (3, [&[FUNCTIONS][..], &[0].repeat(usize::from(FUNCTIONS))].concat()),
        (5, vec![1, 0, 1]),
        (7, exports),
        (10, [&[FUNCTIONS][..], &bodies].concat()),
    ] {
        module.push(id);
        module.extend(sized(&content));
    }
    module
}

/// The process that compiles for the node: a child of the process that has the node's directory among its words.
fn compiler_of(node: &Node) -> Option<u32> {
    let read = |pid: u32, what: &str| std::fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap_or_default();
    let pids: Vec<u32> =
        std::fs::read_dir("/proc").ok()?.flatten().filter_map(|it| it.file_name().to_str()?.parse().ok()).collect();
    let dir = node.data_dir().display().to_string();
    let is_node = |pid: u32| read(pid, "cmdline").split('\0').any(|word| word == dir);
    let parent = |pid: u32| {
        let status = read(pid, "status");
        status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse::<u32>().ok())
    };
    pids.into_iter().find(|pid| read(*pid, "cmdline").contains("compile-worker") && parent(*pid).is_some_and(is_node))
}

#[tokio::test(flavor = "multi_thread")]
async fn module_that_compiles_for_ever_ends_with_its_compiler_and_the_node_goes_on() {
    let cluster = Cluster::start(1).await;
    let (node, api) = (&cluster.nodes[0], cluster.nodes[0].api().await);
    cluster.deploy_hello("hello", 1, &[]).await.ok();
    let path = cluster.dir().join("bomb.wasm");
    std::fs::write(&path, bomb()).expect("the temporary directory can be written");
    let path = path.display().to_string();
    let mut deploy = node.command(&["deploy", &path, "--name", "bomb", "--timeout", "2s"]);
    let mut deploy =
        deploy.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().expect("wk runs");
    let compiler = until("the node compiles it in a process of its own", SOON, async || {
        let pid = compiler_of(node).context("no such process")?;
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits"))?;
        // Set at its start, and kept by the kernel.
        let limit = |name: &str| {
            let line = limits.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line[name.len()..].split_whitespace().next().map(str::to_owned).unwrap_or_default()
        };
        ensure!(limit("Max cpu time") == "600", "{limits}");
        for (name, most) in [("Max address space", 5_u64 << 30), ("Max file size", 0), ("Max open files", 16)] {
            ensure!(limit(name).parse::<u64>().is_ok_and(|is| is <= most), "{name}: {limits}");
        }
        Ok(pid)
    })
    .await;
    // It has no time to spare: others have the cores meanwhile.
    let answer = wk_kit::get(node.http(), "hello.localhost", "/").await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.body);
    // What the kernel sends to a process that is past its limit of processor time.
    let sent = std::process::Command::new("sh").args(["-c", &format!("kill -s XCPU {compiler}")]).status();
    assert!(sent.expect("sh runs").success());
    until("the pod says why", SOON, async || {
        let pod = api.pods_of("bomb").await?.pop().context("no pod")?;
        let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
        let why = waiting["message"].as_str().unwrap_or_default();
        ensure!(why.contains("used more than 600 s of processor time"), "{}", pod["status"]);
        ensure!(waiting["reason"] == "CreateContainerError", "{waiting}");
        Ok(())
    })
    .await;
    deploy.wait().await.expect("it ends");
    cluster.wk(&["delete", "deploy/bomb"]).await.ok();
    cluster.wk(&["scale", "deploy/hello", "--replicas", "2"]).await.ok();
    let ready = json!(2);
    until("the node starts other pods", SOON, async || {
        let status = api.get("/apis/apps/v1/namespaces/default/deployments/hello").await?["status"].clone();
        ensure!(status["readyReplicas"] == ready, "{status}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn module_that_compiles_for_longer_than_it_may_is_refused_and_not_tried_again_at_once() {
    let mut cluster = Cluster::empty();
    let mut node = cluster.next();
    node.start(&["--compile-time", "1s"]);
    node.up().await;
    cluster.nodes.push(node);
    cluster.settled().await;
    let api = cluster.nodes[0].api().await;
    let path = cluster.dir().join("bomb.wasm");
    std::fs::write(&path, bomb()).expect("the temporary directory can be written");
    cluster.wk(&["deploy", &path.display().to_string(), "--name", "bomb", "--timeout", "1s"]).await;
    until("the pod says why, and when it is tried again", SOON, async || {
        let pod = api.pods_of("bomb").await?.pop().context("no pod")?;
        let why = &pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"];
        let why = why.as_str().unwrap_or_default();
        ensure!(why.contains("compile the module: it used more than 1 s of processor time"), "{}", pod["status"]);
        ensure!(why.contains("it is tried again in"), "{why}");
        Ok(())
    })
    .await;
    assert!(compiler_of(&cluster.nodes[0]).is_none(), "nothing is compiled any more");
    // The next one has its turn.
    cluster.deploy_hello("hello", 1, &[]).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn module_that_needs_more_memory_to_compile_than_it_may_is_refused_and_its_pod_says_how_much() {
    let mut cluster = Cluster::empty();
    let mut node = cluster.next();
    node.start(&["--compile-memory", "16Mi"]);
    node.up().await;
    cluster.nodes.push(node);
    cluster.settled().await;
    let api = cluster.nodes[0].api().await;
    let path = cluster.dir().join("bomb.wasm");
    std::fs::write(&path, bomb()).expect("the temporary directory can be written");
    cluster.wk(&["deploy", &path.display().to_string(), "--name", "bomb", "--timeout", "1s"]).await;
    let words = "compile the module: it needed more memory than the 16 MiB that a compiler may have";
    let pod = until("the pod says why", SOON, async || {
        let pod = api.pods_of("bomb").await?.pop().context("no pod")?;
        let why = &pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"];
        ensure!(why.as_str().is_some_and(|why| why.starts_with(words)), "{}", pod["status"]);
        Ok(pod["metadata"]["name"].clone())
    })
    .await;
    let events = api.get("/api/v1/namespaces/default/events").await.expect("events");
    let events = events["items"].as_array().expect("a list");
    let told = events.iter().filter(|event| event["involvedObject"]["name"] == pod);
    let told: Vec<_> = told.filter_map(|event| event["message"].as_str()).collect();
    assert!(told.iter().any(|message| message.contains(words)), "{told:?}");
    // It is the module's limit, and not the node's.
    cluster.deploy_hello("hello", 1, &[]).await.ok();
}
