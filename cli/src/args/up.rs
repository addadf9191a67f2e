//! `wk up` as typed.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use wk_api::quantity::Quantity;
use wk_engine::{Architecture, Target};
use wk_node::spec::Standard;

/// The port nodes talk to each other on unless told otherwise.
pub(crate) const MESH_PORT: u16 = 7443;

/// Options of `wk up`.
#[derive(Debug, Clone, Args)]
pub(crate) struct UpArgs {
    /// Name of this node, a DNS name [default: derived from the host name and the address]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Address to listen on, and under which the other nodes reach this one [default: as before, else 127.0.0.1]
    #[arg(long, value_name = "IP")]
    pub(crate) listen: Option<IpAddr>,
    /// Where the node keeps everything [default: $WK_HOME, else ~/.wk]
    #[arg(long = "data-dir", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// A node of the cluster to join: IP, or HOST:PORT of its mesh
    #[arg(long, value_name = "ADDRESS", requires = "token")]
    pub(crate) join: Option<PeerAddress>,
    /// Token that `wk up` or `wk token` printed on that cluster
    #[arg(long, value_name = "TOKEN", env = "WK_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<TokenText>,
    /// Port of the Kubernetes API [default: as before, else 6443]
    #[arg(long, value_name = "PORT")]
    pub(crate) api_port: Option<u16>,
    /// Port of the ingress, HTTP [default: as before, else 8080]
    #[arg(long, value_name = "PORT")]
    pub(crate) http_port: Option<u16>,
    /// Port of the ingress, HTTPS [default: as before, else 8443]
    #[arg(long, value_name = "PORT")]
    pub(crate) https_port: Option<u16>,
    /// Port the nodes talk to each other on [default: as before, else 7443]
    #[arg(long, value_name = "PORT")]
    pub(crate) mesh_port: Option<u16>,
    /// Address and port for tools that speak to kubelets (exec, attach, portForward, containerLogs, pods, metrics), with the
    /// credentials of the API [default: none]
    #[arg(long, value_name = "IP:PORT", conflicts_with = "witness")]
    pub(crate) kubelet_listen: Option<SocketAddr>,
    /// This node never votes on the cluster's writes: for one that is often off, or far away
    #[arg(long, conflicts_with_all = ["vote", "witness"], help_heading = "Membership")]
    pub(crate) no_vote: bool,
    /// Takes back --no-vote
    #[arg(long, conflicts_with = "witness", help_heading = "Membership")]
    pub(crate) vote: bool,
    /// This node only votes: it holds no objects and runs no pods. Beside two nodes it lets one of them fail
    #[arg(long, help_heading = "Membership")]
    pub(crate) witness: bool,
    /// Zone this node stands in (topology.kubernetes.io/zone): voters are spread over zones
    #[arg(long, value_name = "ZONE", help_heading = "Membership")]
    pub(crate) zone: Option<String>,
    /// Directory of this machine that pods may have as a hostPath volume, with all below it; may be given several times
    /// [default: as before, else none]
    #[arg(long, value_name = "DIR", help_heading = "Pods")]
    pub(crate) allow_host_path: Vec<PathBuf>,
    /// Takes back --allow-host-path
    #[arg(long, conflicts_with_all = ["allow_host_path", "witness"], help_heading = "Pods")]
    pub(crate) no_host_path: bool,
    /// Which pods share a process: all and the node itself, those of a namespace, none. A namespace's label
    /// wk.dev/isolation says it for its pods, and a pod may ask for more; "auto" is shared on a lone node and namespace in a
    /// cluster [default: as before, else auto]
    #[arg(long, value_name = "shared|namespace|pod|auto", help_heading = "Pods")]
    pub(crate) isolation: Option<Standard>,
    /// While this node leads, a voter silent for longer is replaced [default: as before, else 30s]
    #[arg(long, value_name = "DURATION", value_parser = super::deploy::duration, help_heading = "Membership")]
    pub(crate) voter_timeout: Option<Duration>,
    /// File with the keys that seal Secrets on disk, one a line, the newest first: 32 bytes in base64. The newest seals as
    /// soon as all nodes have it first; `wk cluster status` says when an old one may go [default: as before, else a key made of the cluster's authority]
    #[arg(long, value_name = "FILE", conflicts_with = "secrets_key_command", help_heading = "Secrets")]
    pub(crate) secrets_key_file: Option<PathBuf>,
    /// Command that prints such lines, run by `sh -c` at each start: how a key service is asked
    #[arg(long, value_name = "COMMAND", help_heading = "Secrets")]
    pub(crate) secrets_key_command: Option<String>,
    /// Starts though a key is missing that Secrets are sealed with, and is lost for good: those can be deleted, not read
    #[arg(long, help_heading = "Secrets")]
    pub(crate) secrets_key_lost: bool,
    /// Age at which the key that signs service accounts' tokens is replaced by another, while this node leads; 0 for never
    /// [default: as before, else 90d]
    #[arg(long, value_name = "DURATION", value_parser = super::deploy::duration, help_heading = "Secrets")]
    pub(crate) token_key_age: Option<Duration>,
    /// What modules are compiled for: "native", "portable" (what any processor of this architecture can do, as
    /// `wk compile` makes it) or "pulley64" (interpreted, for where there is no compiler) [default: as before, else native]
    #[arg(long, value_name = "KIND", value_parser = engine, help_heading = "Runtime")]
    pub(crate) engine: Option<Target>,
    /// Disk for compiled code; the least recently used makes room [default: as before, else 2Gi]
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Runtime")]
    pub(crate) compiled_max: Option<u64>,
    /// Processor time for compiling one module; three times as long is waited for, a minute at least [default: as before, else 10m]
    #[arg(long, value_name = "DURATION", value_parser = super::deploy::duration, help_heading = "Runtime")]
    pub(crate) compile_time: Option<Duration>,
    /// Memory for compiling one module [default: as before, else half of the machine, at most 4Gi]
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Runtime")]
    pub(crate) compile_memory: Option<u64>,
    #[command(flatten)]
    access: AccessArgs,
}

