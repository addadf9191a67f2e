//! The keys that sign service accounts' tokens: kept in the store, read by every member, turned by whoever leads, by age or
//! when somebody asks (`/apis/wk.dev/v1/signingkeys`, what `wk cluster keys` asks).
//!
//! In the store they are sealed with the authority's key, so that neither the API nor a backup shows them: who may sign
//! tokens is who may sign certificates. A restored cluster has another authority, cannot open the old record, and makes a
//! key of its own. What is known of each key lies beside, in plain form. When what is due, `wk_access::tokens::rotation`
//! says; every step is one write on what was read, so that leaders that overlap do not undo each other's.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use http::StatusCode;
use http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};
use wk_access::tokens::rotation::{self, Fact, Facts, Role, Step};
use wk_access::tokens::{Jwt, KeyError, Keyring};
use wk_access::{Ask, User};
use wk_api::{Object, Reason, Status, kinds};
use wk_base::body::Body;
use wk_base::error::Chain;
use wk_base::tasks::Tasks;
use wk_base::time::Timestamp;
use wk_cluster::{Cluster, Freshness, from_write};
use wk_mesh::Authority;
use wk_store::{Change, Expect, Key, Op, Store, Txn, Value as Bytes_, View, WriteError};

use crate::body;
use crate::respond::Reply;
use crate::server::ApiServer;

/// Where they are.
const PATH: &str = "/apis/wk.dev/v1/signingkeys";
/// Where the records are. Not a kind: no API path leads there.
const COLLECTION: &str = "wk.dev/signing-keys";
/// The keys, the one that signs last. Earlier versions read it too: its form does not change.
const KEYS: &str = "service-accounts";
/// What is known of them.
const FACTS: &str = "service-accounts-facts";
/// What the keys are sealed for.
const PURPOSE: &str = "wk signing keys v1";
/// Between two looks while there is no key.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two looks when nothing was written: steps become due without that.
const INTERVAL: Duration = Duration::from_secs(5);
/// Between two looks at what Secrets hold, while a key waits for nothing else: it is gone this much later at most.
const HOLDERS_EVERY: Duration = Duration::from_mins(10);
/// Between two warnings that the keys are too many to be turned by age.
const WARN_EVERY: Duration = Duration::from_hours(1);
/// Writes that are tried again because somebody else wrote.
const TRIES_MAX: u32 = 5;
/// The body of a request says one thing.
const BODY_BYTES_MAX: usize = 1024;
const SECRET_TYPE: &str = "kubernetes.io/service-account-token";

/// The records as they are in the store.
struct Found {
    keys: Vec<Vec<u8>>,
    ids: Vec<String>,
    facts: Facts,
    /// What a write of both relies on.
    expect: (Expect, Expect),
}

fn key(name: &str) -> Key {
    Key::new(COLLECTION, name)
}

/// The records; None while there are none of this cluster.
fn find(view: &View, authority: &Authority) -> Option<Found> {
    let stored = view.get(&key(KEYS))?;
    let plain = authority.unseal(PURPOSE, &stored.bytes())?;
    let keys: Vec<Vec<u8>> = serde_json::from_slice(&plain).ok()?;
    let ids = keys.iter().map(|key| Keyring::id_of(key)).collect::<Result<_, _>>();
    let ids = ids.inspect_err(|error| tracing::warn!("the keys for tokens cannot be used: {}", Chain(error))).ok()?;
    let beside = view.get(&key(FACTS));
    let facts = beside.as_ref().and_then(|stored| serde_json::from_slice(&stored.bytes()).ok()).unwrap_or_default();
    let expect = (
        Expect::Revision(stored.revision()),
        beside.map_or(Expect::Absent, |stored| Expect::Revision(stored.revision())),
    );
    Some(Found { keys, ids, facts, expect })
}

impl Found {
    fn fact(&self, id: &str) -> Option<&Fact> {
        self.facts.get(id)
    }
}

fn put(name: &str, bytes: Vec<u8>, expect: Expect) -> Op {
    let change = Change::Put(Bytes_ { bytes: Bytes::from(bytes), stamp: None });
    Op { key: key(name), expect, change }
}

/// Why a step was not written.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error("make or seal a key for tokens: {0}")]
    Key(String),
    #[error("write the keys for tokens")]
    Write(#[source] WriteError),
}

impl From<KeyError> for StepError {
    fn from(error: KeyError) -> Self {
        Self::Key(error.to_string())
    }
}

