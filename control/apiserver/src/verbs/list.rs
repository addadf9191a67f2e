//! GET of a collection: as new as asked, selected, in pages.
//!
//! Few objects are answered at once; many as `pieces`, while the client takes them.

mod pieces;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use wk_api::custom::convert;
use wk_api::table::{self, Include};
use wk_api::{FieldReason, Kind, Object, Status};
use wk_base::time::Timestamp;
use wk_cluster::Freshness;
use wk_store::{Change, Expect, Key, Op, Revision, Stored, View};

use crate::conversion;
use crate::leases;
use crate::negotiate::{Encoding, Format, Shape};
use crate::paging::{self, Token};
use crate::query::{Query, invalid_option};
use crate::respond::{Content, Reply};
use crate::selection::Selection;
use crate::server::ApiServer;
use crate::shapes;
use crate::verbs::Call;

pub(super) use self::pieces::in_turn;

/// How long a request for a revision that does not exist yet waits for it, as in Kubernetes' watch cache.
const REVISION_WAIT: Duration = Duration::from_secs(3);

/// Up to here a list is made at once: a millisecond at most.
const AT_ONCE_MAX: usize = 50;

/// Objects that are looked into for a selector, in one turn.
const LOOKED_AT: usize = 50;

/// Some objects of a list, and what comes after them.
struct Page {
    revision: Revision,
    items: Vec<Arc<Stored>>,
    next: Option<Token>,
    /// Objects after this page; None when selectors make it costly to know.
    remaining: Option<usize>,
}

pub(super) async fn run(server: &ApiServer, call: &Call, format: Format) -> Result<Reply, Status> {
    let selection = Selection::parse(&call.target, &call.query)?;
    if call.query.get("sendInitialEvents").is_some() {
        let message = "Forbidden: sendInitialEvents is forbidden for list".to_owned();
        return Err(invalid_option("ListOptions", "sendInitialEvents", FieldReason::Forbidden, message));
    }
    let page = page(server, call, &selection).await?;
    // Once an answer in pieces has begun nothing can be refused any more.
    wk_cluster::check_keys(call.kind(), &page.items)?;
    let metadata = page.metadata();
    let now = server.cluster.clock().now();
    // Leases are shown as they are renewed, which no bytes in the store say.
    let goes_in_pieces = !convert::asks_webhook(call.kind()) && !leases::are_meant(call);
    if goes_in_pieces {
        let include = if format.shape == Shape::Table { shapes::include(&call.query)? } else { Include::default() };
        let pretty = format.encoding == Encoding::PrettyJson;
        let form = pieces::Form { kind: call.kind(), shape: format.shape, include, now, pretty };
        let is_long = page.items.len() > AT_ONCE_MAX && format.encoding != Encoding::Yaml;
        if is_long || form.is_stored() && format.encoding == Encoding::Json {
            let body = pieces::body(form, page.items, metadata, &server.flight.turns, &call.held);
            return Ok(Reply::new(StatusCode::OK, Content::Stream { media_type: "application/json", body }));
        }
    }
    let mut objects = conversion::shown(server, call.kind(), &page.items).await?;
    if leases::are_meant(call) {
        objects = leases::renewed(server, objects).await;
    }
    Ok(Reply::ok(of_objects(call, format, now, &objects, metadata)?))
}

/// A list of these objects in the shape that was asked for.
pub(super) fn of_objects(
    call: &Call,
    format: Format,
    now: Timestamp,
    objects: &[Arc<Object>],
    metadata: Value,
) -> Result<Value, Status> {
    let kind = call.kind();
    Ok(match format.shape {
        Shape::Full => {
            let items: Vec<&Value> = objects.iter().map(|object| &object.0).collect();
            json!({
                "kind": format!("{}List", kind.kind), "apiVersion": kind.api_version(),
                "metadata": metadata, "items": items,
            })
        }
        Shape::Metadata => shapes::metadata_list(kind, objects.iter().map(AsRef::as_ref), &metadata),
        Shape::Table => {
            let objects: Vec<&Object> = objects.iter().map(AsRef::as_ref).collect();
            table::table(kind, &objects, now, shapes::include(&call.query)?, metadata, true)
        }
    })
}

