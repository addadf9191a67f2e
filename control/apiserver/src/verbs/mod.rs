//! The verbs: one file each. This one tells them apart, asks whether the caller may, and reads the body.

mod asked;
mod binding;
mod computed;
mod connect;
mod create;
mod debug;
mod delete;
mod eviction;
mod get;
mod list;
mod log;
mod metrics;
mod patch;
pub(crate) mod proxy;
mod resize;
mod special;
mod update;
mod watch;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Response, Uri};
use wk_api::kind::Serving;
use wk_api::{Kind, Object, Status};
use wk_base::body::Body;
use wk_base::time::Timestamp;
use wk_cluster::{Cluster, Manager, Subresource};
use wk_mesh::Upgrade;

pub(crate) use self::connect::Ends;
use crate::access::{Ask, User, guard};
use crate::audit::Notes;
use crate::body;
use crate::flight::Held;
use crate::negotiate::{self, Encoding, Format, Shape};
use crate::query::{Query, default_manager};
use crate::respond::{Content, Reply, respond};
use crate::route::Target;
use crate::server::{ApiServer, Asker};
use crate::shapes::{self, Show};

/// A request for objects.
pub(crate) struct Call {
    pub target: Target,
    pub method: Method,
    pub headers: HeaderMap,
    pub query: Query,
    pub uri: Uri,
    /// The connection, if the request asks to take it over.
    pub upgrade: Option<Upgrade>,
    /// Who asks.
    pub user: User,
    /// The version of the kind that was asked for; `target` has the stored one where a webhook converts.
    pub requested: &'static Kind,
    /// Its seat.
    pub held: Held,
    /// What the audit log should say of it.
    pub notes: Notes,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

/// Which face of the objects is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Face {
    Stored(Subresource),
    /// One that only its own file knows.
    Special(&'static wk_api::kind::Subresource),
}

impl Call {
    pub(crate) fn new(target: Target, parts: &Parts, query: Query, asker: &Asker<'_>) -> Self {
        let (method, headers, uri) = (parts.method.clone(), parts.headers.clone(), parts.uri.clone());
        let (upgrade, requested) = (Upgrade::of(&parts.extensions), target.kind);
        let (user, held, notes) = (asker.user.clone(), asker.held.clone(), asker.notes.clone());
        Self { target, method, headers, query, uri, upgrade, user, requested, held, notes }
    }

    /// The same call, of another version of the kind.
    pub(crate) fn of(&self, kind: &'static Kind) -> Self {
        let Self { method, headers, query, uri, user, requested, held, notes, .. } = self;
        let target = Target { kind, ..self.target.clone() };
        let (method, headers, query) = (method.clone(), headers.clone(), query.clone());
        let (uri, user, held, notes) = (uri.clone(), user.clone(), held.clone(), notes.clone());
        Self { target, method, headers, query, uri, upgrade: None, user, requested, held, notes }
    }

    pub(crate) fn kind(&self) -> &'static Kind {
        self.target.kind
    }

    pub(crate) fn namespace(&self) -> Option<&str> {
        self.target.namespace.as_deref()
    }

    /// The name in the path; empty for a collection.
    pub(crate) fn name(&self) -> &str {
        self.target.name.as_deref().unwrap_or_default()
    }

    /// How to show single objects of this call.
    pub(crate) fn show(&self, format: Format, now: Timestamp) -> Result<Show, Status> {
        Ok(Show { shape: format.shape, include: shapes::include(&self.query)?, now })
    }
}

impl Verb {
    /// What a method means on a path; None when it means nothing there.
    fn of(target: &Target, method: &Method, query: &Query) -> Option<Self> {
        let named = target.name.is_some();
        // Over all namespaces there is nowhere to create, and nobody deletes that much at once.
        let everywhere = target.namespace.is_none() && target.kind.scope == wk_api::Scope::Namespaced;
        match (method, named) {
            (&Method::GET, true) => Some(Self::Get),
            (&Method::GET, false) if query.flag("watch") => Some(Self::Watch),
            (&Method::GET, false) => Some(Self::List),
            (&Method::POST, false) if !everywhere => Some(Self::Create),
            (&Method::POST, true) if target.subresource.is_some() => Some(Self::Create),
            (&Method::HEAD | &Method::OPTIONS, true) if target.subresource.as_deref() == Some("proxy") => {
                Some(Self::Get)
            }
            (&Method::PUT, true) => Some(Self::Update),
            (&Method::PATCH, true) => Some(Self::Patch),
            (&Method::DELETE, true) => Some(Self::Delete),
            (&Method::DELETE, false) if !everywhere && target.kind.deletes_collections() => {
                Some(Self::DeleteCollection)
            }
            _ => None,
        }
    }