impl StepError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Write(WriteError::Conflict { .. }))
    }

    fn status(&self) -> Status {
        match self {
            Self::Key(_) => Status::internal(self.to_string()),
            Self::Write(error) => from_write(error),
        }
    }
}

async fn write(
    store: &Store,
    authority: &Authority,
    keys: &[Vec<u8>],
    facts: &Facts,
    expect: (Expect, Expect),
) -> Result<(), StepError> {
    let plain = serde_json::to_vec(keys).map_err(|error| StepError::Key(error.to_string()))?;
    let sealed = authority.seal(PURPOSE, &plain).map_err(|error| StepError::Key(error.to_string()))?;
    let facts = serde_json::to_vec(facts).map_err(|error| StepError::Key(error.to_string()))?;
    let ops = vec![put(KEYS, sealed, expect.0), put(FACTS, facts, expect.1)];
    store.write(Txn { ops }).await.map(|_| ()).map_err(StepError::Write)
}

/// The first key of a cluster, or of one that was restored and cannot open what it finds.
async fn make_first(store: &Store, authority: &Authority, now: i64) -> Result<(), StepError> {
    let view = store.view();
    let expect = |name| view.get(&key(name)).map_or(Expect::Absent, |stored| Expect::Revision(stored.revision()));
    let made = Keyring::generate()?;
    let facts = Facts::from([(Keyring::id_of(&made)?, rotation::made(now, now))]);
    write(store, authority, &[made], &facts, (expect(KEYS), expect(FACTS))).await
}

/// Carries out one step.
async fn take(store: &Store, authority: &Authority, found: Found, step: Step, now: i64) -> Result<(), StepError> {
    let expect = found.expect;
    let Found { mut keys, ids, mut facts, .. } = found;
    match step {
        Step::Note(noted) => facts = noted,
        Step::Publish { signs } => {
            let made = Keyring::generate()?;
            facts.insert(Keyring::id_of(&made)?, rotation::made(now, signs));
            // Not the last: it does not sign yet.
            keys.insert(0, made);
        }
        Step::Promote(id) => {
            let Some(index) = ids.iter().position(|own| *own == id) else { return Ok(()) };
            let signer = ids.last().cloned().unwrap_or_default();
            facts = rotation::promoted(&facts, &signer, &id, now);
            let promoted = keys.remove(index);
            keys.push(promoted);
        }
        Step::Forget(gone) => {
            let mut known = ids.iter();
            keys.retain(|_| known.next().is_some_and(|id| !gone.contains(id)));
            facts.retain(|id, _| !gone.contains(id));
        }
    }
    write(store, authority, &keys, &facts, expect).await
}

/// Keeps `keys` what the store says, and the store's keys young enough while this peer leads, for as long as the tasks run.
pub fn follow(cluster: &Cluster, authority: &Authority, keys: &Keyring, age: Option<Duration>, tasks: &Tasks) {
    let (cluster, authority, keys) = (cluster.clone(), authority.clone(), keys.clone());
    let age = age.and_then(|age| i64::try_from(age.as_secs()).ok());
    tasks.spawn_until_stop("signing-keys", async move {
        let mut holders = Holders::default();
        loop {
            let view = cluster.store().view();
            let found = find(&view, &authority);
            let is_known = found.as_ref().is_some_and(|found| keys.set(&found.keys).is_ok());
            let leads = cluster.store().status().borrow().is_leader();
            let turned = if leads { turn(&cluster, &authority, (found, &mut holders), age).await } else { Ok(false) };
            match turned {
                // There may be another step.
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::debug!("no step with the keys for tokens: {}", Chain(&error)),
            }
            let pause = if is_known { INTERVAL } else { PAUSE };
            if let Ok(mut watch) = cluster.store().watch(COLLECTION, view.revision())
                && matches!(tokio::time::timeout(pause, watch.next()).await, Ok(Ok(_)) | Err(_))
            {
                continue;
            }
            // A store that gave up tells of nothing any more.
            tokio::time::sleep(PAUSE).await;
        }
    });
}