/// The state that a `resourceVersion` asks for: the newest without one, what is here for "0", not older than it else.
pub(super) async fn as_fresh_as_asked(server: &ApiServer, resource_version: &str) -> Result<View, Status> {
    match revision(resource_version)? {
        None => server.cluster.view(Freshness::Linearizable).await,
        Some(Revision(0)) => server.cluster.view(Freshness::Local).await,
        Some(revision) => server.cluster.view_since(revision, REVISION_WAIT).await,
    }
}

/// Reads a `resourceVersion`; None when there is none.
pub(super) fn revision(text: &str) -> Result<Option<Revision>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(|number| Some(Revision(number))).map_err(|_| {
        let why = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
        Status::bad_request(format!("resourceVersion: Invalid value: {text:?}: {why}"))
    })
}

async fn page(server: &ApiServer, call: &Call, selection: &Selection) -> Result<Page, Status> {
    let query = &call.query;
    check_match(query)?;
    let version = query.text("resourceVersion");
    let mut limit = match query.number("limit")? {
        Some(limit) if limit < 0 => {
            let message = format!("Invalid value: {limit}: must be greater than or equal to 0");
            return Err(invalid_option("ListOptions", "limit", FieldReason::Invalid, message));
        }
        limit => usize::try_from(limit.unwrap_or_default()).unwrap_or(usize::MAX),
    };
    let token = match query.text("continue") {
        "" => None,
        text => Some(Token::decode(text)?),
    };
    let view = match &token {
        Some(token) => continued(server, selection.kind, token, version).await?,
        None if query.text("resourceVersionMatch") == "Exact" => exactly(server, selection.kind, version).await?,
        None => {
            // Whoever takes any state gets all of it, as from Kubernetes' watch cache.
            if version == "0" {
                limit = 0;
            }
            as_fresh_as_asked(server, version).await?
        }
    };
    let page = if selection.converted().is_some() {
        converted(server, selection, &view, token.as_ref(), limit).await?
    } else {
        cut(selection, &view, token.as_ref(), limit, server.cluster.clock().now()).await
    };
    if page.next.is_some() {
        server.pages.keep(selection.kind.collection(), &view);
    }
    Ok(page)
}

