//! GET of a collection with `watch=true`: a stream of events, one JSON document a line.
//!
//! What a selector lets through may change with the object: one that begins to match is ADDED, one that ceases to is
//! DELETED in its last matching state. A stream that cannot go on ends with an ERROR event, so that nothing is missed
//! in silence (law L4).

mod events;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt as _, stream};
use http::StatusCode;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wk_api::{FieldReason, Status};
use wk_base::body::{BoxError, boxed};
use wk_cluster::{Change, ChangeKind, Freshness};
use wk_store::{Revision, Stored, View};

use self::events::Writer;
use crate::conversion::Converter;
use crate::flight::{Flow, TURN, Turns, Watching};
use crate::negotiate::Format;
use crate::query::{Query, invalid_option};
use crate::respond::{Content, Reply};
use crate::selection::Selection;
use crate::server::ApiServer;
use crate::verbs::{Call, list};

/// Events that are ready together go out together, up to here: one wake-up of the connection for many events.
const PIECE_BYTES: usize = 64 * 1024;

/// Those at the beginning may have to be decoded first: a piece of them is smaller, and ends with its turn.
const INITIAL_PIECE_BYTES: usize = PIECE_BYTES / 4;

/// How often a quiet stream says how far it has come, as in Kubernetes.
const BOOKMARK_EVERY: Duration = Duration::from_mins(1);

/// A stream without `timeoutSeconds` ends after this and up to as long again, so that those that began together do not
/// end together. Kubernetes' `--min-request-timeout`.
const DURATION_MIN: Duration = Duration::from_mins(30);

/// The longest `timeoutSeconds`: a client that has gone without a word is forgotten within a day at the latest.
const DURATION_MAX: Duration = Duration::from_hours(24);

/// Where a stream begins.
struct Start {
    /// The objects to show as ADDED before anything else.
    initial: Vec<Arc<Stored>>,
    after: Revision,
    /// Whether the end of the initial events is told.
    mark_initial_end: bool,
}

pub(super) async fn run(server: &ApiServer, call: &Call, format: Format) -> Result<Reply, Status> {
    let selection = Selection::parse(&call.target, &call.query)?;
    let place = server.flight.watch(&call.user.name)?;
    let converter = Converter::of(server, call.kind());
    let writer = Writer::new(call, format, Arc::clone(server.cluster.clock()), converter.is_some())?;
    let bookmarks = call.query.flag("allowWatchBookmarks");
    let duration = duration(&call.query)?;
    let start = start(server, &selection, &call.query, bookmarks).await?;
    // What this peer does not have yet it cannot have forgotten: it follows from now on.
    let from = start.after.min(server.cluster.store().view().revision());
    let source = match selection.watch(&server.cluster, from) {
        Ok(watch) => Source::Following(watch),
        // A watch is refused in its first event: informers look for it there.
        Err(status) => Source::Refused(status),
    };
    let now = Instant::now();
    let following = Following {
        initial: start.initial.into_iter(),
        mark_initial_end: start.mark_initial_end,
        after: start.after,
        source,
        selection,
        writer,
        converter,
        next_bookmark: bookmarks.then(|| now + BOOKMARK_EVERY),
        end: now + duration,
        shutdown: server.shutdown.clone(),
        turns: server.flight.turns.clone(),
        flow: call.held.flow().cloned(),
        _place: place,
    };
    let pieces = stream::unfold(Some(following), |state| async move {
        let following: Following = state?;
        let (piece, following) = following.next_piece().await;
        Some((Ok::<_, BoxError>(Frame::data(piece)), following))
    });
    let body = boxed(StreamBody::new(pieces));
    Ok(Reply::new(StatusCode::OK, Content::Stream { media_type: "application/json", body }))
}

fn duration(query: &Query) -> Result<Duration, Status> {
    Ok(match query.number("timeoutSeconds")? {
        Some(seconds) if seconds > 0 => Duration::from_secs(seconds.unsigned_abs()).min(DURATION_MAX),
        _ => {
            let digit = wk_base::id::uid().bytes().next().and_then(|c| char::from(c).to_digit(16)).unwrap_or_default();
            DURATION_MIN + DURATION_MIN * digit / 16
        }
    })
}

async fn start(server: &ApiServer, selection: &Selection, query: &Query, bookmarks: bool) -> Result<Start, Status> {
    let version = query.text("resourceVersion");
    let asked = list::revision(version)?;
    let initial = initial_events(query)?;
    let from = async |view: &View, shown: bool| {
        let initial_objects = if shown { list::selected(server, selection, view).await? } else { Vec::new() };
        let mark_initial_end = initial == Some(true) && bookmarks;
        Ok(Start { initial: initial_objects, after: view.revision(), mark_initial_end })
    };
    match (initial, asked) {
        // Of the future too: then nothing is told until it has come.
        (None | Some(false), Some(revision)) if revision > Revision(0) => {
            Ok(Start { initial: Vec::new(), after: revision, mark_initial_end: false })
        }
        (Some(false), _) => from(&server.cluster.view(Freshness::Linearizable).await?, false).await,
        (None | Some(true), _) => from(&list::as_fresh_as_asked(server, version).await?, true).await,
    }
}

