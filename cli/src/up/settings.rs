//! What the options of `wk up` mean.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use wk_mesh::{NodeName, Token};

use crate::args::{PeerAddress, UpArgs};
use crate::exit::{Code, ExitError, usage};

/// A node's settings.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The name asked for, if one was.
    pub(crate) name: Option<NodeName>,
    /// Where to listen.
    pub(crate) listen: IpAddr,
    /// Where everything is kept.
    pub(crate) data_dir: PathBuf,
    /// Whom to join.
    pub(crate) join: Option<Join>,
    /// Port of the Kubernetes API.
    pub(crate) api_port: u16,
    /// Port of the ingress, HTTP.
    pub(crate) http_port: u16,
    /// Port of the ingress, HTTPS.
    pub(crate) https_port: u16,
    /// Port of the mesh.
    pub(crate) mesh_port: u16,
}

/// Whom to join, and the proof of invitation.
#[derive(Debug)]
pub(crate) struct Join {
    /// A node of the cluster.
    pub(crate) peer: PeerAddress,
    /// The token.
    pub(crate) token: Token,
}

impl Settings {
    /// Resolves what was typed.
    pub(crate) fn resolve(args: UpArgs) -> anyhow::Result<Self> {
        let data_dir = args.data_dir()?;
        if args.listen.is_unspecified() {
            return Err(usage(format!(
                "--listen {}: other nodes reach this one at that address; give one that this machine has",
                args.listen
            ))
            .into());
        }
        let name = args.name.as_deref().map(str::parse).transpose();
        let name = name.map_err(|error| usage("--name must be a DNS label, such as n1").because(error))?;
        let join = match (args.join, args.token) {
            (Some(peer), Some(token)) => {
                let token = token.reveal().parse().map_err(|error| {
                    ExitError::new(Code::WrongToken, "--token is not a token that `wk up` or `wk token` printed")
                        .because(error)
                })?;
                Some(Join { peer, token })
            }
            (Some(_), None) => {
                return Err(usage("--join needs --token; run `wk token` on a node of the cluster").into());
            }
            // A token alone may come from the environment; it invites nowhere.
            (None, _) => None,
        };
        Ok(Self {
            name,
            listen: args.listen,
            data_dir,
            join,
            api_port: args.api_port,
            http_port: args.http_port,
            https_port: args.https_port,
            mesh_port: args.mesh_port,
        })
    }

    /// The name asked for, or one made from the host's: a newcomer whose name is taken gets the next of its kind.
    pub(crate) fn candidate_name(&self, attempt: u32) -> NodeName {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let label: String = host
            .trim()
            .to_ascii_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .take(40)
            .collect();
        let label = label.trim_matches('-');
        let label = if label.is_empty() { "node" } else { label };
        let name = if attempt == 0 { label.to_owned() } else { format!("{label}-{}", attempt + 1) };
        name.parse().expect("letters, digits and inner dashes make a DNS label")
    }

    /// Where other nodes reach this one.
    pub(crate) fn mesh_address(&self) -> SocketAddr {
        SocketAddr::new(self.listen, self.mesh_port)
    }
}
