//! What a guest says of itself (names, debugging information) is its own choice, and read by this node when it traps.

use std::fmt::Write as _;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wk_engine::{Exit, Failure, Sandbox};

use crate::kit::Kit;

/// What a trap of this module is told as, if that does not take long.
async fn backtrace_of(text: &str) -> String {
    let kit = Kit::new();
    let path = kit.dir.path().join("trap.wasm");
    std::fs::write(&path, wat::parse_str(text).expect("is WebAssembly text")).expect("writes");
    let prepared = kit.prepare(&path).await;
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let runtime = tokio::runtime::Handle::current();
    // On a thread of its own: what is looked for does not give way.
    std::thread::spawn(move || {
        let run = kit.engine.run(&prepared, Sandbox::bare(), CancellationToken::new());
        let _ = tell.send(runtime.block_on(run));
    });
    let exit = tokio::task::spawn_blocking(move || told.recv_timeout(Duration::from_secs(10))).await;
    let exit = exit.expect("no panic").expect("the node reads a guest's words for more than ten seconds");
    let Exit::Failed(Failure::Trap { backtrace, .. }) = exit else { panic!("not a trap: {exit:?}") };
    assert!(backtrace.len() < 5000, "{} bytes", backtrace.len());
    backtrace
}

#[tokio::test(flavor = "multi_thread")]
async fn name_that_doubles_itself_is_shown_as_it_is_written() {
    // `f(P<int, int>, P<P<int, int>, P<int, int>>, …)`: each parameter is twice as long as the one before.
    let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut name = "_Z1f1PIiiE".to_owned();
    for digit in digits.iter().take(30).copied().map(char::from) {
        let _ = write!(name, "S_IS{digit}_S{digit}_E");
    }
    let text = format!(
        r#"(module (memory (export "memory") 1)
            (func $inner (@name "{name}") unreachable)
            (func $outer (@name "_ZN4core9panicking5panic17h0123456789abcdefE") call $inner)
            (func (export "_start") call $outer))"#
    );
    let backtrace = backtrace_of(&text).await;
    assert!(backtrace.contains("!_Z1f1PIiiES_IS0_S0_E"), "{backtrace}");
    assert!(backtrace.contains("!core::panicking::panic\n"), "{backtrace}");
}

#[tokio::test(flavor = "multi_thread")]
async fn debugging_information_is_not_read_when_a_guest_traps() {
    // One unit after the other that claims all of the code and names the same long program of lines elsewhere.
    const UNITS: usize = 20_000;
    const ROWS: usize = 200_000;
    let unit = [
        &[20, 0, 0, 0, 4, 0, 0, 0, 0, 0, 4][..], // length, DWARF 4, abbreviations at 0, addresses of 4 bytes
        &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x0f][..], // lines at 0, from 0, so far
    ];
    let info = unit.concat().repeat(UNITS);
    let abbreviations = [1, 0x11, 0, 0x10, 0x17, 0x11, 0x01, 0x12, 0x06, 0, 0, 0];
    // Minimum 1, 1 operation, statements, base -5, range 14, opcodes from 13, and how long the others are; no files.
    let header = [1, 1, 1, 0xfb, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0];
    let start = [0, 5, 2, 0, 0, 0, 0x7f]; // at an address far from the code
    let end = [0, 1, 1];
    let program = [&start[..], &vec![0x20; ROWS], &end].concat();
    let rest = [&u32::try_from(header.len()).expect("short").to_le_bytes()[..], &header, &program].concat();
    let version = 4_u16.to_le_bytes();
    let length = u32::try_from(version.len() + rest.len()).expect("short").to_le_bytes();
    let lines = [&length[..], &version, &rest].concat();
    let section = |name: &str, bytes: &[u8]| {
        let escaped: String = bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "\\{byte:02x}");
            text
        });
        format!(r#"(@custom "{name}" "{escaped}")"#)
    };
    let text = format!(
        r#"(module (memory (export "memory") 1) (func (export "_start") unreachable) {} {} {})"#,
        section(".debug_info", &info),
        section(".debug_abbrev", &abbreviations),
        section(".debug_line", &lines),
    );
    backtrace_of(&text).await;
}
