//! Arguments, variables, clocks, random numbers, polling, the standard streams.

use crate::check::{Fact, Outcome};
use crate::sys;
use crate::{ensure, given, refused, same};

/// What the pod passes after the first argument.
const ARGUMENTS: [&str; 2] = ["two words", "ä=ö"];
/// A variable that the pod sets, with an equals sign in its value.
const VARIABLE: (&str, &str) = ("GREETING", "good day = yes");

pub const FACTS: &[Fact] = &[
    ("process-arguments-come-whole", arguments),
    ("process-variables-are-those-of-the-spec", variables),
    ("clock-monotonic-never-goes-back", monotonic),
    ("clock-realtime-is-of-today", realtime),
    ("clock-resolution-is-given", resolution),
    ("clock-of-processor-time-is-refused-or-counts", cpu_time),
    ("random-fills-buffers-short-and-long", random),
    ("sched-yield-comes-back", sched_yield),
    ("memory-of-the-heap-is-its-own", heap),
    ("poll-waits-for-a-while", poll_relative),
    ("poll-until-a-time-of-the-past-is-over-at-once", poll_absolute),
    ("poll-without-subscriptions-is-an-error", poll_nothing),
    ("poll-finds-standard-output-writable", poll_stdout),
    ("stdio-is-there-and-input-is-at-its-end", stdio),
    ("stdio-cannot-be-sought", stdio_seek),
    ("descriptor-that-was-never-opened-is-refused", bad_descriptor),
    ("socket-calls-on-a-file-are-refused", no_socket),
];

fn arguments() -> Outcome {
    let all: Vec<String> = std::env::args().collect();
    same!(all.len(), 2 + ARGUMENTS.len());
    ensure!(!all[0].is_empty());
    same!(all[2..], ARGUMENTS);
    Ok(())
}

fn variables() -> Outcome {
    let (name, value) = VARIABLE;
    same!(std::env::var(name).as_deref(), Ok(value));
    for absent in ["HOME", "PATH", "PWD", "WK_LOG", "USER"] {
        ensure!(std::env::var(absent).is_err());
    }
    Ok(())
}

fn now(clock: wasi::Clockid) -> Result<u64, wasi::Errno> {
    unsafe { wasi::clock_time_get(clock, 1) }
}

fn monotonic() -> Outcome {
    let mut before = given!(now(wasi::CLOCKID_MONOTONIC));
    for _ in 0..1000 {
        let after = given!(now(wasi::CLOCKID_MONOTONIC));
        ensure!(after >= before);
        before = after;
    }
    Ok(())
}

fn realtime() -> Outcome {
    let seconds = given!(now(wasi::CLOCKID_REALTIME)) / 1_000_000_000;
    // 2025 to 2100.
    ensure!((1_735_689_600..4_102_444_800).contains(&seconds));
    Ok(())
}

fn resolution() -> Outcome {
    for clock in [wasi::CLOCKID_REALTIME, wasi::CLOCKID_MONOTONIC] {
        let nanos = given!(unsafe { wasi::clock_res_get(clock) });
        ensure!(nanos > 0 && nanos <= 1_000_000_000);
    }
    Ok(())
}

fn cpu_time() -> Outcome {
    for clock in [wasi::CLOCKID_PROCESS_CPUTIME_ID, wasi::CLOCKID_THREAD_CPUTIME_ID] {
        if let Err(error) = now(clock) {
            ensure!([wasi::ERRNO_INVAL, wasi::ERRNO_NOTSUP, wasi::ERRNO_BADF].contains(&error));
        }
    }
    Ok(())
}

fn random() -> Outcome {
    let mut untouched = [7_u8];
    given!(unsafe { wasi::random_get(untouched.as_mut_ptr(), 0) });
    same!(untouched, [7]);
    let mut draws = [vec![0_u8; 65_537], vec![0_u8; 65_537]];
    for draw in &mut draws {
        given!(unsafe { wasi::random_get(draw.as_mut_ptr(), draw.len()) });
    }
    ensure!(draws[0] != draws[1]);
    // A run of this many zeros does not happen.
    ensure!(!draws[0].windows(32).any(|run| run.iter().all(|byte| *byte == 0)));
    Ok(())
}

fn sched_yield() -> Outcome {
    given!(unsafe { wasi::sched_yield() });
    Ok(())
}

