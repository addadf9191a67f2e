//! The node's ports, bound before anything else is made.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use wk_mesh::join::Vote;

use super::handover::{Handover, Inherited};
use super::settings::Settings;
use crate::exit::{Code, ExitError};

/// Bound listeners.
pub(crate) struct Ports {
    /// Kubernetes API.
    pub(crate) api: TcpListener,
    /// A kubelet's API, if it is asked for.
    pub(crate) kubelet: Option<TcpListener>,
    /// Ingress, HTTP and HTTPS. A witness has none.
    pub(crate) ingress: Option<(TcpListener, TcpListener)>,
    /// Mesh.
    pub(crate) mesh: TcpListener,
}

impl Ports {
    /// Binds all of them that the program before this one did not leave, or says which one cannot be had. Clients' ports
    /// can be handed on.
    pub(crate) async fn bind(settings: &Settings, mut left: Inherited) -> anyhow::Result<(Self, Handover)> {
        let at = |port| SocketAddr::new(settings.listen, port);
        let mut kept = Handover::default();
        let mut take = async |address, option| {
            let listener = match left.at(address) {
                Some(listener) => TcpListener::from_std(listener)?,
                None => bind(address, option).await?,
            };
            kept.keep(&listener)?;
            anyhow::Ok(listener)
        };
        let api = take(at(settings.api_port), "--api-port").await?;
        let ingress = match settings.vote {
            Vote::Witness => None,
            Vote::Voter | Vote::None => {
                let http = take(at(settings.http_port), "--http-port").await?;
                Some((http, take(at(settings.https_port), "--https-port").await?))
            }
        };
        let kubelet = match settings.kubelet {
            Some(address) => Some(bind(address, "--kubelet-listen").await?),
            None => None,
        };
        // Other nodes do better to be refused: they ask the next one then.
        let mesh = bind(at(settings.mesh_port), "--mesh-port").await?;
        Ok((Self { api, kubelet, ingress, mesh }, kept))
    }
}

async fn bind(address: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let (code, advice) = match error.kind() {
            std::io::ErrorKind::AddrInUse => (
                Code::PortTaken,
                format!("another program listens there; stop it, or choose another {option} or --listen"),
            ),
            std::io::ErrorKind::AddrNotAvailable => {
                (Code::Usage, "this machine does not have that address; choose another --listen".to_owned())
            }
            std::io::ErrorKind::PermissionDenied => {
                (Code::General, format!("this user may not use the port; choose another {option}"))
            }
            _ => (Code::General, format!("choose another {option} or --listen")),
        };
        ExitError::new(code, format!("cannot listen on {address}: {advice}")).because(error).into()
    })
}
