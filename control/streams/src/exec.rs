//! Exec and attach: a client's connection, in whichever dialect, joined to the frames of the pod's node.
//!
//! Not here: who may, which container, and what a command does.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{Sink, SinkExt as _, Stream, StreamExt as _};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::idle::{IDLE_MAX, Idle};
use crate::relay::{Channel, Exec, Receiver, Sender};
use crate::spdy::connection::{self, Reader, STREAMS_MAX, Writer};
use crate::websocket;

/// A client that was told the end has this long to close.
const CLOSE_MAX: Duration = Duration::from_secs(10);
/// A client of SPDY has this long to open the streams it asked for: the kubelet's `--stream-creation-timeout`.
const STREAMS_IN: Duration = Duration::from_secs(30);
/// The longest message to a client.
const MESSAGE_BYTES_MAX: usize = 32 * 1024;
/// In version 5, a message on this channel says that the channel it names has ended.
const CLOSE_CHANNEL: u8 = 255;

/// A WebSocket subprotocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Its name in the handshake; empty for a client that names none.
    pub name: &'static str,
    /// Channels as digits, data as base64, for clients that can send text only.
    base64: bool,
    /// The end is told as a `Status`; before version 4 failures were told as text.
    status: bool,
    /// The client can say that its input ended.
    closes: bool,
}

/// All of them, the best first.
pub const DIALECTS: [Dialect; 5] = [
    Dialect { name: "v5.channel.k8s.io", base64: false, status: true, closes: true },
    Dialect { name: "v4.channel.k8s.io", base64: false, status: true, closes: false },
    Dialect { name: "v4.base64.channel.k8s.io", base64: true, status: true, closes: false },
    Dialect { name: "channel.k8s.io", base64: false, status: false, closes: false },
    Dialect { name: "base64.channel.k8s.io", base64: true, status: false, closes: false },
];
/// What a client gets that names none.
pub const UNNAMED: Dialect = Dialect { name: "", ..DIALECTS[3] };

/// Versions of the protocol over SPDY, the best first. They differ in how the end is told.
pub const SPDY_VERSIONS: [&str; 4] = ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];

/// What the node left unsaid when its stream broke off.
fn broken(why: &io::Error) -> Bytes {
    let message = format!("the pod's node broke off: {why}");
    let status = serde_json::json!({
        "metadata": {}, "status": "Failure", "reason": "InternalError", "message": message, "code": 500,
    });
    Bytes::from(status.to_string())
}

/// The end as clients before version 4 read it: nothing when all went well, else why not.
fn as_text(status: &Bytes) -> Bytes {
    let status: Value = serde_json::from_slice(status).unwrap_or_default();
    match status["status"].as_str() {
        Some("Success") => Bytes::new(),
        _ => Bytes::from(status["message"].as_str().unwrap_or("failed").to_owned()),
    }
}

/// Serves a client over a WebSocket until either side ends.
pub async fn over_websocket<S>(io: S, dialect: Dialect, node: Sender, from_node: Receiver)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sink, mut stream) = websocket::open(io).await.split();
    let idle = Idle::default();
    let told = tokio::select! {
        told = to_client(&mut sink, dialect, from_node, &idle) => told.is_ok(),
        () = from_client(&mut stream, dialect, &node, &idle) => false,
        () = idle.expired(IDLE_MAX) => false,
    };
    let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let ending = async {
        let _ = sink.send(Message::Close(Some(close))).await;
        // What is on its way gets there before the connection goes.
        while told && stream.next().await.is_some_and(|message| message.is_ok()) {}
    };
    let _ = tokio::time::timeout(CLOSE_MAX, ending).await;
}

async fn to_client<S>(sink: &mut S, dialect: Dialect, mut node: Receiver, idle: &Idle) -> Result<(), Error>
where
    S: Sink<Message, Error = Error> + Unpin,
{
    loop {
        let (channel, mut data) = match node.next().await {
            Ok(Some(frame)) if frame.data.is_empty() => continue,
            Ok(Some(frame)) => (frame.channel, frame.data),
            Ok(None) => (Channel::Error, broken(&io::ErrorKind::UnexpectedEof.into())),
            Err(error) => (Channel::Error, broken(&error)),
        };
        idle.touch();
        if channel == Channel::Error && !dialect.status {
            data = as_text(&data);
        }
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(MESSAGE_BYTES_MAX));
            sink.send(message(channel, &piece, dialect)).await?;
        }
        if channel == Channel::Error {
            return Ok(());
        }
    }
}

fn message(channel: Channel, data: &[u8], dialect: Dialect) -> Message {
    if dialect.base64 {
        return Message::text(format!("{}{}", channel as u8, STANDARD.encode(data)));
    }
    let mut message = BytesMut::with_capacity(1 + data.len());
    message.put_u8(channel as u8);
    message.extend_from_slice(data);
    Message::Binary(message.freeze())
}