fn no_socket() -> Outcome {
    let data = sys::data()?;
    let fd = given!(sys::fresh(data, "no-socket"));
    let refusals = [wasi::ERRNO_NOTSOCK, wasi::ERRNO_NOTSUP, wasi::ERRNO_BADF, wasi::ERRNO_NOSYS];
    for fd in [fd, 999] {
        let shut = unsafe { wasi::sock_shutdown(fd, wasi::SDFLAGS_RD) };
        ensure!(shut.is_err_and(|error| refusals.contains(&error)));
        let accepted = unsafe { wasi::sock_accept(fd, 0) };
        ensure!(accepted.is_err_and(|error| refusals.contains(&error)));
    }
    given!(sys::close(fd));
    given!(sys::unlink(data, "no-socket"));
    Ok(())
}

/// What the host does on a guest's behalf happens in memory that the guest's allocator knows nothing of.
fn heap() -> Outcome {
    let blocks: Vec<Vec<u8>> = (0..64_u8).map(|number| vec![number; 48 << 10]).collect();
    for _ in 0..100 {
        given!(now(wasi::CLOCKID_MONOTONIC));
        given!(sys::preopen("/data").and_then(sys::stat));
    }
    ensure!((0_u8..).zip(&blocks).all(|(number, block)| block.iter().all(|byte| *byte == number)));
    Ok(())
}

fn clock_subscription(timeout: u64, flags: wasi::Subclockflags, userdata: u64) -> wasi::Subscription {
    let clock = wasi::SubscriptionClock { id: wasi::CLOCKID_MONOTONIC, timeout, precision: 1, flags };
    let u = wasi::SubscriptionU { tag: wasi::EVENTTYPE_CLOCK.raw(), u: wasi::SubscriptionUU { clock } };
    wasi::Subscription { userdata, u }
}

fn poll(subscriptions: &[wasi::Subscription]) -> Result<Vec<wasi::Event>, wasi::Errno> {
    let mut events = Vec::with_capacity(subscriptions.len());
    let count = unsafe { wasi::poll_oneoff(subscriptions.as_ptr(), events.as_mut_ptr(), subscriptions.len())? };
    unsafe { events.set_len(count) };
    Ok(events)
}

fn poll_relative() -> Outcome {
    const WAIT: u64 = 20_000_000;
    let before = given!(now(wasi::CLOCKID_MONOTONIC));
    // The shorter of two is what it waits for.
    let events = given!(poll(&[clock_subscription(WAIT, 0, 7), clock_subscription(3_600_000_000_000, 0, 8)]));
    let waited = given!(now(wasi::CLOCKID_MONOTONIC)) - before;
    same!(events.len(), 1);
    same!((events[0].userdata, events[0].error), (7, wasi::ERRNO_SUCCESS));
    ensure!(waited >= WAIT);
    Ok(())
}

fn poll_absolute() -> Outcome {
    let events = given!(poll(&[clock_subscription(1, wasi::SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME, 9)]));
    same!(events.len(), 1);
    same!(events[0].userdata, 9);
    Ok(())
}

fn poll_nothing() -> Outcome {
    refused!(poll(&[]), wasi::ERRNO_INVAL);
    Ok(())
}

fn poll_stdout() -> Outcome {
    let fd_write = wasi::SubscriptionFdReadwrite { file_descriptor: 1 };
    let u = wasi::SubscriptionU { tag: wasi::EVENTTYPE_FD_WRITE.raw(), u: wasi::SubscriptionUU { fd_write } };
    let subscriptions = [wasi::Subscription { userdata: 1, u }, clock_subscription(10_000_000_000, 0, 2)];
    let events = given!(poll(&subscriptions));
    same!(events[0].userdata, 1);
    same!(events[0].error, wasi::ERRNO_SUCCESS);
    Ok(())
}

fn stdio() -> Outcome {
    for fd in 0..3 {
        let stat = given!(unsafe { wasi::fd_fdstat_get(fd) });
        // No terminal: nobody is attached.
        ensure!(stat.fs_filetype == wasi::FILETYPE_UNKNOWN || stat.fs_rights_base & wasi::RIGHTS_FD_SEEK != 0);
    }
    same!(given!(sys::read(0, 10)), Vec::<u8>::new());
    same!(given!(sys::write(1, b"")), 0);
    same!(given!(sys::write(2, b"to standard error\n")), 18);
    Ok(())
}

fn stdio_seek() -> Outcome {
    refused!(sys::seek(1, 0, wasi::WHENCE_CUR), wasi::ERRNO_SPIPE, wasi::ERRNO_BADF, wasi::ERRNO_NOTCAPABLE);
    Ok(())
}

fn bad_descriptor() -> Outcome {
    refused!(sys::write(999, b"x"), wasi::ERRNO_BADF);
    refused!(sys::read(999, 1), wasi::ERRNO_BADF);
    refused!(sys::close(999), wasi::ERRNO_BADF);
    refused!(sys::stat(u32::MAX), wasi::ERRNO_BADF);
    Ok(())
}
