//! A container's log as an HTTP body: the part asked for, then, when following, each line as it is written.
//!
//! Not here: the files (`logs`), and who may read them (`wk-apiserver`).

use std::io;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::sync::{mpsc, watch};
use wk_base::body::{self, Body, BoxError};
use wk_base::time::Timestamp;
use wk_engine::{Level, NoSuchLevel};

use crate::logs::{Line, LogReader, Logs, Progress};

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
    /// Only lines that came with this level or a graver one.
    pub level: Option<String>,
}

impl LogQuery {
    fn wanted(&self) -> io::Result<Wanted> {
        let level = self.level.as_deref().map(str::parse).transpose();
        let level = level.map_err(|error: NoSuchLevel| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(Wanted { since: self.since, level })
    }
}

/// Which lines are sent.
#[derive(Debug, Clone, Copy, Default)]
struct Wanted {
    since: Option<Timestamp>,
    level: Option<Level>,
}

impl Wanted {
    fn has(&self, line: &Line) -> bool {
        self.since.is_none_or(|since| line.time >= since)
            && self.level.is_none_or(|least| line.level.is_some_and(|level| level >= least))
    }
}

/// Streams a container's log. `NotFound` when there is none, `InvalidInput` for a level that does not exist.
///
/// A follower goes on with the container's next run, until the container will not run again or the pod is gone.
pub async fn stream(logs: &Logs, pod: &str, container: &str, query: &LogQuery) -> io::Result<Body> {
    let wanted = query.wanted()?;
    // Before anything is read: what is written from here on wakes the follower.
    let progress = logs.progress(pod, container).filter(|_| query.follow && !query.previous);
    let log = Log { logs: logs.clone(), pod: pod.to_owned(), container: container.to_owned() };
    let (open, previous, follows) = (log.clone(), query.previous, progress.is_some());
    let (run, reader, now) = logs.read(move || open.open(previous, follows)).await?;
    let tail = query.tail.map(|tail| (now, tail));
    let (pieces, body) = mpsc::channel::<Result<Bytes, BoxError>>(PIECES_MAX);
    let source = Source { log, run, reader };
    let mut out = Out { skip: 0, left: query.limit_bytes, timestamps: query.timestamps, pieces };
    tokio::spawn(async move {
        if let Err(error) = send(source, tail, wanted, progress, &mut out).await {
            let _ = out.pieces.send(Err(error.into())).await;
        }
    });
    let frames = futures::stream::unfold(body, |mut body| async { body.recv().await.map(|piece| (piece, body)) });
    let frames = futures::StreamExt::map(frames, |piece| piece.map(http_body::Frame::data));
    Ok(body::boxed(http_body_util::StreamBody::new(frames).boxed_unsync()))
}

/// The log of a container.
#[derive(Clone)]
struct Log {
    logs: Logs,
    pod: String,
    container: String,
}

impl Log {
    /// The newest run or the one before, and two readers of it: one that ends with what is there now, and before that one that
    /// does not if it `follows`. Blocks.
    fn open(&self, previous: bool, follows: bool) -> io::Result<(u32, LogReader, LogReader)> {
        let newest = self.logs.newest(&self.pod, &self.container)?;
        let run = if previous { newest.checked_sub(1).ok_or(io::ErrorKind::NotFound)? } else { newest };
        let mut reader = self.logs.reader(&self.pod, &self.container, run)?;
        // Both have the same files open: what is rotated away meanwhile is still read. And where there is an end it is the
        // same for both, however much the container prints while its lines are counted.
        let now = reader.until_now()?;
        if !follows {
            reader.end_with(&now);
        }
        Ok((run, reader, now))
    }

