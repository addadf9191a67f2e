//! What the API server wants of a pod's node, and the frames between them.
//!
//! One HTTP exchange carries one stream, its body each way open for as long as it lasts: what the client sends in the
//! request's, what it is sent in the response's. A forwarded connection is its plain bytes; exec and attach are frames of
//! a channel (one byte), a length (four) and so much data, of which none ends the channel.

use std::io;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, StreamBody};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use wk_base::body::{Body, BoxError, boxed};

/// The longest frame: a piece of output as the engine hands it on.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Pieces that wait for a slow reader; whoever writes waits with them.
const PIECES_MAX: usize = 8;
const HEAD_BYTES: usize = 5;

/// What is wanted of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wanted {
    /// Run a command beside a container.
    Exec(Exec),
    /// The input and output of a container itself.
    Attach(Exec),
    /// A connection to a port.
    Forward {
        /// Which.
        port: u16,
    },
}

/// `PodExecOptions`, and without a command `PodAttachOptions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Exec {
    /// The container's name.
    pub container: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Whether input comes.
    pub stdin: bool,
    /// Whether standard output is wanted.
    pub stdout: bool,
    /// Whether standard error is wanted.
    pub stderr: bool,
    /// Whether the client is a terminal.
    pub tty: bool,
}

impl Wanted {
    /// As the query of a URL.
    pub fn to_query(&self) -> String {
        let text = serde_json::to_string(self).expect("plain fields");
        utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string()
    }

    /// The reverse of [`Wanted::to_query`].
    pub fn parse(query: &str) -> Option<Self> {
        serde_json::from_str(&percent_decode_str(query).decode_utf8().ok()?).ok()
    }
}

/// A channel of exec or attach, with its number in Kubernetes' protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Standard input.
    Stdin = 0,
    /// Standard output.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
    /// How it ended: a `Status` as JSON, once, at the end.
    Error = 3,
    /// Sizes of the client's terminal, each a JSON object.
    Resize = 4,
}

impl Channel {
    /// The channel with this number.
    pub fn of(number: u8) -> Option<Self> {
        [Self::Stdin, Self::Stdout, Self::Stderr, Self::Error, Self::Resize].into_iter().find(|it| *it as u8 == number)
    }
}

/// A piece of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Which channel.
    pub channel: Channel,
    /// Nothing ends the channel.
    pub data: Bytes,
}

/// Writes frames into a body.
#[derive(Debug, Clone)]
pub struct Sender(mpsc::Sender<Result<Bytes, BoxError>>);

/// A body to be read elsewhere, and what writes it.
pub fn channel() -> (Sender, Body) {
    let (sender, pieces) = pieces();
    (Sender(sender), pieces)
}

/// A body of the pieces that are sent.
pub fn pieces() -> (mpsc::Sender<Result<Bytes, BoxError>>, Body) {
    let (sender, pieces) = mpsc::channel(PIECES_MAX);
    let frames = futures::stream::unfold(pieces, |mut pieces| async move {
        let piece: Result<Bytes, BoxError> = pieces.recv().await?;
        Some((piece.map(http_body::Frame::data), pieces))
    });
    (sender, boxed(StreamBody::new(frames)))
}

impl Sender {
    /// Sends data of a channel, which none of is the channel's end; an error once nobody reads.
    pub async fn send(&self, channel: Channel, data: Bytes) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        self.put(channel, data).await
    }

    /// Ends a channel.
    pub async fn end(&self, channel: Channel) -> io::Result<()> {
        self.put(channel, Bytes::new()).await
    }

    /// Ends when nobody reads any more.
    pub async fn closed(&self) {
        self.0.closed().await;
    }

    async fn put(&self, channel: Channel, mut data: Bytes) -> io::Result<()> {
        loop {
            let piece = data.split_to(data.len().min(FRAME_BYTES_MAX));
            let mut frame = BytesMut::with_capacity(HEAD_BYTES + piece.len());
            frame.put_u8(channel as u8);
            frame.put_u32(u32::try_from(piece.len()).expect("a piece is short"));
            frame.extend_from_slice(&piece);
            self.0.send(Ok(frame.freeze())).await.map_err(|_| io::ErrorKind::BrokenPipe)?;
            if data.is_empty() {
                return Ok(());
            }
        }
    }
}

/// Reads frames out of a body.
#[derive(Debug)]
pub struct Receiver {
    body: Body,
    rest: BytesMut,
}

impl Receiver {
    /// The frames of `body`.
    pub fn new(body: Body) -> Self {
        Self { body, rest: BytesMut::new() }
    }

    /// The next frame; None when the other side has ended. Safe to drop while it waits.
    pub async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            match self.body.frame().await {
                None if self.rest.is_empty() => return Ok(None),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(Err(error)) => return Err(io::Error::other(error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.rest.extend_from_slice(&data);
                    }
                }
            }
        }
    }

    fn take(&mut self) -> io::Result<Option<Frame>> {
        if self.rest.len() < HEAD_BYTES {
            return Ok(None);
        }
        let mut head = &self.rest[..HEAD_BYTES];
        let (channel, length) = (head.get_u8(), head.get_u32() as usize);
        let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
        let channel = Channel::of(channel).ok_or_else(|| invalid("no such channel"))?;
        if length > FRAME_BYTES_MAX {
            return Err(invalid("a frame that is too long"));
        }
        if self.rest.len() < HEAD_BYTES + length {
            return Ok(None);
        }
        self.rest.advance(HEAD_BYTES);
        Ok(Some(Frame { channel, data: self.rest.split_to(length).freeze() }))
    }
}

#[cfg(test)]
mod tests {
    use wk_base::body::full;

    use super::*;

    #[tokio::test]
    async fn frames_arrive_as_they_were_sent_whatever_the_pieces() {
        let (sender, body) = channel();
        let long = Bytes::from(vec![7; FRAME_BYTES_MAX + 1]);
        let sending = async {
            sender.send(Channel::Stdout, Bytes::from_static(b"hello")).await.unwrap();
            sender.send(Channel::Stderr, long.clone()).await.unwrap();
            sender.end(Channel::Stdout).await.unwrap();
            drop(sender);
        };
        let reading = async {
            let mut frames = Vec::new();
            let mut receiver = Receiver::new(body);
            while let Some(frame) = receiver.next().await.unwrap() {
                frames.push((frame.channel, frame.data.len()));
            }
            frames
        };
        let ((), frames) = tokio::join!(sending, reading);
        let expected =
            [(Channel::Stdout, 5), (Channel::Stderr, FRAME_BYTES_MAX), (Channel::Stderr, 1), (Channel::Stdout, 0)];
        assert_eq!(frames, expected);
    }

    #[tokio::test]
    async fn what_is_no_frame_is_refused_before_it_is_kept() {
        for bytes in [&[9, 0, 0, 0, 0][..], &[0, 0xff, 0, 0, 0], &[0, 0, 0, 0, 9, 1], &[1, 0]] {
            assert!(Receiver::new(full(bytes.to_vec())).next().await.is_err(), "{bytes:?}");
        }
        assert_eq!(Receiver::new(full(vec![1, 0, 0, 0, 1, 65])).next().await.unwrap().unwrap().data, "A");
    }
}
