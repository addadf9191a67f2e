//! Events as the lines of a stream.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use serde_json::{Value, json};
use wk_api::table::{self, Include};
use wk_api::{Kind, Object, Status};
use wk_base::time::Clock;
use wk_cluster::ChangeKind;
use wk_store::{Revision, Stored};

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
}

impl Writer {
    pub(super) fn new(call: &Call, format: Format, clock: Arc<dyn Clock>) -> Result<Self, Status> {
        let include = shapes::include(&call.query)?;
        let lines = BytesMut::new();
        Ok(Self { kind: call.kind(), shape: format.shape, include, clock, columns: true, lines })
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
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
        if self.shape == Shape::Full && self.kind.serves_stored_bytes() {
            self.line(word, stored.bytes());
        } else {
            let value = self.show(&wk_cluster::object_as(self.kind, stored));
            self.line(word, value.to_string().as_bytes());
        }
    }

    /// An object that the selectors let through until now: its last matching state, at the revision of the change.
    pub(super) fn left(&mut self, previous: &Object, revision: Revision) {
        let mut last = self.kind.shown(previous).into_owned();
        last.metadata_mut().insert("resourceVersion".to_owned(), revision.to_string().into());
        let value = self.show(&last);
        self.line("DELETED", value.to_string().as_bytes());
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

    fn line(&mut self, word: &str, object: &[u8]) {
        self.lines.reserve(object.len() + 40);
        self.lines.put_slice(b"{\"type\":\"");
        self.lines.put_slice(word.as_bytes());
        self.lines.put_slice(b"\",\"object\":");
        self.lines.put_slice(object);
        self.lines.put_slice(b"}\n");
    }
}
