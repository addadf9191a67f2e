//! What containers use is counted, and what they may use is kept, over real guests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use wk_engine::{CpuLimits, Exit, Failure, HttpApp, MemoryBytes, Sandbox, Usage};

use crate::kit::{Kit, failure, get, hello, misbehaving_command, misbehaving_http, text};

fn usage(cpu: CpuLimits, memory: MemoryBytes) -> (Sandbox, Arc<Usage>) {
    let usage = Usage::new(cpu, memory);
    (Sandbox { usage: Arc::clone(&usage), ..Sandbox::bare() }, usage)
}

const PLENTY: MemoryBytes = MemoryBytes::mebibytes(1024);

#[tokio::test]
async fn requests_cost_time_and_hold_memory_while_they_last() {
    let kit = Kit::new();
    let (sandbox, usage) = usage(CpuLimits::BEST_EFFORT, PLENTY);
    let app = kit.app(&hello(), sandbox).await;
    for _ in 0..3 {
        text(app.handle(get("/")).await.expect("answers")).await;
    }
    kit.quiet().await;
    let used = usage.used();
    assert!(used.cpu > Duration::ZERO && used.cpu < Duration::from_secs(1), "{used:?}");
    assert_eq!((used.memory, used.instances, used.instances_total), (0, 0, 3));
    // A page at the least.
    assert!(used.memory_peak > 64 << 10, "{used:?}");
}

#[tokio::test]
async fn container_that_is_full_takes_no_further_request_and_the_guest_has_seen_nothing_of_it() {
    let kit = Kit::new();
    // One instance of this guest takes more than one mebibyte.
    let limit = MemoryBytes::mebibytes(2);
    let (sandbox, usage) = usage(CpuLimits::BEST_EFFORT, limit);
    let app = kit.app(&misbehaving_http(), sandbox).await;
    let waiting = tokio::spawn({
        let app = app.clone();
        async move { app.handle(get("/silent")).await.map(|_| ()) }
    });
    while usage.used().memory < 1 << 20 {
        tokio::task::yield_now().await;
    }
    let refused = failure(&app, "/").await;
    assert_eq!(refused.reason(), "MemoryLimit");
    assert!(matches!(refused, Failure::Crowded { limit: of, instances: 2, .. } if of == limit), "{refused}");
    waiting.abort();
    kit.quiet().await;
    assert_eq!(text(app.handle(get("/")).await.expect("answers")).await, "well behaved\n");
    kit.quiet().await;
    assert_eq!(usage.used().memory, 0);
}

#[tokio::test]
async fn growing_past_what_the_container_may_hold_names_the_limit_and_the_others() {
    let kit = Kit::new();
    let limit = MemoryBytes::mebibytes(8);
    let (sandbox, usage) = usage(CpuLimits::BEST_EFFORT, limit);
    let app = kit.app(&misbehaving_http(), sandbox).await;
    let waiting = tokio::spawn({
        let app = app.clone();
        async move { app.handle(get("/silent")).await.map(|_| ()) }
    });
    while usage.used().memory < 1 << 20 {
        tokio::task::yield_now().await;
    }
    let failure = failure(&app, "/alloc").await;
    assert_eq!(failure.reason(), "OOMKilled");
    let Failure::OutOfMemory { limit: of, asked, instances: 2 } = failure else { panic!("{failure:?}") };
    assert!(of == limit && asked > limit, "{failure}");
    waiting.abort();
}

