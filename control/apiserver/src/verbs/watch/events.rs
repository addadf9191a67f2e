//! Events as the lines of a stream.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use serde_json::{Value, json};
use wk_api::table::{self, Include};
use wk_api::{Kind, Object, Status};
use wk_base::time::Clock;
use wk_cluster::ChangeKind;
use wk_store::{Revision, Stored};

use crate::conversion::Converter;
use crate::negotiate::{Format, Shape};
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

    /// Writes what waits for being converted.
    pub(super) async fn convert(&mut self, converter: &Converter) -> Result<(), Status> {
        let Some((waiting, _)) = self.waiting.as_mut().map(std::mem::take) else { return Ok(()) };
        let objects = waiting.iter().filter_map(|one| match one {
            Waiting::Line(_) => None,
            Waiting::Object(_, object) => Some(Arc::clone(object)),
        });
        let mut shown = converter.shown(objects.collect()).await?.into_iter();
        for one in waiting {
            match one {
                Waiting::Line(line) => self.lines.put_slice(&line),
                Waiting::Object(word, _) => {
                    let object = shown.next().ok_or_else(|| Status::internal("a conversion left an object out"))?;
                    let value = self.show(&object);
                    self.write(word, value.to_string().as_bytes());
                }
            }
        }
        Ok(())
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
            Shape::Metadata => shapes::metadata(&Object(json!({ "metadata": metadata }))),
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
            Shape::Metadata => shapes::metadata(object),
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
