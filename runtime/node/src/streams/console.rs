//! A running container as streams see it: its environment, its input, and its output from now on.
//!
//! The container never waits for who watches it: a watcher that falls behind by [`BEHIND_BYTES_MAX`] misses what comes
//! then, and is told how much.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::{Bytes, BytesMut};
use tokio::io::DuplexStream;
use tokio::sync::Notify;
use wk_engine::{Mounts, Usage, Variables};

use crate::logs::Stream;
use crate::spec::ContainerSpec;
use crate::streams::exec::program::Program;

/// Output that waits for one slow watcher: some seconds of a talkative program over a slow link.
const BEHIND_BYTES_MAX: usize = 1024 * 1024;
/// Input that waits for the guest to read it: a pipe's size.
const INPUT_BYTES_MAX: usize = 64 * 1024;
/// Watchers of one container at once.
const WATCHERS_MAX: usize = 64;

/// The containers that run on this node, by pod and name. Clones share the table.
#[derive(Clone, Default)]
pub struct Consoles(Arc<Mutex<Table>>);

type Table = HashMap<Key, Arc<Console>>;

/// A pod's uid and a container's name.
type Key = (Arc<str>, Arc<str>);

impl Consoles {
    /// Adds a container that begins to run, until what is returned is dropped.
    pub fn insert(&self, pod: &Arc<str>, console: &Arc<Console>) -> Registered {
        let key = (Arc::clone(pod), Arc::clone(&console.container));
        self.table().insert(key.clone(), Arc::clone(console));
        Registered { consoles: self.clone(), key, console: Arc::clone(console) }
    }

    /// The container of a pod, if it runs here.
    pub fn get(&self, pod: &str, container: &str) -> Option<Arc<Console>> {
        self.table().get(&(pod.into(), container.into())).cloned()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run's place in the table.
pub struct Registered {
    consoles: Consoles,
    key: Key,
    console: Arc<Console>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut table = self.consoles.table();
        // The next run of the container may be there already.
        if table.get(&self.key).is_some_and(|console| Arc::ptr_eq(console, &self.console)) {
            table.remove(&self.key);
        }
        drop(table);
        self.console.end();
    }
}

/// One run of one container.
pub struct Console {
    container: Arc<str>,
    /// Its environment.
    pub env: Variables,
    /// Its directories, opened for each command.
    pub mounts: Mounts,
    /// What it uses, which commands of the node itself are a part of.
    pub usage: Arc<Usage>,
    /// Whether it was given a terminal.
    pub tty: bool,
    /// Whether the first client's end of input is the container's.
    pub stdin_once: bool,
    /// Until the run ends: it holds the container's network and files, whose output leads here.
    program: Mutex<Option<Arc<Program>>>,
    input: Option<Arc<tokio::sync::Mutex<Option<DuplexStream>>>>,
    watchers: Mutex<Vec<Weak<Watcher>>>,
}

impl Console {
    /// The console of a container about to run, and the source of its input if it has one.
    pub fn new(
        spec: &ContainerSpec,
        env: Variables,
        mounts: Mounts,
        usage: &Arc<Usage>,
    ) -> (Arc<Self>, Option<DuplexStream>) {
        let pipe = spec.stdin.then(|| tokio::io::duplex(INPUT_BYTES_MAX));
        let (writer, reader) = pipe.unzip();
        let console = Self {
            container: spec.name.clone(),
            env,
            mounts,
            usage: Arc::clone(usage),
            tty: spec.tty,
            stdin_once: spec.stdin_once,
            input: writer.map(|writer| Arc::new(tokio::sync::Mutex::new(Some(writer)))),
            program: Mutex::default(),
            watchers: Mutex::default(),
        };
        (Arc::new(console), reader)
    }

    /// Says what code the container runs.
    pub fn runs(&self, program: Program) {
        *self.program.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(program));
    }