#[tokio::test]
async fn one_container_leaves_half_of_the_slots_to_the_others() {
    let kit = Kit::new();
    let (sandbox, used) = usage(CpuLimits::BEST_EFFORT, PLENTY);
    let app = kit.app(&misbehaving_http(), sandbox).await;
    let wait = |app: HttpApp| tokio::spawn(async move { app.handle(get("/silent")).await.map(|_| ()) });
    // Half of the kit's 64.
    let waiting: Vec<_> = (0..32).map(|_| wait(app.clone())).collect();
    while used.used().instances < 32 {
        tokio::task::yield_now().await;
    }
    let refused = failure(&app, "/").await;
    assert!(matches!(refused, Failure::Busy { .. }) && refused.to_string().contains("32"), "{refused}");
    let (other, _) = usage(CpuLimits::BEST_EFFORT, PLENTY);
    let other = kit.app(&misbehaving_http(), other).await;
    assert_eq!(text(other.handle(get("/")).await.expect("answers")).await, "well behaved\n");
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Loops until `time` has passed, in as many instances of each container.
async fn loops(kit: &Kit, containers: &[Sandbox], each: usize, time: Duration) {
    let prepared = kit.prepare(&misbehaving_command()).await;
    let cancel = CancellationToken::new();
    let mut running = Vec::new();
    for sandbox in containers {
        for _ in 0..each {
            let sandbox = Sandbox { args: vec!["command".into(), "loop".into()], ..sandbox.clone() };
            let (engine, prepared, cancel) = (kit.engine.clone(), Arc::clone(&prepared), cancel.clone());
            running.push(tokio::spawn(async move { engine.run(&prepared, sandbox, cancel).await }));
        }
    }
    tokio::time::sleep(time).await;
    cancel.cancel();
    for guest in running {
        assert_eq!(guest.await.expect("no panic"), Exit::Cancelled);
    }
}

#[tokio::test]
async fn containers_that_want_more_than_there_is_share_by_weight() {
    let kit = Kit::new();
    let (large, large_usage) = usage(CpuLimits::of_millis(800, None), PLENTY);
    let (small, small_usage) = usage(CpuLimits::of_millis(200, None), PLENTY);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // Each alone would fill all cores.
    loops(&kit, &[large, small], cores, Duration::from_millis(1500)).await;
    let (large, small) = (large_usage.used().cpu, small_usage.used().cpu);
    let ratio = large.as_secs_f64() / small.as_secs_f64();
    assert!((2.5..6.0).contains(&ratio), "{large:?} and {small:?}: 4 to 1 are due, {ratio:.1} to 1 came");
}

#[tokio::test]
async fn quota_holds_even_where_nobody_else_wants_the_core() {
    let kit = Kit::new();
    let (sandbox, usage) = usage(CpuLimits::of_millis(200, Some(200)), PLENTY);
    let began = Instant::now();
    loops(&kit, &[sandbox], 2, Duration::from_secs(1)).await;
    let (wall, used) = (began.elapsed(), usage.used());
    // A fifth, and what a period holds, and what the last slices went beyond.
    let most = wall / 5 + Duration::from_millis(60);
    assert!(used.cpu <= most, "{:?} of {most:?} in {wall:?}", used.cpu);
    // Where other programs took the cores, there may have been nothing to hold back.
    let starved = used.cpu + Duration::from_millis(60) < wall / 5;
    assert!(starved || used.throttled > Duration::ZERO, "{:?} in {wall:?}", used.cpu);
}

async fn slowest_of(app: &HttpApp, requests: u32) -> Duration {
    let mut times = Vec::new();
    for _ in 0..requests {
        let began = Instant::now();
        text(app.handle(get("/")).await.expect("answers")).await;
        times.push(began.elapsed());
    }
    times.sort();
    times[times.len() * 9 / 10]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quick_neighbour_does_not_queue_behind_those_that_loop() {
    let kit = Kit::new();
    let good = kit.app(&hello(), Sandbox::bare()).await;
    let bad = kit.app(&misbehaving_http(), Sandbox::bare()).await;
    slowest_of(&good, 20).await;
    let loops: Vec<_> = (0..16)
        .map(|_| {
            let bad = bad.clone();
            tokio::spawn(async move { bad.handle(get("/loop")).await.map(|_| ()) })
        })
        .collect();
    while kit.engine.instances() < loops.len() {
        tokio::task::yield_now().await;
    }
    // Sixteen loops that took turns with it on two threads would make it wait for eight slices: 80 ms.
    let slow = slowest_of(&good, 100).await;
    assert!(slow < Duration::from_millis(40), "{slow:?}");
    loops.iter().for_each(tokio::task::JoinHandle::abort);
    kit.quiet().await;
}
