//! WebSockets (RFC 6455), the accepting side: the handshake, and a connection as messages or as plain bytes.
//!
//! Not here: what the messages mean ([`crate::exec`], [`crate::forward`]).

use std::io;

use bytes::Bytes;
use futures::{SinkExt as _, Stream, StreamExt as _};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

/// The longest message of a client. kubectl's have 32 KiB; other clients send what they are given in one.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes that are read at a time: half a frame of kubectl's, so that a connection at rest is cheap.
const READ_BYTES: usize = 16 * 1024;

/// Whether a request asks for a WebSocket.
pub fn is_asked_for(headers: &HeaderMap) -> bool {
    tokens(headers, &UPGRADE).any(|token| token.eq_ignore_ascii_case("websocket"))
}

/// The comma-separated words of a header that may be there several times.
pub fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

/// The headers of the answer that accepts a WebSocket with `protocol`; None for a request that is no proper handshake.
pub fn accept(headers: &HeaderMap, protocol: Option<&str>) -> Option<HeaderMap> {
    let upgrades = tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let version = headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|_| upgrades && version && is_asked_for(headers))?;
    let mut answer = HeaderMap::new();
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()?);
    if let Some(protocol) = protocol {
        answer.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(protocol).ok()?);
    }
    Some(answer)
}

/// A connection that was upgraded, as messages.
pub async fn open<S: AsyncRead + AsyncWrite + Unpin>(io: S) -> WebSocketStream<S> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * MESSAGE_BYTES_MAX)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await
}

/// A connection that was upgraded, as the bytes of its binary messages: another protocol's tunnel.
pub async fn tunnel<S>(io: S) -> (impl AsyncRead + Send + Unpin, impl AsyncWrite + Send + Unpin)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sink, stream) = open(io).await.split();
    let sink = sink.with(|bytes: Bytes| std::future::ready(Ok::<_, Error>(Message::Binary(bytes))));
    let sink = sink.sink_map_err(io::Error::other);
    (StreamReader::new(Box::pin(payloads(stream))), SinkWriter::new(CopyToBytes::new(sink)))
}

/// What a client sends, without pings (which are answered underneath) and until it closes.
fn payloads<S>(stream: S) -> impl Stream<Item = io::Result<Bytes>> + Send
where
    S: Stream<Item = Result<Message, Error>> + Send + Unpin,
{
    stream.filter_map(|message| {
        std::future::ready(match message {
            Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
            Ok(_) => None,
            Err(error) => Some(Err(io::Error::other(error))),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_handshake_is_accepted_with_the_answer_of_the_rfc() {
        let asked = headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ]);
        let answer = accept(&asked, Some("v4.channel.k8s.io")).expect("a handshake");
        assert_eq!(answer[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(answer[SEC_WEBSOCKET_PROTOCOL], "v4.channel.k8s.io");
        let mut old = asked.clone();
        old.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("8"));
        assert!(accept(&old, None).is_none());
        assert!(accept(&headers(&[("upgrade", "SPDY/3.1")]), None).is_none());
    }
}
