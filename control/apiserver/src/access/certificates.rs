//! Certificates that name nobody's record, and may be taken back all the same: those of `admin.kubeconfig`, and those that a
//! signer issued. `/apis/wk.dev/v1/certificates`, what `wk user list` and `wk user revoke --certificate|--older` ask.
//!
//! They are good without any record, so that an administrator gets in when nothing can be written; what is in the store
//! is which of them are known, and which are good no longer: by serial number, or, of administrators', all that were made
//! before some time. A certificate that has ended is forgotten.
//!
//! Not here: people's (`people.rs`), which are good only by their record, and nodes', which are removed with their node.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Extensions, Method};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wk_access::{Ask, MASTERS, User};
use wk_api::{Reason, Status};
use wk_base::time::Timestamp;
use wk_cluster::{Freshness, from_write};
use wk_mesh::ClientCertificate;
use wk_store::{Change, Expect, Key, Op, Store, Txn, Value as Bytes_, View, WatchError, WriteError};

use crate::query::Query;
use crate::respond::Reply;
use crate::server::ApiServer;

/// Where they are.
const PATH: &str = "/apis/wk.dev/v1/certificates";
/// Where the records are: each under its serial number. Not a kind: no other API path leads there.
const COLLECTION: &str = "wk.dev/certificates";
/// The record of the time before which no administrator's certificate is good. No serial number looks like it.
const CUTOFF: &str = "administrators";
/// Longest serial number, in hexadecimal digits: RFC 5280 allows 20 octets.
const SERIAL_DIGITS_MAX: usize = 40;
/// Records of ended certificates that one write removes at most.
const FORGOTTEN_MAX: usize = 64;
/// No certificate of a user is good for longer: of one that is known by its number alone, it has ended by then.
const LIFE_MAX: Duration = Duration::from_hours(825 * 24);
/// A watch of the records that ended is opened again after this.
const REOPEN: Duration = Duration::from_millis(100);

/// What is known of a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    /// Who it names; empty when only its number is known.
    user: String,
    /// Which node made it.
    by: String,
    created: Option<Timestamp>,
    expires: Option<Timestamp>,
    /// Since when it is good no longer.
    revoked: Option<Timestamp>,
}

impl Record {
    /// When the certificate has ended, as far as that is known.
    fn ends(&self) -> Option<Timestamp> {
        self.expires.or_else(|| self.revoked?.checked_add(LIFE_MAX).ok())
    }
}

/// Since when older ones of administrators are good no longer.
#[derive(Debug, Serialize, Deserialize)]
struct Cutoff {
    /// Those made before this second since 1970.
    before: i64,
    since: Timestamp,
}

fn key(name: &str) -> Key {
    Key::new(COLLECTION, name)
}

fn read<T: serde::de::DeserializeOwned>(view: &View, name: &str) -> Option<T> {
    view.get(&key(name)).and_then(|stored| serde_json::from_slice(&stored.bytes()).ok())
}

fn put(name: &str, record: &impl Serialize, expect: Expect) -> Result<Op, Status> {
    let bytes = serde_json::to_vec(record).map_err(|error| Status::internal(error.to_string()))?;
    let change = Change::Put(Bytes_ { bytes: Bytes::from(bytes), stamp: None });
    Ok(Op { key: key(name), expect, change })
}

/// The certificate of a request, if it may be taken back.
pub(super) fn of(extensions: &Extensions) -> Option<&ClientCertificate> {
    extensions.get::<ClientCertificate>()
}

/// Whether this certificate of `user` was taken back, as far as `view` tells.
fn is_revoked(view: &View, certificate: &ClientCertificate, of_master: bool) -> bool {
    let by_number = read::<Record>(view, &certificate.serial).is_some_and(|record| record.revoked.is_some());
    by_number || of_master && read::<Cutoff>(view, CUTOFF).is_some_and(|cutoff| certificate.issued < cutoff.before)
}

