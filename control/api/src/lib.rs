//! The resource model of wk: the table of kinds and everything that is decided by an object's kind and text alone.
//!
//! Here: decoding against schemas, defaults, validation, what create, update and delete do to an object, patches,
//! selectors, printer columns, discovery documents, quantities, names and the `Status` every verb fails with.
//! Not here: I/O, clocks, ids, the store, HTTP. Time and ids are arguments ([`strategy::Facts`]).
//!
//! Objects stay [`serde_json::Value`]s from the client's bytes to the store's; typed structs of `k8s-openapi` are for
//! readers only ([`Object::read`]). Start at [`kind`] for a kind's columns and at [`strategy`] for the verbs.
//!
//! ```
//! use serde_json::json;
//! use wk_api::{kinds, strategy};
//!
//! let facts = strategy::Facts { now: "2025-01-01T00:00:00Z".parse().unwrap(), uid: "8a6c", suffix: "x7k2p" };
//! let body = json!({"metadata": {"name": "settings"}, "data": {"mode": "fast"}});
//! let object = strategy::create(&kinds::CONFIGMAP, Some("default"), body, &facts).unwrap();
//! assert_eq!(object.namespace(), "default");
//! assert_eq!(object.0["kind"], "ConfigMap");
//! ```

pub(crate) mod cel;
pub mod custom;
pub mod decode;
pub(crate) mod defaults;
pub mod discovery;
pub mod encode;
pub mod expression;
pub mod field;
pub(crate) mod json;
pub mod kind;
pub mod kinds;
pub mod managed;
pub mod names;
pub mod object;
pub mod openapi;
pub mod patch;
pub(crate) mod pick;
pub mod protobuf;
pub mod quantity;
pub mod quota;
pub mod requests;
pub mod schema;
pub mod selector;
pub mod slices;
pub mod status;
pub mod strategy;
pub mod table;
pub mod taints;
pub mod typecheck;
pub(crate) mod validate;
pub(crate) mod version;
pub mod zones;

pub use cel::duration;
pub use field::{Errors, FieldError, FieldReason};
pub use kind::{Kind, Scope};
pub use kinds::kinds;
pub use object::{LAST_APPLIED, Object};
pub use pick::outline;
pub use quantity::Quantity;
pub use status::{Cause, Details, Reason, Status};
