//! How much a directory holds, and a limit on what guests add to it.
//!
//! Counted at the write, before it happens: a write that would go past the limit is refused as a full disk refuses it,
//! and nothing goes past. Counting is cheap and errs to the safe side, since files that shrink or go are not given back;
//! when the limit is reached the directory is looked through, and the count begins again from what is really there.
//!
//! Not here: what follows from a full directory (the node evicts the pod).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};

/// What a file takes at least, and what its size is rounded up to: a block of common file systems.
const BLOCK: u64 = 4096;
/// Directories in one another that are looked through: each is a descriptor meanwhile. Real trees have some twenty.
pub const DIRECTORY_DEPTH_MAX: usize = 128;
/// Looks through a directory that is full are work that a guest can cause: after each, so many times as long as it took
/// passes before the next, so that they take a tenth of a thread at most. A small directory is looked through at once.
const LOOK_PAUSE_TIMES: u32 = 9;
/// Open files of one directory that are remembered, so that those that were removed while open are counted.
const FILES_MAX: usize = 20_000;

/// A part of the disk that guests leave free, and the most of it: the cluster's log is on the same one, and a node that
/// cannot write it leaves the cluster.
const RESERVE_PART: u64 = 50;
const RESERVE_MAX: u64 = 1 << 30;
/// The same of its inodes, which small files use up long before its bytes.
const RESERVE_INODES_MAX: u64 = 10_000;
/// The disk is looked at each time that a directory has grown by so much.
const RESERVE_STEP: u64 = 1 << 20;

/// What a directory that has a limit holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskUse {
    /// Bytes, in whole blocks, as far as they were counted.
    pub used: u64,
    /// Bytes that it may hold.
    pub limit: u64,
    /// Whether something was refused because of the limit.
    pub refused: bool,
}

/// Every directory with a limit that guests of this process have.
static ROOMS: Mutex<BTreeMap<PathBuf, Weak<Room>>> = Mutex::new(BTreeMap::new());

/// What the directory `root` holds, if a guest of this process has it with a limit.
pub fn disk_use(root: &Path) -> Option<DiskUse> {
    let rooms = ROOMS.lock().unwrap_or_else(PoisonError::into_inner);
    let room = rooms.get(root)?.upgrade()?;
    drop(rooms);
    Some(DiskUse {
        used: room.used.load(Ordering::Relaxed),
        limit: room.limit,
        refused: room.refused.load(Ordering::Relaxed),
    })
}

/// Takes note that a guest in another process was refused room in `root`, which held `used` bytes then.
pub fn disk_refused(root: &Path, used: u64) {
    let rooms = ROOMS.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(room) = rooms.get(root).and_then(Weak::upgrade) else { return };
    drop(rooms);
    room.used.fetch_max(used, Ordering::Relaxed);
    room.refused.store(true, Ordering::Relaxed);
}

/// What the directory `root` holds, if a guest was refused room there since this was asked last.
pub fn disk_refused_since(root: &Path) -> Option<DiskUse> {
    let rooms = ROOMS.lock().unwrap_or_else(PoisonError::into_inner);
    let room = rooms.get(root)?.upgrade()?;
    drop(rooms);
    let refused = room.refused.swap(false, Ordering::Relaxed);
    refused.then(|| DiskUse { used: room.used.load(Ordering::Relaxed), limit: room.limit, refused })
}

/// The room in one directory, shared by all who write there.
#[derive(Debug)]
pub struct Room {
    root: PathBuf,
    limit: u64,
    used: AtomicU64,
    refused: AtomicBool,
    /// Files that guests have open to write.
    files: Mutex<Vec<Weak<File>>>,
    /// When it was looked through, and how long that took.
    looked: Mutex<Option<(Instant, Duration)>>,
}