/// `sendInitialEvents` (KEP-3157), and the rules it comes with.
fn initial_events(query: &Query) -> Result<Option<bool>, Status> {
    let matching = query.text("resourceVersionMatch");
    let refuse = |why: &str| {
        let message = format!("Forbidden: {why}");
        Err(invalid_option("ListOptions", "resourceVersionMatch", FieldReason::Forbidden, message))
    };
    match query.optional_flag("sendInitialEvents") {
        None if matching.is_empty() => Ok(None),
        None => refuse("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"),
        Some(_) if matching != "NotOlderThan" => {
            refuse("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
        }
        Some(send) => Ok(Some(send)),
    }
}

/// Where changes come from.
enum Source {
    Following(wk_cluster::Watch),
    /// It could not begin; this is all there is to say.
    Refused(Status),
}

/// A stream under way.
struct Following {
    initial: std::vec::IntoIter<Arc<Stored>>,
    mark_initial_end: bool,
    after: Revision,
    source: Source,
    selection: Selection,
    writer: Writer,
    /// Who shows objects in the version that is watched, where a webhook has to.
    converter: Option<Converter>,
    next_bookmark: Option<Instant>,
    end: Instant,
    shutdown: CancellationToken,
    turns: Turns,
    flow: Option<Flow>,
    _place: Watching,
}

/// What ended the wait for a change.
enum Woken {
    Change(Result<Change, Status>),
    Bookmark,
    End,
}

impl Following {
    /// The next events as bytes, and itself where others may follow.
    async fn next_piece(mut self) -> (Bytes, Option<Self>) {
        let mut more = true;
        if self.initial.len() > 0 {
            let (turns, flow) = (self.turns.clone(), self.flow.clone());
            let collect = move || {
                self.collect_initial();
                self
            };
            self = list::in_turn(&turns, flow.as_ref(), collect).await;
        } else {
            more = self.collect().await;
        }
        if let Some(converter) = &self.converter
            && let Err(status) = self.writer.convert(converter, &self.selection).await
        {
            // What was to be told is lost, so nothing may follow.
            self.writer.refuse(&status);
            more = false;
        }
        more &= !self.writer.has_failed();
        (self.writer.take(), more.then_some(self))
    }

    /// Collects the next events; whether others may follow.
    async fn collect(&mut self) -> bool {
        if std::mem::take(&mut self.mark_initial_end) {
            self.writer.bookmark(self.after, true);
            return true;
        }
        loop {
            let more = match self.wait().await {
                Woken::Change(Ok(change)) => {
                    self.write(&change);
                    self.write_what_is_ready()
                }
                Woken::Change(Err(status)) => {
                    self.writer.error(&status);
                    false
                }
                Woken::Bookmark => {
                    self.next_bookmark = Some(Instant::now() + BOOKMARK_EVERY);
                    self.writer.bookmark(self.seen(), false);
                    true
                }
                Woken::End => {
                    if self.next_bookmark.is_some() {
                        self.writer.bookmark(self.seen(), false);
                    }
                    false
                }
            };
            // A change that the selectors hide is no reason to wake the client.
            if !more || self.writer.len() > 0 {
                return more;
            }
        }
    }

    fn collect_initial(&mut self) {
        let begun = Instant::now();
        for stored in self.initial.by_ref() {
            self.writer.put(ChangeKind::Added, &stored);
            if self.writer.len() >= INITIAL_PIECE_BYTES || begun.elapsed() >= TURN {
                break;
            }
        }
    }

    async fn wait(&mut self) -> Woken {
        let bookmark = self.next_bookmark.unwrap_or(self.end);
        let watch = match &mut self.source {
            Source::Following(watch) => watch,
            Source::Refused(status) => return Woken::Change(Err(status.clone())),
        };
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Woken::End,
            () = tokio::time::sleep_until(self.end) => Woken::End,
            () = tokio::time::sleep_until(bookmark) => Woken::Bookmark,
            change = watch.next() => Woken::Change(change),
        }
    }

    /// Writes the changes that are here already. False when the stream ended meanwhile.
    fn write_what_is_ready(&mut self) -> bool {
        while self.writer.len() < PIECE_BYTES {
            let Source::Following(watch) = &mut self.source else { return false };
            match watch.next().now_or_never() {
                None => return true,
                Some(Ok(change)) => self.write(&change),
                Some(Err(status)) => {
                    self.writer.error(&status);
                    return false;
                }
            }
        }
        true
    }

    fn write(&mut self, change: &Change) {
        if change.stored.revision() <= self.after {
            return;
        }
        if self.selection.is_all() {
            return self.writer.put(change.kind, &change.stored);
        }
        let previous = change.previous().filter(|object| self.selection.matches(object));
        let after = change.kind != ChangeKind::Deleted && self.selection.matches(&change.object());
        if self.selection.converted().is_some() {
            return self.writer.wait(change, previous, after);
        }
        match (previous, after) {
            (None, false) => {}
            (None, true) => self.writer.put(ChangeKind::Added, &change.stored),
            (Some(_), true) => self.writer.put(ChangeKind::Modified, &change.stored),
            (Some(_), false) if change.kind == ChangeKind::Deleted => {
                self.writer.put(ChangeKind::Deleted, &change.stored);
            }
            (Some(previous), false) => self.writer.left(&previous, change.stored.revision()),
        }
    }

    fn seen(&self) -> Revision {
        match &self.source {
            Source::Following(watch) => watch.seen().max(self.after),
            Source::Refused(_) => self.after,
        }
    }
}
