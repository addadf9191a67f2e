//! A peer whose disk does not answer.

use super::*;
use crate::disk::{Disk, RealDisk};
use crate::options::{Options, Start};

#[test]
fn a_disk_that_does_not_answer_has_failed_by_ticks_and_not_by_the_clock() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options::new(dir.path().join("store"), MemberId(1), Start::Bootstrap);
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let (_log, recovered) = log::bootstrap(&options, &disk).expect("is made");
    let core = Core::new(&options, recovered, 1).expect("starts");
    let shared = Arc::new(Shared::new(&options, &core, 1));
    let mut peer = Peer::new(core, shared);
    let start = Instant::now();
    let out = peer.flush(start).expect("no invariant breaks");
    assert!(out.iter().any(|output| matches!(output, Output::Log(_))), "a sole voter writes its first term");
    // The machine was paused for an hour: one tick, and the disk had no time either.
    let mut now = start + Duration::from_hours(1);
    let ticks = DISK_DEADLINE.as_millis() / options.timing.tick.as_millis();
    for _ in 0..ticks {
        now += options.timing.tick;
        peer.handle(Input::Tick, now).expect("it may still answer");
    }
    let failed = peer.handle(Input::Tick, now).expect_err("a minute has passed");
    assert!(failed.0.contains("60 s"), "{failed}");
}
