//! Certificates for people: `/apis/wk.dev/v1/users`, what `wk user add|list|revoke` asks.
//!
//! Such a certificate names, beside the person, a record in the store, and is good only while that record is there and
//! is the one it names. So a person is out as soon as their record is deleted, at every peer, whatever their certificate
//! says; and their groups stand in the record.
//!
//! Who may make one is who may *be* that person in these groups: the right to impersonate each of them.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wk_access::{AUTHENTICATED, Ask, User};
use wk_api::{Errors, Reason, Status};
use wk_base::body::Body;
use wk_base::error::Chain;
use wk_base::id;
use wk_base::time::Timestamp;
use wk_cluster::{Freshness, from_write};
use wk_mesh::Csr;
use wk_store::{Change, Expect, Key, Op, Store, Stored, Txn, Value as Bytes_, View, WatchError, WriteError};

use crate::body;
use crate::respond::Reply;
use crate::server::ApiServer;

/// Where they are.
const PATH: &str = "/apis/wk.dev/v1/users";
/// Where the records are. Not a kind: no other API path leads there.
const COLLECTION: &str = "wk.dev/users";
/// The organization of such a certificate, before the record's id.
const GROUP_PREFIX: &str = "wk:user:";
/// Longest name: with a namespace's worth of room for an e-mail address.
const NAME_MAX: usize = 100;
/// Groups of one person at most: each is looked up at every request.
const GROUPS_MAX: usize = 64;
/// Shortest and longest life of a certificate. Longer than two years and common TLS clients refuse it.
const LIFE: std::ops::RangeInclusive<u64> = 60..=825 * 24 * 3600;
/// A name, groups and a certificate request of at most 8 KiB.
const BODY_BYTES_MAX: usize = 32 * 1024;
/// A watch of the records that ended is opened again after this.
const REOPEN: Duration = Duration::from_millis(100);

/// What is known of a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    id: String,
    groups: Vec<String>,
    created: Timestamp,
    expires: Timestamp,
    by: String,
}

/// A person who is let in by their record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    name: String,
    id: String,
}

#[derive(Debug, Deserialize)]
struct Request {
    name: String,
    #[serde(default)]
    groups: Vec<String>,
    csr: String,
    seconds: u64,
}

/// Who the holder of a certificate is: themselves, or a person with a record. 401 for those whose record is gone.
pub(super) async fn known(server: &ApiServer, user: User) -> Result<(User, Option<Person>), Status> {
    let Some(id) = user.groups.iter().find_map(|group| group.strip_prefix(GROUP_PREFIX)) else {
        return Ok((user, None));
    };
    let person = Person { name: user.name.clone(), id: id.to_owned() };
    let mut found = find(&server.cluster.store().view(), &person);
    if found.is_none() {
        // They may be new, and made at another peer.
        found = find(&server.cluster.view(Freshness::Linearizable).await?, &person);
    }
    let record = found.ok_or_else(Status::unauthorized)?;
    let mut groups = record.groups;
    groups.push(AUTHENTICATED.to_owned());
    Ok((User { groups, ..user }, Some(person)))
}

fn key(name: &str) -> Key {
    Key::new(COLLECTION, name)
}

fn read(stored: &Stored) -> Option<Record> {
    serde_json::from_slice(&stored.bytes()).ok()
}

fn find(view: &View, person: &Person) -> Option<Record> {
    view.get(&key(&person.name)).and_then(|stored| read(&stored)).filter(|record| record.id == person.id)
}

/// Ends when the person's record is gone: what they still read ends with it. It ends with the store, too, which tells of
/// nothing then.
pub(crate) fn revoked(store: &Store, person: Person) -> impl Future<Output = ()> + Send + 'static {
    let store = store.clone();
    async move {
        loop {
            let view = store.view();
            if find(&view, &person).is_none() {
                return;
            }
            let Ok(mut watch) = store.watch(COLLECTION, view.revision()) else {
                tokio::time::sleep(REOPEN).await;
                continue;
            };
            if matches!(watch.next().await, Err(WatchError::Stopped)) {
                return;
            }
        }
    }
}

/// Answers a request for all of them, or for the one called `name`.
pub(crate) async fn answer(
    server: &ApiServer,
    user: &User,
    parts: &Parts,
    name: Option<&str>,
    bytes: Body,
) -> Result<Reply, Status> {
    // Not the path as it was written: roles name it in one way.
    let path = name.map_or_else(|| PATH.to_owned(), |name| format!("{PATH}/{name}"));
    let allowed = async |verb: &str| server.authorize(user, &Ask::Path { verb, path: &path }).await;
    match (&parts.method, name) {
        (&Method::POST, None) => {
            allowed("create").await?;
            let bytes = body::read(bytes, BODY_BYTES_MAX).await?;
            let request: Request =
                serde_json::from_slice(&bytes).map_err(|error| Status::bad_request(format!("no user: {error}")))?;
            add(server, user, request).await
        }
        // Not `get`: what is below `/apis` may be got by everybody who is somebody.
        (&Method::GET, None) => {
            allowed("list").await?;
            let view = server.cluster.view(Freshness::Linearizable).await?;
            let items =
                view.list(COLLECTION, "").filter_map(|stored| Some(shown(stored.key().name(), &read(&stored)?)));
            Ok(Reply::ok(json!({ "apiVersion": "wk.dev/v1", "kind": "UserList", "items": items.collect::<Vec<_>>() })))
        }
        (&Method::DELETE, Some(name)) => {
            allowed("delete").await?;
            revoke(server, name).await
        }
        _ => Err(Status::new(
            405,
            Reason::MethodNotAllowed,
            "the server does not allow this method on the requested resource",
        )),
    }
}

