//! What the bench and a `store-peer` say to each other: frames of a length, a number and a body, many under way at once.
//!
//! ```text
//! u32 length of the rest | u64 number of the request | u8 what | body
//! put, get, watch: u16 length, group | u16 length, name | value
//! ```

use std::io;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

/// No request or answer of this bench is larger.
const FRAME_BYTES_MAX: usize = 8 << 20;
/// Frames that wait to be sent on a connection.
pub(super) const QUEUE_MAX: usize = 4096;
/// Bytes sent in one go, one frame at least.
const BATCH_BYTES: usize = 256 << 10;

pub(super) const PUT: u8 = 1;
pub(super) const GET: u8 = 2;
pub(super) const WATCH: u8 = 3;
/// Body: the number of a member that is to become a voter. On the leader.
pub(super) const ADD: u8 = 4;
/// Answered with one byte: 1 if the peer leads.
pub(super) const LEADS: u8 = 5;

/// Answer: done. Of a watch: it has begun.
pub(super) const OK: u8 = 0;
/// Answer: the body says why not.
pub(super) const FAILED: u8 = 1;
/// Of a watch: the body is an object's bytes. More follow.
pub(super) const EVENT: u8 = 2;

/// A request or an answer.
pub(super) struct Frame {
    pub(super) number: u64,
    pub(super) what: u8,
    pub(super) body: Bytes,
}

/// The body of a request about an object.
pub(super) fn place(group: &str, name: &str, value: &[u8]) -> Bytes {
    let mut body = BytesMut::with_capacity(4 + group.len() + name.len() + value.len());
    for text in [group, name] {
        body.put_u16(u16::try_from(text.len()).expect("names of this bench are short"));
        body.put_slice(text.as_bytes());
    }
    body.put_slice(value);
    body.freeze()
}

/// Group, name and value of such a body.
pub(super) fn read_place(mut body: Bytes) -> io::Result<(String, String, Bytes)> {
    let mut text = || {
        let length = usize::from(body.try_get_u16().map_err(io::Error::other)?);
        if length > body.len() {
            return Err(io::Error::other("a request ends inside a name"));
        }
        Ok(String::from_utf8_lossy(&body.split_to(length)).into_owned())
    };
    let (group, name) = (text()?, text()?);
    Ok((group, name, body))
}

/// Reads the next frame; None at the end.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let length = match stream.read_u32().await {
        Ok(length) => length as usize,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if !(9..=FRAME_BYTES_MAX).contains(&length) {
        return Err(io::Error::other("a frame of a length that cannot be"));
    }
    let mut bytes = BytesMut::zeroed(length);
    stream.read_exact(&mut bytes).await?;
    let mut bytes = bytes.freeze();
    let (number, what) = (bytes.get_u64(), bytes.get_u8());
    Ok(Some(Frame { number, what, body: bytes }))
}

/// Sends what is queued until the queue's senders are gone, together what waits together.
pub(super) async fn write_all(
    mut stream: impl AsyncWrite + Unpin,
    mut frames: mpsc::Receiver<Frame>,
) -> io::Result<()> {
    let mut batch = BytesMut::new();
    while let Some(first) = frames.recv().await {
        put(&mut batch, &first);
        while batch.len() < BATCH_BYTES
            && let Ok(next) = frames.try_recv()
        {
            put(&mut batch, &next);
        }
        stream.write_all(&batch).await?;
        batch.clear();
    }
    Ok(())
}

fn put(batch: &mut BytesMut, frame: &Frame) {
    batch.put_u32(u32::try_from(frame.body.len() + 9).expect("frames are far below 4 GiB"));
    batch.put_u64(frame.number);
    batch.put_u8(frame.what);
    batch.put_slice(&frame.body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_out_as_they_went_in() {
        let (sender, queue) = mpsc::channel(4);
        let body = place("group", "name", b"value");
        sender.try_send(Frame { number: 7, what: PUT, body }).expect("room");
        drop(sender);
        let mut bytes = Vec::new();
        write_all(&mut bytes, queue).await.expect("memory takes all");
        let mut stream = &bytes[..];
        let frame = read(&mut stream).await.expect("is whole").expect("is there");
        assert_eq!((frame.number, frame.what), (7, PUT));
        let (group, name, value) = read_place(frame.body).expect("is whole");
        assert_eq!((&*group, &*name, &*value), ("group", "name", &b"value"[..]));
        assert!(read(&mut stream).await.expect("is the end").is_none());
    }
}
