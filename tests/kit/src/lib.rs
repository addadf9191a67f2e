//! What black-box tests of wk are made of: real `wk` processes on addresses of their own, and the clients to ask them.
//!
//! Not here: anything that knows the inside of wk. A test starts a [`Cluster`], does things through `wk`, `kubectl`,
//! the API and the ingress, and waits for what must come of it with [`until`]. Everything a test starts ends with it.
//!
//! A failed test shows the end of what each of its nodes wrote to standard error.

mod api;
mod binary;
mod cluster;
mod command;
mod files;
mod helm;
mod kubectl;
mod lab;
mod load;
mod net;
mod node;
mod small_disk;
mod until;
mod web;

pub use api::{Api, Refused};
pub use binary::wk;
pub use cluster::Cluster;
pub use command::{Followed, Output, run, run_with_input};
pub use files::{example, guest, inventory};
pub use helm::Helm;
pub use kubectl::Kubectl;
pub use lab::Lab;
pub use load::{Load, Report};
pub use net::Net;
pub use node::Node;
pub use small_disk::SmallDisk;
pub use until::{holds, until};
pub use web::{Answer, Body, Connection, Transport, get};

use std::time::Duration;

/// How long a thing may take that normally takes a moment: a busy machine is slow, a broken program is slower.
pub const SOON: Duration = Duration::from_secs(30);

/// Whether this process may do what only root may.
fn is_root() -> bool {
    let id = std::process::Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout == b"0\n")
}

/// Port of the ingress, HTTP, unless an option says otherwise.
pub const HTTP: u16 = 8080;
/// Port of the ingress, HTTPS.
pub const HTTPS: u16 = 8443;
/// Port of the Kubernetes API.
pub const API: u16 = 6443;
/// Port the nodes talk to each other on.
pub const MESH: u16 = 7443;