/// 401 for a certificate that was taken back.
pub(super) fn check(server: &ApiServer, user: &User, certificate: Option<&ClientCertificate>) -> Result<(), Status> {
    let view = server.cluster.store().view();
    match certificate {
        Some(certificate) if is_revoked(&view, certificate, user.is_in(MASTERS)) => Err(Status::unauthorized()),
        _ => Ok(()),
    }
}

/// Ends when the certificate is taken back: what its holder still reads ends with it. It ends with the store, too: who is not
/// told of it any more lets nobody go on, and a store that gave up would be asked without an end.
pub(crate) fn revoked(
    store: &Store,
    certificate: ClientCertificate,
    of_master: bool,
) -> impl Future<Output = ()> + Send + 'static {
    let store = store.clone();
    async move {
        loop {
            let view = store.view();
            if is_revoked(&view, &certificate, of_master) {
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

/// Whether this certificate of an administrator was taken back, as far as this peer knows.
pub fn is_taken_back(store: &Store, certificate: &ClientCertificate) -> bool {
    is_revoked(&store.view(), certificate, true)
}

/// Puts an administrator's certificate on the list, so that it can be found there and taken back.
pub async fn enlist(
    store: &Store,
    certificate: &ClientCertificate,
    user: &str,
    node: &str,
    now: Timestamp,
) -> Result<(), Status> {
    let view = store.view();
    if view.get(&key(&certificate.serial)).is_some() {
        return Ok(());
    }
    let record = Record {
        user: user.to_owned(),
        by: format!("system:node:{node}"),
        created: Timestamp::from_second(certificate.issued).ok(),
        expires: Timestamp::from_second(certificate.expires).ok(),
        revoked: None,
    };
    let mut ops = vec![put(&certificate.serial, &record, Expect::Absent)?];
    let ended = view.list(COLLECTION, "").filter(|stored| {
        let record: Option<Record> = serde_json::from_slice(&stored.bytes()).ok();
        record.and_then(|record| record.ends()).is_some_and(|end| end < now)
    });
    ops.extend(ended.take(FORGOTTEN_MAX).map(|stored| Op {
        key: stored.key().clone(),
        expect: Expect::Revision(stored.revision()),
        change: Change::Delete,
    }));
    match store.write(Txn { ops }).await {
        // Somebody put it there, or forgot others, at the same time: what is lacking is tried again.
        Err(WriteError::Conflict { .. }) if store.view().get(&key(&certificate.serial)).is_some() => Ok(()),
        Ok(_) => Ok(()),
        Err(error) => Err(from_write(&error)),
    }
}

/// Answers a request for all of them, or for the one with the number `serial`.
pub(crate) async fn answer(
    server: &ApiServer,
    user: &User,
    parts: &Parts,
    serial: Option<&str>,
) -> Result<Reply, Status> {
    let path = serial.map_or_else(|| PATH.to_owned(), |serial| format!("{PATH}/{serial}"));
    let allowed = async |verb: &str| server.authorize(user, &Ask::Path { verb, path: &path }).await;
    match (&parts.method, serial) {
        (&Method::GET, None) => {
            allowed("list").await?;
            let view = server.cluster.view(Freshness::Linearizable).await?;
            Ok(Reply::ok(list(&view, of(&parts.extensions))))
        }
        (&Method::DELETE, Some(serial)) => {
            allowed("delete").await?;
            take_back(server, user, serial).await
        }
        (&Method::DELETE, None) => {
            allowed("delete").await?;
            let query = Query::parse(parts.uri.query());
            take_back_older(server, user, of(&parts.extensions), &query).await
        }
        _ => Err(Status::new(
            405,
            Reason::MethodNotAllowed,
            "the server does not allow this method on the requested resource",
        )),
    }
}

fn list(view: &View, own: Option<&ClientCertificate>) -> Value {
    let cutoff = read::<Cutoff>(view, CUTOFF).map_or(i64::MIN, |cutoff| cutoff.before);
    let shown = |time: Option<Timestamp>| time.map(|time| time.to_string());
    let records = view.list(COLLECTION, "").filter(|stored| stored.key().name() != CUTOFF);
    let items = records.filter_map(|stored| {
        let record: Record = serde_json::from_slice(&stored.bytes()).ok()?;
        let too_old = record.created.is_some_and(|created| created.as_second() < cutoff);
        let serial = stored.key().name();
        Some(json!({
            "serial": serial, "name": record.user, "by": record.by, "created": shown(record.created),
            "expires": shown(record.expires), "revoked": record.revoked.is_some() || too_old,
            "inUse": own.is_some_and(|own| own.serial == serial),
        }))
    });
    json!({ "apiVersion": "wk.dev/v1", "kind": "CertificateList", "items": items.collect::<Vec<_>>() })
}

fn success() -> Reply {
    Reply::ok(json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success" }))
}

async fn take_back(server: &ApiServer, user: &User, serial: &str) -> Result<Reply, Status> {
    let serial = serial.to_lowercase();
    let is_number = !serial.is_empty() && serial.len() <= SERIAL_DIGITS_MAX;
    if !is_number || !serial.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(Status::bad_request("a serial number is up to 40 hexadecimal digits"));
    }
    let view = server.cluster.view(Freshness::Linearizable).await?;
    let stored = view.get(&key(&serial));
    // One that is not on the list may have been made by an earlier version, or by a signer.
    let mut record: Record =
        stored.as_ref().and_then(|stored| serde_json::from_slice(&stored.bytes()).ok()).unwrap_or_default();
    record.revoked.get_or_insert(server.cluster.clock().now());
    let expect = stored.map_or(Expect::Absent, |stored| Expect::Revision(stored.revision()));
    write(server, put(&serial, &record, expect)?).await?;
    tracing::info!(serial, by = user.name, "a certificate was taken back");
    Ok(success())
}

/// All of administrators that were made before the one in use, or before a time that is given.
async fn take_back_older(
    server: &ApiServer,
    user: &User,
    own: Option<&ClientCertificate>,
    query: &Query,
) -> Result<Reply, Status> {
    let before = match (query.get("before"), own) {
        (Some(text), _) => {
            let time = text.parse::<Timestamp>();
            time.map_err(|error| Status::bad_request(format!("before: {error}")))?.as_second()
        }
        (None, Some(own)) if user.is_in(MASTERS) => own.issued,
        (None, _) => {
            let message = "older than which? Ask with an administrator's certificate, or say before=TIME";
            return Err(Status::bad_request(message));
        }
    };
    let now = server.cluster.clock().now();
    if before > now.as_second() {
        // Nobody could take that back: not those that nodes make at their next start, nor whoever asks for it.
        return Err(Status::bad_request("before: certificates that are not made yet cannot be taken back"));
    }
    let view = server.cluster.view(Freshness::Linearizable).await?;
    let stored = view.get(&key(CUTOFF));
    let known = read::<Cutoff>(&view, CUTOFF).map_or(i64::MIN, |cutoff| cutoff.before);
    let expect = stored.map_or(Expect::Absent, |stored| Expect::Revision(stored.revision()));
    // What is good no longer does not become good again.
    let cutoff = Cutoff { before: before.max(known), since: now };
    write(server, put(CUTOFF, &cutoff, expect)?).await?;
    tracing::info!(before = cutoff.before, by = user.name, "older certificates of administrators were taken back");
    Ok(success())
}

async fn write(server: &ApiServer, op: Op) -> Result<(), Status> {
    match server.cluster.store().write(Txn { ops: vec![op] }).await {
        Ok(_) => Ok(()),
        Err(WriteError::Conflict { .. }) => {
            Err(Status::new(409, Reason::Conflict, "somebody else takes back certificates at this moment: try again"))
        }
        Err(error) => Err(from_write(&error)),
    }
}
