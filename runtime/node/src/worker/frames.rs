//! What a worker tells the node about one container, in order: a row of frames, each its kind, its length and itself.
//!
//! The reader is the node's, and does not trust the writer: a length past its kind's limit, an unknown kind or nonsense
//! inside ends the row.

use std::io;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};
use wk_engine::{Exit, Failure, InvokeError, Level, Stream, Used};

use super::wire::{START_BYTES_MAX, decode, encode};

/// The longest piece of output, or message of a log with its context: what the engine passes on at a time, and some.
const OUTPUT_BYTES_MAX: usize = 72 << 10;
/// The longest of the others: a trap's backtrace has 4 KiB, and what is told becomes part of a pod's status.
const TOLD_BYTES_MAX: usize = 16 << 10;

/// What a worker tells about a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// It is there: it serves, or runs.
    Started,
    /// It could not be started, and why.
    Refused(String),
    /// The function cannot be called.
    NotCalled(InvokeError),
    /// It wrote something.
    Output(Stream, Bytes),
    /// It logged something.
    Log(Message),
    /// So many bytes of its output came faster than they could be passed on.
    Lost(u64),
    /// What it has used until now.
    Used(Used),
    /// It was refused room in one of its directories.
    Full(Full),
    /// A request failed after the head of its response had gone.
    Failed(Failure),
    /// It ended.
    Ended(Exit),
}

/// A message of `wasi:logging`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "the interface calls it so")]
pub(crate) struct Message {
    pub(crate) level: Level,
    pub(crate) context: String,
    pub(crate) message: String,
}

/// A directory with a limit that is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Full {
    /// Which of the container's mounts.
    pub(crate) mount: usize,
    /// Bytes in it.
    pub(crate) used: u64,
}

const LENGTH_BYTES: usize = 4;
/// Kind and length.
const FRAME_HEAD_BYTES: usize = 1 + LENGTH_BYTES;

impl Frame {
    /// As it travels: its kind, its length, itself.
    pub(crate) fn bytes(&self) -> Bytes {
        let (kind, payload) = match self {
            Self::Started => (0, Bytes::new()),
            Self::Refused(why) => (1, Bytes::copy_from_slice(why.as_bytes())),
            Self::Output(Stream::Out, piece) => (2, piece.clone()),
            Self::Output(Stream::Err, piece) => (3, piece.clone()),
            Self::Log(message) => (4, message.bytes()),
            Self::Lost(bytes) => (5, Bytes::copy_from_slice(&bytes.to_be_bytes())),
            Self::Used(used) => (6, encode(used)),
            Self::Full(full) => (7, encode(full)),
            Self::Failed(failure) => (8, encode(failure)),
            Self::NotCalled(error) => (9, encode(error)),
            Self::Ended(exit) => (10, encode(exit)),
        };
        let mut bytes = BytesMut::with_capacity(FRAME_HEAD_BYTES + payload.len());
        bytes.put_u8(kind);
        bytes.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
        bytes.put(payload);
        bytes.freeze()
    }

    /// The most bytes that a frame of this kind has.
    fn limit(kind: u8) -> usize {
        if matches!(kind, 2..=4) { OUTPUT_BYTES_MAX } else { TOLD_BYTES_MAX }
    }

    fn read(kind: u8, payload: Bytes) -> io::Result<Self> {
        Ok(match kind {
            0 => Self::Started,
            1 => Self::Refused(String::from_utf8_lossy(&payload).into_owned()),
            2 => Self::Output(Stream::Out, payload),
            3 => Self::Output(Stream::Err, payload),
            4 => Self::Log(Message::read(&payload)?),
            5 => Self::Lost(payload.as_ref().try_get_u64().map_err(io::Error::other)?),
            6 => Self::Used(decode(&payload)?),
            7 => Self::Full(decode(&payload)?),
            8 => Self::Failed(decode(&payload)?),
            9 => Self::NotCalled(decode(&payload)?),
            10 => Self::Ended(decode(&payload)?),
            other => return Err(invalid(format!("no frame of kind {other}"))),
        })
    }
}

impl Message {
    /// Level, the context behind its length, the message.
    fn bytes(&self) -> Bytes {
        let word = self.level.word();
        let mut bytes = BytesMut::with_capacity(word.len() + self.context.len() + self.message.len() + 4);
        for text in [word, &self.context] {
            bytes.put_u16(u16::try_from(text.len()).unwrap_or(u16::MAX));
            bytes.put_slice(text.as_bytes());
        }
        bytes.put_slice(self.message.as_bytes());
        bytes.freeze()
    }

    fn read(mut bytes: &[u8]) -> io::Result<Self> {
        let mut text = || {
            let length = usize::from(bytes.try_get_u16().map_err(io::Error::other)?);
            let (text, rest) = bytes.split_at_checked(length).ok_or(io::ErrorKind::UnexpectedEof)?;
            bytes = rest;
            Ok::<_, io::Error>(String::from_utf8_lossy(text).into_owned())
        };
        let (level, context) = (text()?, text()?);
        let level = level.parse().map_err(|error: wk_engine::NoSuchLevel| invalid(error.to_string()))?;
        Ok(Self { level, context, message: String::from_utf8_lossy(bytes).into_owned() })
    }
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Reads what is cut into pieces elsewhere than where it begins and ends.
pub(crate) struct Reader<B> {
    body: B,
    behind: BytesMut,
}

impl<B> Reader<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    pub(crate) fn new(body: B) -> Self {
        Self { body, behind: BytesMut::new() }
    }

