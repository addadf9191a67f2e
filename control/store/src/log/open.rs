//! Opening a directory: what is in it is read, checked and put together, and refused when it does not fit.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft::eraftpb::{Entry, HardState};

use super::Log;
use super::record::Record;
use super::segment::{self, Segment};
use super::snapshot::{self, SnapshotId};
use crate::disk::{self, Disk};
use crate::error::OpenError;
use crate::machine::Machine;
use crate::model::MemberId;
use crate::options::Options;

/// What a directory held.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// The state of the newest snapshot; the empty state at index 0 of a member that has not received one yet.
    pub(crate) machine: Machine,
    /// The entries after it.
    pub(crate) entries: Vec<Entry>,
    /// What the member promised.
    pub(crate) hard_state: HardState,
    /// The newest snapshot.
    pub(crate) snapshot: Option<SnapshotId>,
}

/// Makes a log whose member is alone in a new cluster.
pub(crate) fn bootstrap(options: &Options, disk: &Arc<dyn Disk>) -> Result<(Log, Recovered), OpenError> {
    begin(options, disk, Machine::bootstrap(options.member.0))
}

/// Makes a log that begins with `machine`, in which the member is alone.
pub(crate) fn begin(options: &Options, disk: &Arc<dyn Disk>, machine: Machine) -> Result<(Log, Recovered), OpenError> {
    let files = prepare(options, &**disk)?;
    // A crash between snapshot and log of an earlier bootstrap left just its snapshot, which is written again.
    if !files.segments.is_empty() || files.snapshots.iter().any(|(_, index)| *index != machine.applied) {
        return Err(OpenError::NotEmpty { dir: options.dir.clone() });
    }
    let hard_state = HardState { term: machine.term, commit: machine.applied, ..HardState::default() };
    let snapshot = snapshot::write(&**disk, &options.dir, &machine);
    let snapshot = snapshot.map_err(io_error("write a snapshot to", &options.dir))?;
    let log = create(options, disk, &hard_state, Some((machine.applied, machine.term)))?;
    Ok((log, Recovered { machine, entries: Vec::new(), hard_state, snapshot: Some(snapshot) }))
}

/// Makes an empty log.
pub(crate) fn join(options: &Options, disk: &Arc<dyn Disk>) -> Result<(Log, Recovered), OpenError> {
    let files = prepare(options, &**disk)?;
    if !files.segments.is_empty() || !files.snapshots.is_empty() {
        return Err(OpenError::NotEmpty { dir: options.dir.clone() });
    }
    let log = create(options, disk, &HardState::default(), None)?;
    Ok((log, Recovered::default()))
}

/// Opens the log that is there.
pub(crate) fn resume(options: &Options, disk: &Arc<dyn Disk>) -> Result<(Log, Recovered), OpenError> {
    if !disk.is_dir(&options.dir) {
        return Err(OpenError::NothingToResume { dir: options.dir.clone() });
    }
    let files = prepare(options, &**disk)?;
    if files.segments.is_empty() {
        return Err(OpenError::NothingToResume { dir: options.dir.clone() });
    }
    let (snapshot, machine, promised) = match files.snapshots.last() {
        Some((path, _)) => {
            let snapshot::Read { id, machine, promised } = snapshot::read(&**disk, path)?;
            (Some(id), machine, promised)
        }
        None => (None, Machine::default(), HardState::default()),
    };
    let (mut log, mut replayed) = replay(options, disk, files.segments)?;
    let entries = if let Some(entries) = replayed.entries_after(&machine, log.active.path())? {
        entries
    } else {
        // A crash came between a snapshot from the leader and the end of the log that it voids.
        log.restart((machine.applied, machine.term)).map_err(io_error("restart the log in", &options.dir))?;
        Vec::new()
    };
    let hard_state = join_hard_states(&log.hard_state, &promised, machine.applied);
    let last = entries.last().map_or(machine.applied, |entry| entry.index);
    if hard_state.commit > last {
        return Err(OpenError::Corrupt {
            file: log.active.path().to_owned(),
            offset: log.active.len(),
            what: format!("the log ends at index {last} and {} was committed", hard_state.commit),
        });
    }
    Ok((log, Recovered { machine, entries, hard_state, snapshot }))
}

