//! Raft's messages as one long request: each message after its length, for as long as both sides are there.
//!
//! A request for each batch would make the next batch wait for the answer to the one before, and cost a head and an answer
//! each time. What is lost with a stream that breaks Raft sends again. Not here: what is said to whom
//! ([`super::raft_link`]).

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;
use wk_base::body::{Body, BoxError, boxed};
use wk_mesh::{Lane, Mesh, NodeName};
use wk_store::{MemberId, ReceiveError, Store};

use super::members::Members;
use super::raft_link::{LARGE_BYTES, Queue};

/// Where streams are opened.
pub(crate) const PATH: &str = "/raft/stream";

/// Until the other side has said that it reads.
const OPEN_DEADLINE: Duration = Duration::from_secs(2);

/// What became of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It went on for a while.
    Later,
    /// It never began.
    Refused,
    /// The other side is of a version that takes batches only.
    Unknown,
}

/// Sends what is in the queue to `to`, until one of the two sides ends it.
pub(super) async fn send(mesh: &Mesh, to: &NodeName, queue: OwnedMutexGuard<Queue>) -> Ended {
    let over = CancellationToken::new();
    // Whatever happens here: the queue comes back.
    let _over = over.clone().drop_guard();
    let batches = stream::unfold((queue, over), |(mut queue, over)| async {
        let batch = over.run_until_cancelled(queue.batch()).await.flatten()?;
        Some((Ok::<_, BoxError>(Frame::data(batch)), (queue, over)))
    });
    let mut request = Request::post(PATH).body(boxed(StreamBody::new(batches))).expect("a constant path");
    request.extensions_mut().insert(Lane::Control);
    let response = match mesh.request(to, request, OPEN_DEADLINE).await {
        Ok(response) => response,
        Err(error) => {
            tracing::debug!(%error, node = %to, "raft messages lost");
            return Ended::Refused;
        }
    };
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Ended::Unknown,
        status => {
            tracing::debug!(%status, node = %to, "raft messages refused");
            return Ended::Refused;
        }
    }
    let mut answer = response.into_body();
    // It says nothing; its end is that of the stream.
    while let Some(Ok(_)) = answer.frame().await {}
    Ended::Later
}

/// The answer to the member `from`, which is also what reads its messages, until `stopping` fires.
pub(crate) fn answer(
    store: Store,
    members: Members,
    (name, from): (NodeName, MemberId),
    messages: Body,
    stopping: CancellationToken,
) -> Response<Body> {
    let read = async move {
        let is_member = || members.named(&name).is_some_and(|member| member.id == from.0);
        let read = read(messages, is_member, |message| store.receive(from, message));
        stopping.run_until_cancelled(read).await.unwrap_or(Ok(()))
    };
    let read = stream::once(read).filter_map(async |read| read.err().map(Err::<Frame<Bytes>, _>));
    Response::new(boxed(StreamBody::new(Box::pin(read))))
}

/// Hands on each message, as long as the other side `is_member`.
async fn read(
    mut messages: Body,
    is_member: impl Fn() -> bool,
    mut receive: impl FnMut(Bytes) -> Result<(), ReceiveError>,
) -> Result<(), BoxError> {
    let mut parts = Parts::default();
    while let Some(frame) = messages.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if !is_member() {
            return Err("no member of that name any more".into());
        }
        parts.add(data);
        while let Some(message) = parts.next()? {
            match receive(message) {
                // It is sent again, to a store that has room by then.
                Ok(()) | Err(ReceiveError::Busy) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Messages that come in pieces.
#[derive(Default)]
struct Parts {
    /// What came last, and is not taken yet.
    data: Bytes,
    length: BytesMut,
    /// The message that began, and how long it will be.
    message: Option<(usize, BytesMut)>,
}

impl Parts {
    /// The bytes that follow. Those before have been taken.
    fn add(&mut self, data: Bytes) {
        self.data = data;
    }

    /// The next message that is whole. Each has memory of its own: one that is kept keeps no others.
    fn next(&mut self) -> Result<Option<Bytes>, BoxError> {
        let Self { data, length, message } = self;
        let (whole, begun) = if let Some(begun) = message {
            begun
        } else {
            length.put((&mut *data).take(size_of::<u32>() - length.len()));
            if length.len() < size_of::<u32>() {
                return Ok(None);
            }
            let whole = length.get_u32() as usize;
            if whole >= LARGE_BYTES {
                return Err(format!("a raft message of {whole} bytes, which does not go by a stream").into());
            }
            message.insert((whole, BytesMut::with_capacity(whole)))
        };
        begun.put(data.take(*whole - begun.len()));
        if begun.len() < *whole {
            return Ok(None);
        }
        Ok(message.take().map(|(_, message)| message.freeze()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::raft_batch;
    use super::*;

    fn cut(bytes: &Bytes, length: usize) -> Body {
        let pieces: Vec<_> = bytes.chunks(length).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
        boxed(StreamBody::new(stream::iter(pieces.into_iter().map(|piece: Result<_, BoxError>| piece))))
    }

    #[tokio::test]
    async fn messages_are_the_same_however_the_stream_is_cut() {
        let messages = ["", "a", "bc", &"d".repeat(300), ""].map(|text| Bytes::copy_from_slice(text.as_bytes()));
        let bytes = raft_batch::join(messages.clone());
        for length in [1, 2, 3, 5, 7, 100, bytes.len()] {
            let heard = Mutex::new(Vec::new());
            let receive = |message| {
                heard.lock().expect("one thread").push(message);
                Ok(())
            };
            read(cut(&bytes, length), || true, receive).await.expect("all is well");
            assert_eq!(*heard.lock().expect("one thread"), messages, "in pieces of {length}");
        }
    }

    #[tokio::test]
    async fn what_is_no_members_or_no_message_ends_the_stream_and_a_busy_store_does_not() {
        let bytes = raft_batch::join([Bytes::from_static(b"ab"), Bytes::from_static(b"cd")]);
        let nothing = |_| panic!("nothing may be heard");
        assert!(read(cut(&bytes, 100), || false, nothing).await.is_err());
        let huge = Bytes::from_static(b"\xff\xff\xff\xff");
        assert!(read(cut(&huge, 2), || true, nothing).await.is_err());
        let mut heard = 0;
        let busy = |_| {
            heard += 1;
            Err(ReceiveError::Busy)
        };
        read(cut(&bytes, 100), || true, busy).await.expect("it goes on");
        assert_eq!(heard, 2);
        assert!(read(cut(&bytes, 100), || true, |_| Err(ReceiveError::Stopped)).await.is_err());
    }
}
