//! How a node comes into its cluster: as its first, as a newcomer, or back again.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use wk_mesh::join::{self, Answer, JoinError, Vote};
use wk_mesh::{Authority, NodeKey, NodeName};
use wk_store::{MemberId, Start};

use super::data_dir::{DataDir, Identity, NodeFile};
use super::secrets_keys;
use super::settings::{Join, Settings};
use crate::args::PeerAddress;
use crate::exit::{Code, ExitError};

/// Names tried when none was asked for and the host's own is taken: as many as nodes that share a machine in a test.
const NAMES_MAX: u32 = 64;
/// A peer that is just starting, or a cluster between two leaders, is asked again for this long.
const PATIENCE: Duration = Duration::from_secs(45);
/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// A node that knows who it is.
pub(crate) struct Entry {
    /// Who it is.
    pub(crate) identity: Identity,
    /// How its store begins.
    pub(crate) start: Start,
    /// Something to tell the person who started it.
    pub(crate) remark: Option<String>,
}

/// Finds out who this node is, and makes it so.
pub(crate) async fn enter(settings: &Settings, data_dir: &DataDir) -> anyhow::Result<Entry> {
    if let Some(identity) = data_dir.identity()? {
        if data_dir.is_removed() {
            return Err(removed(data_dir, &identity.file.name).into());
        }
        return back_again(settings, data_dir, identity);
    }
    let identity = match &settings.join {
        Some(join) => newcomer(settings, data_dir, join).await?,
        None => first(settings)?,
    };
    data_dir.keep(&identity)?;
    data_dir.forget_newcomer();
    let start = if identity.file.first { Start::Bootstrap } else { Start::Join };
    Ok(Entry { identity, start, remark: None })
}

/// What a node is told that its cluster removed.
pub(crate) fn removed(data_dir: &DataDir, name: &NodeName) -> ExitError {
    let root = data_dir.root().display();
    ExitError::new(
        Code::Removed,
        format!(
            "node {name} was removed from its cluster (wk cluster remove) and stays out: \
             to join again as a new member, delete {root} and start it with --join"
        ),
    )
}

fn back_again(settings: &Settings, data_dir: &DataDir, identity: Identity) -> anyhow::Result<Entry> {
    if let Some(name) = settings.name.as_ref().filter(|name| **name != identity.file.name) {
        return Err(ExitError::new(
            Code::Usage,
            format!(
                "data directory {} belongs to node {}, not {name}: leave out --name, or give another --data-dir",
                data_dir.root().display(),
                identity.file.name
            ),
        )
        .into());
    }
    if let Some(join) = settings.join.as_ref().filter(|join| join.token.ca != identity.authority.fingerprint()) {
        return Err(ExitError::new(
            Code::WrongToken,
            format!(
                "data directory {} belongs to cluster {}, and the token for {} is of another one: \
                 leave out --join to start this node where it belongs, or give another --data-dir",
                data_dir.root().display(),
                identity.file.cluster,
                join.peer
            ),
        )
        .into());
    }
    if (settings.vote == Vote::Witness) != identity.file.witness {
        let (is, asked) = if identity.file.witness { ("a witness", "a node") } else { ("a node", "a witness") };
        let message = format!(
            "data directory {} belongs to {is}, which cannot become {asked}: \
             remove it (wk cluster remove {}), delete the directory and join again",
            data_dir.root().display(),
            identity.file.name
        );
        return Err(ExitError::new(Code::Usage, message).into());
    }
    let start = match (data_dir.has_log(), data_dir.has_begun(), identity.file.first) {
        (true, _, _) => Start::Resume,
        // A log that was there and is gone may have held votes: coming back without it under the same id could make
        // the cluster forget what it acknowledged.
        (false, true, _) => anyhow::bail!(
            "the log of this member is gone from {}: restore it, or remove {} and join again under another --name",
            data_dir.join("store").display(),
            data_dir.root().display()
        ),
        (false, false, true) => Start::Bootstrap,
        (false, false, false) => Start::Join,
    };
    let remark = settings.join.as_ref().map(|_| "this node is a member already; --join was not needed".to_owned());
    Ok(Entry { identity, start, remark })
}

fn first(settings: &Settings) -> anyhow::Result<Identity> {
    if settings.vote == Vote::Witness {
        return Err(
            crate::exit::usage("a witness cannot begin a cluster: it holds no data; give --join and --token").into()
        );
    }
    let cluster = wk_base::id::uid();
    let authority = Authority::create(&cluster).context("make the cluster's certificate authority")?;
    let key = NodeKey::generate().context("make the node's key")?;
    let name = settings.candidate_name(0);
    let file =
        NodeFile { version: 1, cluster, member: FIRST_MEMBER.0, name, first: true, witness: false, seeds: Vec::new() };
    Ok(Identity { file, authority, key })
}