/// One step, if one is due; whether there was.
async fn turn(
    cluster: &Cluster,
    authority: &Authority,
    (found, holders): (Option<Found>, &mut Holders),
    age: Option<i64>,
) -> Result<bool, StepError> {
    let (store, now) = (cluster.store(), cluster.clock().now().as_second());
    let Some(found) = found else {
        // What another leader wrote and this peer has not seen refuses the write.
        make_first(store, authority, now).await?;
        return Ok(true);
    };
    let step = {
        let holders = RefCell::new(&mut *holders);
        let held = |id: &str| holders.borrow_mut().hold(cluster, id);
        rotation::due(&found.ids, &found.facts, age, held, now)
    };
    let Some(step) = step else {
        if rotation::is_stuck(&found.ids, &found.facts, age, now)
            && holders.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY)
        {
            holders.warned = Some(Instant::now());
            tracing::warn!(
                keys = found.ids.len(),
                "the key for tokens is older than --token-key-age and stays: there are too many old ones, whose tokens are \
                 good (wk cluster keys list, forget)"
            );
        }
        return Ok(false);
    };
    tracing::info!(?step, "the keys for tokens are turned");
    take(store, authority, found, step, now).await?;
    Ok(true)
}

/// Which keys Secrets held at the last look, and when it was. A look opens all of them, and one may hold a key for years.
#[derive(Default)]
struct Holders {
    looked: Option<(Instant, Vec<String>)>,
    /// When somebody was told that old keys are too many.
    warned: Option<Instant>,
}

impl Holders {
    /// Whether a Secret holds the key. That none does is only ever said after a look.
    fn hold(&mut self, cluster: &Cluster, id: &str) -> bool {
        if let Some((looked, held)) = &self.looked
            && looked.elapsed() < HOLDERS_EVERY
            && held.iter().any(|own| own == id)
        {
            return true;
        }
        let held = held_by_secrets(cluster);
        let is_held = held.iter().any(|own| own == id);
        self.looked = Some((Instant::now(), held));
        is_held
    }
}

/// The keys that signed tokens without an end, which stand in Secrets: an entry for each Secret.
fn held_by_secrets(cluster: &Cluster) -> Vec<String> {
    let secrets = cluster.local(&kinds::SECRET, None).items;
    let of_account = secrets.iter().filter(|secret| secret.text("/type") == SECRET_TYPE);
    of_account.filter_map(signer_of).collect()
}

fn signer_of(secret: &Arc<Object>) -> Option<String> {
    let token = String::from_utf8(STANDARD.decode(secret.text("/data/token")).ok()?).ok()?;
    Jwt::parse(&token).ok().map(|jwt| jwt.key_id().to_owned()).filter(|id| !id.is_empty())
}

/// Sees to it that the key that signs is kept until `expires`, before it signs a token that long.
pub(crate) async fn keep_until(server: &ApiServer, expires: i64) -> Result<(), Status> {
    let now = server.cluster.clock().now().as_second();
    if expires <= now + rotation::SHORT_SECONDS {
        return Ok(());
    }
    // Where nothing is kept there is nothing to keep: a server without an authority has its keys from elsewhere.
    let Some(authority) = &server.access.security.authority else { return Ok(()) };
    for _ in 0..TRIES_MAX {
        let view = server.cluster.view(Freshness::Linearizable).await?;
        let Some(found) = find(&view, authority) else { return Ok(()) };
        let (Some(id), expect) = (found.ids.last(), found.expect) else { return Ok(()) };
        if server.access.security.keys.signer().as_ref() != Some(id) {
            return Err(Status::unavailable("another key has just begun to sign tokens").retry_after(1));
        }
        let fact = found.fact(id).copied().unwrap_or(rotation::made(0, now));
        let Some(until) = rotation::to_note(&fact, expires, now) else { return Ok(()) };
        let mut facts = found.facts.clone();
        facts.insert(id.clone(), Fact { until, ..fact });
        match write(server.cluster.store(), authority, &found.keys, &facts, expect).await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error.status()),
        }
    }
    Err(Status::unavailable("the keys for tokens are being turned").retry_after(1))
}

/// How a key is wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Request {
    /// It shall sign as soon as the cluster's nodes know it, and not when everybody does.
    now: bool,
}

/// Answers a request for all of them, or for the one called `id`.
pub(crate) async fn answer(
    server: &ApiServer,
    user: &User,
    parts: &Parts,
    id: Option<&str>,
    bytes: Body,
) -> Result<Reply, Status> {
    let path = id.map_or_else(|| PATH.to_owned(), |id| format!("{PATH}/{id}"));
    let allowed = async |verb: &str| server.authorize(user, &Ask::Path { verb, path: &path }).await;
    match (&parts.method, id) {
        (&Method::GET, None) => {
            allowed("list").await?;
            let found = latest(server).await?;
            Ok(Reply::ok(list(&server.cluster, &found)))
        }
        (&Method::POST, None) => {
            allowed("create").await?;
            let bytes = body::read(bytes, BODY_BYTES_MAX).await?;
            let request = if bytes.is_empty() { Ok(Request::default()) } else { serde_json::from_slice(&bytes) };
            let request = request.map_err(|error| Status::bad_request(format!("no wish for a key: {error}")))?;
            rotate(server, user, &request).await
        }
        (&Method::DELETE, Some(id)) => {
            allowed("delete").await?;
            forget(server, user, id).await
        }
        _ => Err(Status::new(
            405,
            Reason::MethodNotAllowed,
            "the server does not allow this method on the requested resource",
        )),
    }
}

