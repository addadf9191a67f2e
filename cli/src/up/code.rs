//! Machine code on other nodes: asking for what would be compiled here, and handing out what was.
//!
//! A module is compiled once in a cluster of like nodes: all of them put the members in the same order, which depends on
//! the module, and the first that can makes the code. Nothing is loaded on anybody's say-so: code comes with the
//! [`Statement`] of a member that it was made of this module with these settings, over the mesh's mutual TLS.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use async_trait::async_trait;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;
use wk_base::body::{self, Body};
use wk_base::error::Chain;
use wk_engine::{Colleagues, Engine, PrepareError, Profile, Settings, Target};
use wk_image::Digest;
use wk_mesh::{Identity, NodeName, Statement};

use super::copies::Copies;

/// Where it is on the mesh: `GET /code/<digest>?sum=…&profile=…[&make]`.
pub(crate) const PREFIX: &str = "/code/";

/// The header with the statement.
const STATEMENT: &str = "wk-statement";
/// What a statement about code is for.
const PURPOSE: &str = "wk compiled code 1";

/// Members asked whether they have it. Each ask costs a round trip; code that this many like nodes lack is new.
const ASKED_MAX: usize = 4;
/// Members asked to make it, before this node does so itself.
const MAKERS_MAX: usize = 2;
/// One member's time to begin an answer about what it has, and what comes on top for each mebibyte of the module: it reads
/// and checks its code first, and to compile so much here would take a weak or busy node about as long.
const HAVE_DEADLINE: Duration = Duration::from_secs(2);
const HAVE_DEADLINE_PER_MIB: Duration = Duration::from_secs(1);
/// One member's time to compile: a web framework takes seconds, an interpreter a minute, and then two work at it.
const MAKE_DEADLINE: Duration = Duration::from_mins(1);
/// One member's time to send it all.
const BODY_DEADLINE: Duration = Duration::from_mins(2);
/// The largest code taken: four times what the largest interpreters come to.
const CODE_BYTES_MAX: usize = 512 << 20;

/// The way to the others' code.
pub(crate) struct Handover {
    /// Who the others are, and the way to them.
    pub(crate) copies: Copies,
    /// Who we are, and whom we trust.
    pub(crate) identity: Identity,
}

#[async_trait]
impl Colleagues for Handover {
    async fn code(&self, digest: &str, settings: &Settings) -> Option<Vec<u8>> {
        let order = self.order(digest, settings);
        let patience = self.patience(digest).await;
        let mut silent = BTreeSet::new();
        for peer in order.iter().filter(|name| **name != self.copies.name).take(ASKED_MAX) {
            match self.fetch(peer, digest, settings, Want::Made(patience)).await {
                Ok(Some(code)) => return Some(code),
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(%peer, digest, "no code from a member: {error:#}");
                    silent.insert(peer);
                }
            }
        }
        let before = order.iter().take_while(|name| **name != self.copies.name);
        for peer in before.filter(|peer| !silent.contains(peer)).take(MAKERS_MAX) {
            match self.fetch(peer, digest, settings, Want::Make).await {
                Ok(Some(code)) => return Some(code),
                Ok(None) => {}
                Err(error) => tracing::info!(%peer, digest, "a member did not make code: {error:#}"),
            }
        }
        None
    }
}

impl Handover {
    /// All members, this node among them, in the order in which they are to make this module's code. A node that has no
    /// compiler of its own kind comes last where it decides.
    fn order(&self, digest: &str, settings: &Settings) -> Vec<NodeName> {
        let mut names: Vec<NodeName> = self.copies.members.all().into_iter().map(|member| member.name).collect();
        names.sort_by_cached_key(|name| {
            let is_last = is_weak(settings) && *name == self.copies.name;
            (is_last, Sha256::new().chain_update(digest).chain_update(name.as_str()).finalize())
        });
        names
    }

    /// How long a member may look for what it has of this module.
    async fn patience(&self, digest: &str) -> Duration {
        let Ok(digest) = digest.parse() else { return HAVE_DEADLINE };
        let bytes = tokio::fs::metadata(self.copies.blobs.path(&digest)).await.map_or(0, |module| module.len());
        let mib = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
        HAVE_DEADLINE.saturating_add(HAVE_DEADLINE_PER_MIB.saturating_mul(mib)).min(MAKE_DEADLINE)
    }

