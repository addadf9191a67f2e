//! Every decision of the control plane as a pure function: borrowed facts in, a [`Plan`] of orders out.
//!
//! Not here: clock, dice, I/O, unordered maps, and the store. The same facts at the same time give the same plan on
//! every machine; `wk-controllers` gathers the facts and carries the orders out. Start with [`Plan`], then any planner,
//! [`replicaset`] being the plainest.
//!
//! ```
//! use wk_api::Object;
//! use wk_plan::podgc;
//!
//! let pod = Object(serde_json::json!({
//!     "metadata": {"name": "web-1", "namespace": "default", "uid": "u1", "resourceVersion": "7"},
//!     "spec": {"nodeName": "gone"},
//! }));
//! let since = "2025-01-01T00:00:00Z".parse().expect("a time");
//! let absent = [("gone".to_owned(), since)].into();
//! let now = "2025-01-01T00:00:40Z".parse().expect("a time");
//! let plan = podgc::plan(&podgc::Input { pods: &[&pod], nodes: &[], absent: &absent }, now);
//! assert!(plan.to_string().starts_with("evict pods default/web-1"));
//! ```

pub mod apiservice;
pub mod autoscaler;
pub mod claims;
mod conditions;
pub mod cronjob;
pub mod daemonset;
pub mod definitions;
pub mod deployment;
pub mod disruption;
pub mod endpointslice;
pub mod ephemeral;
pub mod events;
pub mod garbage;
pub mod ingresses;
pub mod job;
pub mod leases;
pub mod namespaces;
pub mod nodes;
mod order;
mod owned;
mod pod;
pub mod podgc;
pub mod protection;
mod read;
pub mod replicaset;
pub mod resourcequotas;
mod revisions;
pub mod rootca;
pub mod scheduler;
pub mod serviceaccounts;
pub mod statefulset;
pub mod taints;
pub mod voters;

pub use order::{Event, EventType, Order, Plan, Target};
pub use owned::Children;