    /// The next frame; None at the end.
    pub(crate) async fn frame(&mut self) -> io::Result<Option<Frame>> {
        if !self.fill(FRAME_HEAD_BYTES).await? {
            return Ok(None);
        }
        let kind = self.behind.get_u8();
        let payload = self.payload(Frame::limit(kind)).await?;
        Frame::read(kind, payload).map(Some)
    }

    /// The value behind its length that comes next: a `Start`.
    pub(crate) async fn value(&mut self) -> io::Result<Bytes> {
        if !self.fill(LENGTH_BYTES).await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.payload(START_BYTES_MAX).await
    }

    /// What is left of the body.
    pub(crate) fn rest(self) -> (Bytes, B) {
        (self.behind.freeze(), self.body)
    }

    async fn payload(&mut self, limit: usize) -> io::Result<Bytes> {
        let length = self.behind.get_u32() as usize;
        if length > limit {
            return Err(invalid(format!("a frame of {length} bytes, and {limit} is the most")));
        }
        if length > 0 && !self.fill(length).await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(self.behind.split_to(length).freeze())
    }

    /// Until so many bytes are there; false when the body ends before the first of them.
    async fn fill(&mut self, bytes: usize) -> io::Result<bool> {
        while self.behind.len() < bytes {
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.behind.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(io::Error::other(error.to_string())),
                None if self.behind.is_empty() => return Ok(false),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::StreamBody;
    use wk_engine::MemoryBytes;

    use super::*;

    type Pieces = StreamBody<futures::stream::Iter<std::vec::IntoIter<Result<http_body::Frame<Bytes>, io::Error>>>>;

    /// A body whose pieces have `size` bytes.
    fn body(bytes: &[u8], size: usize) -> Pieces {
        let pieces: Vec<_> =
            bytes.chunks(size).map(|it| Ok(http_body::Frame::data(Bytes::copy_from_slice(it)))).collect();
        StreamBody::new(futures::stream::iter(pieces))
    }

    fn all() -> Vec<Frame> {
        let failures = [
            Failure::Trap { message: "m".into(), backtrace: "b".into() },
            Failure::Deadline(Duration::from_secs(3)),
            Failure::OutOfMemory { limit: MemoryBytes(5), asked: MemoryBytes(6), instances: 1 },
            Failure::Limit { what: "open handles".into(), max: 9 },
            Failure::Lost,
        ];
        let message = Message { level: Level::Warn, context: "bills".into(), message: "ä card\n".into() };
        let mut frames = vec![
            Frame::Started,
            Frame::Output(Stream::Err, Bytes::from_static(b"oh")),
            Frame::Output(Stream::Out, Bytes::new()),
            Frame::Log(message),
            Frame::Lost(7),
            Frame::Used(Used { cpu: Duration::from_nanos(5), memory: 9, ..Used::default() }),
            Frame::Full(Full { mount: 1, used: 4096 }),
            Frame::NotCalled(InvokeError::NoFunction { function: "f".into(), there: vec![] }),
            Frame::Refused("no".into()),
            Frame::Ended(Exit::Code(3)),
        ];
        frames.extend(failures.map(|failure| Frame::Ended(Exit::Failed(failure))));
        frames
    }

    #[tokio::test]
    async fn frames_arrive_as_they_were_sent_however_they_are_cut() {
        let frames = all();
        let sent: Vec<u8> = frames.iter().flat_map(|frame| frame.bytes().to_vec()).collect();
        for size in [1, 3, 10_000] {
            let mut reader = Reader::new(body(&sent, size));
            for frame in &frames {
                assert_eq!(reader.frame().await.unwrap().as_ref(), Some(frame), "pieces of {size}");
            }
            assert!(reader.frame().await.unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn frames_of_a_hostile_worker_are_errors_and_take_no_memory() {
        let claims = |kind: u8, length: u32| [&[kind][..], &length.to_be_bytes()].concat();
        let log = |inner: &[u8]| [&claims(4, u32::try_from(inner.len()).unwrap()), inner].concat();
        for wrong in [
            claims(2, u32::MAX),
            claims(10, u32::try_from(TOLD_BYTES_MAX).unwrap() + 1),
            claims(200, 0),
            Frame::Lost(7).bytes()[..8].to_vec(),
            [&claims(10, 1), &b"{"[..]].concat(),
            [&claims(6, 2), &b"{}"[..]].concat(),
            log(b""),
            log(&[0, 4, b'w', b'a']),
            log(&[0, 4, b'w', b'a', b'r', b'n', 255, 255]),
            log(&[0, 4, b'l', b'o', b'u', b'd', 0, 0]),
        ] {
            let mut reader = Reader::new(body(&wrong, 4));
            assert!(reader.frame().await.is_err(), "{wrong:?}");
            assert!(reader.behind.capacity() < 2 * OUTPUT_BYTES_MAX);
        }
    }
}
