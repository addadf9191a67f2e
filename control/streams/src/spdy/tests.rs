//! Frames byte by byte, header blocks, and a whole connection.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;

use super::connection::{STREAMS_MAX, SpdyError, Stream, serve};
use super::frame::{self, CONTROL_BYTES_MAX, Control, FrameError, Head, ResetCode};
use super::headers::{BLOCK_BYTES_MAX, Deflater, HeaderError, Headers, Inflater};
use crate::forward;
use crate::tests::Echo;

fn headers(pairs: &[(&str, &str)]) -> Headers {
    Headers(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

#[test]
fn frames_are_these_bytes() {
    assert_eq!(&*frame::data(3, false, b"hi"), b"\x00\x00\x00\x03\x00\x00\x00\x02hi");
    assert_eq!(&*frame::data(3, true, b""), b"\x00\x00\x00\x03\x01\x00\x00\x00");
    assert_eq!(&*frame::ping(7), b"\x80\x03\x00\x06\x00\x00\x00\x04\x00\x00\x00\x07");
    assert_eq!(&*frame::syn_reply(1, b"xy"), b"\x80\x03\x00\x02\x00\x00\x00\x06\x00\x00\x00\x01xy");
    assert_eq!(
        &*frame::reset(1, ResetCode::Refused),
        b"\x80\x03\x00\x03\x00\x00\x00\x08\x00\x00\x00\x01\x00\x00\x00\x03"
    );
    assert_eq!(&*frame::window_update(1, 0x8000), b"\x80\x03\x00\x09\x00\x00\x00\x08\x00\x00\x00\x01\x00\x00\x80\x00");
    assert_eq!(&*frame::go_away(5, 1), b"\x80\x03\x00\x07\x00\x00\x00\x08\x00\x00\x00\x05\x00\x00\x00\x01");
}

#[test]
fn heads_and_payloads_are_read_and_bounded() {
    let head = |bytes: [u8; 8]| Head::parse(bytes);
    assert_eq!(head([0, 0, 0, 3, 1, 0, 0, 2]), Ok(Head::Data { id: 3, fin: true, length: 2 }));
    assert_eq!(head([0x80, 3, 0, 1, 2, 0, 0, 10]), Ok(Head::Control { kind: 1, flags: 2, length: 10 }));
    assert_eq!(head([0x80, 2, 0, 1, 0, 0, 0, 10]), Err(FrameError::Version(2)));
    assert_eq!(head([0x80, 3, 0, 1, 0, 1, 0, 0]), Err(FrameError::TooLong(0x1_0000)));
    assert_eq!(head([0, 0, 0, 0, 0, 0, 0, 1]), Err(FrameError::NoStream));
    const { assert!(CONTROL_BYTES_MAX < 0x1_0000) };

    let syn = Bytes::from_static(b"\x80\x00\x00\x05\x00\x00\x00\x00\x00\x00block");
    let parsed = Control::parse(1, 1, syn).expect("a stream");
    let block = Bytes::from_static(b"block");
    assert_eq!(parsed, Control::SynStream { id: 5, fin: true, unidirectional: false, block });
    for (kind, payload) in [(1, &b"123456789"[..]), (3, b"1234567"), (6, b"123"), (8, b"123")] {
        assert!(Control::parse(kind, 0, Bytes::from_static(payload)).is_err(), "{kind}");
    }
    assert_eq!(Control::parse(99, 0, Bytes::new()), Ok(Control::Other));
}

#[test]
fn header_blocks_share_one_compression_and_are_bounded() {
    let (mut there, mut here) = (Deflater::default(), Inflater::default());
    let first = headers(&[("streamtype", "error"), ("port", "80"), ("requestid", "0")]);
    let sizes: Vec<usize> = (0..3)
        .map(|_| {
            let block = there.write(&first);
            assert_eq!(here.read(&block).expect("a block"), first);
            block.len()
        })
        .collect();
    assert!(sizes[1] < sizes[0], "{sizes:?}");

    let bomb = headers(&[("a", &"x".repeat(BLOCK_BYTES_MAX))]);
    let block = Deflater::default().write(&bomb);
    assert!(block.len() < 200, "{}", block.len());
    assert!(matches!(Inflater::default().read(&block), Err(HeaderError::TooMany)));
    assert!(matches!(Inflater::default().read(b"not zlib"), Err(HeaderError::Inflate(_))));
    assert!(matches!(Headers::parse(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]), Err(HeaderError::Malformed)));
    assert!(matches!(Headers::parse(&[0, 1, 0, 0]), Err(HeaderError::TooMany)));
    assert!(matches!(Headers::parse(&[0, 0, 0, 0, 1]), Err(HeaderError::Malformed)));
}

/// What kubectl sends to forward a connection, made with another zlib than ours. It is the fuzz target's seed too.
const FORWARDED: &[u8] = include_bytes!("../../../../fuzz/seeds/spdy/forwarded-connection");

#[tokio::test]
async fn frames_made_by_another_zlib_are_read() {
    let (io, server) = tokio::io::duplex(4096);
    let (reader, writer) = tokio::io::split(server);
    let (accepted, mut streams) = mpsc::channel(STREAMS_MAX);
    tokio::spawn(serve(reader, writer, accepted));
    let mut client = Client { io, deflater: Deflater::default(), inflater: Inflater::default() };
    client.send(FORWARDED).await;
    let (error, mut data) = (streams.recv().await.expect("a stream"), streams.recv().await.expect("a stream"));
    for (stream, kind) in [(&error, "error"), (&data, "data")] {
        let expected = headers(&[("streamtype", kind), ("port", "8080"), ("requestid", "0")]);
        assert_eq!(stream.headers, expected);
    }
    assert_eq!(data.reader.next().await.expect("data").expect("whole"), "hello");
    assert!(data.reader.next().await.expect("a reset").is_err());
}

/// A client of a served connection.
struct Client {
    io: DuplexStream,
    deflater: Deflater,
    inflater: Inflater,
}

impl Client {
    async fn open(&mut self, id: u32, pairs: &[(&str, &str)]) {
        let block = self.deflater.write(&headers(pairs));
        let length = u32::try_from(10 + block.len()).expect("short");
        let mut frame = vec![0x80, 3, 0, 1];
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&id.to_be_bytes());
        frame.extend_from_slice(&[0; 6]);
        frame.extend_from_slice(&block);
        self.io.write_all(&frame).await.expect("sent");
    }

    async fn send(&mut self, frame: &[u8]) {
        self.io.write_all(frame).await.expect("sent");
    }

    /// The next frame: its first word, its flags and its payload.
    async fn next(&mut self) -> (u32, u8, Vec<u8>) {
        let first = self.io.read_u32().await.expect("a frame");
        let rest = self.io.read_u32().await.expect("a frame");
        let mut payload = vec![0; (rest & 0xff_ffff) as usize];
        self.io.read_exact(&mut payload).await.expect("a payload");
        if first == 0x8003_0002 {
            self.inflater.read(&payload[4..]).expect("headers");
        }
        (first, (rest >> 24) as u8, payload)
    }
}