    /// What code the container runs, once it is known and while it runs.
    pub fn program(&self) -> Option<Arc<Program>> {
        self.program.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The container's input; None when it has none. Whoever holds the lock writes; an empty place has ended.
    pub fn input(&self) -> Option<Arc<tokio::sync::Mutex<Option<DuplexStream>>>> {
        self.input.clone()
    }

    /// Passes output on to whoever watches. Never waits.
    pub fn write(&self, stream: Stream, bytes: &[u8]) {
        let mut watchers = self.watchers();
        if watchers.is_empty() {
            return;
        }
        watchers.retain(|watcher| {
            let watcher = watcher.upgrade();
            watcher.is_some_and(|watcher| {
                watcher.push(stream, bytes);
                true
            })
        });
    }

    /// Output from now on; None when too many watch already.
    pub fn watch(&self) -> Option<Arc<Watcher>> {
        let mut watchers = self.watchers();
        watchers.retain(|watcher| watcher.strong_count() > 0);
        if watchers.len() >= WATCHERS_MAX {
            return None;
        }
        let watcher = Arc::new(Watcher::default());
        watchers.push(Arc::downgrade(&watcher));
        Some(watcher)
    }

    fn end(&self) {
        for watcher in self.watchers().drain(..).filter_map(|watcher| watcher.upgrade()) {
            watcher.end();
        }
        let program = self.program.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(program);
    }

    fn watchers(&self) -> MutexGuard<'_, Vec<Weak<Watcher>>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that watches a container's output.
#[derive(Default)]
pub struct Watcher {
    state: Mutex<Behind>,
    wake: Notify,
}

/// What a watcher has not taken yet.
#[derive(Default)]
struct Behind {
    pieces: Vec<(Stream, BytesMut)>,
    bytes: usize,
    lost: u64,
    ended: bool,
}

impl Watcher {
    /// Says that there will be no more.
    pub fn end(&self) {
        self.state().ended = true;
        self.wake.notify_one();
    }

    /// Adds output. Never waits.
    pub fn push(&self, stream: Stream, bytes: &[u8]) {
        let mut state = self.state();
        if state.bytes + bytes.len() > BEHIND_BYTES_MAX {
            state.lost += bytes.len() as u64;
            return;
        }
        state.bytes += bytes.len();
        match state.pieces.last_mut() {
            Some((last, piece)) if *last == stream => piece.extend_from_slice(bytes),
            _ => state.pieces.push((stream, bytes.into())),
        }
        drop(state);
        self.wake.notify_one();
    }

    /// What was written since the last call; None once the run is over.
    pub async fn next(&self) -> Option<Vec<(Stream, Bytes)>> {
        loop {
            {
                let mut state = self.state();
                let mut pieces: Vec<_> = std::mem::take(&mut state.pieces)
                    .into_iter()
                    .map(|(stream, piece)| (stream, piece.freeze()))
                    .collect();
                state.bytes = 0;
                let lost = std::mem::take(&mut state.lost);
                if lost > 0 {
                    let note =
                        format!("\n[wk: {lost} bytes of output lost here: they came faster than they were read]\n");
                    pieces.push((Stream::Err, note.into()));
                }
                if !pieces.is_empty() {
                    return Some(pieces);
                }
                if state.ended {
                    return None;
                }
            }
            self.wake.notified().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, Behind> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use wk_engine::{CpuLimits, MemoryBytes};

    use super::*;

    #[tokio::test]
    async fn watchers_see_what_is_written_from_then_on_and_what_they_missed_is_counted() {
        let usage = Usage::new(CpuLimits::BEST_EFFORT, MemoryBytes(0));
        let (console, _) = Console::new(&ContainerSpec::default(), Variables::default(), Mounts::default(), &usage);
        let consoles = Consoles::default();
        let registered = consoles.insert(&"u".into(), &console);
        console.write(Stream::Out, b"before");
        let watcher = console.watch().unwrap();
        console.write(Stream::Out, b"a");
        console.write(Stream::Out, b"b");
        console.write(Stream::Err, b"c");
        let seen = watcher.next().await.unwrap();
        assert_eq!(seen, [(Stream::Out, Bytes::from("ab")), (Stream::Err, Bytes::from("c"))]);
        let piece = vec![0; BEHIND_BYTES_MAX];
        console.write(Stream::Out, &piece);
        console.write(Stream::Out, b"xyz");
        let seen = watcher.next().await.unwrap();
        assert_eq!(seen[0].1.len(), BEHIND_BYTES_MAX);
        assert!(String::from_utf8_lossy(&seen[1].1).contains("3 bytes of output lost"));
        drop(registered);
        assert!(watcher.next().await.is_none());
        assert!(consoles.get("u", "").is_none());
    }
}
