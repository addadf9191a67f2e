//! A list as text, made piece by piece while the client takes it.
//!
//! What is held is the names of the objects, not their text: a client that reads slowly, or not at all, costs little. Each
//! piece is made in a turn of its user's, so that others go on between two of them. Objects are shown as they are stored
//! wherever that is what clients see, and else decoded one by one.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream;
use http_body::{Frame, SizeHint};
use http_body_util::StreamBody;
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};
use wk_api::table::{self, Include};
use wk_api::{Kind, slices};
use wk_base::body::{Body, BoxError, boxed, full};
use wk_base::time::Timestamp;
use wk_cluster::object_once;
use wk_store::Stored;

use crate::flight::{Flow, Held, TURN, Turns};
use crate::negotiate::Shape;
use crate::shapes;

/// Pieces of this size go to the client one by one; items are joined up to here.
const PIECE_BYTES: usize = 64 * 1024;

/// Where objects are looked into a piece ends with its turn: this much of a table of pods takes about as long.
const DECODED_PIECE_BYTES: usize = 128 * 1024;

/// How long a client may take for a list: the whole of a request, as in Kubernetes. Then it has no seat any more.
const TAKEN_WITHIN: Duration = Duration::from_mins(1);

/// What an item that shows metadata has at least: names, times and a uid.
const ITEM_BYTES_MIN: u64 = 230;

/// A row of a table that shows none.
const ROW_BYTES_MIN: u64 = 20;

/// How items are to be shown.
pub(super) struct Form {
    pub(super) kind: &'static Kind,
    pub(super) shape: Shape,
    pub(super) include: Include,
    pub(super) now: Timestamp,
    /// With line breaks, for people.
    pub(super) pretty: bool,
}

/// The text around the items.
struct Around {
    open: String,
    between: &'static str,
    close: &'static str,
}

impl Around {
    /// An object with the members of `head` and a list of items, `member`.
    fn new(head: &Value, member: &str, pretty: bool) -> Self {
        if pretty {
            let head = format!("{head:#}");
            let open = format!("{},\n  \"{member}\": [\n    ", head.strip_suffix("\n}").unwrap_or(&head));
            return Self { open, between: ",\n    ", close: "\n  ]\n}\n" };
        }
        let head = head.to_string();
        let open = format!("{},\"{member}\":[", head.strip_suffix('}').unwrap_or(&head));
        Self { open, between: ",", close: "]}\n" }
    }
}

impl Form {
    /// The head of a list of this form, and what the list of items is called.
    fn head(&self, metadata: Value) -> (Value, &'static str) {
        let mut head = match self.shape {
            Shape::Full => {
                let kind = format!("{}List", self.kind.kind);
                return (
                    serde_json::json!({"kind": kind, "apiVersion": self.kind.api_version(), "metadata": metadata}),
                    "items",
                );
            }
            Shape::Metadata => shapes::metadata_list(self.kind, std::iter::empty(), &metadata),
            Shape::Table => table::table(self.kind, &[], self.now, self.include, metadata, true),
        };
        let member = if self.shape == Shape::Table { "rows" } else { "items" };
        if let Some(head) = head.as_object_mut() {
            head.remove(member);
        }
        (head, member)
    }

    /// Whether items are their stored bytes.
    pub(super) fn is_stored(&self) -> bool {
        self.shape == Shape::Full && self.kind.serves_stored_bytes() && !self.pretty
    }