type Served = tokio::task::JoinHandle<Result<(), SpdyError>>;

fn connect() -> (Client, mpsc::Receiver<Stream>, Served) {
    let (io, server) = tokio::io::duplex(4096);
    let (reader, writer) = tokio::io::split(server);
    let (accepted, streams) = mpsc::channel(STREAMS_MAX);
    let served = tokio::spawn(serve(reader, writer, accepted));
    (Client { io, deflater: Deflater::default(), inflater: Inflater::default() }, streams, served)
}

#[tokio::test]
async fn a_stream_carries_data_both_ways_and_each_side_ends_its_own() {
    let (mut client, mut streams, served) = connect();
    client.open(1, &[("streamtype", "data"), ("port", "80")]).await;
    assert_eq!(client.next().await.0, 0x8003_0002);
    let mut stream = streams.recv().await.expect("a stream");
    assert_eq!((stream.id, stream.headers.get("port")), (1, "80"));
    client.send(&frame::data(1, false, b"ask")).await;
    client.send(&frame::data(1, true, b"")).await;
    assert_eq!(stream.reader.next().await.expect("data").expect("whole"), "ask");
    assert!(stream.reader.next().await.is_none());
    stream.writer.write(Bytes::from_static(b"answer")).await.expect("sent");
    stream.writer.finish().await.expect("sent");
    assert_eq!(client.next().await, (1, 0, b"answer".to_vec()));
    assert_eq!(client.next().await, (1, 1, Vec::new()));
    drop(client);
    served.await.expect("no panic").expect("closed in order");
}

