//! Ports, limits and policy, without a guest.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wk_engine::{CpuLimits, Listener, MemoryBytes, NetworkError, Usage};
use wk_network::{Lead, Node, Service, ServiceName, ServicePort, Table};

use super::guest::look_up_here;
use super::judge::{self, Denied};
use super::pods::{Pod, Pods, SOCKETS_MAX};
use super::ports::{Caller, Refused};
use super::voice::LimitSink;
use crate::spec::NetworkSpec;

const STRANGER: Caller = Caller::Outside(SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(10, 128, 9, 9)), 4000));

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn spec(namespace: &str, egress: &str) -> Arc<NetworkSpec> {
    Arc::new(NetworkSpec {
        namespace: namespace.into(),
        egress: egress.parse().expect("an annotation"),
        authorities: Vec::new(),
        request_timeout: Duration::from_secs(1),
        aliases: Vec::new(),
    })
}

fn pod(pods: &Pods, egress: &str) -> Arc<Pod> {
    pods.enter(&"u1".into(), address("10.128.0.5:0").ip(), &spec("shop", egress))
}

/// Nobody is told of limits.
fn quiet() -> LimitSink {
    Arc::new(|_| {})
}

fn accepted(listener: &mut Box<dyn Listener>) -> wk_engine::Connection {
    match listener.poll_accept(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(connection) => connection,
        Poll::Pending => panic!("nobody connected"),
    }
}

#[tokio::test]
async fn connection_to_a_port_is_accepted_with_the_callers_address() {
    let pod = pod(&Pods::default(), "");
    let mut listener = pod.listen(address("0.0.0.0:8080"), quiet()).expect("a free port");
    let mut near = pod.connect(8080, STRANGER).expect("somebody listens");
    let mut far = accepted(&mut listener);
    assert_eq!((far.local, far.remote), (address("10.128.0.5:8080"), address("10.128.9.9:4000")));
    near.write_all(b"ping").await.expect("room");
    let mut came = [0; 4];
    far.stream.read_exact(&mut came).await.expect("bytes");
    assert_eq!(&came, b"ping");
}

#[tokio::test]
async fn loopback_is_the_pods_own() {
    let pod = pod(&Pods::default(), "");
    let _listener = pod.listen(address("127.0.0.1:8080"), quiet()).expect("a free port");
    assert_eq!(pod.connect(8080, STRANGER).err(), Some(Refused::Nobody));
    assert!(pod.connect(8080, Caller::Inside(address("127.0.0.1:4000"))).is_ok());
    assert!(pod.connect(8080, Caller::NODE).is_ok());
}

#[tokio::test]
async fn others_have_their_turn_between_requests_that_begin_together() {
    let (pod, begun) = (pod(&Pods::default(), ""), Arc::new(AtomicUsize::new(0)));
    let request = |_| {
        let (pod, begun) = (Arc::clone(&pod), Arc::clone(&begun));
        tokio::spawn(async move {
            pod.begin_request().await;
            begun.fetch_add(1, Ordering::Relaxed)
        })
    };
    let requests: Vec<_> = (0..100).map(request).collect();
    let other = tokio::spawn({
        let begun = Arc::clone(&begun);
        async move {
            tokio::task::yield_now().await;
            begun.load(Ordering::Relaxed)
        }
    });
    let before = other.await.expect("no panic");
    assert!((1..50).contains(&before), "{before} of a hundred came first");
    for request in requests {
        request.await.expect("no panic");
    }
    assert_eq!(begun.load(Ordering::Relaxed), 100);
}

#[test]
fn port_is_one_programs_until_it_goes() {
    let pod = pod(&Pods::default(), "");
    let listener = pod.listen(address("0.0.0.0:8080"), quiet()).expect("a free port");
    assert_eq!(pod.listen(address("127.0.0.1:8080"), quiet()).err(), Some(NetworkError::InUse));
    assert_eq!(pod.listen(address("192.0.2.1:8080"), quiet()).err(), Some(NetworkError::NotHere));
    drop(listener);
    assert!(pod.listen(address("10.128.0.5:8080"), quiet()).is_ok());
    assert_ne!(pod.listen(address("0.0.0.0:0"), quiet()).expect("any").local().port(), 0);
}