    /// None if the member has none, or cannot make it.
    async fn fetch(
        &self,
        peer: &NodeName,
        digest: &str,
        settings: &Settings,
        want: Want,
    ) -> anyhow::Result<Option<Vec<u8>>> {
        let request = Request::get(uri(digest, settings, want == Want::Make)?).body(body::empty())?;
        let deadline = match want {
            Want::Made(patience) => patience,
            Want::Make => MAKE_DEADLINE,
        };
        let response = self.copies.mesh.request(peer, request, deadline).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::PRECONDITION_FAILED => return Ok(None),
            status => bail!("it answered {status}"),
        }
        let statement = response.headers().get(STATEMENT).context("it states nothing")?;
        let statement: Statement = statement.to_str()?.parse()?;
        let collected = timeout(BODY_DEADLINE, body::collect(response.into_body(), CODE_BYTES_MAX)).await;
        let code = collected.context("it sends too slowly")?.map_err(anyhow::Error::from_boxed)?;
        self.check(digest, settings, &code, &statement)?;
        Ok(Some(code.into()))
    }

    /// Whether a member vouches for this code.
    fn check(&self, digest: &str, settings: &Settings, code: &[u8], statement: &Statement) -> anyhow::Result<()> {
        let sum = Sha256::digest(code);
        let by = self.identity.verify(PURPOSE, &[digest.as_bytes(), &settings.sum, &sum], statement)?;
        ensure!(self.copies.members.named(&by).is_some(), "{by} is no member any more");
        Ok(())
    }

    fn state(&self, digest: &str, settings: &Settings, code: &[u8]) -> anyhow::Result<HeaderValue> {
        let sum = Sha256::digest(code);
        let statement = self.identity.state(PURPOSE, &[digest.as_bytes(), &settings.sum, &sum])?;
        Ok(HeaderValue::from_str(&statement.to_string())?)
    }

    /// Hands code to another node.
    pub(crate) async fn answer(&self, engine: &Engine, uri: &Uri) -> Response<Body> {
        let Some(asked) = Asked::read(uri) else { return plain(StatusCode::BAD_REQUEST, "not a question about code") };
        let Some(settings) = asked.settings(engine) else {
            return plain(StatusCode::PRECONDITION_FAILED, "this node makes other code");
        };
        let name = asked.digest.to_string();
        let code = match engine.stored_code(&name, &settings).await {
            Some(code) => Ok(Some(code)),
            // A weak node does no work for the strong.
            None if asked.make && !is_weak(engine.settings()) => self.make(engine, &asked.digest, &settings).await,
            None => Ok(None),
        };
        match code {
            Ok(Some(code)) => match self.state(&name, &settings, &code) {
                Ok(statement) => {
                    let mut response = Response::new(body::full(code));
                    response.headers_mut().insert(STATEMENT, statement);
                    response
                }
                Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}")),
            },
            Ok(None) => plain(StatusCode::NOT_FOUND, "not here"),
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &Chain(&error).to_string()),
        }
    }

    /// Compiles a module that is on this disk; none if it is not.
    async fn make(
        &self,
        engine: &Engine,
        digest: &Digest,
        settings: &Settings,
    ) -> Result<Option<Vec<u8>>, PrepareError> {
        let blobs = &self.copies.blobs;
        // Opening it checks its content, which the engine takes on trust.
        if !blobs.get(digest).await.is_ok_and(|blob| blob.is_some()) {
            return Ok(None);
        }
        engine.make_code(&digest.to_string(), &blobs.path(digest), settings).await.map(Some)
    }
}

/// What is asked of a member.
#[derive(Clone, Copy, PartialEq)]
enum Want {
    /// Code that it has; it may look for so long.
    Made(Duration),
    /// To make it.
    Make,
}

/// Whether a node with these settings leaves compiling to others.
fn is_weak(own: &Settings) -> bool {
    own.profile.target == Target::Pulley
}

/// What another node asks for.
struct Asked {
    digest: Digest,
    sum: String,
    profile: Profile,
    make: bool,
}

impl Asked {
    fn read(uri: &Uri) -> Option<Self> {
        let digest = uri.path().strip_prefix(PREFIX)?.parse().ok()?;
        let (mut sum, mut profile, mut make) = (None, None, false);
        for (name, value) in form_urlencoded::parse(uri.query()?.as_bytes()) {
            match &*name {
                "sum" => sum = Some(value.into_owned()),
                "profile" => profile = Some(serde_json::from_str(&value).ok()?),
                "make" => make = true,
                _ => return None,
            }
        }
        Some(Self { digest, sum: sum?, profile: profile?, make })
    }

    /// The settings asked for, if this node can make such code: its own, or those of a kind of machine.
    fn settings(&self, engine: &Engine) -> Option<Settings> {
        let own = engine.settings();
        if hex::encode(own.sum) == self.sum {
            return Some(own.clone());
        }
        let other = self.profile.settings().ok()?;
        (hex::encode(other.sum) == self.sum).then_some(other)
    }
}

fn uri(digest: &str, settings: &Settings, make: bool) -> anyhow::Result<String> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("sum", &hex::encode(settings.sum));
    query.append_pair("profile", &serde_json::to_string(&settings.profile)?);
    if make {
        query.append_pair("make", "1");
    }
    Ok(format!("{PREFIX}{digest}?{}", query.finish()))
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(body::full(text.to_owned()));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_arrives_as_it_was_asked() {
        let profile = Profile { target: "pulley64".parse().unwrap(), ..Profile::default() };
        let settings = profile.settings().unwrap();
        let digest = Digest::of(b"x");
        let asked = Asked::read(&uri(&digest.to_string(), &settings, true).unwrap().parse().unwrap()).unwrap();
        assert_eq!((asked.digest, asked.sum, asked.make), (digest, hex::encode(settings.sum), true));
        assert_eq!(asked.profile, profile);
        let asked = Asked::read(&uri(&digest.to_string(), &settings, false).unwrap().parse().unwrap()).unwrap();
        assert!(!asked.make);
        assert!(Asked::read(&"/code/sha256:xyz?sum=1".parse().unwrap()).is_none());
    }
}
