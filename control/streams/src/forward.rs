//! Port-forward: a client's connection, in whichever dialect, as connections to ports of a pod.
//!
//! Not here: what answers at a port ([`Dial`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{Sink, SinkExt as _, StreamExt as _};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Error, Message};
use wk_base::body::{Body, BoxError};

use crate::idle::{IDLE_MAX, Idle};
use crate::relay;
use crate::spdy::connection::{self, Reader, STREAMS_MAX, Stream, Writer};
use crate::websocket;

/// The protocol that kubectl speaks, plain after an upgrade to SPDY.
pub const SPDY_PROTOCOL: &str = "portforward.k8s.io";
/// The same inside a WebSocket.
pub const TUNNEL_PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";
/// What clients without SPDY speak; empty for those that name nothing.
pub const CHANNELS_PROTOCOLS: [&str; 2] = ["v4.channel.k8s.io", ""];
/// Ports of one connection of channels: each takes two channels, of which a byte can name 256.
pub const PORTS_MAX: usize = 64;

/// Half of a pair waits for the other this long: the kubelet's `--stream-creation-timeout`.
const PAIR_IN: Duration = Duration::from_secs(30);
/// Halves that wait at once.
const HALVES_MAX: usize = STREAMS_MAX;
/// The longest message to a client.
const MESSAGE_BYTES_MAX: usize = 32 * 1024;
/// Messages of all ports that wait for the client.
const MESSAGES_MAX: usize = 8;
/// A client that was told the end has this long to close.
const CLOSE_MAX: Duration = Duration::from_secs(10);

/// Connects to ports of one pod.
#[async_trait]
pub trait Dial: Send + Sync + 'static {
    /// Opens a connection to `port` that is sent `input`; answers what comes back, or for a person why there is none.
    async fn dial(&self, port: u16, input: Body) -> Result<Body, String>;
}

/// Serves a client over SPDY until it closes.
pub async fn over_spdy<R, W>(reader: R, writer: W, pod: Arc<dyn Dial>)
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let (accepted, streams) = mpsc::channel(STREAMS_MAX);
    let idle = Idle::default();
    tokio::select! {
        ended = connection::serve(reader, writer, accepted) => if let Err(error) = ended {
            tracing::debug!(%error, "connection ended");
        },
        () = pairs(streams, pod, &idle) => {}
        () = idle.expired(IDLE_MAX) => {}
    }
}

/// Half of a pair, and when it came.
struct Half {
    stream: Stream,
    is_error: bool,
    since: Instant,
}

/// Brings the two streams of each connection together and forwards it.
async fn pairs(mut streams: mpsc::Receiver<Stream>, pod: Arc<dyn Dial>, idle: &Idle) {
    let mut halves: BTreeMap<String, Half> = BTreeMap::new();
    let mut forwards = JoinSet::new();
    while let Some(stream) = streams.recv().await {
        idle.touch();
        while forwards.try_join_next().is_some() {}
        halves.retain(|_, half| half.since.elapsed() < PAIR_IN);
        let is_error = match stream.headers.get("streamtype") {
            "error" => true,
            "data" => false,
            // Dropped, and so reset.
            _ => continue,
        };
        let id = match stream.headers.get("requestid") {
            // Clients from before there were ids open the error stream first and the data stream right after.
            "" if is_error => stream.id.to_string(),
            "" => stream.id.saturating_sub(2).to_string(),
            id => id.to_owned(),
        };
        match halves.remove(&id) {
            Some(other) if other.is_error != is_error => {
                let (error, data) = if is_error { (stream, other.stream) } else { (other.stream, stream) };
                let (pod, idle) = (Arc::clone(&pod), idle.clone());
                forwards.spawn(async move { forward(error, data, &*pod, &idle).await });
            }
            None if halves.len() < HALVES_MAX => {
                halves.insert(id, Half { stream, is_error, since: Instant::now() });
            }
            // Twice the same half, or too many that wait: dropped, and so reset.
            Some(_) | None => {}
        }
    }
}

async fn forward(error: Stream, data: Stream, pod: &dyn Dial, idle: &Idle) {
    let (error_writer, mut writer) = (error.writer, data.writer);
    let failed = match data.headers.get("port").parse::<u16>().ok().filter(|port| *port > 0) {
        None => Err(format!("{:?} is not a port", data.headers.get("port"))),
        Some(port) => connect(port, data.reader, &mut writer, pod, idle).await,
    };
    let _ = writer.finish().await;
    tell(error_writer, failed).await;
}

/// Ends the error stream, with a reason if there is one.
async fn tell(mut writer: Writer, result: Result<(), String>) {
    if let Err(why) = result {
        let _ = writer.write(Bytes::from(why)).await;
    }
    let _ = writer.finish().await;
}