/// The hard state of the log and the one the newest snapshot came with: whichever promises more.
fn join_hard_states(log: &HardState, promised: &HardState, applied: u64) -> HardState {
    let mut joined = if promised.term > log.term { promised.clone() } else { log.clone() };
    if promised.term == log.term && joined.vote == 0 {
        joined.vote = promised.vote;
    }
    joined.commit = log.commit.max(applied);
    joined
}

struct Files {
    segments: Vec<(PathBuf, u64)>,
    snapshots: Vec<(PathBuf, u64)>,
}

/// Makes sure that the directory is there, and lists what is in it without the half-written.
fn prepare(options: &Options, disk: &dyn Disk) -> Result<Files, OpenError> {
    let dir = &options.dir;
    if !disk.is_dir(dir) {
        disk.create_dir(dir).map_err(io_error("create", dir))?;
    }
    let segments = list(disk, dir).map_err(io_error("list", dir))?;
    let snapshots = snapshot::list(disk, dir).map_err(io_error("list", dir))?;
    Ok(Files { segments, snapshots })
}

/// The segments in `dir` with their numbers, oldest first. Half-written files are deleted.
fn list(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut segments = Vec::new();
    for path in disk.list(dir)? {
        let is = |extension: &str| path.extension().is_some_and(|found| found == extension);
        if is(disk::TEMPORARY) {
            disk.remove(&path)?;
        } else if is(segment::EXTENSION)
            && let Some(name) = path.file_stem().and_then(|name| name.to_str())
            && let Ok(number) = u64::from_str_radix(name, 16)
        {
            segments.push((path, number));
        }
    }
    segments.sort_by_key(|(_, number)| *number);
    Ok(segments)
}

fn create(
    options: &Options,
    disk: &Arc<dyn Disk>,
    hard_state: &HardState,
    reset: Option<(u64, u64)>,
) -> Result<Log, OpenError> {
    let head = segment::head(options.member, hard_state, reset);
    let active = Segment::create(&**disk, &options.dir, 0, &head);
    let active = active.map_err(io_error("create a log in", &options.dir))?;
    Ok(assemble(options, disk, active, hard_state.clone()))
}

fn assemble(options: &Options, disk: &Arc<dyn Disk>, active: Segment, hard_state: HardState) -> Log {
    Log {
        disk: Arc::clone(disk),
        dir: options.dir.clone(),
        member: options.member,
        segment_bytes: options.limits.segment_bytes,
        closed: std::collections::VecDeque::new(),
        active,
        active_last: 0,
        hard_state,
        buffer: Vec::new(),
        room: Arc::default(),
    }
}

/// The entries of all segments, put together.
#[derive(Default)]
struct Replayed {
    entries: Vec<Entry>,
    /// Where the log goes on from when `entries` begins right after it.
    base: Option<(u64, u64)>,
}

