//! The front door of a node: takes HTTP/1.1 and HTTP/2, plain or TLS, finds the backend by host and path, balances over
//! its endpoints, retries at most once, and says in plain words what went wrong when it cannot.
//!
//! Not here: how an endpoint is reached (the [`Upstream`] is handed in), where routes come from (a [`Routes`] table is
//! swapped in from outside), and anything of engine, mesh or store.
//!
//! Start with [`Ingress`]; a request's way through it is `proxy::handle`.
//!
//! ```
//! use std::sync::Arc;
//! use wk_ingress::{Backend, HostRule, PathRule, Route, Routes};
//!
//! let web = Arc::new(Backend { name: "default/web:80".into(), endpoints: vec![], lacks: None });
//! let routes = Routes::new(vec![Route {
//!     host: HostRule::Exact("web.localhost".into()),
//!     path: PathRule::Prefix("/api".into()),
//!     backend: web,
//! }]);
//! assert!(routes.find("web.localhost", "/api/v1").is_some());
//! assert!(routes.find("web.localhost", "/apiary").is_none());
//! ```

mod answer;
mod balance;
mod budget;
mod certificates;
mod connection;
mod headers;
mod idle;
mod ingress;
mod limits;
mod metrics;
mod proxy;
mod request_body;
mod response_body;
mod routes;
mod serve;
mod target;
mod upstream;

pub use certificates::{Certificates, Pem, PemError};
pub use ingress::Ingress;
pub use limits::Limits;
pub use metrics::{Metrics, Number};
pub use routes::{Backend, Endpoint, HostRule, PathRule, Route, Routes};
pub use upstream::{Upstream, UpstreamError};