/// Passes on what the client sends; ends when it closes or breaks the protocol.
async fn from_client<S>(stream: &mut S, dialect: Dialect, node: &Sender, idle: &Idle)
where
    S: Stream<Item = Result<Message, Error>> + Unpin,
{
    while let Some(Ok(message)) = stream.next().await {
        let Some((channel, data)) = payload(message, dialect) else { continue };
        idle.touch();
        let sent = match (channel, Channel::of(channel)) {
            (CLOSE_CHANNEL, _) if dialect.closes && data.first() == Some(&(Channel::Stdin as u8)) => {
                node.end(Channel::Stdin).await
            }
            (_, Some(channel @ (Channel::Stdin | Channel::Resize))) => node.send(channel, data).await,
            _ => Ok(()),
        };
        if sent.is_err() {
            // The node takes no more input; its output may still come.
            futures::future::pending::<()>().await;
        }
    }
}

/// Channel and data of a message; None for one that carries neither.
fn payload(message: Message, dialect: Dialect) -> Option<(u8, Bytes)> {
    match message {
        Message::Binary(mut data) if !dialect.base64 && !data.is_empty() => {
            let channel = data.split_to(1)[0];
            Some((channel, data))
        }
        Message::Text(text) if dialect.base64 => {
            let (channel, data) = text.split_at_checked(1)?;
            Some((channel.parse().ok()?, STANDARD.decode(data).ok()?.into()))
        }
        _ => None,
    }
}

/// Serves a client over SPDY until either side ends. `version` is one of [`SPDY_VERSIONS`].
pub async fn over_spdy<R, W>(reader: R, writer: W, version: &str, wanted: &Exec, node: Sender, from_node: Receiver)
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let (accepted, mut streams) = mpsc::channel(STREAMS_MAX);
    let mut connection = std::pin::pin!(connection::serve(reader, writer, accepted));
    let idle = Idle::default();
    let session = async {
        let sizes = wanted.tty && SPDY_VERSIONS[..2].contains(&version);
        let opened = tokio::time::timeout(STREAMS_IN, opened(wanted, sizes, &mut streams)).await;
        // Whatever else the client opens is reset: nobody would read it.
        drop(streams);
        let Ok(Some(Opened { input, mut output })) = opened else { return };
        let passing = async {
            futures::future::join_all(input.into_iter().map(|(channel, reader)| pass(channel, reader, &node, &idle)))
                .await;
            futures::future::pending::<()>().await;
        };
        tokio::select! {
            () = to_streams(&mut output, version, from_node, &idle) => {}
            () = passing => {}
        }
        for writer in output.into_values() {
            let _ = writer.finish().await;
        }
        // The client closes when it has read the end of its streams.
        tokio::time::sleep(CLOSE_MAX).await;
    };
    tokio::select! {
        ended = &mut connection => if let Err(error) = ended {
            tracing::debug!(%error, "connection ended");
        },
        () = session => {}
        () = idle.expired(IDLE_MAX) => {}
    }
}

/// The streams of a session, by what they are for.
struct Opened {
    input: Vec<(Channel, Reader)>,
    output: BTreeMap<Channel, Writer>,
}

/// Waits until the client has opened all the streams it asked for.
async fn opened(wanted: &Exec, sizes: bool, streams: &mut mpsc::Receiver<connection::Stream>) -> Option<Opened> {
    let mut missing = vec![Channel::Error];
    missing.extend(
        [
            (wanted.stdin, Channel::Stdin),
            (wanted.stdout, Channel::Stdout),
            (wanted.stderr && !wanted.tty, Channel::Stderr),
            (sizes, Channel::Resize),
        ]
        .into_iter()
        .filter(|(is, _)| *is)
        .map(|(_, channel)| channel),
    );
    let mut opened = Opened { input: Vec::new(), output: BTreeMap::new() };
    while !missing.is_empty() {
        let stream = streams.recv().await?;
        let channel = match stream.headers.get("streamtype") {
            "stdin" => Channel::Stdin,
            "stdout" => Channel::Stdout,
            "stderr" => Channel::Stderr,
            "error" => Channel::Error,
            "resize" => Channel::Resize,
            _ => continue,
        };
        missing.retain(|other| *other != channel);
        if matches!(channel, Channel::Stdin | Channel::Resize) {
            opened.input.push((channel, stream.reader));
        }
        // Ours of the input's streams stays open too: kubectl takes its end for the command's.
        opened.output.insert(channel, stream.writer);
    }
    Some(opened)
}

async fn pass(channel: Channel, mut reader: Reader, node: &Sender, idle: &Idle) {
    while let Some(Ok(data)) = reader.next().await {
        idle.touch();
        if node.send(channel, data).await.is_err() {
            return;
        }
    }
    let _ = node.end(channel).await;
}

async fn to_streams(output: &mut BTreeMap<Channel, Writer>, version: &str, mut node: Receiver, idle: &Idle) {
    loop {
        let (channel, mut data) = match node.next().await {
            Ok(Some(frame)) => (frame.channel, frame.data),
            Ok(None) => (Channel::Error, broken(&io::ErrorKind::UnexpectedEof.into())),
            Err(error) => (Channel::Error, broken(&error)),
        };
        idle.touch();
        if channel == Channel::Error && version != SPDY_VERSIONS[0] {
            data = as_text(&data);
        }
        // A client that closed one of its streams still wants the others.
        if let Some(writer) = output.get_mut(&channel) {
            let _ = writer.write(data).await;
        }
        if channel == Channel::Error {
            return;
        }
    }
}