impl Room {
    /// The room in `root`, where `limit` bytes may lie. Looks the directory through, if nobody has it yet.
    pub fn of(root: &Path, limit: u64) -> io::Result<Arc<Self>> {
        let mut rooms = ROOMS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = rooms.get(root).and_then(Weak::upgrade) {
            return Ok(room);
        }
        rooms.retain(|_, room| room.strong_count() > 0);
        let room = Arc::new(Self {
            root: root.to_owned(),
            limit,
            used: AtomicU64::new(0),
            refused: AtomicBool::new(false),
            files: Mutex::default(),
            looked: Mutex::default(),
        });
        rooms.insert(root.to_owned(), Arc::downgrade(&room));
        drop(rooms);
        // What cannot be counted counts as full: too many directories in one another. Others may have taken room already.
        let there = measure(root).unwrap_or(limit);
        let _ = room.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| Some(used.saturating_add(there)));
        Ok(room)
    }

    /// Takes room for so many bytes, or fails as a full disk does.
    pub fn take(&self, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        if self.try_take(bytes) || self.look() && self.try_take(bytes) {
            return self.leave_reserve(bytes);
        }
        self.refused.store(true, Ordering::Relaxed);
        Err(rustix::io::Errno::NOSPC.into())
    }

    /// Gives the room back, and fails as a full disk does, where the disk itself has no more than its reserve. Whoever
    /// made the directory chose its limit, and need not have asked how large the disk is.
    fn leave_reserve(&self, bytes: u64) -> io::Result<()> {
        let after = self.used.load(Ordering::Relaxed);
        if after / RESERVE_STEP == after.saturating_sub(bytes) / RESERVE_STEP {
            return Ok(());
        }
        leave_reserve(&self.root, bytes).inspect_err(|_| {
            let without = |used: u64| Some(used.saturating_sub(bytes));
            let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, without);
        })
    }

    /// Counts anew, if that was not done just now. Blocks.
    pub fn recount(&self) {
        self.look();
    }

    fn try_take(&self, bytes: u64) -> bool {
        let fits = |used: u64| used.checked_add(bytes).filter(|after| *after <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    /// Takes room for a file to hold `bytes`.
    pub(crate) fn grow(&self, file: &File, bytes: u64) -> io::Result<()> {
        let now = file.metadata()?.len();
        self.take(blocks(bytes).saturating_sub(blocks(now)))
    }

    /// Takes room for a file to have `bytes` more written to it, from `position` on or at its end.
    pub(crate) fn extend(&self, file: &File, position: Option<u64>, bytes: u64) -> io::Result<()> {
        let start = position.map_or_else(|| file.metadata().map(|it| it.len()), Ok)?;
        self.grow(file, start.saturating_add(bytes))
    }

    /// Takes room for a new name: a file, directory or link.
    pub(crate) fn add_name(&self) -> io::Result<()> {
        self.take(BLOCK)
    }

    /// Remembers a file that can be written, so that removing its name does not hide it.
    pub(crate) fn remember(&self, file: &Arc<File>) -> io::Result<()> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if files.len() >= FILES_MAX {
            files.retain(|file| file.strong_count() > 0);
            if files.len() >= FILES_MAX {
                return Err(rustix::io::Errno::NFILE.into());
            }
        }
        files.push(Arc::downgrade(file));
        Ok(())
    }

    /// Counts anew; false when that was done just now or cannot be done.
    fn look(&self) -> bool {
        let Ok(mut looked) = self.looked.try_lock() else { return false };
        if looked.is_some_and(|(at, took)| at.elapsed() < took * LOOK_PAUSE_TIMES) {
            return false;
        }
        let began = Instant::now();
        let before = self.used.load(Ordering::Relaxed);
        let Ok(named) = measure(&self.root) else { return false };
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|file| file.strong_count() > 0);
        let open: Vec<Arc<File>> = files.iter().filter_map(Weak::upgrade).collect();
        drop(files);
        let mut seen = BTreeSet::new();
        let nameless = open.iter().filter_map(|file| rustix::fs::fstat(&**file).ok());
        let nameless: u64 =
            nameless.filter(|stat| stat.st_nlink == 0 && seen.insert(stat.st_ino)).map(|stat| size(&stat)).sum();
        // What others took meanwhile is not lost.
        let counted = named + nameless;
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            Some(counted.saturating_add(used.saturating_sub(before)))
        });
        *looked = Some((Instant::now(), began.elapsed()));
        true
    }
}

/// Fails as a full disk does where so many bytes more at `path`, or one more file, would not leave the reserve of its disk.
pub fn leave_reserve(path: &Path, bytes: u64) -> io::Result<()> {
    let disk = rustix::fs::statvfs(path)?;
    let is_left = leaves_reserve(disk.f_frsize, disk.f_blocks, disk.f_bavail, bytes)
        && leaves_inodes(disk.f_files, disk.f_favail);
    if is_left { Ok(()) } else { Err(rustix::io::Errno::NOSPC.into()) }
}

/// Whether a disk of so many inodes has its reserve of them; some file systems make them as needed, and say none.
fn leaves_inodes(all: u64, free: u64) -> bool {
    all == 0 || free > (all / RESERVE_PART).min(RESERVE_INODES_MAX)
}

/// Whether so many bytes more leave the reserve of a disk with so many blocks, of which so many are free.
fn leaves_reserve(block: u64, all: u64, free: u64, bytes: u64) -> bool {
    free.saturating_mul(block) >= bytes.saturating_add(reserve(all.saturating_mul(block)))
}

/// What of a disk of so many bytes is not for guests.
fn reserve(bytes: u64) -> u64 {
    (bytes / RESERVE_PART).min(RESERVE_MAX)
}

