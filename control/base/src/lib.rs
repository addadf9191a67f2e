//! What every crate of wk needs and no domain owns: clock, ids, back-off, error chains, bodies, tasks, threads, tracing, turns.
//!
//! Not here: any word of Kubernetes, Raft or WebAssembly.
//!
//! ```
//! use std::time::Duration;
//! use wk_base::backoff::Backoff;
//!
//! let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
//! assert!(backoff.next_delay() <= Duration::from_millis(100));
//! ```

pub mod backoff;
pub mod body;
pub mod error;
pub mod id;
pub mod tasks;
pub mod threads;
pub mod time;
pub mod trace;
pub mod turns;