fn check_match(query: &Query) -> Result<(), Status> {
    let (matching, version) = (query.text("resourceVersionMatch"), query.text("resourceVersion"));
    let refuse = |reason, message: String| Err(invalid_option("ListOptions", "resourceVersionMatch", reason, message));
    let forbidden = |why: &str| refuse(FieldReason::Forbidden, format!("Forbidden: {why}"));
    match matching {
        "" => Ok(()),
        _ if !query.text("continue").is_empty() => {
            forbidden("resourceVersionMatch is forbidden when continue is provided")
        }
        _ if version.is_empty() => forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided"),
        "Exact" if version == "0" => forbidden("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""),
        "Exact" | "NotOlderThan" => Ok(()),
        other => {
            let message = format!("Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\"");
            refuse(FieldReason::NotSupported, message)
        }
    }
}

/// The view that the first page was served from, or the present one when the token asks for that.
async fn continued(server: &ApiServer, kind: &Kind, token: &Token, version: &str) -> Result<View, Status> {
    if !matches!(version, "" | "0") {
        return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
    }
    let Some(revision) = token.revision() else {
        return server.cluster.view(Freshness::Linearizable).await;
    };
    if !token.is_too_old(server.cluster.clock().now())
        && let Some(view) = exactly_at(server, kind, revision).await?
    {
        return Ok(view);
    }
    move_on(server, kind, revision).await;
    Err(paging::expired(token))
}

/// Makes the present another revision than `revision`: who goes on with its list sees by the revision that it is another.
async fn move_on(server: &ApiServer, kind: &Kind, revision: Revision) {
    if server.cluster.store().view().revision() == revision {
        let op = Op { key: Key::new(kind.collection(), ""), expect: Expect::Any, change: Change::Check };
        // Nothing is written, and nothing is lost when that cannot be.
        drop(server.cluster.store().write(op.into()).await);
    }
}

async fn exactly(server: &ApiServer, kind: &Kind, version: &str) -> Result<View, Status> {
    let revision = revision(version)?.unwrap_or_default();
    exactly_at(server, kind, revision).await?.ok_or_else(|| {
        Status::expired_with(format!("The resourceVersion for the provided list is too old: {revision} is not kept"))
    })
}

/// The objects of a kind at a revision: the present one, that of a list under way, or one that the history reaches.
async fn exactly_at(server: &ApiServer, kind: &Kind, revision: Revision) -> Result<Option<View>, Status> {
    if server.cluster.store().view().revision() < revision {
        // This peer may be behind; if none has it, it does not exist yet, which is another refusal than being gone.
        let view = server.cluster.view(Freshness::Linearizable).await?;
        if view.revision() < revision {
            return Err(Status::too_large_resource_version(revision.0, view.revision().0));
        }
    }
    let collection = kind.collection();
    Ok(server.pages.at(collection, revision).or_else(|| server.cluster.store().view_at(collection, revision)))
}

/// Up to `limit` selected objects from where `token` goes on; all of them when it is 0.
async fn cut(selection: &Selection, view: &View, token: Option<&Token>, limit: usize, now: Timestamp) -> Page {
    let mut items = Vec::new();
    let mut walk = selection.walk(view, token.map(Token::after));
    let mut next = None;
    let mut remaining = None;
    let mut looked_at = 0;
    while let Some(stored) = walk.next() {
        if !selection.is_all() {
            looked_at += 1;
            if looked_at % LOOKED_AT == 0 {
                // The turn ends here: thousands may have to be decoded.
                tokio::task::yield_now().await;
            }
            if !selection.admits(&stored) {
                continue;
            }
        }
        if limit > 0 && items.len() == limit {
            let last: &Arc<Stored> = &items[limit - 1];
            // Counted once a list: the next pages reckon with what the token says.
            let left =
                || token.and_then(Token::left).map_or_else(|| 1 + walk.count(), |left| left.saturating_sub(limit));
            remaining = selection.is_all().then(left);
            next = Some(Token::new(view.revision(), last.key().name(), remaining, now, token));
            break;
        }
        items.push(stored);
    }
    Page { revision: view.revision(), items, next, remaining }
}

/// The same where a webhook has to be asked what the selectors look at.
async fn converted(
    server: &ApiServer,
    selection: &Selection,
    view: &View,
    token: Option<&Token>,
    limit: usize,
) -> Result<Page, Status> {
    let now = server.cluster.clock().now();
    let all = cut(selection, view, token, 0, now).await.items;
    let mut items = conversion::selected(server, selection, all).await?;
    let goes_on = limit > 0 && items.len() > limit;
    if goes_on {
        items.truncate(limit);
    }
    let last = items.last().filter(|_| goes_on);
    let next = last.map(|last| Token::new(view.revision(), last.key().name(), None, now, token));
    Ok(Page { revision: view.revision(), items, next, remaining: None })
}

/// All selected objects.
pub(super) async fn selected(
    server: &ApiServer,
    selection: &Selection,
    view: &View,
) -> Result<Vec<Arc<Stored>>, Status> {
    let all = cut(selection, view, None, 0, Timestamp::UNIX_EPOCH).await.items;
    conversion::selected(server, selection, all).await
}

impl Page {
    /// The `metadata` of the list.
    fn metadata(&self) -> Value {
        let mut metadata = json!({ "resourceVersion": self.revision.to_string() });
        if let Some(next) = &self.next {
            metadata["continue"] = next.encode().into();
        }
        if let Some(remaining) = self.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
        metadata
    }
}
