//! Black-box tests of wk, in `tests/`: real processes of the built `wk`, asked by `wk`, `kubectl` and HTTP clients.
//!
//! One file a topic; `main_job` is what the README promises. Helpers are in the crate `wk-kit`.
