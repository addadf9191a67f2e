//! Logs of pods that are gone: the newest of them stay on disk for a day, within a budget.
//!
//! For a person at the machine, or a collector of logs that had not read to the end: the files are as they were, below
//! `logs-of-ended-pods/<milliseconds>_<bytes>_<namespace>_<name>_<uid>/<container>/`; of a pod that went while this node was
//! down the uid alone is known. Not here: a way to them through the API, where a pod that is gone has no name any more.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// All of them together take no more of the disk, whatever pods print: what five containers may have.
const BYTES_MAX: u64 = 256 << 20;
/// Nor are they more: each is some inodes.
const PODS_MAX: usize = 1000;
/// Nor are they older: what is asked later is asked of whoever collects logs.
const AGE_MAX: Duration = Duration::from_hours(24);
/// Of a namespace and a name so much is told: with the numbers and the uid a file's name has 255 bytes at most.
const NAMED_BYTES_MAX: usize = 180;

/// Where they are, below the data directory.
const DIR: &str = "logs-of-ended-pods";

/// The logs of pods that are gone.
#[derive(Debug)]
pub(super) struct Ended {
    dir: PathBuf,
    /// What is there, the oldest first; read from the disk by the first who asks.
    kept: Mutex<Option<VecDeque<Entry>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: String,
    /// Milliseconds since 1970.
    at: u64,
    bytes: u64,
}

impl Entry {
    fn parse(name: String) -> Option<Self> {
        let mut parts = name.splitn(3, '_');
        let (at, bytes) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { name, at, bytes })
    }
}

impl Ended {
    /// Beside the directory of those that are there.
    pub(super) fn beside(logs: &Path) -> Self {
        Self { dir: logs.with_file_name(DIR), kept: Mutex::new(None) }
    }

    /// Takes over what is at `from`, a pod's whole directory, if there is a line in it. Blocks.
    pub(super) fn keep(&self, from: &Path, named: &str) {
        let bytes = cut(from, BYTES_MAX);
        let Some(uid) = from.file_name().and_then(|name| name.to_str()) else { return };
        if bytes == 0 {
            return;
        }
        let at = now();
        let named = &named[..named.floor_char_boundary(NAMED_BYTES_MAX)];
        let parts = [format!("{at:013}"), bytes.to_string(), named.to_owned(), uid.to_owned()];
        let name = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_");
        if let Err(error) = fs::create_dir_all(&self.dir).and_then(|()| fs::rename(from, self.dir.join(&name))) {
            tracing::debug!(%error, name, "log of a pod that is gone is not kept");
            return;
        }
        self.remove(&self.note(Some(Entry { name, at, bytes }), at));
    }

    /// Removes those that are too old. Blocks.
    pub(super) fn expire(&self) {
        self.remove(&self.note(None, now()));
    }

    /// Takes note of one more, which is there, and says which ones go.
    fn note(&self, new: Option<Entry>, now: u64) -> Vec<Entry> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.get_or_insert_with(|| self.read());
        // It may have been read just now.
        kept.extend(new.filter(|new| !kept.contains(new)));
        surplus(kept, now)
    }

    /// Without the lock: another pod's log need not wait for it.
    fn remove(&self, entries: &[Entry]) {
        for entry in entries {
            let _ = fs::remove_dir_all(self.dir.join(&entry.name));
        }
    }

    fn read(&self) -> VecDeque<Entry> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut found: Vec<_> = names.filter_map(Entry::parse).collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found.into()
    }
}

