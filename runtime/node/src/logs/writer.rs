//! The log of one run, open for writing.
//!
//! Lines are made where a container prints, which may be a thread that serves requests, and written by one for all logs that
//! may wait for the disk: guests can keep that busy. What is printed meanwhile waits, within bounds, or is lost and counted.

use std::collections::VecDeque;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use wk_base::time::Clock;
use wk_engine::Level;

use super::{FILE_BYTES_MAX, FILES_MAX, Grown, LINE_BYTES_MAX, Stream, rotated};

/// What waits to be written, of all logs.
const WAITING_MAX: usize = 40 << 20;
/// Of what is free of it, one log may have one part in so many: ten mebibytes while others are quiet, which is what a container
/// may print at once; and some is left for who comes next, however many there are.
const FREE_PART: usize = 3;

/// The log of one run, open for writing.
pub struct LogWriter(Arc<Log>);

struct Log {
    lines: Mutex<Lines>,
    file: Mutex<RunFile>,
    grown: Arc<Grown>,
    clock: Arc<dyn Clock>,
    scribe: Arc<Scribe>,
}

/// What was printed and is not written yet.
#[derive(Default)]
struct Lines {
    /// Lines that have not ended.
    partial: [Vec<u8>; 2],
    /// Records.
    waiting: Vec<u8>,
    /// Bytes for which there was no room, and those of them of which a record tells.
    lost: u64,
    told: u64,
    /// Whether it is among those that are written next.
    queued: bool,
    /// Who waits for what is here.
    awaited: Vec<oneshot::Sender<()>>,
}

/// Writes the logs of all containers, one after the other.
#[derive(Default)]
pub(super) struct Scribe {
    waiting: AtomicUsize,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    /// Each is in it once at most.
    logs: VecDeque<Arc<Log>>,
    is_at_work: bool,
}

impl LogWriter {
    /// Goes on with the log of the run number `restart` in `dir`. Blocks.
    pub(super) fn open(
        dir: PathBuf,
        restart: u32,
        clock: Arc<dyn Clock>,
        (scribe, grown): (Arc<Scribe>, Arc<Grown>),
    ) -> io::Result<Self> {
        let size = opened(&rotated(&dir, restart, 0))?.metadata()?.len();
        let file = Mutex::new(RunFile { dir, restart, file: None, size });
        Ok(Self(Arc::new(Log { lines: Mutex::default(), file, grown, clock, scribe })))
    }

    /// Takes bytes as a container printed them; they need not end where a line does. Answers how many are lost.
    pub fn write(&self, stream: Stream, bytes: &[u8]) -> u64 {
        self.0.take(|log, lines| log.print(lines, stream, bytes))
    }

    /// Takes whole lines that have a level, beside what the container prints: half a line of that stays as it is.
    pub fn record(&self, level: Level, text: &str) -> u64 {
        self.0.take(|log, lines| {
            for line in text.lines() {
                log.line(lines, Stream::Err, &format!(":{level}"), line.as_bytes());
            }
        })
    }

    /// Keeps what is printed from being written, until it is dropped: as a busy disk does.
    #[cfg(test)]
    pub(super) fn busy(&self) -> impl Sized {
        self.0.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anything was printed that nobody has begun to write.
    #[cfg(test)]
    pub(super) fn waits(&self) -> bool {
        !self.0.lines().waiting.is_empty()
    }

    /// Adds lines that were never ended, for the run is over, and waits until everything is written.
    pub async fn finish(&self) {
        let (written, awaited) = oneshot::channel();
        self.0.take(|log, lines| {
            for stream in [Stream::Out, Stream::Err] {
                let rest = std::mem::take(&mut lines.partial[stream as usize]);
                if !rest.is_empty() {
                    log.line(lines, stream, "", &rest);
                }
            }
            let note = log.note(lines);
            log.put(lines, &note);
            lines.awaited.push(written);
        });
        let _ = awaited.await;
    }
}

impl Log {
    /// Takes in what `print` makes of it, and answers how many bytes of that are lost.
    fn take(self: &Arc<Self>, print: impl FnOnce(&Self, &mut Lines)) -> u64 {
        let mut lines = self.lines();
        let before = lines.lost;
        print(self, &mut lines);
        let lost = lines.lost - before;
        let is_news = !lines.waiting.is_empty() || !lines.awaited.is_empty();
        if is_news && !std::mem::replace(&mut lines.queued, true) {
            drop(lines);
            self.scribe.add(Arc::clone(self));
        }
        lost
    }

    fn print(&self, lines: &mut Lines, stream: Stream, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let mut line = std::mem::take(&mut lines.partial[stream as usize]);
            line.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            self.line(lines, stream, "", &line);
        }
        let mut open = std::mem::take(&mut lines.partial[stream as usize]);
        open.extend_from_slice(rest);
        let (parts, last) = split_long(&open);
        for part in parts {
            self.add(lines, stream, "P", part);
        }
        lines.partial[stream as usize] = last.to_vec();
    }