fn shown(name: &str, record: &Record) -> Value {
    json!({
        "name": name, "groups": record.groups, "created": record.created.to_string(),
        "expires": record.expires.to_string(), "by": record.by,
    })
}

async fn add(server: &ApiServer, user: &User, request: Request) -> Result<Reply, Status> {
    check(&request)?;
    let Some(authority) = &server.access.security.authority else {
        return Err(Status::unavailable("this server signs no certificates"));
    };
    server.authorize(user, &Ask::resource("impersonate", "", "users").named(&request.name)).await?;
    for group in &request.groups {
        server.authorize(user, &Ask::resource("impersonate", "", "groups").named(group)).await?;
    }
    let created = server.cluster.clock().now();
    let life = Duration::from_secs(request.seconds);
    let expires = created.checked_add(life).map_err(|error| Status::bad_request(error.to_string()))?;
    let id = id::uid();
    let csr = Csr::new(request.csr);
    let certificate = authority.issue_client(&request.name, &format!("{GROUP_PREFIX}{id}"), life, &csr);
    let certificate = certificate.map_err(|error| Status::bad_request(Chain(&error).to_string()))?;
    let record = Record { id, groups: request.groups, created, expires, by: user.name.clone() };
    let bytes = serde_json::to_vec(&record).map_err(|error| Status::internal(error.to_string()))?;
    let change = Change::Put(Bytes_ { bytes: Bytes::from(bytes), stamp: None });
    // Whoever has an earlier certificate of that name is out: one record, one certificate. Only a revoked or unknown
    // name can be taken, so that nobody is locked out by accident.
    let op = Op { key: key(&request.name), expect: Expect::Absent, change };
    match server.cluster.store().write(Txn { ops: vec![op] }).await {
        Ok(_) => {}
        Err(WriteError::Conflict { .. }) => {
            let message = format!("user {:?} has a certificate already: revoke it first", request.name);
            return Err(Status::new(409, Reason::AlreadyExists, message));
        }
        Err(error) => return Err(from_write(&error)),
    }
    let mut value = shown(&request.name, &record);
    value["certificate"] = certificate.as_str().into();
    tracing::info!(user = request.name, by = user.name, "a certificate for a person");
    Ok(Reply { code: StatusCode::CREATED, ..Reply::ok(value) })
}

async fn revoke(server: &ApiServer, name: &str) -> Result<Reply, Status> {
    let not_found = || Status::new(404, Reason::NotFound, format!("user {name:?} has no certificate"));
    let view = server.cluster.view(Freshness::Linearizable).await?;
    let stored = view.get(&key(name)).ok_or_else(not_found)?;
    let op = Op { key: key(name), expect: Expect::Revision(stored.revision()), change: Change::Delete };
    match server.cluster.store().write(Txn { ops: vec![op] }).await {
        Ok(_) => {}
        Err(WriteError::Conflict { .. }) => return Err(not_found()),
        Err(error) => return Err(from_write(&error)),
    }
    tracing::info!(user = name, "a person's certificate was revoked");
    Ok(Reply::ok(json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success" })))
}

fn check(request: &Request) -> Result<(), Status> {
    let mut errors = Errors::default();
    let is_plain = |text: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "@._-+".contains(c);
        !text.is_empty() && text.len() <= NAME_MAX && text.chars().all(plain)
    };
    if !is_plain(&request.name) {
        let why = "at most 100 letters, digits and any of @._-+; \"system:\" names belong to the system";
        errors.invalid("name", &json!(request.name), why);
    }
    let wrong = |group: &&String| {
        group.is_empty()
            || group.len() > NAME_MAX
            || group.starts_with(GROUP_PREFIX)
            || group.chars().any(char::is_control)
    };
    for group in request.groups.iter().filter(wrong) {
        errors.invalid("groups", &json!(group), "no name of a group");
    }
    if request.groups.len() > GROUPS_MAX {
        errors.invalid("groups", &json!(request.groups.len()), "at most 64 groups");
    }
    if !LIFE.contains(&request.seconds) {
        errors.invalid("seconds", &json!(request.seconds), "from a minute to 825 days");
    }
    let found = errors.into_result();
    found.map_err(|errors| Status::invalid_named("wk.dev", "User", &request.name, &errors))
}
