//! Events as the lines of a stream.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use serde_json::{Value, json};
use wk_api::table::{self, Include};
use wk_api::{Kind, Object, Status};
use wk_base::time::Clock;
use wk_cluster::{Change, ChangeKind};
use wk_store::{Revision, Stored};

use crate::conversion::Converter;
use crate::negotiate::{Format, Shape};
use crate::selection::Selection;
use crate::shapes;
use crate::verbs::Call;

/// Collects lines until they are taken.
pub(super) struct Writer {
    kind: &'static Kind,
    shape: Shape,
    include: Include,
    clock: Arc<dyn Clock>,
    /// Whether the next table carries the columns: the first of a stream does.
    columns: bool,
    lines: BytesMut,
    /// What is to be converted before it is written, and what comes after that; and how many bytes that was.
    waiting: Option<(Vec<Waiting>, usize)>,
    /// Whether something could not be shown: it was said so, and nothing may follow.
    failed: bool,
}

/// A line to come.
enum Waiting {
    /// As it stands.
    Line(Bytes),
    /// An object as it is stored.
    Object(&'static str, Arc<Object>),
    /// A change that may be one for who watches.
    Change(Unjudged),
}

/// A change whose objects are to be converted before the selectors can look at them.
struct Unjudged {
    /// As it was, if the selectors may have let it through.
    previous: Option<Arc<Object>>,
    /// As it is, or was when it was deleted.
    object: Arc<Object>,
    is_deleted: bool,
    /// Whether the selectors may let it through as it is.
    may_match: bool,
}

impl Waiting {
    /// What is to be converted for it, in order.
    fn objects(&self) -> impl Iterator<Item = Arc<Object>> {
        let (previous, object) = match self {
            Self::Line(_) => (None, None),
            Self::Object(_, object) => (None, Some(object)),
            Self::Change(change) => (change.previous.as_ref(), Some(&change.object)),
        };
        previous.into_iter().chain(object).map(Arc::clone)
    }
}

impl Writer {
    /// With `converts`, lines are written when [`Writer::convert`] is called.
    pub(super) fn new(call: &Call, format: Format, clock: Arc<dyn Clock>, converts: bool) -> Result<Self, Status> {
        let include = shapes::include(&call.query)?;
        let (lines, waiting) = (BytesMut::new(), converts.then(|| (Vec::new(), 0)));
        Ok(Self {
            kind: call.kind(),
            shape: format.shape,
            include,
            clock,
            columns: true,
            lines,
            waiting,
            failed: false,
        })
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.lines.len() + self.waiting.as_ref().map_or(0, |(_, bytes)| *bytes)
    }

    /// Writes what waits for being converted, as far as `selection` lets it through.
    pub(super) async fn convert(&mut self, converter: &Converter, selection: &Selection) -> Result<(), Status> {
        let Some((waiting, _)) = self.waiting.as_mut().map(std::mem::take) else { return Ok(()) };
        let objects = waiting.iter().flat_map(Waiting::objects);
        let mut shown = converter.shown(objects.collect()).await?.into_iter();
        let mut next = || shown.next().ok_or_else(|| Status::internal("a conversion left an object out"));
        for one in waiting {
            match one {
                Waiting::Line(line) => self.lines.put_slice(&line),
                Waiting::Object(word, _) => {
                    let object = next()?;
                    self.converted(word, &object);
                }
                Waiting::Change(change) => {
                    let previous = if change.previous.is_some() { Some(next()?) } else { None };
                    let object = next()?;
                    self.judged(&change, previous.as_deref(), &object, selection);
                }
            }
        }
        Ok(())
    }

    fn converted(&mut self, word: &str, object: &Object) {
        let value = self.show(object);
        self.write(word, value.to_string().as_bytes());
    }

    /// Writes what a change is to who watches, now that both states read in their version.
    fn judged(&mut self, change: &Unjudged, previous: Option<&Object>, object: &Object, selection: &Selection) {
        let admits = |object: &&Object| selection.converted().is_none_or(|fields| fields.matches(object));
        let is = change.may_match && admits(&object);
        match previous.filter(admits) {
            None if is => self.converted("ADDED", object),
            None => {}
            Some(_) if is => self.converted("MODIFIED", object),
            Some(_) if change.is_deleted => self.converted("DELETED", object),
            Some(previous) => {
                let mut last = previous.clone();
                last.metadata_mut().insert("resourceVersion".to_owned(), object.resource_version().into());
                self.converted("DELETED", &last);
            }
        }
    }

    pub(super) fn take(&mut self) -> Bytes {
        self.lines.split().freeze()
    }