/// Takes those out that are too old, or too much.
fn surplus(kept: &mut VecDeque<Entry>, now: u64) -> Vec<Entry> {
    let mut all: u64 = kept.iter().map(|entry| entry.bytes).sum();
    let oldest = now.saturating_sub(u64::try_from(AGE_MAX.as_millis()).unwrap_or(u64::MAX));
    let mut surplus = Vec::new();
    while kept.front().is_some_and(|first| first.at < oldest || kept.len() > PODS_MAX || all > BYTES_MAX) {
        let Some(first) = kept.pop_front() else { break };
        all -= first.bytes;
        surplus.push(first);
    }
    surplus
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Bytes of the containers' logs in a pod's directory, whose oldest files go while they are more than `max`.
fn cut(pod: &Path, max: u64) -> u64 {
    let below = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten();
    let dirs = below(pod).filter(|it| it.file_type().is_ok_and(|kind| kind.is_dir()));
    let files = dirs.flat_map(|dir| below(&dir.path())).filter_map(|file| Some((file.path(), file.metadata().ok()?)));
    let mut files: Vec<_> = files.map(|(path, it)| (it.modified().unwrap_or(UNIX_EPOCH), it.len(), path)).collect();
    files.sort_unstable();
    let mut bytes = files.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, length, path) in files {
        if bytes <= max {
            break;
        }
        bytes -= length;
        let _ = fs::remove_file(path);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(root: &Path, uid: &str, text: &str) -> PathBuf {
        let dir = root.join("pods").join(uid);
        fs::create_dir_all(dir.join("app")).unwrap();
        fs::write(dir.join("app/0.log"), text).unwrap();
        dir
    }

    #[test]
    fn log_of_a_pod_that_is_gone_stays_and_an_empty_one_does_not() {
        let root = tempfile::tempdir().unwrap();
        let ended = Ended::beside(&root.path().join("pods"));
        ended.keep(&pod(root.path(), "silent", ""), "default_silent");
        ended.keep(&pod(root.path(), "uid", "its last words"), "default_web");
        let kept = ended.read();
        assert_eq!(kept.len(), 1);
        assert!(kept[0].name.ends_with("_14_default_web_uid"), "{kept:?}");
        let text = fs::read_to_string(root.path().join(DIR).join(&kept[0].name).join("app/0.log")).unwrap();
        assert_eq!(text, "its last words");
    }

    #[test]
    fn log_of_a_pod_of_the_longest_name_stays_and_so_does_that_of_one_that_nobody_knows() {
        let root = tempfile::tempdir().unwrap();
        let ended = Ended::beside(&root.path().join("pods"));
        let uid = "6c84fb90-12c4-11e1-840d-7b25c5ee775a";
        ended.keep(&pod(root.path(), uid, "x"), &format!("{}_{}", "n".repeat(63), "p".repeat(253)));
        ended.keep(&pod(root.path(), uid, "y"), "");
        let kept = ended.read();
        let names: Vec<_> = kept.iter().map(|entry| entry.name.as_str()).collect();
        assert!(kept.len() == 2 && names.iter().all(|name| name.ends_with(&format!("_{uid}"))), "{names:?}");
    }

    #[test]
    fn of_a_log_that_is_too_long_the_newest_files_stay() {
        let root = tempfile::tempdir().unwrap();
        let dir = pod(root.path(), "uid", "newest");
        for (name, age) in [("1.log", 10), ("2.log", 20)] {
            let path = dir.join("app").join(name);
            fs::write(&path, "older").unwrap();
            let file = fs::File::options().append(true).open(&path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        }
        assert_eq!(cut(&dir, 100), 16);
        assert_eq!(cut(&dir, 12), 11);
        assert!(dir.join("app/1.log").exists() && !dir.join("app/2.log").exists());
    }

    #[test]
    fn old_logs_go_also_where_no_other_pod_goes() {
        let root = tempfile::tempdir().unwrap();
        let ended = Ended::beside(&root.path().join("pods"));
        ended.keep(&pod(root.path(), "new", "x"), "default_new");
        let old = root.path().join(DIR).join(format!("{:013}_1_default_old_uid", 7));
        fs::create_dir(&old).unwrap();
        let ended = Ended::beside(&root.path().join("pods"));
        ended.expire();
        assert!(!old.exists());
        assert_eq!(ended.read().len(), 1);
    }

    #[test]
    fn oldest_go_first_when_there_are_too_many_or_they_are_too_old_or_too_large() {
        let entry = |at: u64, bytes: u64| Entry { name: format!("{at:013}_{bytes}_d_n_u"), at, bytes };
        let left = |mut kept: VecDeque<Entry>, now: u64| {
            let all: Vec<_> = kept.iter().cloned().collect();
            let gone = surplus(&mut kept, now);
            assert_eq!(gone.iter().chain(&kept).cloned().collect::<Vec<_>>(), all);
            kept.iter().map(|entry| entry.at).collect::<Vec<_>>()
        };
        assert_eq!(left([entry(1, 1), entry(2, 1)].into(), 3), [1, 2]);
        assert_eq!(left([entry(1, BYTES_MAX), entry(2, 1)].into(), 3), [2]);
        let day = u64::try_from(AGE_MAX.as_millis()).unwrap();
        assert_eq!(left([entry(1, 1), entry(2, 1)].into(), day + 2), [2]);
        let many: VecDeque<_> = (0..1002).map(|at| entry(at, 1)).collect();
        assert_eq!(left(many, 1003).first(), Some(&2));
    }
}
