//! The network of this node's pods: what answers their sockets, names and outgoing requests, and what connects to the
//! ports they listen at.
//!
//! Not here: where an address leads and which words allow what (`wk-network`, pure), and how a guest asks (`wk-engine`).
//! Start at [`Networks::of`]; [`judge`] is the one place where policy is asked.

pub(crate) mod dial;
mod guest;
mod http;
mod idle;
mod judge;
mod node_ports;
mod pods;
mod ports;
pub(crate) mod serve;
#[cfg(test)]
mod tests;
pub(crate) mod udp;
mod voice;

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;
use wk_engine::{Network, Output, Usage};
use wk_mesh::{ClientTls, Mesh};
use wk_network::{SharedTable, Table};

use crate::sources::Sources;
use crate::spec::NetworkSpec;
use crate::traffic::{Apps, Traffic};

pub use dial::MESH_PREFIX;
pub(crate) use pods::Pod;
pub use pods::Pods;
pub use ports::{Caller, Refused};
pub use udp::MESH_PREFIX as DATAGRAM_MESH_PREFIX;
pub use voice::LimitSink;

use guest::GuestNetwork;
use voice::Voice;

/// The network of a node. Clones share it.
#[derive(Clone)]
pub struct Networks(Arc<Node>);

struct Node {
    name: String,
    table: SharedTable,
    /// Moves when there is another table.
    changed: watch::Sender<()>,
    apps: Apps,
    mesh: Mesh,
    traffic: Traffic,
    tls: ClientTls,
    sources: Sources,
}

impl Networks {
    /// The network of the node `name`, whose HTTP guests are `apps`. Authorities that pods trust are in `sources`.
    pub fn new(name: &str, apps: Apps, mesh: Mesh, tls: ClientTls, sources: Sources) -> Self {
        let traffic = Traffic::new(apps.clone(), mesh.clone());
        let (name, table, changed) = (name.to_owned(), SharedTable::default(), watch::Sender::default());
        Self(Arc::new(Node { name, table, changed, apps, mesh, traffic, tls, sources }))
    }

    /// Takes in the services and nodes of now.
    pub fn update(&self, table: Table) -> Arc<Table> {
        let table = Arc::new(table);
        self.0.table.store(Arc::clone(&table));
        self.0.changed.send_replace(());
        table
    }

    /// The network of a container of the pod with this uid and address. Refusals are told in `output`, breaches of limits to
    /// `limit`, and `usage` pays for what names take to be looked up.
    pub fn of(
        &self,
        uid: &Arc<str>,
        address: IpAddr,
        spec: &Arc<NetworkSpec>,
        output: &Arc<dyn Output>,
        usage: &Arc<Usage>,
        limit: LimitSink,
    ) -> Arc<dyn Network> {
        let pod = self.0.apps.pods().enter(uid, address, spec);
        let voice = Voice::new(Arc::clone(output), limit);
        Arc::new(GuestNetwork { node: Arc::clone(&self.0), pod, voice: Arc::new(voice), usage: Arc::clone(usage) })
    }
}