/// Who is let in, and what is put on record. Not remembered: these files and addresses belong to the start.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Access")]
pub(crate) struct AccessArgs {
    /// Policy of the audit log (audit.k8s.io/v1 Policy, YAML) [default: Metadata of everything]
    #[arg(long, value_name = "FILE", requires = "audit_log")]
    pub(crate) audit_policy: Option<PathBuf>,
    /// File of the audit log of this node; without it nothing is put on record
    #[arg(long, value_name = "FILE")]
    pub(crate) audit_log: Option<PathBuf>,
    /// Answer callers without a credential as system:anonymous, which may do what roles allow it
    #[arg(long)]
    pub(crate) anonymous_auth: bool,
    /// OpenID Connect provider whose tokens are taken (https://…)
    #[arg(long, value_name = "URL", requires = "oidc_client_id")]
    pub(crate) oidc_issuer_url: Option<String>,
    /// The audience that its tokens must be for
    #[arg(long, value_name = "ID", requires = "oidc_issuer_url")]
    pub(crate) oidc_client_id: Option<String>,
    /// The claim that is the user's name
    #[arg(long, value_name = "CLAIM", default_value = "sub")]
    pub(crate) oidc_username_claim: String,
    /// What comes before it; "-" for nothing [default: the issuer and "#", unless the claim is "email"]
    #[arg(long, value_name = "TEXT", requires = "oidc_issuer_url")]
    pub(crate) oidc_username_prefix: Option<String>,
    /// The claim that is the user's groups
    #[arg(long, value_name = "CLAIM", requires = "oidc_issuer_url")]
    pub(crate) oidc_groups_claim: Option<String>,
    /// What comes before each of them
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) oidc_groups_prefix: String,
    /// A claim and the value it must have; may be given several times
    #[arg(long, value_name = "CLAIM=VALUE", requires = "oidc_issuer_url")]
    pub(crate) oidc_required_claim: Vec<String>,
    /// Certificates that the provider is verified with, PEM [default: those of this system]
    #[arg(long, value_name = "FILE", requires = "oidc_issuer_url")]
    pub(crate) oidc_ca_file: Option<PathBuf>,
}