    /// The verb's name in roles and refusals.
    fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

impl Face {
    fn of(target: &Target) -> Option<Self> {
        match target.subresource.as_deref() {
            None => Some(Self::Stored(Subresource::None)),
            Some("status") if target.kind.has_status => Some(Self::Stored(Subresource::Status)),
            Some("scale") if target.kind.has_scale => Some(Self::Stored(Subresource::Scale)),
            Some(name) => match target.kind.part(name) {
                Some(part) => Some(Self::Stored(Subresource::Part(part))),
                None => target.kind.subresources.iter().find(|sub| sub.name == name).map(Self::Special),
            },
        }
    }
}

/// Verb and subresource under which a request is counted; None for what there is not.
pub(crate) fn counted_as(
    target: &Target,
    method: &Method,
    query: &Query,
    applies: bool,
) -> Option<(&'static str, &'static str)> {
    let verb = Verb::of(target, method, query)?;
    let (connects, subresource) = match Face::of(target)? {
        Face::Special(sub) => (matches!(sub.name, "exec" | "attach" | "portforward" | "proxy"), sub.name),
        Face::Stored(Subresource::None) => (false, ""),
        Face::Stored(Subresource::Status) => (false, "status"),
        Face::Stored(Subresource::Scale) => (false, "scale"),
        Face::Stored(Subresource::Part(part)) => (false, part),
    };
    let verb = match verb {
        _ if connects => "CONNECT",
        Verb::Get => "GET",
        Verb::List => "LIST",
        Verb::Watch => "WATCH",
        Verb::Create => "POST",
        Verb::Update => "PUT",
        Verb::Patch if applies => "APPLY",
        Verb::Patch => "PATCH",
        Verb::Delete => "DELETE",
        Verb::DeleteCollection => "DELETECOLLECTION",
    };
    Some((verb, subresource))
}

/// What is asked for, for roles and for the record.
pub(crate) fn ask<'a>(target: &'a Target, method: &Method, query: &'a Query) -> Ask<'a> {
    // A selector selects only where a collection is read or deleted.
    let selects = matches!(*method, Method::GET | Method::DELETE) && target.name.is_none();
    let fields = if selects { query.text("fieldSelector") } else { "" };
    let name = match target.name.as_deref().unwrap_or_default() {
        // Who asks for the one of a collection that has this name asks for that one.
        "" => fields.strip_prefix("metadata.name=").filter(|name| !name.contains([',', '='])).unwrap_or_default(),
        name => name,
    };
    let namespace = match target.kind {
        // A namespace is in itself: who holds a role there may read it.
        kind if *kind == wk_api::kinds::NAMESPACE => target.name.as_deref(),
        _ => target.namespace.as_deref(),
    };
    Ask::Resource(wk_access::Resource {
        verb: Verb::of(target, method, query).map_or("use", Verb::name),
        group: target.kind.group,
        resource: target.kind.plural,
        subresource: target.subresource.as_deref().unwrap_or_default(),
        namespace: namespace.unwrap_or_default(),
        name,
        fields,
    })
}

/// Marks the answer to somebody who has no right to what they ask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoRight;

/// Answers a request for objects.
pub(crate) async fn answer(server: &ApiServer, user: &User, call: Call, body: Body, json: Encoding) -> Response<Body> {
    let mut encoding = json;
    let asked = ask(&call.target, &call.method, &call.query);
    if let Err(status) = server.authorize_noted(user, &asked, &call.notes).await {
        let mut response = respond(Err(status), encoding);
        response.extensions_mut().insert(NoRight);
        return response;
    }
    let mut result = decide(server, user, &call, body, &mut encoding).await;
    if let Ok(reply) = &mut result
        && let Some(warning) = call.kind().custom.and_then(|custom| custom.deprecation())
    {
        reply.warnings.insert(0, warning.to_owned());
    }
    respond(result, encoding)
}

async fn decide(
    server: &ApiServer,
    user: &User,
    call: &Call,
    body: Body,
    encoding: &mut Encoding,
) -> Result<Reply, Status> {
    let verb = Verb::of(&call.target, &call.method, &call.query);
    let face = Face::of(&call.target).ok_or_else(Status::no_such_resource)?;
    let verb = verb.ok_or_else(|| Status::method_not_allowed(call.kind()))?;
    let subresource = match face {
        Face::Special(sub) if !sub.verbs.contains(&verb.name()) => {
            return Err(Status::method_not_allowed(call.kind()));
        }
        Face::Special(sub) => return special::answer(server, user, call, sub, body).await,
        Face::Stored(subresource) => subresource,
    };
    if !call.kind().verbs().contains(&verb.name()) {
        return Err(Status::method_not_allowed(call.kind()));
    }
    match call.kind().serving {
        Serving::Stored => {}
        Serving::Asked => {
            // An answer has no columns and nothing to tell apart by its metadata: 406 for who takes nothing else.
            *encoding = negotiate::format(&call.headers, &call.query, &[Shape::Full])?.encoding;
            return asked::create(server, user, call, body).await;
        }
        Serving::Computed => return computed::read(server, call).await,
    }
    let offered: &[Shape] = match subresource {
        Subresource::Scale => &[Shape::Full, Shape::Table],
        Subresource::None | Subresource::Status | Subresource::Part(_) => &[Shape::Full, Shape::Table, Shape::Metadata],
    };
    let format = negotiate::format(&call.headers, &call.query, offered)?;
    *encoding = format.encoding;
    if verb == Verb::Watch && format.encoding == Encoding::Yaml {
        return Err(Status::not_acceptable(&["application/json"]));
    }
    if subresource != Subresource::None && !matches!(verb, Verb::Get | Verb::Update | Verb::Patch) {
        return Err(Status::method_not_allowed(call.kind()));
    }
    match verb {
        Verb::Get => get::run(server, call, format, subresource).await,
        Verb::List => list::run(server, call, format).await,
        Verb::Watch => watch::run(server, call, format).await,
        Verb::Create => create::run(server, user, call, format, &read(body).await?).await,
        Verb::Update => update::run(server, user, call, format, subresource, &read(body).await?).await,
        Verb::Patch => patch::run(server, user, call, format, subresource, &read(body).await?).await,
        Verb::Delete => delete::one(server, user, call, format, &read(body).await?).await,
        Verb::DeleteCollection => delete::collection(server, user, call, format, &read(body).await?).await,
    }
}

pub(crate) async fn read(body: Body) -> Result<Bytes, Status> {
    body::read(body, body::BODY_BYTES_MAX).await
}

/// The cluster to write to, as the manager that the request names: with `dryRun=All`, one where nothing comes of it.
fn writable(server: &ApiServer, user: &User, call: &Call, options: &str) -> Result<Cluster, Status> {
    let manager = match call.query.field_manager(options)? {
        Some(manager) => Manager::client(manager),
        None => Manager::client(&default_manager(user_agent(&call.headers))),
    };
    let mut cluster = guard::cluster_of(server, user).with_warnings().as_manager(manager);
    if call.notes.are_kept() {
        let notes = call.notes.clone();
        cluster = cluster.with_notes(move |said| notes.extend(said));
    }
    Ok(if call.query.dry_run(options)? { cluster.dry_run() } else { cluster })
}

fn user_agent(headers: &HeaderMap) -> &str {
    headers.get(http::header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// What a write answers: the object, through the face that it was written by.
fn written(
    server: &ApiServer,
    call: &Call,
    format: Format,
    subresource: Subresource,
    object: &Object,
) -> Result<Content, Status> {
    if subresource != Subresource::Scale
        && let Some(bytes) = stored_bytes(server, call, format, object)
    {
        return Ok(Content::Json(bytes));
    }
    let show = call.show(format, server.cluster.clock().now())?;
    Ok(Content::Value(match subresource {
        Subresource::Scale => {
            let scale = Object::new(wk_api::strategy::scale_of(call.kind(), object)?);
            show.one(&wk_api::kinds::SCALE, &scale)
        }
        Subresource::None | Subresource::Status | Subresource::Part(_) => show.one(call.kind(), object),
    }))
}

/// The text of what was just written, which the store has made already; None where it is not what is to be shown.
fn stored_bytes(server: &ApiServer, call: &Call, format: Format, object: &Object) -> Option<Bytes> {
    let kind = call.kind();
    let is_plain = format.shape == Shape::Full && format.encoding == Encoding::Json && kind.serves_stored_bytes();
    // What was tried only has the revision of what is there.
    if !is_plain || call.query.get("dryRun").is_some() {
        return None;
    }
    let stored = server.cluster.store().view().get(&wk_cluster::key(kind, call.namespace(), object.name()))?;
    // Somebody may have written since.
    (stored.revision().to_string() == object.resource_version()).then(|| stored.bytes())
}