async fn connect(
    port: u16,
    mut reader: Reader,
    writer: &mut Writer,
    pod: &dyn Dial,
    idle: &Idle,
) -> Result<(), String> {
    let (input, body) = relay::pieces();
    let sending = async {
        while let Some(piece) = reader.next().await {
            idle.touch();
            let failed = piece.is_err();
            if input.send(piece.map_err(BoxError::from)).await.is_err() || failed {
                break;
            }
        }
        // From here on the pod knows that nothing more comes.
        drop(input);
        futures::future::pending::<()>().await;
    };
    let receiving = async {
        let mut output = pod.dial(port, body).await?;
        while let Some(frame) = output.frame().await {
            let frame = frame.map_err(|error| format!("error forwarding port {port}: {error}"))?;
            idle.touch();
            if let Ok(data) = frame.into_data()
                && writer.write(data).await.is_err()
            {
                break;
            }
        }
        Ok(())
    };
    tokio::select! {
        result = receiving => result,
        () = sending => Ok(()),
    }
}

/// Serves a client over a WebSocket of channels until it closes or all of its ports have.
pub async fn over_channels<S>(io: S, ports: Vec<u16>, pod: Arc<dyn Dial>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sink, mut stream) = websocket::open(io).await.split();
    let idle = Idle::default();
    let (messages, mut queue) = mpsc::channel::<Bytes>(MESSAGES_MAX);
    let mut inputs = Vec::new();
    let mut forwards = JoinSet::new();
    for (index, port) in ports.into_iter().enumerate().take(PORTS_MAX) {
        let (input, body) = relay::pieces();
        inputs.push(input);
        let channel = u8::try_from(2 * index).expect("fewer ports than half of the channels");
        forwards.spawn(one_port(channel, port, body, Arc::clone(&pod), messages.clone()));
    }
    drop(messages);
    let ended = tokio::select! {
        // The queue ends with the last port.
        ended = send_queue(&mut queue, &mut sink, &idle) => ended.is_ok(),
        () = take_input(&mut stream, &inputs, &idle) => false,
        () = idle.expired(IDLE_MAX) => false,
    };
    let ending = async {
        let _ = sink.send(Message::Close(None)).await;
        while ended && stream.next().await.is_some_and(|message| message.is_ok()) {}
    };
    let _ = tokio::time::timeout(CLOSE_MAX, ending).await;
}

async fn send_queue<S>(queue: &mut mpsc::Receiver<Bytes>, sink: &mut S, idle: &Idle) -> Result<(), Error>
where
    S: Sink<Message, Error = Error> + Unpin,
{
    while let Some(message) = queue.recv().await {
        idle.touch();
        sink.send(Message::Binary(message)).await?;
    }
    Ok(())
}

type Input = mpsc::Sender<Result<Bytes, BoxError>>;

/// Passes on what the client sends, until it closes.
async fn take_input<S>(stream: &mut S, inputs: &[Input], idle: &Idle)
where
    S: futures::Stream<Item = Result<Message, Error>> + Unpin,
{
    while let Some(Ok(message)) = stream.next().await {
        let Message::Binary(mut data) = message else { continue };
        if data.len() < 2 {
            continue;
        }
        let channel = usize::from(data.split_to(1)[0]);
        idle.touch();
        if let Some(input) = inputs.get(channel / 2).filter(|_| channel % 2 == 0) {
            // A port that takes no more has told the client.
            let _ = input.send(Ok(data)).await;
        }
    }
}

/// One port on the channel `channel` and the one after it, which carries its error. Both begin with the port's number.
async fn one_port(channel: u8, port: u16, input: Body, pod: Arc<dyn Dial>, messages: mpsc::Sender<Bytes>) {
    for channel in [channel, channel + 1] {
        if messages.send(message(channel, &port.to_le_bytes())).await.is_err() {
            return;
        }
    }
    let failed = match pod.dial(port, input).await {
        Err(why) => Some(why),
        Ok(mut output) => loop {
            match output.frame().await {
                None => break None,
                Some(Err(error)) => break Some(format!("error forwarding port {port}: {error}")),
                Some(Ok(frame)) => {
                    let Ok(mut data) = frame.into_data() else { continue };
                    while !data.is_empty() {
                        let piece = data.split_to(data.len().min(MESSAGE_BYTES_MAX));
                        if messages.send(message(channel, &piece)).await.is_err() {
                            return;
                        }
                    }
                }
            }
        },
    };
    if let Some(why) = failed {
        let _ = messages.send(message(channel + 1, why.as_bytes())).await;
    }
}

fn message(channel: u8, data: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(1 + data.len());
    message.put_u8(channel);
    message.extend_from_slice(data);
    message.freeze()
}
