//! What the options of `wk up` mean.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use wk_engine::{CompileLimits, Target};
use wk_mesh::join::Vote;
use wk_mesh::{NodeName, Token};
use wk_node::spec::Standard;

use super::access::Access;
use super::data_dir::DataDir;
use super::kept::Kept;
use super::secrets_keys::KeySource;
use crate::args::{MESH_PORT, PeerAddress, UpArgs};
use crate::exit::{Code, ExitError, usage};

/// Port of the Kubernetes API unless told otherwise, as in Kubernetes.
const API_PORT: u16 = 6443;
/// Ports of the ingress unless told otherwise: those that a user may open.
const HTTP_PORT: u16 = 8080;
/// See above.
const HTTPS_PORT: u16 = 8443;
/// A voter silent for longer is replaced: longer than a machine takes to start anew, so that a restart moves no votes.
const VOTER_TIMEOUT: Duration = Duration::from_secs(30);
/// Age of the key for tokens at which it is replaced: often enough that it is no event, and that an old key that was copied
/// is worth little; so seldom that few keys are kept for long-lived tokens.
const TOKEN_KEY_AGE: Duration = Duration::from_hours(90 * 24);
/// Not below: each key is kept for two days after it signed last.
const TOKEN_KEY_AGE_MIN: Duration = Duration::from_hours(24);
/// Below this an election alone would count as silence.
const VOTER_TIMEOUT_MIN: Duration = Duration::from_secs(1);

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
    /// Where a kubelet's API is served, if it is.
    pub(crate) kubelet: Option<SocketAddr>,
    /// What the node is there for.
    pub(crate) vote: Vote,
    /// The zone it stands in.
    pub(crate) zone: Option<String>,
    /// While it leads, a voter silent for longer is replaced.
    pub(crate) voter_timeout: Duration,
    /// How far apart pods run whose namespaces say nothing.
    pub(crate) isolation: Standard,
    /// What modules are compiled for.
    pub(crate) engine: Target,
    /// Disk for compiled code, in bytes.
    pub(crate) compiled_max: u64,
    /// What compiling one module may take.
    pub(crate) compile_limits: CompileLimits,
    /// Where the keys are that seal Secrets, if not in the cluster's authority.
    pub(crate) secrets_keys: Option<KeySource>,
    /// Whether it starts without keys that Secrets are sealed with.
    pub(crate) secrets_key_lost: bool,
    /// Age at which the key for tokens is replaced while this node leads; zero for never.
    pub(crate) token_key_age: Duration,
    /// Directories that pods may have by hostPath, without links.
    pub(crate) host_paths: Vec<PathBuf>,
    /// Who is let in, and what is put on record.
    pub(crate) access: Access,
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
        let access = args.access().clone();
        let kept = Kept::read(&data_dir)?;
        let listen = args.listen.or(kept.listen).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        if listen.is_unspecified() {
            return Err(usage(format!(
                "--listen {listen}: other nodes reach this one at that address; give one that this machine has"
            ))
            .into());
        }
        let asked = match &args {
            UpArgs { witness: true, .. } => Some(Vote::Witness),
            UpArgs { no_vote: true, .. } => Some(Vote::None),
            UpArgs { vote: true, .. } => Some(Vote::Voter),
            UpArgs { .. } => None,
        };
        if args.voter_timeout.is_some_and(|timeout| timeout < VOTER_TIMEOUT_MIN) {
            return Err(usage("--voter-timeout: at least 1s, or a pause of the network would move votes").into());
        }
        if args.token_key_age.is_some_and(|age| !age.is_zero() && age < TOKEN_KEY_AGE_MIN) {
            return Err(usage("--token-key-age: at least 24h, or 0 for never").into());
        }
        if let Some(wrong) = args.zone.as_deref().and_then(|zone| wk_api::names::label_value(zone).into_iter().next()) {
            return Err(usage(format!("--zone becomes a label of the Node: {wrong}")).into());
        }
        let name = args.name.as_deref().map(str::parse).transpose();
        let name = name.map_err(|error| usage("--name must be a DNS name, such as n1").because(error))?;
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
        let secrets_keys = match (args.secrets_key_file, args.secrets_key_command) {
            (Some(file), _) => {
                let whole = std::path::absolute(&file).map_err(|error| usage("--secrets-key-file").because(error))?;
                Some(KeySource::File(whole))
            }
            (None, Some(command)) => Some(KeySource::Command(command)),
            (None, None) => kept.secrets_keys,
        };
        let access = Access::resolve(&access)?;
        let host_paths =
            if args.no_host_path { Vec::new() } else { host_paths(&args.allow_host_path, kept.host_paths)? };
        let limits = kept.compile_limits.unwrap_or_default();
        Ok(Self {
            access,
            host_paths,
            name,
            listen,
            data_dir,
            join,
            api_port: args.api_port.or(kept.api_port).unwrap_or(API_PORT),
            http_port: args.http_port.or(kept.http_port).unwrap_or(HTTP_PORT),
            https_port: args.https_port.or(kept.https_port).unwrap_or(HTTPS_PORT),
            mesh_port: args.mesh_port.or(kept.mesh_port).unwrap_or(MESH_PORT),
            kubelet: args.kubelet_listen,
            vote: asked.or(kept.vote).unwrap_or_default(),
            zone: args.zone.or(kept.zone),
            voter_timeout: args.voter_timeout.or(kept.voter_timeout).unwrap_or(VOTER_TIMEOUT),
            isolation: args.isolation.or(kept.isolation).unwrap_or_default(),
            engine: args.engine.or(kept.engine).unwrap_or_else(Target::best),
            compiled_max: args.compiled_max.or(kept.compiled_max).unwrap_or(wk_engine::CACHE_BYTES_DEFAULT),
            compile_limits: CompileLimits {
                cpu_seconds: args.compile_time.map_or(limits.cpu_seconds, |time| time.as_secs().max(1)),
                memory: args.compile_memory.or(limits.memory),
            },
            secrets_keys,
            secrets_key_lost: args.secrets_key_lost,
            token_key_age: args.token_key_age.or(kept.token_key_age).unwrap_or(TOKEN_KEY_AGE),
        })
    }

    /// Remembers all of it for the next start.
    pub(crate) fn keep(&self, data_dir: &DataDir) {
        let kept = Kept {
            listen: Some(self.listen),
            api_port: Some(self.api_port),
            http_port: Some(self.http_port),
            https_port: Some(self.https_port),
            mesh_port: Some(self.mesh_port),
            vote: Some(self.vote),
            zone: self.zone.clone(),
            host_paths: self.host_paths.clone(),
            voter_timeout: Some(self.voter_timeout),
            isolation: Some(self.isolation),
            engine: Some(self.engine.clone()),
            compiled_max: Some(self.compiled_max),
            compile_limits: Some(self.compile_limits),
            secrets_keys: self.secrets_keys.clone(),
            token_key_age: Some(self.token_key_age),
        };
        kept.keep(data_dir);
    }

    /// The name asked for, or one made from the host's: a newcomer whose name is taken gets the next of its kind.
    pub(crate) fn candidate_name(&self, attempt: u32) -> NodeName {
        if let Some(name) = &self.name {
            return name.clone();
        }
        host_name(attempt)
    }

    /// Where other nodes reach this one.
    pub(crate) fn mesh_address(&self) -> SocketAddr {
        SocketAddr::new(self.listen, self.mesh_port)
    }
}

