//! The replicated, watchable object store: keys and bytes, ordered by Raft, kept in memory and in a log on disk.
//!
//! Not here: what the bytes mean (`wk-cluster`), how messages travel and who sends them (`wk-mesh`, behind
//! [`Transport`]), who should vote (`wk-plan`).
//!
//! ```text
//! Store ──events──> shell (threads) ──inputs──> peer (who waits) ──> core (deterministic: Raft + machine)
//!   ^                  │  <──outputs──────────────┘  │  <──orders──────┘
//!   │                  └─> log (fsync), snapshot files, transport
//!   └──────── view, histories, status ───────────────┘
//! ```
//!
//! Start reading at [`Store`], then `core.rs` for the contract between core and peer, `machine.rs` for what a write does,
//! `log.rs` for what is on disk.
//!
//! ```
//! use std::sync::Arc;
//! use wk_store::{Change, Expect, Key, MemberId, Op, Options, Start, Store, Transport, Txn, Value};
//!
//! struct Alone;
//! impl Transport for Alone {
//!     fn send(&self, _: MemberId, _: bytes::Bytes) {}
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let options = Options::new(dir.path(), MemberId(1), Start::Bootstrap);
//! let store = Store::open(options, Arc::new(Alone))?;
//! let key = Key::new("core/configmaps", "default/greeting");
//! let value = Value { bytes: "{\"revision\":\"\"}".into(), stamp: Some(13) };
//! let create = Op { key: key.clone(), expect: Expect::Absent, change: Change::Put(value) };
//! let revision = store.write(Txn::from(create)).await?;
//! let stored = store.read().await?.get(&key).expect("was written");
//! assert_eq!(stored.bytes(), format!("{{\"revision\":\"{revision}\"}}").as_bytes());
//! store.stop().await;
//! # Ok(())
//! # }
//! ```

pub mod backup;
mod codec;
mod command;
mod core;
mod decoded;
mod disk;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod history;
mod log;
mod logging;
mod machine;
mod memlog;
mod metrics;
mod model;
mod options;
mod packed;
mod packing;
mod peer;
pub mod recovery;
mod room;
mod shared;
mod shell;
#[cfg(test)]
mod sim;
mod state;
mod status;
mod store;
mod tags;
mod view;
mod watch;
mod wire;

/// The format of each thing that this version writes to disk, the newest that it reads: one of them read by an older version is
/// refused. In this order for good; what is new is added at the end.
pub const FORMATS: [u32; 4] =
    [log::segment::FORMAT, log::snapshot::FORMAT, command::FORMAT as u32, state::FORMAT as u32];

pub use error::{Compacted, MemberError, OpenError, ReadError, ReceiveError, WatchError, WriteError};
pub use model::{Change, Event, Expect, Key, MemberChange, MemberId, Op, Revision, Stored, Txn, Value};
pub use options::{LEVEL, Limits, Options, Start, Timing, Transport, WITNESS_COLLECTIONS};
pub use status::{Role, Status};
pub use store::Store;
pub use tags::{Index, Tag};
pub use view::{Difference, Part, View};
pub use watch::Watch;