    /// Adds an item.
    fn put(&self, stored: &Stored, into: &mut BytesMut) {
        if self.pretty {
            let text = format!("{:#}", self.value(stored));
            into.put_slice(text.replace('\n', "\n    ").as_bytes());
            return;
        }
        let bytes = stored.bytes();
        let raw = || slices::member(&bytes, "metadata").filter(|_| self.kind.serves_stored_bytes());
        match self.shape {
            Shape::Full if self.kind.serves_stored_bytes() => into.put_slice(&bytes),
            Shape::Metadata if let Some(metadata) = raw() => put_metadata(metadata, into),
            Shape::Table
                if self.include != Include::Object
                    && let Some((cells, metadata)) = self.cells(stored, &bytes) =>
            {
                into.put_slice(b"{\"cells\":");
                serde_json::to_writer((&mut *into).writer(), &cells).expect("writing to memory cannot fail");
                into.put_slice(b",\"object\":");
                match self.include {
                    Include::None => into.put_slice(b"null"),
                    Include::Metadata | Include::Object => put_metadata(metadata, into),
                }
                into.put_u8(b'}');
            }
            Shape::Full | Shape::Metadata | Shape::Table => into.put_slice(self.value(stored).to_string().as_bytes()),
        }
    }

    /// The cells of an item with these bytes, and its metadata as it is stored.
    fn cells<'a>(&self, stored: &Stored, bytes: &'a [u8]) -> Option<(Vec<Value>, &'a [u8])> {
        if !self.kind.serves_stored_bytes() {
            return None;
        }
        table::cells_of_text(self.kind, bytes, self.now).or_else(|| {
            let metadata = slices::member(bytes, "metadata")?;
            Some((table::cells(self.kind, &object_once(self.kind, stored), self.now), metadata))
        })
    }

    /// An item, decoded.
    fn value(&self, stored: &Stored) -> Value {
        let object = object_once(self.kind, stored);
        match self.shape {
            Shape::Full => Arc::unwrap_or_clone(object).0,
            Shape::Metadata => table::metadata(self.kind, &object),
            Shape::Table => table::row(self.kind, &object, self.now, self.include),
        }
    }
}

fn put_metadata(metadata: &[u8], into: &mut BytesMut) {
    into.put_slice(b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":");
    into.put_slice(metadata);
    into.put_u8(b'}');
}

/// A list under way.
struct Writing {
    form: Form,
    around: Around,
    items: std::vec::IntoIter<Arc<Stored>>,
    /// Whether something of it was written.
    begun: bool,
    first: bool,
    closed: bool,
    /// One that is too long to be joined with others.
    next: Option<Bytes>,
}

impl Writing {
    /// The next bytes; None after the last.
    fn piece(&mut self) -> Option<Bytes> {
        if let Some(next) = self.next.take() {
            return Some(next);
        }
        if self.closed {
            return None;
        }
        let room = if self.form.is_stored() { PIECE_BYTES } else { DECODED_PIECE_BYTES };
        let mut piece = BytesMut::with_capacity(room + room / 4);
        if !std::mem::replace(&mut self.begun, true) {
            piece.put_slice(self.around.open.as_bytes());
        }
        let begun = Instant::now();
        loop {
            let Some(stored) = self.items.next() else {
                self.closed = true;
                piece.put_slice(self.around.close.as_bytes());
                break;
            };
            if !std::mem::replace(&mut self.first, false) {
                piece.put_slice(self.around.between.as_bytes());
            }
            if self.form.is_stored() && stored.size() >= room {
                self.next = Some(stored.bytes());
                break;
            }
            self.form.put(&stored, &mut piece);
            // What is stored is copied at once: a short list is one piece, and has to be whole.
            if piece.len() >= room || !self.form.is_stored() && begun.elapsed() >= TURN {
                break;
            }
        }
        Some(piece.freeze())
    }

    /// Bytes of the whole text, where they are known without making it; and those that it has at least.
    fn length(&self) -> (Option<u64>, u64) {
        if self.form.shape != Shape::Full || !self.form.kind.serves_stored_bytes() {
            let is_bare = self.form.shape == Shape::Table && self.form.include == Include::None;
            return (None, self.items.len() as u64 * if is_bare { ROW_BYTES_MIN } else { ITEM_BYTES_MIN });
        }
        let between = self.around.between.len() * self.items.len().saturating_sub(1);
        let around = (self.around.open.len() + self.around.close.len() + between) as u64;
        let items: u64 = self.items.as_slice().iter().map(|stored| stored.size() as u64).sum();
        // For people it is longer.
        (self.form.is_stored().then_some(around + items), around + items)
    }
}