/// A kind of code that can run here.
fn engine(text: &str) -> Result<Target, String> {
    let target: Target = text.parse().map_err(|error: wk_engine::UnknownTarget| error.to_string())?;
    match &target {
        Target::Portable(architecture) if Architecture::here() != Some(*architecture) => {
            Err(format!("this machine is not {target}"))
        }
        _ => Ok(target),
    }
}

/// Bytes, as Kubernetes writes them.
fn size(text: &str) -> Result<u64, String> {
    let size = Quantity::parse(text).map_err(|error| error.to_string())?.bytes();
    if size < COMPILED_MIN { Err("at least 16Mi: one module may take as much".into()) } else { Ok(size) }
}

/// Less than this holds not even one language's interpreter.
const COMPILED_MIN: u64 = 16 << 20;

impl UpArgs {
    /// What was said of identities and of the audit log.
    pub(crate) fn access(&self) -> &AccessArgs {
        &self.access
    }

    /// The data directory meant: `--data-dir`, else `$WK_HOME`, else `~/.wk`.
    pub(crate) fn data_dir(&self) -> anyhow::Result<PathBuf> {
        data_dir(self.data_dir.as_ref())
    }
}

/// The data directory meant by `--data-dir`, else `$WK_HOME`, else `~/.wk`.
pub(crate) fn data_dir(given: Option<&PathBuf>) -> anyhow::Result<PathBuf> {
    match given {
        Some(dir) => Ok(dir.clone()),
        None => crate::kubeconfig::Surroundings::of_process().home().ok_or_else(|| {
            crate::exit::usage("no place for the data: neither $WK_HOME nor $HOME is set; give --data-dir").into()
        }),
    }
}

/// Where a node of the cluster listens: a host and the port of its mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerAddress {
    /// An IP address or a name.
    pub(crate) host: String,
    /// The mesh port.
    pub(crate) port: u16,
}

impl FromStr for PeerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{why}; expected IP, IP:PORT or HOST:PORT");
        if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(Self { host: ip.to_string(), port: MESH_PORT });
        }
        if text.contains("://") {
            return Err(wrong("a URL is not an address"));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| wrong(&format!("{port:?} is not a port")))?),
            None => (text, MESH_PORT),
        };
        let host = host.trim_matches(['[', ']']);
        if host.is_empty() || host.contains(['/', ' ']) {
            return Err(wrong("no host"));
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A join token as typed; never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TokenText(String);

impl TokenText {
    /// The token itself.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for TokenText {
    fn from(text: &str) -> Self {
        Self(text.trim().to_owned())
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_addresses_default_to_the_mesh_port() {
        for (typed, meant) in [
            ("127.0.0.1", "127.0.0.1:7443"),
            ("127.0.0.1:9000", "127.0.0.1:9000"),
            ("n1.example", "n1.example:7443"),
            ("n1.example:1", "n1.example:1"),
            ("::1", "[::1]:7443"),
            ("[::1]:9000", "[::1]:9000"),
        ] {
            assert_eq!(typed.parse::<PeerAddress>().expect(typed).to_string(), meant);
        }
        assert!("https://n1:7443".parse::<PeerAddress>().is_err());
        assert!(":7443".parse::<PeerAddress>().is_err());
        assert!("n1:port".parse::<PeerAddress>().is_err());
    }

    #[test]
    fn token_is_not_shown_by_debug() {
        assert_eq!(format!("{:?}", TokenText::from("wk1.secret")), "TokenText(…)");
        assert_eq!(TokenText::from(" wk1.a ").reveal(), "wk1.a");
    }
}
