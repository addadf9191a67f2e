//! What containers print, kept per pod on disk with rotation, and read back for `wk logs`.
//!
//! Lines are kept in the CRI log format (`TIMESTAMP STREAM TAG CONTENT`, from Kubernetes' *kubelet-cri-logging* design),
//! one file a run: `pods/<uid>/<container>/<restart>.log`, rotated to `.log.1` and so on. A line that came with a level
//! (`wasi:logging`) has it as a second tag, `F:warn`; readers of the format pass over tags they do not know.
//!
//! Not here: who may read them.

mod ended;
mod writer;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Semaphore, watch};
use wk_base::tasks::Tasks;
use wk_base::time::{Clock, Timestamp};
use wk_engine::Level;

use ended::Ended;
use writer::Scribe;

pub use writer::LogWriter;

/// A file is rotated past this size. The kubelet's `containerLogMaxSize`.
const FILE_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// Files kept for a run, the active one included. The kubelet's `containerLogMaxFiles`.
const FILES_MAX: u32 = 5;
/// A longer line is written in parts, so that a guest that never ends its line holds no more than this. CRI's figure.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// Runs of which the log is kept: this one and the one before, for `--previous`.
const RUNS_KEPT: u32 = 2;

/// Pods whose logs are put aside at once: thousands may go together, and threads that wait for the disk are for all.
const REMOVALS_MAX: usize = 4;
/// Pieces of logs that are read at once: as many as a disk is busy with.
const READS_MAX: usize = 8;
/// Between two looks for logs of pods that are gone and old.
const EXPIRE_PAUSE: Duration = Duration::from_hours(1);

/// The most of a log that is a message: Kubernetes' figures.
const LAST_LINES: usize = 80;
const LAST_BYTES: usize = 2048;
/// Where that is: so many lines, each with what comes before its content.
const LAST_RECORDS_BYTES: u64 = 16 * 1024;

/// Which of its two outputs a container wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Out => "stdout",
            Self::Err => "stderr",
        }
    }
}

/// Where the logs of all pods of a node lie.
#[derive(Debug, Clone)]
pub struct Logs {
    dir: PathBuf,
    live: Arc<Mutex<Live>>,
    ended: Arc<Ended>,
    removals: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    scribe: Arc<Scribe>,
}

/// Containers that were run by this process: pod and container.
type Live = BTreeMap<(String, String), Arc<Grown>>;

/// How far a container's log is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// The run that writes or wrote last.
    pub run: u32,
    /// The container will not run again.
    pub over: bool,
    writes: u64,
}

/// How far a log is, for those who follow it: of thousands of logs few are followed.
#[derive(Debug, Default)]
struct Grown {
    progress: Mutex<Progress>,
    followed: OnceLock<watch::Sender<Progress>>,
}

impl Grown {
    fn note(&self, change: impl FnOnce(&mut Progress)) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut progress);
        if let Some(followed) = self.followed.get() {
            followed.send_replace(*progress);
        }
    }

    fn follow(&self) -> watch::Receiver<Progress> {
        // Under the lock, so that nothing is noted between the look and the beginning.
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        self.followed.get_or_init(|| watch::channel(*progress).0).subscribe()
    }
}

impl Logs {
    /// Logs under `dir`, made as needed.
    pub fn new(dir: PathBuf) -> Self {
        let ended = Arc::new(Ended::beside(&dir));
        let places = |count| Arc::new(Semaphore::new(count));
        let (removals, reads) = (places(REMOVALS_MAX), places(READS_MAX));
        Self { dir, live: Arc::default(), ended, removals, reads, scribe: Arc::default() }
    }

    /// Opens the log of run number `restart` for writing and drops the logs of runs long gone.
    pub async fn begin(
        &self,
        pod: &str,
        container: &str,
        restart: u32,
        clock: &Arc<dyn Clock>,
    ) -> io::Result<LogWriter> {
        let (this, clock, pod, container) = (self.clone(), Arc::clone(clock), pod.to_owned(), container.to_owned());
        let open = move || this.open(&pod, &container, restart, clock);
        tokio::task::spawn_blocking(open).await.map_err(io::Error::other)?
    }

    /// The same here. Blocks.
    pub(crate) fn open(
        &self,
        pod: &str,
        container: &str,
        restart: u32,
        clock: Arc<dyn Clock>,
    ) -> io::Result<LogWriter> {
        let dir = self.dir.join(pod).join(container);
        fs::create_dir_all(&dir)?;
        for old in restart.saturating_sub(RUNS_KEPT + 8)..(restart + 1).saturating_sub(RUNS_KEPT) {
            for file in 0..FILES_MAX {
                let _ = fs::remove_file(rotated(&dir, old, file));
            }
        }
        let grown = {
            let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(live.entry((pod.to_owned(), container.to_owned())).or_default())
        };
        let writer = LogWriter::open(dir, restart, clock, (Arc::clone(&self.scribe), Arc::clone(&grown)))?;
        grown.note(|progress| *progress = Progress { run: restart, ..Progress::default() });
        Ok(writer)
    }