/// The first node's id. Later ones are log indexes, which are higher: a log begins with the first leader's own entry.
pub(crate) const FIRST_MEMBER: MemberId = MemberId(1);

async fn newcomer(settings: &Settings, data_dir: &DataDir, join: &Join) -> anyhow::Result<Identity> {
    let address = resolve(&join.peer).await?;
    if settings.listen.is_loopback() && !address.ip().is_loopback() {
        let message = format!(
            "the nodes at {} could not reach this one at {}: give the address of this machine with --listen",
            join.peer, settings.listen
        );
        return Err(ExitError::new(Code::Usage, message).into());
    }
    // A start that was interrupted asks again with the same key, and is known as the same node.
    let (key, csr) = data_dir.newcomer()?;
    let secrets_keys =
        if settings.secrets_key_lost { None } else { Some(secrets_keys::given(settings.secrets_keys.as_ref()).await?) };
    let give_up = tokio::time::Instant::now() + PATIENCE;
    let mut name_attempt = 0;
    loop {
        let request = join::Request {
            token_id: join.token.id.clone(),
            token_secret: join.token.secret.clone(),
            name: settings.candidate_name(name_attempt),
            csr: csr.clone(),
            mesh_address: settings.mesh_address(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            vote: settings.vote,
            level: wk_store::LEVEL,
            zone: settings.zone.clone(),
            secrets_keys: secrets_keys.clone(),
        };
        match join::ask(address, &join.token, &request).await {
            Ok(answer) => return admitted(answer, key, request),
            Err(JoinError::Refused { code: 409, .. }) if settings.name.is_none() && name_attempt < NAMES_MAX => {
                name_attempt += 1;
            }
            Err(JoinError::Refused { code: 503, .. } | JoinError::Deadline { .. } | JoinError::Broken { .. })
                if tokio::time::Instant::now() < give_up =>
            {
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => {
                if !matches!(error, JoinError::Deadline { .. } | JoinError::Broken { .. }) {
                    data_dir.forget_newcomer();
                }
                return Err(explain(error, join));
            }
        }
    }
}

fn admitted(answer: Answer, key: NodeKey, request: join::Request) -> anyhow::Result<Identity> {
    if answer.vote != request.vote {
        anyhow::bail!(
            "the cluster's leader is of an older version and took this node for a voter: \
             upgrade all nodes, then `wk cluster remove {}` and join again",
            request.name
        );
    }
    let authority =
        Authority::from_pem(&answer.ca_cert, &answer.ca_key).context("the answer's certificate authority")?;
    let file = NodeFile {
        version: 1,
        cluster: answer.cluster_id,
        member: answer.member_id,
        name: request.name,
        first: false,
        witness: request.vote == Vote::Witness,
        seeds: answer.members,
    };
    Ok(Identity { file, authority, key })
}

async fn resolve(peer: &PeerAddress) -> anyhow::Result<SocketAddr> {
    let unknown = || ExitError::new(Code::PeerUnreachable, format!("--join {peer}: no such host"));
    let found = tokio::net::lookup_host((peer.host.as_str(), peer.port)).await;
    let mut found = found.map_err(|error| unknown().because(error))?;
    found.next().ok_or_else(|| unknown().into())
}

fn explain(error: JoinError, join: &Join) -> anyhow::Error {
    let (code, what_to_do) = match &error {
        JoinError::Unreachable { .. } | JoinError::Deadline { .. } | JoinError::Broken { .. } => (
            Code::PeerUnreachable,
            format!("check that `wk up` runs at {} and that its mesh port can be reached from here", join.peer),
        ),
        JoinError::WrongCluster { .. } => {
            (Code::WrongToken, "run `wk token` on a node of the cluster you mean, and use what it prints".to_owned())
        }
        JoinError::Refused { code: 401, .. } => {
            (Code::WrongToken, "run `wk token` on a node of the cluster for one that is valid".to_owned())
        }
        JoinError::Refused { code: 409, .. } => (Code::Conflict, "choose another --name".to_owned()),
        JoinError::Refused { .. } | JoinError::Malformed { .. } | JoinError::Clock { .. } => {
            (Code::General, "nothing was kept here".to_owned())
        }
    };
    ExitError::new(code, format!("could not join through {}; {what_to_do}", join.peer)).because(error).into()
}