/// The body of a list of these items, in turns of whose request it is. Its seat is kept until the client has all of it.
pub(super) fn body(form: Form, items: Vec<Arc<Stored>>, metadata: Value, turns: &Turns, held: &Held) -> Body {
    let (head, member) = form.head(metadata);
    let around = Around::new(&head, member, form.pretty);
    let items = items.into_iter();
    let mut writing = Writing { form, around, items, begun: false, first: true, closed: false, next: None };
    let (length, least) = writing.length();
    if length.is_some_and(|length| length < PIECE_BYTES as u64) {
        return full(writing.piece().unwrap_or_default());
    }
    let (turns, flow, under_way) =
        (turns.clone(), held.flow().cloned(), UnderWay::for_so_long(writing, TAKEN_WITHIN, held));
    let pieces = stream::unfold(Some(under_way), move |state| {
        let (turns, flow) = (turns.clone(), flow.clone());
        async move {
            let under_way = state?;
            let Some(mut writing) = under_way.take() else {
                return Some((Err(BoxError::from("the client took too long for the list")), None));
            };
            let (piece, writing) = if writing.form.is_stored() {
                // Others first: a connection that takes all it is given would go on to the end.
                tokio::task::yield_now().await;
                (writing.piece(), writing)
            } else {
                in_turn(&turns, flow.as_ref(), move || (writing.piece(), writing)).await
            };
            under_way.put_back(writing);
            Some((Ok(Frame::data(piece?)), Some(under_way)))
        }
    });
    boxed(Measured { body: boxed(StreamBody::new(pieces)), exact: length, least })
}

/// Computes in a turn of the flow.
pub(in crate::verbs) async fn in_turn<T: Send + 'static>(
    turns: &Turns,
    flow: Option<&Flow>,
    compute: impl FnOnce() -> T + Send + 'static,
) -> T {
    match flow {
        Some(flow) => turns.piece(flow, compute).await,
        // One of the server's own.
        None => compute(),
    }
}

/// A list that its client takes. One that is not taken in time loses its seat and what it holds, though nobody asks for the
/// next piece.
struct UnderWay {
    writing: Arc<Mutex<Option<Writing>>>,
    over: CancellationToken,
    _ended: DropGuard,
    _held: Held,
}

impl UnderWay {
    fn for_so_long(writing: Writing, time: Duration, held: &Held) -> Self {
        let (over, ended) = (CancellationToken::new(), CancellationToken::new());
        let writing = Arc::new(Mutex::new(Some(writing)));
        let (last_call, late) = (held.last_call(), Arc::clone(&writing));
        let under_way = Self { writing, over: over.clone(), _ended: ended.clone().drop_guard(), _held: held.clone() };
        tokio::spawn(async move {
            if tokio::time::timeout(time, ended.cancelled()).await.is_err() {
                over.cancel();
                drop(lock(&late).take());
                last_call.give_up();
            }
        });
        under_way
    }

    /// What is left of it, to make a piece; None when it is too late.
    fn take(&self) -> Option<Writing> {
        lock(&self.writing).take()
    }

    fn put_back(&self, writing: Writing) {
        let mut place = lock(&self.writing);
        if !self.over.is_cancelled() {
            *place = Some(writing);
        }
    }
}

fn lock(writing: &Mutex<Option<Writing>>) -> MutexGuard<'_, Option<Writing>> {
    writing.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A body that knows how long it is.
struct Measured {
    body: Body,
    exact: Option<u64>,
    least: u64,
}

impl http_body::Body for Measured {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            self.exact = self.exact.map(|left| left.saturating_sub(length));
            self.least = self.least.saturating_sub(length);
        }
        polled
    }

    fn size_hint(&self) -> SizeHint {
        if let Some(exact) = self.exact {
            return SizeHint::with_exact(exact);
        }
        let mut hint = SizeHint::new();
        hint.set_lower(self.least);
        hint
    }
}
