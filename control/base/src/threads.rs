//! The threads of a process of wk: tokio's, so many that serve, and more that may wait for a disk.

use std::io;
use std::time::Duration;

use tokio::runtime::Builder;

/// A thread that may wait and has nothing to do ends after this. They take turns at what comes, so that where each look of a
/// controller is on one of them, as many as there ever were would stay, each with memory that it keeps to itself.
const REST: Duration = Duration::from_millis(500);

/// A process that is done waits so long for such threads. What they wait for may be a disk that hangs, and by then nobody
/// asks what comes of it.
const END_MAX: Duration = Duration::from_secs(2);

/// The runtime of a process, to be built.
pub fn runtime() -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder.enable_all().thread_keep_alive(REST);
    builder
}

/// Does all the work of a process. Whatever it has begun and does not wait for itself ends with it.
pub fn run<T>(work: impl Future<Output = T>) -> io::Result<T> {
    let runtime = runtime().build()?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_timeout(END_MAX);
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::mpsc;
    use std::time::Instant;

    use super::*;

    /// Enough for a busy machine, and less than tokio's own ten seconds.
    const SOON: Duration = Duration::from_secs(8);

    #[test]
    fn threads_that_waited_end_soon_after_their_work() {
        thread_local! {
            static HERE: RefCell<Option<mpsc::SyncSender<()>>> = const { RefCell::new(None) };
        }
        let runtime = runtime().worker_threads(1).build().expect("threads");
        let (here, gone) = mpsc::sync_channel(1);
        runtime.block_on(runtime.spawn_blocking(|| HERE.replace(Some(here)))).expect("no panic");
        assert_eq!(gone.recv_timeout(SOON), Err(mpsc::RecvTimeoutError::Disconnected));
    }

    #[test]
    fn process_ends_though_something_waits_for_a_disk_that_hangs() {
        let (begun, begins) = mpsc::sync_channel(1);
        let (_never, hangs) = mpsc::sync_channel::<()>(1);
        let began = Instant::now();
        let ended = run(async move {
            tokio::task::spawn_blocking(move || {
                begun.send(()).expect("somebody waits");
                let _ = hangs.recv_timeout(3 * SOON);
            });
            begins.recv().expect("it begins");
            7
        });
        assert_eq!(ended.expect("threads"), 7);
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    }
}