async fn latest(server: &ApiServer) -> Result<Found, Status> {
    let Some(authority) = &server.access.security.authority else {
        return Err(Status::unavailable("this server keeps no keys"));
    };
    let view = server.cluster.view(Freshness::Linearizable).await?;
    find(&view, authority).ok_or_else(|| Status::unavailable("the cluster has no key for tokens yet").retry_after(1))
}

fn list(cluster: &Cluster, found: &Found) -> Value {
    let held = held_by_secrets(cluster);
    let shown = |seconds: i64| Timestamp::from_second(seconds).ok().map(|time| time.to_string());
    let items = found.ids.iter().map(|id| {
        let role = rotation::role(&found.ids, &found.facts, id);
        let fact = found.fact(id);
        let role_word = match role {
            Role::Next => "next",
            Role::Signs => "signs",
            Role::Retired => "retired",
        };
        json!({
            "id": id, "role": role_word,
            "created": fact.map(|fact| fact.created).filter(|created| *created > 0).and_then(shown),
            "signs": fact.and_then(|fact| shown(fact.signs)),
            "retired": fact.and_then(|fact| fact.retired).and_then(shown),
            "until": fact.filter(|_| role == Role::Retired).and_then(|fact| shown(fact.until)),
            "secrets": held.iter().filter(|own| *own == id).count(),
        })
    });
    json!({ "apiVersion": "wk.dev/v1", "kind": "SigningKeyList", "items": items.collect::<Vec<_>>() })
}

/// Publishes a key, or hurries the one that is published.
async fn rotate(server: &ApiServer, user: &User, request: &Request) -> Result<Reply, Status> {
    let authority = server.access.security.authority.as_ref();
    for _ in 0..TRIES_MAX {
        let (found, now) = (latest(server).await?, server.cluster.clock().now().as_second());
        let Some(authority) = authority else { break };
        let Some(step) = rotation::wanted(&found.ids, &found.facts, request.now, now) else {
            let message = format!(
                "there are {} keys already: old ones stay while their tokens are good. Let some be \
                 forgotten that nobody needs (wk cluster keys list, forget)",
                found.ids.len()
            );
            return Err(Status::new(409, Reason::Conflict, message));
        };
        match take(server.cluster.store(), authority, found, step, now).await {
            Ok(()) => {
                tracing::info!(by = user.name, now = request.now, "another key shall sign tokens");
                let listed = list(&server.cluster, &latest(server).await?);
                return Ok(Reply { code: StatusCode::CREATED, ..Reply::ok(listed) });
            }
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error.status()),
        }
    }
    Err(Status::unavailable("the keys for tokens are being turned").retry_after(1))
}

/// Takes back a key that signs no more, and with it every token that it signed.
async fn forget(server: &ApiServer, user: &User, id: &str) -> Result<Reply, Status> {
    let found = latest(server).await?;
    if !found.ids.iter().any(|own| own == id) {
        return Err(Status::new(404, Reason::NotFound, format!("there is no key {id:?}")));
    }
    if rotation::role(&found.ids, &found.facts, id) == Role::Signs {
        let message = "this key signs tokens: let another one sign first (wk cluster keys rotate --now)";
        return Err(Status::new(409, Reason::Conflict, message));
    }
    let now = server.cluster.clock().now().as_second();
    let Some(authority) = &server.access.security.authority else {
        return Err(Status::unavailable("this server keeps no keys"));
    };
    let step = Step::Forget(vec![id.to_owned()]);
    let taken = take(server.cluster.store(), authority, found, step, now).await;
    taken.map_err(|error| {
        if error.is_conflict() {
            Status::new(409, Reason::Conflict, "the keys for tokens are being turned: try again")
        } else {
            error.status()
        }
    })?;
    tracing::info!(id, by = user.name, "a key for tokens was taken back");
    Ok(Reply::ok(json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success" })))
}