fn replay(
    options: &Options,
    disk: &Arc<dyn Disk>,
    segments: Vec<(PathBuf, u64)>,
) -> Result<(Log, Replayed), OpenError> {
    let mut replayed = Replayed::default();
    let mut hard_state = HardState::default();
    let mut closed = std::collections::VecDeque::new();
    let mut active = None;
    let count = segments.len();
    let first = segments.first().map_or(0, |(_, number)| *number);
    for (place, (path, number)) in segments.into_iter().enumerate() {
        let expected = first + place as u64;
        if number != expected {
            let what = format!("the segment {expected:016x} before it is missing");
            return Err(OpenError::Corrupt { file: path, offset: 0, what });
        }
        let is_last = place + 1 == count;
        let content = segment::read(&**disk, &path, is_last)?;
        let mut last_index = 0;
        for (offset, record) in content.records {
            match record {
                Record::Head { member, hard_state: head } => {
                    check_member(options, member)?;
                    hard_state = head;
                }
                Record::HardState(newer) => hard_state = newer,
                Record::Reset { index, term } => replayed = Replayed { entries: Vec::new(), base: Some((index, term)) },
                Record::Entry(entry) => {
                    last_index = last_index.max(entry.index);
                    replayed.take(entry).map_err(|what| OpenError::Corrupt { file: path.clone(), offset, what })?;
                }
            }
        }
        if is_last {
            if content.torn > 0 {
                tracing::info!(file = %path.display(), bytes = content.torn, "cut off what a crash left half-written");
            }
            let reopened = Segment::reopen(&**disk, path.clone(), number, &content.whole);
            let reopened = reopened.map_err(io_error("open", &path))?;
            active = Some((reopened, last_index));
        } else {
            closed.push_back((path, last_index));
        }
    }
    let (active, active_last) = active.ok_or_else(|| OpenError::NothingToResume { dir: options.dir.clone() })?;
    let log = Log { closed, active_last, ..assemble(options, disk, active, hard_state) };
    Ok((log, replayed))
}

fn check_member(options: &Options, found: MemberId) -> Result<(), OpenError> {
    if found == options.member {
        Ok(())
    } else {
        Err(OpenError::WrongMember { dir: options.dir.clone(), found, expected: options.member })
    }
}

impl Replayed {
    /// Adds an entry; one at an index that is there already voids that and all after it, as Raft's conflicts do.
    fn take(&mut self, entry: Entry) -> Result<(), String> {
        let first = match (self.entries.first(), self.base) {
            (Some(first), _) => first.index,
            (None, Some((index, _))) => index + 1,
            (None, None) => entry.index,
        };
        let next = first + self.entries.len() as u64;
        if entry.index > next {
            return Err(format!("entry {} follows entry {}", entry.index, next - 1));
        }
        if entry.index < first && self.base.is_none() {
            // What it voids reaches back before the first segment there is: that one is kept for entries that are void,
            // and the ones before it went with a snapshot.
            self.entries.clear();
        } else if entry.index < first {
            return Err(format!("entry {} follows a log that begins at {first}", entry.index));
        }
        let kept = entry.index.saturating_sub(first);
        self.entries.truncate(usize::try_from(kept).expect("an offset into what is in memory"));
        self.entries.push(entry);
        Ok(())
    }

    /// The entries that continue `machine`'s state; None when the log does not lead up to it.
    fn entries_after(&mut self, machine: &Machine, file: &Path) -> Result<Option<Vec<Entry>>, OpenError> {
        let mut entries = std::mem::take(&mut self.entries);
        let continues = self.base.is_none_or(|base| base == (machine.applied, machine.term));
        let Some(first) = entries.first().map(|entry| entry.index) else { return Ok(continues.then_some(entries)) };
        let last = first + entries.len() as u64 - 1;
        if first > machine.applied + 1 {
            return Err(OpenError::Corrupt {
                file: file.to_owned(),
                offset: 0,
                what: format!("the log begins at index {first} and the newest snapshot ends at {}", machine.applied),
            });
        }
        if first == machine.applied + 1 {
            return Ok(continues.then_some(entries));
        }
        if last < machine.applied {
            return Ok(None);
        }
        let at = usize::try_from(machine.applied - first).expect("an offset into what is in memory");
        // Of another term: the snapshot came from a leader whose log voids ours.
        if entries[at].term != machine.term {
            return Ok(None);
        }
        Ok(Some(entries.split_off(at + 1)))
    }
}

fn io_error<'a>(act: &'static str, file: &'a Path) -> impl Fn(io::Error) -> OpenError + 'a {
    move |source| OpenError::Io { act, file: file.to_owned(), source }
}
