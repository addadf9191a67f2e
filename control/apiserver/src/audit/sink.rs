//! The file of the audit log, written by a thread of its own.
//!
//! A request never waits for it. When the disk is slower than the requests, events are lost; how many is itself put on
//! record as soon as there is room, so that a gap is seen as one.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use serde_json::{Value, json};

/// Events that wait for the disk: some seconds of a busy server.
const EVENTS_MAX: usize = 10_000;

/// Bytes of events that wait: few of the largest fit, many of the usual ones.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A file is put aside when it has grown to this: Kubernetes' `--audit-log-maxsize` as its own documentation sets it.
pub(super) const FILE_BYTES_MAX: u64 = 100 * 1024 * 1024;

/// Files put aside that are kept, as Kubernetes' `--audit-log-maxbackup`: 1 GiB together.
const FILES_KEPT: usize = 10;

/// Why the log cannot be begun.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The file cannot be opened for writing.
    #[error("open the audit log {path}")]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No thread can be started.
    #[error("start the audit log's thread")]
    Thread(#[source] io::Error),
}

/// Where events go. Clones share it; the thread ends with the last one.
#[derive(Debug, Clone)]
pub struct Sink(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lines: SyncSender<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
    lost: AtomicU64,
}

impl Sink {
    /// Appends to `path`, which only its owner may read.
    pub fn open(path: &Path) -> Result<Self, SinkError> {
        Self::with_limit(path, FILE_BYTES_MAX)
    }

    pub(super) fn with_limit(path: &Path, limit: u64) -> Result<Self, SinkError> {
        let file = LogFile::open(path, limit).map_err(|source| SinkError::Open { path: path.to_owned(), source })?;
        let (lines, receiver) = sync_channel(EVENTS_MAX);
        let waiting = Arc::new(AtomicUsize::new(0));
        let thread = std::thread::Builder::new().name("audit".to_owned());
        let written = Arc::clone(&waiting);
        thread.spawn(move || run(file, &receiver, &written)).map_err(SinkError::Thread)?;
        Ok(Self(Arc::new(Shared { lines, waiting, lost: AtomicU64::new(0) })))
    }

    /// Hands over an event; never waits.
    pub(super) fn write(&self, event: &Value) {
        let lost = self.0.lost.swap(0, Ordering::Relaxed);
        if lost > 0 && !self.offer(&gap(lost)) {
            self.0.lost.fetch_add(lost, Ordering::Relaxed);
        }
        if !self.offer(event) && self.0.lost.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!("the audit log's disk is too slow: events are lost, and will be counted in it");
        }
    }

    fn offer(&self, event: &Value) -> bool {
        let mut line = event.to_string().into_bytes();
        line.push(b'\n');
        let size = line.len();
        if self.0.waiting.fetch_add(size, Ordering::Relaxed) + size > WAITING_BYTES_MAX
            || self.0.lines.try_send(line).is_err()
        {
            self.0.waiting.fetch_sub(size, Ordering::Relaxed);
            return false;
        }
        true
    }
}

fn gap(lost: u64) -> Value {
    json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "stage": "Panic",
        "annotations": { "wk.dev/events-lost": lost.to_string() },
    })
}

fn run(mut file: LogFile, lines: &Receiver<Vec<u8>>, waiting: &AtomicUsize) {
    while let Ok(mut line) = lines.recv() {
        loop {
            if let Err(error) = file.write(&line) {
                tracing::error!(%error, "the audit log cannot be written");
            }
            waiting.fetch_sub(line.len(), Ordering::Relaxed);
            match lines.try_recv() {
                Ok(next) => line = next,
                Err(_) => break,
            }
        }
        // Nobody waits in line: what was written is to be seen.
        if let Err(error) = file.out.flush() {
            tracing::error!(%error, "the audit log cannot be written");
        }
    }
}

struct LogFile {
    path: PathBuf,
    out: BufWriter<File>,
    size: u64,
    limit: u64,
}

impl LogFile {
    fn open(path: &Path, limit: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), out: BufWriter::new(file), size, limit })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.size > 0 && self.size + line.len() as u64 > self.limit {
            self.put_aside()?;
        }
        self.out.write_all(line)?;
        self.size += line.len() as u64;
        Ok(())
    }

    /// `audit.log` becomes `audit.log.1`, and that `audit.log.2`.
    fn put_aside(&mut self) -> io::Result<()> {
        self.out.flush()?;
        let numbered = |number: usize| {
            let mut name = self.path.as_os_str().to_owned();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..FILES_KEPT).rev() {
            if numbered(number).exists() {
                std::fs::rename(numbered(number), numbered(number + 1))?;
            }
        }
        std::fs::rename(&self.path, numbered(1))?;
        *self = Self::open(&self.path, self.limit)?;
        Ok(())
    }
}