    /// Reads logs on a thread that may wait for the disk. That is taken until it is done, whoever gives up meanwhile.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let turn = Arc::clone(&self.reads).acquire_owned().await.map_err(io::Error::other)?;
        let read = move || {
            let done = read();
            drop(turn);
            done
        };
        tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
    }

    /// Tells that a container will not run again: whoever follows its log is at the end of it.
    pub fn over(&self, pod: &str, container: &str) {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(grown) = live.get(&(pod.to_owned(), container.to_owned())) {
            grown.note(|progress| progress.over = true);
        }
    }

    /// Lets go of what a pod printed, which is called `named` from now on: it is kept for a while, where there is room.
    pub async fn remove(&self, pod: String, named: String) {
        self.forget(&pod);
        let _turn = self.removals.acquire().await;
        let (dir, ended) = (self.dir.join(pod), Arc::clone(&self.ended));
        let put_aside = move || {
            ended.keep(&dir, &named);
            let _ = fs::remove_dir_all(dir);
        };
        let _ = tokio::task::spawn_blocking(put_aside).await;
    }

    fn forget(&self, pod: &str) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        // A pod's containers follow each other: nothing is looked at of the thousands of others.
        let of_pod = live.range((pod.to_owned(), String::new())..).take_while(|((of, _), _)| of == pod);
        let of_pod: Vec<_> = of_pod.map(|(key, _)| key.clone()).collect();
        for key in &of_pod {
            live.remove(key);
        }
    }

    /// Removes logs of pods that are gone once they are old, until the tasks stop.
    pub fn expire(&self, tasks: &Tasks) {
        let ended = Arc::clone(&self.ended);
        tasks.spawn_until_stop("ended-logs", async move {
            loop {
                let ended = Arc::clone(&ended);
                let _ = tokio::task::spawn_blocking(move || ended.expire()).await;
                tokio::time::sleep(EXPIRE_PAUSE).await;
            }
        });
    }

    /// Lets go of the logs of pods that are not in `keep`, but for those begun since `begun`.
    pub fn keep_only(&self, keep: &dyn Fn(&str) -> bool, begun: SystemTime) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        for entry in entries.flatten() {
            if !entry.file_name().to_str().is_some_and(keep) && crate::volumes::is_older(&entry, begun) {
                // They went while this node was down, and nobody knows any more what they were called.
                self.ended.keep(&entry.path(), "");
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// A reader of a run's log, from its first line that is kept.
    pub fn reader(&self, pod: &str, container: &str, restart: u32) -> io::Result<LogReader> {
        LogReader::open(self.dir.join(pod).join(container), restart)
    }

    /// The end of a run's log as a message says it: Kubernetes' 2048 bytes or 80 lines, whichever is less.
    pub fn last_words(&self, pod: &str, container: &str, restart: u32) -> io::Result<String> {
        let mut file = File::open(rotated(&self.dir.join(pod).join(container), restart, 0))?;
        file.seek(SeekFrom::Start(file.metadata()?.len().saturating_sub(LAST_RECORDS_BYTES)))?;
        let mut records = Vec::new();
        file.take(LAST_RECORDS_BYTES).read_to_end(&mut records)?;
        // The first one may have lost its beginning, and is no record then.
        let lines: Vec<_> = records.split(|byte| *byte == b'\n').filter_map(Line::parse).collect();
        let words: Vec<u8> =
            lines[lines.len().saturating_sub(LAST_LINES)..].iter().flat_map(|it| it.content.clone()).collect();
        let words = String::from_utf8_lossy(&words[words.len().saturating_sub(LAST_BYTES)..]).into_owned();
        Ok(words.trim_end().to_owned())
    }

    /// The number of the newest run of which there is a log.
    pub fn newest(&self, pod: &str, container: &str) -> io::Result<u32> {
        let runs = fs::read_dir(self.dir.join(pod).join(container))?.flatten();
        let number = |file: fs::DirEntry| file.file_name().to_str()?.strip_suffix(".log")?.parse().ok();
        runs.filter_map(number).max().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Fires when the container writes or starts again; closed when the pod is gone.
    pub fn progress(&self, pod: &str, container: &str) -> Option<watch::Receiver<Progress>> {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.get(&(pod.to_owned(), container.to_owned())).map(|grown| grown.follow())
    }
}

/// One line, or one part of a very long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it was written.
    pub time: Timestamp,
    /// What was written, with its line end unless it is a part.
    pub content: Vec<u8>,
    /// Its level, if it came with one.
    pub level: Option<Level>,
}

impl Line {
    fn parse(raw: &[u8]) -> Option<Self> {
        let mut fields = raw.splitn(4, |byte| *byte == b' ');
        let time = str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let _stream = fields.next()?;
        let mut tags = fields.next()?.split(|byte| *byte == b':');
        let whole = tags.next()? == b"F";
        let level = tags.find_map(|tag| str::from_utf8(tag).ok()?.parse().ok());
        let mut content = fields.next()?.to_vec();
        if whole {
            content.push(b'\n');
        }
        Some(Self { time, content, level })
    }
}

fn rotated(dir: &Path, restart: u32, age: u32) -> PathBuf {
    if age == 0 { dir.join(format!("{restart}.log")) } else { dir.join(format!("{restart}.log.{age}")) }
}

/// Reads a run's log from its oldest line to the newest, and on as it grows, across rotations.
#[derive(Debug)]
pub struct LogReader {
    dir: PathBuf,
    restart: u32,
    /// Files to read before the active one, the next one last.
    older: Vec<File>,
    active: File,
    /// How far the file that is read was read.
    at: u64,
    /// Bytes after which it ends, if it does not go on with what is written meanwhile.
    left: Option<u64>,
    partial: Vec<u8>,
}

/// The files of a run that are newer than `than`, the newest first.
///
/// A rotation meanwhile moves files to where the search comes by later: it may meet one twice, and misses none.
fn newer(dir: &Path, restart: u32, than: Option<&File>) -> io::Result<Vec<File>> {
    let mut seen: Vec<u64> = Vec::new();
    let mut files = Vec::new();
    let than = than.map(|file| file.metadata().map(|metadata| metadata.ino())).transpose()?;
    for age in 0..FILES_MAX {
        let file = match File::open(rotated(dir, restart, age)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let inode = file.metadata()?.ino();
        if Some(inode) == than {
            break;
        }
        if !seen.contains(&inode) {
            seen.push(inode);
            files.push(file);
        }
    }
    Ok(files)
}

/// Bytes read at a time.
const READ_CHUNK: usize = 64 * 1024;

impl LogReader {
    fn open(dir: PathBuf, restart: u32) -> io::Result<Self> {
        let mut files = newer(&dir, restart, None)?.into_iter();
        let active = files.next().ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { dir, restart, older: files.collect(), active, at: 0, left: None, partial: Vec::new() })
    }

    /// The same from its beginning, which ends with what is there now, however much is written meanwhile.
    pub fn until_now(&self) -> io::Result<Self> {
        let older = self.older.iter().map(File::try_clone).collect::<io::Result<Vec<_>>>()?;
        let active = self.active.try_clone()?;
        // Of the files that were rotated nothing comes any more.
        let mut left = active.metadata()?.len();
        for file in &older {
            left += file.metadata()?.len();
        }
        let (dir, restart) = (self.dir.clone(), self.restart);
        Ok(Self { dir, restart, older, active, at: 0, left: Some(left), partial: Vec::new() })
    }

    /// Ends where `other` does.
    pub fn end_with(&mut self, other: &Self) {
        self.left = other.left;
    }

    /// The next lines; none when there are no more for now.
    pub fn read(&mut self) -> io::Result<Vec<Line>> {
        let mut chunk = vec![0; READ_CHUNK];
        loop {
            let wanted =
                self.left.map_or(READ_CHUNK, |left| usize::try_from(left).unwrap_or(READ_CHUNK).min(READ_CHUNK));
            if wanted == 0 {
                return Ok(Vec::new());
            }
            let file = self.older.last().unwrap_or(&self.active);
            // Another reader may have the same file open, and be elsewhere in it.
            let length = file.read_at(&mut chunk[..wanted], self.at)?;
            self.at += length as u64;
            self.left = self.left.map(|left| left - length as u64);
            if length > 0 {
                let lines = self.take_lines(&chunk[..length]);
                if !lines.is_empty() {
                    return Ok(lines);
                }
            } else if self.older.pop().is_some() {
                self.at = 0;
            } else if !self.follow_rotation()? {
                return Ok(Vec::new());
            }
        }
    }

    /// Moves on to the files that were begun since the active one was, if any were.
    fn follow_rotation(&mut self) -> io::Result<bool> {
        let mut files = newer(&self.dir, self.restart, Some(&self.active))?.into_iter();
        let Some(newest) = files.next() else { return Ok(false) };
        // What was written to the old file after its end was read and before it was rotated comes first.
        let old = std::mem::replace(&mut self.active, newest);
        self.older = files.collect();
        self.older.push(old);
        Ok(true)
    }

    fn take_lines(&mut self, bytes: &[u8]) -> Vec<Line> {
        self.partial.extend_from_slice(bytes);
        let Some(end) = self.partial.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let rest = self.partial.split_off(end + 1);
        let whole = std::mem::replace(&mut self.partial, rest);
        whole.split(|byte| *byte == b'\n').filter_map(Line::parse).collect()
    }
}

#[cfg(test)]
mod tests;
