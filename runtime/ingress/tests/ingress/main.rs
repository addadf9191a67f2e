//! The ingress over real sockets on 127.0.0.1, with endpoints that do what a test says.
//!
//! Start with `support`: [`support::Door`] is an ingress that listens, [`support::Fake`] what stands behind it.

mod answers;
mod balancing;
mod bodies;
mod limits;
mod protocols;
mod retries;
mod shutdown;
mod support;
