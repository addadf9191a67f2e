//! A container's log as an HTTP body: the part asked for, then, when following, each line as it is written.
//!
//! Not here: the files (`logs`), and who may read them (`wk-apiserver`).

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;
use wk_base::body::{self, Body, BoxError};
use wk_base::time::Timestamp;

use crate::logs::{Line, LogReader, Logs};

/// Pieces that wait for a slow reader; the follower waits with it, the container does not.
const PIECES_MAX: usize = 8;

/// What of a log is wanted. The fields are those of Kubernetes' `PodLogOptions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct LogQuery {
    /// The run before the current one.
    pub previous: bool,
    /// Go on as the container writes.
    pub follow: bool,
    /// Only the last so many lines of what is there.
    pub tail: Option<usize>,
    /// Only lines not older.
    pub since: Option<Timestamp>,
    /// Begin each line with its time.
    pub timestamps: bool,
    /// Stop after so many bytes.
    pub limit_bytes: Option<u64>,
}

/// Streams a container's log. `NotFound` when there is none.
pub fn stream(logs: &Logs, pod: &str, container: &str, query: LogQuery) -> io::Result<Body> {
    let newest = logs.newest(pod, container)?;
    let restart = if query.previous { newest.checked_sub(1).ok_or(io::ErrorKind::NotFound)? } else { newest };
    let reader = logs.reader(pod, container, restart)?;
    let grows = logs.grows(pod, container).filter(|_| query.follow && !query.previous);
    let (pieces, body) = mpsc::channel::<Result<Bytes, BoxError>>(PIECES_MAX);
    tokio::spawn(async move {
        let mut out = Out { left: query.limit_bytes, timestamps: query.timestamps, pieces };
        if let Err(error) = send(reader, &query, grows, &mut out).await {
            let _ = out.pieces.send(Err(error.into())).await;
        }
    });
    let frames = futures::stream::unfold(body, |mut body| async { body.recv().await.map(|piece| (piece, body)) });
    let frames = futures::StreamExt::map(frames, |piece| piece.map(http_body::Frame::data));
    Ok(body::boxed(http_body_util::StreamBody::new(frames).boxed_unsync()))
}

async fn send(
    reader: LogReader,
    query: &LogQuery,
    grows: Option<tokio::sync::watch::Receiver<u64>>,
    out: &mut Out,
) -> io::Result<()> {
    let since = query.since;
    let mut reader = match query.tail {
        Some(tail) => {
            let (reader, lines) = blocking(move || read_tail(reader, tail, since)).await?;
            if !out.send(&lines).await {
                return Ok(());
            }
            reader
        }
        None => reader,
    };
    if !pass_on(&mut reader, since, out).await? {
        return Ok(());
    }
    let Some(mut grows) = grows else { return Ok(()) };
    loop {
        let open = tokio::select! {
            changed = grows.changed() => changed.is_ok(),
            () = out.pieces.closed() => return Ok(()),
        };
        if !pass_on(&mut reader, None, out).await? {
            return Ok(());
        }
        if !open {
            return Ok(());
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Sends what is there, a piece at a time; false when the reader of it has gone or has all it asked for.
async fn pass_on(reader: &mut LogReader, since: Option<Timestamp>, out: &mut Out) -> io::Result<bool> {
    loop {
        let mut lines = reader.read()?;
        if lines.is_empty() {
            return Ok(true);
        }
        lines.retain(|line| since.is_none_or(|since| line.time >= since));
        if !out.send(&lines).await {
            return Ok(false);
        }
    }
}

fn read_tail(mut reader: LogReader, tail: usize, since: Option<Timestamp>) -> io::Result<(LogReader, Vec<Line>)> {
    let mut kept = VecDeque::new();
    loop {
        let lines = reader.read()?;
        if lines.is_empty() {
            return Ok((reader, kept.into()));
        }
        for line in lines {
            if since.is_none_or(|since| line.time >= since) {
                kept.push_back(line);
            }
            if kept.len() > tail {
                kept.pop_front();
            }
        }
    }
}

struct Out {
    left: Option<u64>,
    timestamps: bool,
    pieces: mpsc::Sender<Result<Bytes, BoxError>>,
}

impl Out {
    /// Sends lines; false when the reader has gone or has all it asked for.
    async fn send(&mut self, lines: &[Line]) -> bool {
        let mut piece = Vec::new();
        for line in lines {
            if self.timestamps {
                piece.extend_from_slice(format!("{:.9} ", line.time).as_bytes());
            }
            piece.extend_from_slice(&line.content);
        }
        if let Some(left) = &mut self.left {
            piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= piece.len() as u64;
        }
        let more = self.left != Some(0);
        (piece.is_empty() || self.pieces.send(Ok(piece.into())).await.is_ok()) && more
    }
}