/// Directories that pods may have: those asked for, without links, else those of before. Of these, one that has gone is not
/// missed: pods that want it say so.
fn host_paths(asked: &[PathBuf], kept: Vec<PathBuf>) -> Result<Vec<PathBuf>, ExitError> {
    if asked.is_empty() {
        return Ok(kept);
    }
    let whole = |path: &PathBuf| {
        let whole = path.canonicalize().ok().filter(|whole| whole.is_dir());
        whole.ok_or_else(|| usage(format!("--allow-host-path {}: not a directory", path.display())))
    };
    asked.iter().map(whole).collect()
}

/// A name made from the host's.
pub(crate) fn host_name(attempt: u32) -> NodeName {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_paths_stay_until_others_are_named() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let link = one.path().join("link");
        std::os::unix::fs::symlink(other.path(), &link).unwrap();
        let whole = |path: &std::path::Path| path.canonicalize().unwrap();
        let kept = vec![PathBuf::from("/gone")];
        assert_eq!(host_paths(&[], kept.clone()).unwrap(), kept);
        assert_eq!(host_paths(&[link], kept).unwrap(), [whole(other.path())]);
        let refused = host_paths(&[one.path().join("none")], Vec::new()).unwrap_err();
        assert!(refused.to_string().contains("not a directory"), "{refused}");
    }
}
