//! Arguments, environment, terminals, clocks, random numbers, polling, standard streams.

use wasip2::cli::{environment, stdin, stdout, terminal_stdin, terminal_stdout};
use wasip2::clocks::{monotonic_clock, wall_clock};
use wasip2::io::poll;
use wasip2::io::streams::StreamError;
use wasip2::random::{insecure, insecure_seed, random};

use crate::check::{Fact, Outcome};
use crate::{ensure, given, same};

const ARGUMENTS: [&str; 2] = ["two words", "ä=ö"];
const VARIABLE: (&str, &str) = ("GREETING", "good day = yes");

pub const FACTS: &[Fact] = &[
    ("cli-arguments-come-whole", arguments),
    ("cli-environment-is-that-of-the-spec", variables),
    ("cli-without-terminal-has-none", terminals),
    ("stdin-is-at-its-end", input),
    ("stdout-says-how-much-it-takes", output),
    ("clock-monotonic-never-goes-back", monotonic),
    ("clock-wakes-when-its-time-has-come", wakes),
    ("clock-wall-is-of-today", wall),
    ("random-bytes-are-as-many-as-asked-for", bytes),
    ("random-that-is-not-safe-differs-too", insecure_bytes),
    ("poll-tells-which-is-ready", which),
    ("poll-names-one-twice-when-it-is-there-twice", twice),
];

fn arguments() -> Outcome {
    let all = environment::get_arguments();
    same!(all.len(), 2 + ARGUMENTS.len());
    same!(all[2..], ARGUMENTS);
    Ok(())
}

fn variables() -> Outcome {
    let all = environment::get_environment();
    ensure!(all.iter().any(|(name, value)| (name.as_str(), value.as_str()) == VARIABLE));
    ensure!(!all.iter().any(|(name, _)| ["HOME", "PATH", "PWD", "WK_LOG", "USER"].contains(&name.as_str())));
    Ok(())
}

fn terminals() -> Outcome {
    ensure!(terminal_stdin::get_terminal_stdin().is_none());
    ensure!(terminal_stdout::get_terminal_stdout().is_none());
    Ok(())
}

fn input() -> Outcome {
    let stream = stdin::get_stdin();
    stream.subscribe().block();
    ensure!(matches!(stream.blocking_read(10), Err(StreamError::Closed)));
    Ok(())
}

fn output() -> Outcome {
    let stream = stdout::get_stdout();
    stream.subscribe().block();
    let room = given!(stream.check_write());
    ensure!(room > 0);
    given!(stream.write(b"standard output takes a line\n"));
    given!(stream.blocking_flush());
    given!(stream.blocking_write_and_flush(b"and another\n"));
    Ok(())
}

fn monotonic() -> Outcome {
    ensure!(monotonic_clock::resolution() > 0);
    let mut before = monotonic_clock::now();
    for _ in 0..1000 {
        let after = monotonic_clock::now();
        ensure!(after >= before);
        before = after;
    }
    Ok(())
}

fn wakes() -> Outcome {
    const WAIT: u64 = 20_000_000;
    let before = monotonic_clock::now();
    monotonic_clock::subscribe_duration(WAIT).block();
    ensure!(monotonic_clock::now() - before >= WAIT);
    // It may want to be asked twice before it says so: a guest that asks in a circle is to let others run.
    let past = monotonic_clock::subscribe_instant(before);
    past.block();
    ensure!(past.ready());
    monotonic_clock::subscribe_instant(0).block();
    ensure!(!monotonic_clock::subscribe_duration(3_600_000_000_000).ready());
    Ok(())
}

fn wall() -> Outcome {
    let now = wall_clock::now();
    ensure!((1_735_689_600..4_102_444_800).contains(&now.seconds));
    ensure!(now.nanoseconds < 1_000_000_000);
    let finest = wall_clock::resolution();
    ensure!(finest.seconds > 0 || finest.nanoseconds > 0);
    Ok(())
}

fn bytes() -> Outcome {
    for length in [0, 1, 16, 100_000] {
        same!(random::get_random_bytes(length).len() as u64, length);
    }
    ensure!(random::get_random_bytes(32) != random::get_random_bytes(32));
    ensure!(random::get_random_u64() != random::get_random_u64());
    Ok(())
}

fn insecure_bytes() -> Outcome {
    same!(insecure::get_insecure_random_bytes(32).len(), 32);
    ensure!(insecure::get_insecure_random_bytes(32) != insecure::get_insecure_random_bytes(32));
    ensure!(insecure_seed::insecure_seed() != (0, 0));
    Ok(())
}

fn which() -> Outcome {
    let (soon, late) = (monotonic_clock::subscribe_duration(1), monotonic_clock::subscribe_duration(3_600_000_000_000));
    same!(poll::poll(&[&late, &soon]), [1]);
    Ok(())
}

fn twice() -> Outcome {
    let past = monotonic_clock::subscribe_instant(0);
    same!(poll::poll(&[&past, &past]), [0, 1]);
    Ok(())
}
