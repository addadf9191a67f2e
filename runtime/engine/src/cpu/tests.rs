use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::sandbox::MemoryBytes;
use crate::usage::CpuLimits;

/// Holds its thread for `time` on a core, in slices, as a looping guest does.
async fn burn(time: Duration) -> Option<String> {
    let mut left = u64::try_from(time.as_nanos()).expect("a short time");
    while left > 0 {
        let stretch = Stretch::begin();
        let began = Instant::now();
        while began.elapsed() < crate::ticker::TICK {}
        left = left.saturating_sub(stretch.end());
        tokio::task::yield_now().await;
    }
    std::thread::current().name().map(ToOwned::to_owned)
}

fn container(cpu: CpuLimits) -> Arc<Usage> {
    Usage::new(cpu, MemoryBytes(0))
}

#[tokio::test]
async fn quick_guest_stays_on_the_thread_that_asked_for_it() {
    let scheduler = Arc::new(Scheduler::new(&Handle::current()));
    let usage = container(CpuLimits::BEST_EFFORT);
    let here = std::thread::current().id();
    let work = async {
        tokio::task::yield_now().await;
        std::thread::current().id()
    };
    assert_eq!(Guest::new(&scheduler, &usage, work).await, here);
    assert!(usage.used().cpu > Duration::ZERO);
}

#[tokio::test]
async fn guest_that_runs_on_moves_to_a_thread_of_guests_and_is_charged() {
    let scheduler = Arc::new(Scheduler::new(&Handle::current()));
    let usage = container(CpuLimits::BEST_EFFORT);
    let wanted = Duration::from_millis(40);
    let thread = Guest::new(&scheduler, &usage, burn(wanted)).await;
    assert_eq!(thread.as_deref(), Some("wk-guest"));
    assert!(usage.used().cpu >= wanted, "{:?}", usage.used().cpu);
    // And so do the next ones of its container.
    assert_eq!(Guest::new(&scheduler, &usage, burn(Duration::ZERO)).await.as_deref(), Some("wk-guest"));
}

#[tokio::test]
async fn timers_fire_in_the_pool() {
    let scheduler = Arc::new(Scheduler::new(&Handle::current()));
    let usage = container(CpuLimits::BEST_EFFORT);
    let work = async {
        burn(Duration::from_millis(20)).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        7
    };
    assert_eq!(Guest::new(&scheduler, &usage, work).await, 7);
}

#[tokio::test]
async fn dropping_a_guest_in_the_pool_ends_it_wherever_it_is() {
    struct Gone(Arc<AtomicBool>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let scheduler = Arc::new(Scheduler::new(&Handle::current()));
    for asleep in [false, true] {
        let usage = container(CpuLimits::BEST_EFFORT);
        let gone = Gone(Arc::default());
        let ended = Arc::clone(&gone.0);
        let work = async move {
            let _gone = gone;
            burn(Duration::from_millis(20)).await;
            if asleep {
                std::future::pending::<()>().await;
            }
            burn(Duration::from_hours(1)).await;
        };
        let guest = tokio::spawn(Guest::new(&scheduler, &usage, work));
        while usage.used().cpu < Duration::from_millis(20) {
            tokio::task::yield_now().await;
        }
        guest.abort();
        while !ended.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn panic_of_a_guest_in_the_pool_is_its_callers() {
    let scheduler = Arc::new(Scheduler::new(&Handle::current()));
    let usage = container(CpuLimits::BEST_EFFORT);
    let work = async {
        burn(Duration::from_millis(20)).await;
        panic!("a bug of ours");
    };
    let outcome = tokio::spawn(Guest::<()>::new(&scheduler, &usage, work)).await;
    assert!(outcome.expect_err("it panics").is_panic());
    assert_eq!(Guest::new(&scheduler, &usage, async { 1 }).await, 1, "the pool goes on");
}

#[tokio::test]
async fn quota_stretches_work_over_time() {
    let scheduler = Arc::new(Scheduler::new(&Handle::current()));
    let usage = container(CpuLimits { shares: 1024, quota: Some(10) });
    let began = Instant::now();
    // One millisecond is there, the first slice takes ten, and another one comes in a tenth of a second.
    Guest::new(&scheduler, &usage, burn(Duration::from_millis(20))).await;
    assert!(began.elapsed() >= Duration::from_millis(800), "{:?}", began.elapsed());
    assert!(usage.used().throttled > Duration::ZERO);
}