#[test]
fn pod_has_so_many_sockets_and_no_more() {
    let pod = pod(&Pods::default(), "");
    let mut listener = pod.listen(address("0.0.0.0:8080"), quiet()).expect("a free port");
    let mut held = Vec::new();
    for _ in 0..SOCKETS_MAX {
        let near = pod.connect(8080, STRANGER).expect("room");
        held.push((near, accepted(&mut listener)));
    }
    assert_eq!(pod.connect(8080, STRANGER).err(), Some(Refused::Full));
    assert_eq!(pod.socket().err(), Some(NetworkError::TooMany("sockets of the pod".into())));
    held.pop();
    assert!(pod.connect(8080, STRANGER).is_ok());
}

#[test]
fn program_that_does_not_accept_keeps_few_waiting() {
    let pod = pod(&Pods::default(), "");
    let told: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let sink = Arc::clone(&told);
    let limit: LimitSink = Arc::new(move |what| sink.lock().expect("not poisoned").push(what.to_owned()));
    let _listener = pod.listen(address("0.0.0.0:8080"), limit).expect("a free port");
    let waiting: Vec<_> = std::iter::from_fn(|| pod.connect(8080, STRANGER).ok()).collect();
    assert!(waiting.len() < SOCKETS_MAX, "{}", waiting.len());
    assert_eq!(*told.lock().expect("not poisoned"), ["too many connections wait at port 8080: at most 128 at once"]);
}

#[test]
fn pod_is_known_while_a_container_of_it_is_there() {
    let pods = Pods::default();
    let first = pod(&pods, "");
    let second = pod(&pods, "");
    assert!(Arc::ptr_eq(&first, &second));
    drop(first);
    assert!(pods.by_uid("u1").is_some() && pods.by_address(address("10.128.0.5:0").ip()).is_some());
    drop(second);
    assert!(pods.by_uid("u1").is_none() && pods.by_address(address("10.128.0.5:0").ip()).is_none());
}

fn table() -> Table {
    let written = vec![address("169.254.169.254:80"), address("192.0.2.1:6443")];
    let port = ServicePort { name: String::new(), port: 80, endpoints: Vec::new(), written };
    let service = Service {
        name: ServiceName::new("shop", "web"),
        cluster_ip: Some(address("10.96.1.1:0").ip()),
        ports: vec![port],
        elsewhere: None,
        node_ports: Vec::new(),
        local_traffic: false,
    };
    let node = |name: &str, last: u8| Node {
        name: name.into(),
        pods: None,
        addresses: vec![IpAddr::from([192, 0, 2, last])],
        api: Some(SocketAddr::from(([192, 0, 2, last], 6443))),
    };
    Table::new([service]).with_nodes(vec![node("n1", 1), node("n2", 2)])
}

fn add(denied: Result<(), Denied>) -> String {
    denied.expect_err("must be denied").add
}

#[test]
fn pod_without_a_word_for_it_is_told_the_word() {
    let (pods, table) = (Pods::default(), table());
    let nowhere = pod(&pods, "");
    let judged = |to: &str| {
        let to = address(to);
        judge::connect(&nowhere, &table, to, &table.lead(to))
    };
    assert_eq!(add(judged("10.96.1.1:80")), "cluster");
    assert_eq!(add(judged("10.128.0.9:80")), "cluster");
    assert_eq!(add(judged("198.51.100.1:443")), "198.51.100.1/32:443");
    nowhere.remember("api.example.com", &[address("198.51.100.1:0").ip()]);
    assert_eq!(add(judged("198.51.100.1:443")), "api.example.com:443");
    assert_eq!(add(judge::look_up(&nowhere, "API.example.com.")), "api.example.com");
}

