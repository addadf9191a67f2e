//! Whole sessions: a client of each dialect against a pod that echoes.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::io::DuplexStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use wk_base::body::Body;

use crate::exec::{self, DIALECTS, Dialect};
use crate::forward::{self, Dial};
use crate::relay::{self, Channel, Receiver, Sender};

async fn client(io: DuplexStream) -> WebSocketStream<DuplexStream> {
    WebSocketStream::from_raw_socket(io, Role::Client, None).await
}

/// A pod that answers what it read when its input ends, and exits with 3.
async fn answers(mut from: Receiver, to: Sender) {
    let mut read = Vec::new();
    while let Some(frame) = from.next().await.unwrap() {
        match frame.channel {
            Channel::Stdin if frame.data.is_empty() => break,
            Channel::Stdin => read.extend_from_slice(&frame.data),
            _ => to.send(Channel::Stderr, frame.data).await.unwrap(),
        }
    }
    to.send(Channel::Stdout, read.into()).await.unwrap();
    let status = r#"{"status":"Failure","message":"exit 3"}"#;
    to.send(Channel::Error, Bytes::from_static(status.as_bytes())).await.unwrap();
}

/// A client's connection of exec in this dialect.
async fn exec_with(dialect: Dialect) -> WebSocketStream<DuplexStream> {
    let (here, there) = tokio::io::duplex(4096);
    let (to_node, input) = relay::channel();
    let (to_client, output) = relay::channel();
    tokio::spawn(answers(Receiver::new(input), to_client));
    tokio::spawn(exec::over_websocket(there, dialect, to_node, Receiver::new(output)));
    client(here).await
}

async fn next(client: &mut WebSocketStream<DuplexStream>) -> Message {
    client.next().await.expect("a message").expect("whole")
}

#[tokio::test]
async fn version_5_carries_input_its_end_output_and_how_it_ended() {
    let mut client = exec_with(DIALECTS[0]).await;
    for message in [&b"\x04{}"[..], b"\x00hel", b"\x01ignored", b"\x00lo", b"\xff\x00"] {
        client.send(Message::Binary(Bytes::from_static(message))).await.unwrap();
    }
    assert_eq!(next(&mut client).await, Message::Binary(Bytes::from_static(b"\x02{}")));
    assert_eq!(next(&mut client).await, Message::Binary(Bytes::from_static(b"\x01hello")));
    let Message::Binary(status) = next(&mut client).await else { panic!("a status was expected") };
    let read: Value = serde_json::from_slice(&status[1..]).unwrap();
    assert_eq!((status[0], read["status"].as_str()), (3, Some("Failure")));
    assert!(matches!(next(&mut client).await, Message::Close(Some(close)) if close.code == 1000.into()));
}

#[tokio::test]
async fn browsers_speak_base64_and_old_clients_read_failures_as_text() {
    let mut client = exec_with(DIALECTS[2]).await;
    client.send(Message::text("4e30=")).await.unwrap();
    assert_eq!(next(&mut client).await, Message::text("2e30="));
    let mut client = exec_with(DIALECTS[3]).await;
    client.send(Message::Binary(Bytes::from_static(b"\x00x"))).await.unwrap();
    client.send(Message::Binary(Bytes::from_static(b"\x04s"))).await.unwrap();
    assert_eq!(next(&mut client).await, Message::Binary(Bytes::from_static(b"\x02s")));
}

#[tokio::test]
async fn a_node_that_breaks_off_is_told_as_a_failure() {
    let (here, there) = tokio::io::duplex(4096);
    let (to_node, _input) = relay::channel();
    let (to_client, output) = relay::channel();
    drop(to_client);
    tokio::spawn(exec::over_websocket(there, DIALECTS[1], to_node, Receiver::new(output)));
    let mut client = client(here).await;
    let Message::Binary(status) = next(&mut client).await else { panic!("a status was expected") };
    let read: Value = serde_json::from_slice(&status[1..]).unwrap();
    assert_eq!((status[0], read["reason"].as_str()), (3, Some("InternalError")));
}

/// A pod whose every port echoes but 81.
pub(crate) struct Echo;

#[async_trait]
impl Dial for Echo {
    async fn dial(&self, port: u16, input: Body) -> Result<Body, String> {
        if port == 81 { Err("refused".to_owned()) } else { Ok(input) }
    }
}

#[tokio::test]
async fn ports_share_a_connection_of_channels() {
    let (here, there) = tokio::io::duplex(4096);
    tokio::spawn(forward::over_channels(there, vec![80, 81], Arc::new(Echo)));
    let mut client = client(here).await;
    let mut seen = Vec::new();
    for _ in 0..5 {
        let Message::Binary(message) = next(&mut client).await else { panic!("data was expected") };
        seen.push(message.to_vec());
    }
    seen.sort();
    assert_eq!(seen, [&[0, 80, 0][..], &[1, 80, 0], &[2, 81, 0], &[3, 81, 0], b"\x03refused"]);
    client.send(Message::Binary(Bytes::from_static(b"\x00ping"))).await.unwrap();
    assert_eq!(next(&mut client).await, Message::Binary(Bytes::from_static(b"\x00ping")));
}
