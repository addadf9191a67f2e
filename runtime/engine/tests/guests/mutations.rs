//! Bytes that nobody meant: guests with some of their bytes changed. Each is refused or made into code; none makes the
//! compiler panic. `cargo xtask fuzz prepare` looks further, with a fuzzer that learns.

use wk_engine::{Profile, compile};

use crate::kit::hello;

/// Mutants of each guest: some seconds of a test. `WK_MUTANTS` asks for more.
const MUTANTS: u32 = 60;

/// A core program that exits, one that has tables, globals and data, and a component with a module of its own.
const SMALL: &[&str] = &[
    r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "_start") (call $exit (i32.const 7))))"#,
    r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
        (type $void (func))
        (table 2 funcref) (elem (i32.const 0) $start $start)
        (global $count (mut i64) (i64.const 1))
        (memory (export "memory") 1 4) (data (i32.const 8) "hello")
        (func $start (export "_start")
            (global.set $count (i64.add (global.get $count) (i64.const 1)))
            (memory.copy (i32.const 64) (i32.const 8) (i32.const 5))
            (if (i64.lt_u (global.get $count) (i64.const 9)) (then (call_indirect (type $void) (i32.const 1))))))"#,
    r#"(component
        (import "wasi:clocks/wall-clock@0.2.0" (instance))
        (core module $module (memory (export "memory") 1) (func (export "run") (result i32) i32.const 0))
        (core instance $core (instantiate $module))
        (func $run (result (result)) (canon lift (core func $core "run")))
        (instance $exported (export "run" (func $run)))
        (export "wasi:cli/run@0.2.0" (instance $exported)))"#,
];

/// The same numbers in every run (xorshift, Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).expect("below a usize")
    }
}

fn mutant(bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len());
        let interesting = [0, 1, 0x7f, 0x80, 0xff, u8::try_from(dice.below(256)).expect("a byte")];
        match dice.below(5) {
            0 => bytes[at] ^= 1 << dice.below(8),
            1 => bytes[at] = interesting[dice.below(interesting.len())],
            2 => bytes.insert(at, interesting[dice.below(interesting.len())]),
            3 if bytes.len() > 1 => drop(bytes.remove(at)),
            _ => {
                let end = (at + 1 + dice.below(32)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = dice.below(bytes.len());
                bytes.splice(to..to, piece);
            }
        }
    }
    bytes
}

#[test]
fn changed_guests_are_refused_or_compiled_and_never_a_panic() {
    let mutants = std::env::var("WK_MUTANTS").ok().and_then(|count| count.parse().ok()).unwrap_or(MUTANTS);
    let mut guests: Vec<Vec<u8>> = SMALL.iter().map(|text| wat::parse_str(text).expect("is text")).collect();
    for guest in &guests {
        compile(&Profile::default(), guest).expect("is whole");
    }
    guests.push(std::fs::read(hello()).expect("reads"));
    let (mut dice, mut taken, mut refused) = (Dice(0x9e37_79b9_7f4a_7c15), 0, 0);
    for guest in &guests {
        for number in 0..mutants {
            let mutant = mutant(guest, &mut dice);
            match std::panic::catch_unwind(|| compile(&Profile::default(), &mutant)) {
                Ok(Ok(_)) => taken += 1,
                Ok(Err(_)) => refused += 1,
                Err(panicked) => {
                    panic!("mutant {number} makes the compiler panic ({panicked:?}): {}", hex(&mutant));
                }
            }
        }
    }
    assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused: the mutants say nothing");
}

fn hex(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 4096;
    hex::encode(&bytes[..bytes.len().min(SHOWN_MAX)])
}