    /// The first of the runs from `run` to `newest` of which there is a log. Runs may go by faster than they are read, and only
    /// the last two are kept. Blocks.
    fn next_run(&self, run: u32, newest: u32) -> io::Result<Option<(u32, LogReader)>> {
        for run in run..=newest {
            match self.logs.reader(&self.pod, &self.container, run) {
                Ok(reader) => return Ok(Some((run, reader))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// The log that is sent, and how far it is.
struct Source {
    log: Log,
    run: u32,
    reader: LogReader,
}

impl Source {
    /// Goes on with the next run of which there is a log.
    async fn next_run(self, newest: u32) -> io::Result<Self> {
        let (log, first) = (self.log.clone(), self.run + 1);
        let next = self.log.logs.read(move || log.next_run(first, newest)).await?;
        let (run, reader) = next.unwrap_or((newest, self.reader));
        Ok(Self { log: self.log, run, reader })
    }

    /// Sends what is there, a piece at a time; false when the reader of it has gone or has all it asked for.
    async fn pass_on(mut self, wanted: Wanted, out: &mut Out) -> io::Result<(Self, bool)> {
        loop {
            let (reader, mut lines) = read(&self.log.logs, self.reader).await?;
            self.reader = reader;
            if lines.is_empty() {
                return Ok((self, true));
            }
            lines.retain(|line| wanted.has(line));
            let skipped = out.skip.min(lines.len());
            out.skip -= skipped;
            if !out.send(&lines[skipped..]).await || out.pieces.is_closed() {
                return Ok((self, false));
            }
        }
    }
}

/// The next lines of a log, and its reader again.
async fn read(logs: &Logs, mut reader: LogReader) -> io::Result<(LogReader, Vec<Line>)> {
    logs.read(move || reader.read().map(|lines| (reader, lines))).await
}

async fn send(
    mut source: Source,
    tail: Option<(LogReader, usize)>,
    wanted: Wanted,
    progress: Option<watch::Receiver<Progress>>,
    out: &mut Out,
) -> io::Result<()> {
    if let Some((reader, tail)) = tail {
        out.skip = count(&source.log.logs, reader, wanted, out).await?.saturating_sub(tail);
    }
    let Some(mut progress) = progress else { return source.pass_on(wanted, out).await.map(drop) };
    let mut open = true;
    loop {
        let now = *progress.borrow_and_update();
        let (passed_on, more) = source.pass_on(wanted, out).await?;
        source = passed_on;
        if !more {
            return Ok(());
        }
        if now.run > source.run {
            source = source.next_run(now.run).await?;
            continue;
        }
        if now.over || !open {
            return Ok(());
        }
        open = tokio::select! {
            changed = progress.changed() => changed.is_ok(),
            () = out.pieces.closed() => return Ok(()),
        };
    }
}

/// How many of the lines that are there are wanted. The last of them are not kept meanwhile: so many as somebody asks for
/// may be more than the node has room for.
async fn count(logs: &Logs, mut reader: LogReader, wanted: Wanted, out: &Out) -> io::Result<usize> {
    let mut count = 0;
    loop {
        let (again, lines) = read(logs, reader).await?;
        reader = again;
        if lines.is_empty() || out.pieces.is_closed() {
            return Ok(count);
        }
        count += lines.iter().filter(|line| wanted.has(line)).count();
    }
}

struct Out {
    /// Wanted lines that are left out, from the first on.
    skip: usize,
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::logs::Stream;
    use wk_base::time::ManualClock;

    fn logs() -> (tempfile::TempDir, Logs, Arc<ManualClock>) {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::new(dir.path().join("pods"));
        (dir, logs, Arc::new(ManualClock::at(Timestamp::from_second(1_000).unwrap())))
    }

    async fn all(body: Body) -> String {
        String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn follower_goes_on_with_the_next_run_until_the_container_is_over() {
        let (_dir, logs, clock) = logs();
        let first = logs.open("uid", "app", 0, clock.clone()).unwrap();
        first.write(Stream::Out, b"run 0\n");
        let mut followed =
            stream(&logs, "uid", "app", &LogQuery { follow: true, ..LogQuery::default() }).await.unwrap();
        let frame = followed.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "run 0\n");
        first.write(Stream::Out, b"its end");
        first.finish().await;
        let second = logs.open("uid", "app", 1, clock).unwrap();
        second.write(Stream::Out, b"run 1\n");
        second.finish().await;
        logs.over("uid", "app");
        assert_eq!(all(followed).await, "its end\nrun 1\n");
    }

    #[tokio::test]
    async fn follower_ends_with_the_pod() {
        let (_dir, logs, clock) = logs();
        let writer = logs.open("uid", "app", 0, clock).unwrap();
        writer.write(Stream::Out, b"one\n");
        let followed = stream(&logs, "uid", "app", &LogQuery { follow: true, ..LogQuery::default() }).await.unwrap();
        writer.finish().await;
        drop(writer);
        logs.remove("uid".to_owned(), "default_web".to_owned()).await;
        assert_eq!(all(followed).await, "one\n");
    }

    #[tokio::test]
    async fn tail_of_a_long_log_is_sent_and_followed_on() {
        let (_dir, logs, clock) = logs();
        let writer = logs.open("uid", "app", 0, clock).unwrap();
        let line = |number: usize| format!("{number} {}\n", "x".repeat(100));
        for number in 0..5_000 {
            writer.write(Stream::Out, line(number).as_bytes());
        }
        writer.finish().await;
        let query = LogQuery { tail: Some(3), follow: true, ..LogQuery::default() };
        let followed = stream(&logs, "uid", "app", &query).await.unwrap();
        writer.write(Stream::Out, b"after\n");
        writer.finish().await;
        logs.over("uid", "app");
        let text = all(followed).await;
        // Whether the last line was there when they were counted is a matter of time.
        assert!(text.ends_with(&format!("{}after\n", line(4_999))) && !text.contains(&line(4_996)), "{text}");
        let many = LogQuery { tail: Some(usize::MAX), ..LogQuery::default() };
        assert!(all(stream(&logs, "uid", "app", &many).await.unwrap()).await.starts_with(&line(0)));
    }

    #[tokio::test]
    async fn tail_has_as_many_lines_as_were_asked_for_while_the_container_goes_on_printing() {
        let (_dir, logs, clock) = logs();
        let writer = Arc::new(logs.open("uid", "app", 0, clock).unwrap());
        let line = "x".repeat(1000) + "\n";
        for _ in 0..3_000 {
            writer.write(Stream::Out, line.as_bytes());
        }
        writer.finish().await;
        let (stop, flood) = (Arc::new(std::sync::atomic::AtomicBool::new(false)), Arc::clone(&writer));
        let stopped = Arc::clone(&stop);
        let printing = std::thread::spawn(move || {
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                flood.write(Stream::Out, b"more\n");
            }
        });
        for _ in 0..5 {
            let body = stream(&logs, "uid", "app", &LogQuery { tail: Some(2), ..LogQuery::default() }).await;
            assert_eq!(all(body.unwrap()).await.lines().count(), 2);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        printing.join().unwrap();
    }

    #[tokio::test]
    async fn lines_are_chosen_by_level_tail_and_size() {
        let (_dir, logs, clock) = logs();
        let writer = logs.open("uid", "app", 0, clock).unwrap();
        writer.write(Stream::Out, b"printed\n");
        for (level, text) in [(Level::Debug, "DEBUG a"), (Level::Warn, "WARN b"), (Level::Error, "ERROR c")] {
            writer.record(level, text);
        }
        writer.finish().await;
        let read = async |query: LogQuery| all(stream(&logs, "uid", "app", &query).await.unwrap()).await;
        let level = |word: &str| LogQuery { level: Some(word.to_owned()), ..LogQuery::default() };
        assert_eq!(read(level("warn")).await, "WARN b\nERROR c\n");
        assert_eq!(read(LogQuery { tail: Some(1), ..level("debug") }).await, "ERROR c\n");
        assert_eq!(read(LogQuery { limit_bytes: Some(9), ..LogQuery::default() }).await, "printed\nD");
        let error = stream(&logs, "uid", "app", &level("loud")).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