/// Bytes of the disk at `path`, and how many of them guests may have.
pub fn disk_size(path: &Path) -> io::Result<(u64, u64)> {
    let disk = rustix::fs::statvfs(path)?;
    let bytes = disk.f_blocks.saturating_mul(disk.f_frsize);
    Ok((bytes, bytes - reserve(bytes)))
}

fn blocks(bytes: u64) -> u64 {
    bytes.saturating_add(BLOCK - 1) / BLOCK * BLOCK
}

/// What a file takes: its length even where it has holes, since they can be filled without growing.
fn size(stat: &Stat) -> u64 {
    let length = u64::try_from(stat.st_size).unwrap_or(0);
    let allocated = u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
    blocks(length).max(allocated).max(BLOCK)
}

/// Bytes below `root`, in whole blocks; each further name of a file is a block. Follows no link. Blocks. An error that is not
/// the system's is one of what guests made there: directories too deep to be looked through.
pub fn measure(root: &Path) -> io::Result<u64> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::openat(CWD, root, flags | OFlags::NOFOLLOW, Mode::empty())?;
    let mut open = vec![Dir::read_from(top.as_fd())?];
    let (mut bytes, mut seen) = (0_u64, BTreeSet::new());
    while let Some(dir) = open.last_mut() {
        let Some(entry) = dir.read() else {
            open.pop();
            continue;
        };
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = match rustix::fs::statat(dir.fd()?, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        let is_first = stat.st_nlink == 1 || seen.insert((stat.st_dev, stat.st_ino));
        bytes = bytes.saturating_add(if is_first { size(&stat) } else { BLOCK });
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            if open.len() >= DIRECTORY_DEPTH_MAX {
                let why = format!("more than {DIRECTORY_DEPTH_MAX} directories in one another");
                return Err(io::Error::other(why));
            }
            let dir = open.last_mut().expect("the directory that is being read");
            match rustix::fs::openat(dir.fd()?, name, flags | OFlags::NOFOLLOW, Mode::empty()) {
                Ok(below) => open.push(Dir::read_from(below.as_fd())?),
                // Gone or replaced meanwhile.
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_holds_whole_blocks_and_each_further_name_is_one() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "x").unwrap();
        assert_eq!(measure(dir.path()).unwrap(), BLOCK);
        std::fs::hard_link(dir.path().join("a"), dir.path().join("b")).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("c")).unwrap();
        assert_eq!(measure(dir.path()).unwrap(), 3 * BLOCK);
        let sparse = File::create(dir.path().join("d")).unwrap();
        sparse.set_len(100 * BLOCK + 1).unwrap();
        assert_eq!(measure(dir.path()).unwrap(), 104 * BLOCK);
    }

    #[test]
    fn a_fiftieth_of_the_disk_and_of_its_inodes_stays_free_and_a_gibibyte_of_a_large_one() {
        const MIB: u64 = 1 << 20;
        // Of 100 MiB two stay.
        assert!(leaves_reserve(MIB, 100, 10, 8 * MIB));
        assert!(!leaves_reserve(MIB, 100, 10, 8 * MIB + 1));
        assert!(leaves_reserve(MIB, 1 << 30, 1025, MIB) && !leaves_reserve(MIB, 1 << 30, 1024, MIB));
        assert!(!leaves_reserve(4096, u64::MAX, 0, u64::MAX));
        assert!(leaves_inodes(5_000, 101) && !leaves_inodes(5_000, 100));
        assert!(leaves_inodes(100_000_000, 10_001) && !leaves_inodes(100_000_000, 10_000) && leaves_inodes(0, 0));
    }

    #[test]
    fn a_limit_beyond_the_disk_ends_with_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let room = Room::of(dir.path(), u64::MAX).unwrap();
        assert_eq!(room.take(1 << 60).unwrap_err().kind(), io::ErrorKind::StorageFull);
        let disk = disk_use(dir.path()).unwrap();
        assert_eq!((disk.used, disk.refused), (0, false), "it is no fault of the pod's");
        room.take(BLOCK).unwrap();
    }

    #[test]
    fn what_was_removed_is_found_when_the_limit_is_reached_unless_it_is_still_open() {
        let dir = tempfile::tempdir().unwrap();
        let room = Room::of(dir.path(), 10 * BLOCK).unwrap();
        let path = dir.path().join("a");
        let file = Arc::new(File::create(&path).unwrap());
        room.grow(&file, 8 * BLOCK).unwrap();
        file.set_len(8 * BLOCK).unwrap();
        room.remember(&file).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(room.take(8 * BLOCK).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(disk_use(dir.path()).unwrap().refused);
        drop(file);
        *room.looked.lock().unwrap() = None;
        room.take(8 * BLOCK).unwrap();
        assert_eq!(disk_use(dir.path()).unwrap().used, 8 * BLOCK);
    }
}