    /// An object as it is stored.
    pub(super) fn put(&mut self, kind: ChangeKind, stored: &Stored) {
        let word = match kind {
            ChangeKind::Added => "ADDED",
            ChangeKind::Modified => "MODIFIED",
            ChangeKind::Deleted => "DELETED",
        };
        if let Some((waiting, bytes)) = &mut self.waiting {
            waiting.push(Waiting::Object(word, wk_cluster::object(stored)));
            *bytes += stored.size();
        } else if self.shape == Shape::Full && self.kind.serves_stored_bytes() {
            self.line(word, &stored.bytes());
        } else {
            self.opened(word, &wk_cluster::object_as(self.kind, stored));
        }
    }

    /// A change that is judged when it is converted: with its object as it was, if the selectors may have let that through,
    /// and whether they may do so now.
    pub(super) fn wait(&mut self, change: &Change, previous: Option<Arc<Object>>, may_match: bool) {
        let Some((waiting, bytes)) = &mut self.waiting else { return };
        if previous.is_some() || may_match {
            let is_deleted = change.kind == ChangeKind::Deleted;
            waiting.push(Waiting::Change(Unjudged { previous, object: change.object(), is_deleted, may_match }));
            *bytes += change.stored.size();
        }
    }

    /// An object in the version that is watched, if it could be opened.
    fn opened(&mut self, word: &str, object: &Object) {
        if self.failed {
            return;
        }
        if let Err(status) = wk_cluster::check_open(self.kind, object) {
            self.error(&status);
            self.failed = true;
            return;
        }
        let value = self.show(object);
        self.line(word, value.to_string().as_bytes());
    }

    /// Whether the stream ends here.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// An object that the selectors let through until now: its last matching state, at the revision of the change.
    pub(super) fn left(&mut self, previous: &Object, revision: Revision) {
        let mut last = if self.waiting.is_some() { previous.clone() } else { self.kind.shown(previous).into_owned() };
        last.metadata_mut().insert("resourceVersion".to_owned(), revision.to_string().into());
        if let Some((waiting, bytes)) = &mut self.waiting {
            waiting.push(Waiting::Object("DELETED", Arc::new(last)));
            // It is as large as it is: that there is something is what counts.
            *bytes += 1;
            return;
        }
        self.opened("DELETED", &last);
    }

    /// How far the stream has come.
    pub(super) fn bookmark(&mut self, revision: Revision, initial_end: bool) {
        let mut metadata = json!({ "resourceVersion": revision.to_string() });
        if initial_end {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let value = match self.shape {
            Shape::Full => json!({
                "kind": self.kind.kind, "apiVersion": self.kind.api_version(), "metadata": metadata,
            }),
            Shape::Metadata => table::metadata(self.kind, &Object(json!({ "metadata": metadata }))),
            Shape::Table => {
                let columns = std::mem::take(&mut self.columns);
                table::table(self.kind, &[], self.clock.now(), self.include, metadata, columns)
            }
        };
        self.line("BOOKMARK", value.to_string().as_bytes());
    }

    /// Why the stream ends.
    pub(super) fn error(&mut self, status: &Status) {
        self.line("ERROR", &status.to_json());
    }

    /// Why the stream ends, when what waits cannot be written.
    pub(super) fn refuse(&mut self, status: &Status) {
        self.write("ERROR", &status.to_json());
    }

    fn show(&mut self, object: &Object) -> Value {
        match self.shape {
            Shape::Full => object.0.clone(),
            Shape::Metadata => table::metadata(self.kind, object),
            Shape::Table => {
                let metadata = json!({ "resourceVersion": object.resource_version() });
                let columns = std::mem::take(&mut self.columns);
                table::table(self.kind, &[object], self.clock.now(), self.include, metadata, columns)
            }
        }
    }

    /// A line, after those that wait.
    fn line(&mut self, word: &str, object: &[u8]) {
        if self.waiting.is_none() {
            return self.write(word, object);
        }
        let before = self.lines.split();
        self.write(word, object);
        let line = std::mem::replace(&mut self.lines, before).freeze();
        if let Some((waiting, bytes)) = &mut self.waiting {
            *bytes += line.len();
            waiting.push(Waiting::Line(line));
        }
    }

    fn write(&mut self, word: &str, object: &[u8]) {
        self.lines.reserve(object.len() + 40);
        self.lines.put_slice(b"{\"type\":\"");
        self.lines.put_slice(word.as_bytes());
        self.lines.put_slice(b"\",\"object\":");
        self.lines.put_slice(object);
        self.lines.put_slice(b"}\n");
    }
}
