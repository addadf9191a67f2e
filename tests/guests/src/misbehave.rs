//! What both guests can do wrong.

use std::hint::black_box;

/// Traps, three named functions deep.
#[inline(never)]
pub fn trap() {
    outer_of_trap(black_box(1));
}

#[inline(never)]
fn outer_of_trap(depth: u32) {
    inner_of_trap(black_box(depth + 1));
    black_box(depth);
}

#[inline(never)]
fn inner_of_trap(depth: u32) {
    if black_box(depth) > 0 {
        core::arch::wasm32::unreachable();
    }
}

/// Never comes back, and never calls the host.
pub fn endless_loop() {
    let mut count: u64 = 0;
    loop {
        count = black_box(count).wrapping_add(1);
    }
}

/// Takes memory, a mebibyte at a time, and touches it.
pub fn allocate() {
    let mut kept = Vec::new();
    loop {
        kept.push(black_box(vec![1_u8; 1 << 20]));
    }
}

/// Calls itself until the stack is full.
#[inline(never)]
pub fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 16]);
    if black_box(depth) == u64::MAX {
        return 0;
    }
    1 + recurse(depth + 1) + frame[black_box(3)]
}

/// Variables, one a line, in order of their names.
pub fn variables() -> String {
    let mut lines: Vec<String> = std::env::vars().map(|(name, value)| format!("{name}={value}\n")).collect();
    lines.sort();
    lines.concat()
}
