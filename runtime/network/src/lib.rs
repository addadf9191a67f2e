//! The network inside the host: which services there are, which endpoints stand behind them, and which addresses this
//! node's pods get; where a name or an address leads, and who may go there.
//!
//! Not here: any socket, kernel rule or HTTP. Everything is a pure data structure; whoever watches the API builds a new
//! [`Table`] and swaps it into a [`SharedTable`].
//!
//! ```
//! use wk_network::Pool;
//!
//! let mut pool = Pool::new("10.128.64.0/18".parse()?);
//! assert_eq!(pool.allocate()?.to_string(), "10.128.64.1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod egress;
mod lead;
mod pool;
mod table;

pub use egress::{Egress, EgressError};
pub use lead::{DOMAIN, Lead, Named};
pub use pool::{Cidr, CidrError, Pool, PoolError};
pub use table::{Endpoint, EndpointState, Node, NodePort, Service, ServiceName, ServicePort, SharedTable, Table};