    /// One line, with more tags than those of all.
    fn line(&self, lines: &mut Lines, stream: Stream, tags: &str, line: &[u8]) {
        let (parts, last) = split_long(line);
        for part in parts {
            self.add(lines, stream, &format!("P{tags}"), part);
        }
        self.add(lines, stream, &format!("F{tags}"), last);
    }

    /// One record, if there is room.
    fn add(&self, lines: &mut Lines, stream: Stream, tag: &str, content: &[u8]) {
        let mut records = self.note(lines);
        records.append(&mut self.made(stream, tag, content));
        if !self.put(lines, &records) {
            lines.lost += content.len() as u64 + 1;
        }
    }

    /// A record that tells of what was lost since the last one.
    fn note(&self, lines: &Lines) -> Vec<u8> {
        let lost = lines.lost - lines.told;
        if lost == 0 {
            return Vec::new();
        }
        let note = format!("wk: {lost} bytes of output lost: they came faster than they were written");
        self.made(Stream::Err, "F", note.as_bytes())
    }

    fn made(&self, stream: Stream, tag: &str, content: &[u8]) -> Vec<u8> {
        let mut record = format!("{:.9} {} {tag} ", self.clock.now(), stream.name()).into_bytes();
        record.extend_from_slice(content);
        record.push(b'\n');
        record
    }

    /// Puts records where they wait, which tell of all that was lost; false when there is no room.
    fn put(&self, lines: &mut Lines, records: &[u8]) -> bool {
        let has_room = self.scribe.has_room(lines.waiting.len(), records.len());
        if has_room {
            lines.waiting.extend_from_slice(records);
            lines.told = lines.lost;
        }
        has_room
    }

    /// Writes what waits. Blocks.
    fn write(&self) {
        let mut lines = self.lines();
        lines.queued = false;
        let (records, awaited) = (std::mem::take(&mut lines.waiting), std::mem::take(&mut lines.awaited));
        drop(lines);
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write(&records) {
            // The guest must not fail because the node's disk is full: its output is lost and this says so.
            tracing::warn!(%error, dir = %file.dir.display(), "container output lost");
        }
        drop(file);
        self.scribe.waiting.fetch_sub(records.len(), Ordering::Relaxed);
        self.grown.note(|progress| progress.writes += 1);
        for written in awaited {
            let _ = written.send(());
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Scribe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scribe").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl Scribe {
    /// Takes room for `more` bytes of a log of which so many wait, if there is any.
    fn has_room(&self, waiting: usize, more: usize) -> bool {
        let fits = |all: usize| {
            let free = WAITING_MAX.saturating_sub(all);
            (waiting + more <= free / FREE_PART).then_some(all + more)
        };
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    /// Has a log written, on a thread that may wait for the disk; outside of a runtime, here.
    fn add(self: &Arc<Self>, log: Arc<Log>) {
        let mut queue = self.queue();
        queue.logs.push_back(log);
        if std::mem::replace(&mut queue.is_at_work, true) {
            return;
        }
        drop(queue);
        let this = Arc::clone(self);
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || this.work())),
            Err(_) => this.work(),
        }
    }

    fn work(&self) {
        while let Some(log) = self.next() {
            log.write();
        }
    }

    fn next(&self) -> Option<Arc<Log>> {
        let mut queue = self.queue();
        let next = queue.logs.pop_front();
        queue.is_at_work = next.is_some();
        next
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files of a run.
struct RunFile {
    dir: PathBuf,
    restart: u32,
    /// Opened for the first line: most of thousands of idle containers never print one.
    file: Option<File>,
    size: u64,
}

impl RunFile {
    /// Writes whole records, as many into a file as it may have.
    fn write(&mut self, mut records: &[u8]) -> io::Result<()> {
        while !records.is_empty() {
            let free = usize::try_from(FILE_BYTES_MAX.saturating_sub(self.size)).unwrap_or(usize::MAX);
            let fits = match records.get(..free) {
                Some(start) => start.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1),
                None => records.len(),
            };
            if fits == 0 {
                self.rotate()?;
                continue;
            }
            let file = match &mut self.file {
                Some(file) => file,
                none => none.insert(opened(&rotated(&self.dir, self.restart, 0))?),
            };
            file.write_all(&records[..fits])?;
            self.size += fits as u64;
            records = &records[fits..];
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for age in (0..FILES_MAX - 1).rev() {
            match fs::rename(rotated(&self.dir, self.restart, age), rotated(&self.dir, self.restart, age + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        self.file = Some(opened(&rotated(&self.dir, self.restart, 0))?);
        self.size = 0;
        Ok(())
    }
}

fn opened(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// The full parts of a line that is too long, and what remains.
fn split_long(line: &[u8]) -> (impl Iterator<Item = &[u8]>, &[u8]) {
    let parts = line.len().saturating_sub(1) / LINE_BYTES_MAX;
    let (long, last) = line.split_at(parts * LINE_BYTES_MAX);
    (long.chunks(LINE_BYTES_MAX), last)
}