#[test]
fn name_leads_only_where_it_was_looked_up_to_lead() {
    let (pods, table) = (Pods::default(), table());
    let named = pod(&pods, "api.example.com");
    let to = address("198.51.100.1:443");
    assert!(judge::connect(&named, &table, to, &Lead::Outside).is_err());
    named.remember("api.example.com", &[to.ip()]);
    assert!(judge::connect(&named, &table, to, &Lead::Outside).is_ok());
    // Its owner says that it is this cluster's node, or the cloud's metadata.
    for hostile in ["192.0.2.1:443", "[::ffff:192.0.2.1]:443", "169.254.169.254:80", "[::ffff:169.254.169.254]:80"] {
        named.remember("api.example.com", &[address(hostile).ip()]);
        assert!(judge::connect(&named, &table, address(hostile), &Lead::Outside).is_err(), "{hostile}");
    }
}

#[test]
fn addresses_written_behind_a_service_are_outside_ones() {
    let (pods, table) = (Pods::default(), table());
    let pod = pod(&pods, "cluster,internet");
    assert!(judge::written(&pod, &table, address("169.254.169.254:80")).is_err());
    assert!(judge::written(&pod, &table, address("192.0.2.1:6443")).is_err());
    let all = self::pod(&Pods::default(), "0.0.0.0/0");
    assert!(judge::written(&all, &table, address("127.0.0.1:6443")).is_err());
    assert!(judge::api(&table, &ServiceName::new("shop", "kubernetes"), "n2").is_empty());
    let api = judge::api(&table, &ServiceName::new("default", "kubernetes"), "n2");
    assert_eq!(api, [address("192.0.2.2:6443"), address("192.0.2.1:6443")]);
}

#[test]
fn name_of_a_service_that_is_not_there_tells_nothing_of_other_namespaces() {
    let (pods, name) = (Pods::default(), "db.shop");
    let pod = pod(&pods, "cluster");
    assert_eq!(judge::no_service(&pod, name), Some("db"));
    for other in ["db.kube-system", "db.nowhere", "db", "a.db.shop", "db.shop.example.com"] {
        assert_eq!(judge::no_service(&pod, other), None, "{other}");
    }
}

fn enter(pods: &Pods, namespace: &str, number: u8) -> Arc<Pod> {
    let uid = format!("{namespace}-{number}");
    pods.enter(&uid.as_str().into(), IpAddr::from([10, 128, 1, number]), &spec(namespace, ""))
}

#[test]
fn pods_of_one_namespace_leave_look_ups_to_others_and_so_do_many_namespaces() {
    let pods = Pods::default();
    let many: Vec<_> = (0..100).map(|number| enter(&pods, "shop", number)).collect();
    let (mut looking, mut waiting) = (Vec::new(), 0);
    for pod in many.iter().chain(&many).chain(&many) {
        match pod.lookup().now_or_never() {
            Some(turns) => looking.push(turns),
            None => waiting += 1,
        }
    }
    assert_eq!((looking.len(), waiting), (32, 300 - 32));
    let other = enter(&pods, "other", 200);
    assert!(other.lookup().now_or_never().is_some());
    looking.pop();
    assert!(many[99].lookup().now_or_never().is_some());

    let more = ["a", "b", "c", "d", "e", "f"].map(|namespace| (0..32).map(move |number| (namespace, number)));
    let more: Vec<_> = more.into_iter().flatten().map(|(namespace, number)| enter(&pods, namespace, number)).collect();
    looking.extend(more.iter().filter_map(|pod| pod.lookup().now_or_never()));
    assert!(other.lookup().now_or_never().is_some(), "{} look", looking.len());
}

#[tokio::test]
async fn look_up_of_a_guest_that_is_not_looked_at_keeps_no_turn_from_others() {
    let (pods, usage) = (Pods::default(), Usage::new(CpuLimits::BEST_EFFORT, MemoryBytes(0)));
    let many: Vec<_> = (0..33).map(|number| enter(&pods, "shop", number)).collect();
    let mut busy: Vec<_> = many[..32].iter().filter_map(|pod| pod.lookup().now_or_never()).collect();
    assert_eq!(busy.len(), 32);
    let mut asked = Box::pin(look_up_here(&many[32], &usage, "localhost"));
    assert!(asked.as_mut().now_or_never().is_none());
    busy.pop();
    let other = tokio::time::timeout(Duration::from_secs(20), many[0].lookup());
    assert!(other.await.is_ok());
    assert!(asked.await.is_ok_and(|addresses| addresses.iter().all(IpAddr::is_loopback)));
}