#[tokio::test]
async fn pings_come_back_and_taken_data_opens_the_window() {
    let (mut client, mut streams, _served) = connect();
    client.send(&frame::ping(9)).await;
    assert_eq!(client.next().await, (0x8003_0006, 0, vec![0, 0, 0, 9]));
    client.open(1, &[]).await;
    client.next().await;
    let mut stream = streams.recv().await.expect("a stream");
    let taking = tokio::spawn(async move {
        let mut taken = 0;
        while let Some(piece) = stream.reader.next().await {
            taken += piece.expect("whole").len();
        }
        (taken, stream)
    });
    client.send(&frame::data(1, false, &vec![0; 40_000])).await;
    let (kind, _, payload) = client.next().await;
    let delta = u32::from_be_bytes([payload[4], payload[5], payload[6], payload[7]]);
    assert_eq!((kind, delta), (0x8003_0009, 32 * 1024));
    client.send(&frame::data(1, true, b"")).await;
    assert_eq!(taking.await.expect("no panic").0, 40_000);
}

#[tokio::test]
async fn a_reset_reaches_both_sides_of_a_stream() {
    let (mut client, mut streams, _served) = connect();
    client.open(1, &[]).await;
    client.next().await;
    let mut stream = streams.recv().await.expect("a stream");
    client.send(&frame::reset(1, ResetCode::Cancel)).await;
    assert!(stream.reader.next().await.expect("an error").is_err());
    assert!(stream.writer.write(Bytes::from_static(b"x")).await.is_err());
    client.open(3, &[]).await;
    client.next().await;
    drop(streams.recv().await.expect("a stream"));
    let (kind, _, payload) = client.next().await;
    assert_eq!((kind, payload), (0x8003_0003, vec![0, 0, 0, 3, 0, 0, 0, 5]));
}

#[tokio::test]
async fn too_many_streams_are_refused_and_nonsense_ends_the_connection() {
    let (mut client, mut streams, served) = connect();
    let mut held = Vec::new();
    for index in 0..STREAMS_MAX {
        client.open(u32::try_from(2 * index + 1).expect("small"), &[]).await;
        assert_eq!(client.next().await.0, 0x8003_0002);
        held.push(streams.recv().await.expect("a stream"));
    }
    client.open(1001, &[]).await;
    assert_eq!(client.next().await.2, [0, 0, 3, 0xe9, 0, 0, 0, 3]);
    drop(held);
    client.open(3, &[]).await;
    while client.next().await.0 != 0x8003_0007 {}
    assert!(matches!(served.await.expect("no panic"), Err(SpdyError::Order(3))));
}

#[tokio::test]
async fn two_streams_make_a_forwarded_connection_and_an_error_is_told_on_one_of_them() {
    let (io, server) = tokio::io::duplex(4096);
    let (reader, writer) = tokio::io::split(server);
    tokio::spawn(forward::over_spdy(reader, writer, Arc::new(Echo)));
    let mut client = Client { io, deflater: Deflater::default(), inflater: Inflater::default() };
    client.open(1, &[("streamtype", "error"), ("port", "80"), ("requestid", "0")]).await;
    client.open(3, &[("streamtype", "data"), ("port", "80"), ("requestid", "0")]).await;
    for id in [1_u32, 3] {
        assert_eq!(client.next().await.2[..4], id.to_be_bytes());
    }
    client.send(&frame::data(3, false, b"ping")).await;
    assert_eq!(client.next().await, (3, 0, b"ping".to_vec()));
    client.send(&frame::data(3, true, b"")).await;
    assert_eq!(client.next().await, (3, 1, Vec::new()));
    assert_eq!(client.next().await, (1, 1, Vec::new()));

    client.open(5, &[("streamtype", "error"), ("port", "81"), ("requestid", "1")]).await;
    client.next().await;
    client.open(7, &[("streamtype", "data"), ("port", "81"), ("requestid", "1")]).await;
    client.next().await;
    assert_eq!(client.next().await, (7, 1, Vec::new()));
    assert_eq!(client.next().await, (5, 0, b"refused".to_vec()));
    assert_eq!(client.next().await, (5, 1, Vec::new()));
}
