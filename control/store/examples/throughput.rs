//! temporary
#![allow(missing_docs, clippy::all, clippy::pedantic, clippy::print_stdout, clippy::allow_attributes_without_reason)]
use std::sync::Arc;
use std::time::{Duration, Instant};
use wk_store::*;
struct Alone;
impl Transport for Alone { fn send(&self, _: MemberId, _: bytes::Bytes) {} }
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let dir = tempfile::tempdir_in(std::env::args().nth(1).unwrap_or("/tmp".into())).unwrap();
    let store = Store::open(Options::new(dir.path().join("s"), MemberId(1), Start::Bootstrap), Arc::new(Alone)).unwrap();
    store.read().await.unwrap();
    // fsync floor
    { use std::io::Write; let mut f = std::fs::File::create(dir.path().join("f")).unwrap(); let t = Instant::now(); for _ in 0..200 { f.write_all(&[1;1100]).unwrap(); f.sync_data().unwrap(); } println!("fdatasync {:?}", t.elapsed()/200); }
    for writers in [1usize, 64, 512] {
        let end = Instant::now() + Duration::from_secs(4);
        let mut tasks = tokio::task::JoinSet::new();
        for w in 0..writers { let store = store.clone(); tasks.spawn(async move {
            let mut times = vec![]; let body = bytes::Bytes::from(vec![b'x'; 1024]); let mut n = 0;
            while Instant::now() < end { let t = Instant::now();
                let op = Op { key: Key::new("core/pods", format!("{w}/{}", n % 100)), expect: Expect::Any, change: Change::Put(Value { bytes: body.clone(), stamp: Some(5) }) };
                store.write(op.into()).await.unwrap(); times.push(t.elapsed()); n += 1; }
            times }); }
        let start = Instant::now();
        let mut all: Vec<_> = tasks.join_all().await.concat(); all.sort();
        println!("{writers} writers: {:.0}/s p50 {:?} p99 {:?}", all.len() as f64 / start.elapsed().as_secs_f64(), all[all.len()/2], all[all.len()*99/100]);
    }
    let t = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..64 { let store = store.clone(); tasks.spawn(async move { for _ in 0..2000 { store.read().await.unwrap(); } }); }
    tasks.join_all().await;
    println!("64 readers: {:.0} linearizable reads/s", 128000.0 / t.elapsed().as_secs_f64());
    let n = store.view().len("core/pods");
    store.stop().await; drop(store);
    let t = Instant::now();
    let store = Store::open(Options::new(dir.path().join("s"), MemberId(1), Start::Resume), Arc::new(Alone)).unwrap();
    let opened = t.elapsed(); store.read().await.unwrap();
    println!("restart with {n} objects: open {opened:?}, serving {:?}", t.elapsed());
    store.stop().await;
}
