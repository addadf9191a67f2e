//! What the store asks of a file system, and the one of this machine. The other implementation is the simulator's, which
//! forgets what was not synced.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;

/// The end of the name of a file that is not whole yet.
pub(crate) const TEMPORARY: &str = "tmp";

/// Files in directories.
///
/// **Assumptions.** What was written is there after a crash once [`DiskFile::sync`] returned Ok, and a name once
/// [`Disk::sync_dir`] did. A sector (512 bytes) is written whole or not at all; `rename` is atomic.
pub(crate) trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Makes a directory and those above it, durably.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Whether there is such a directory.
    fn is_dir(&self, dir: &Path) -> bool;
    /// The files in `dir`, in any order.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// A whole file.
    fn read(&self, path: &Path) -> io::Result<Bytes>;
    /// Up to `length` bytes of a file from `offset` on: fewer at its end.
    fn read_at(&self, path: &Path, offset: u64, length: usize) -> io::Result<Bytes>;
    /// The length of a file.
    fn length(&self, path: &Path) -> io::Result<u64>;
    /// An empty file, in place of one that may be there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// A file that is there, cut to `length`, to be written from there on.
    fn extend(&self, path: &Path, length: u64) -> io::Result<Box<dyn DiskFile>>;
    /// Gives a file another name, in place of one that may have it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file; one that is not there is removed already.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// A file open for writing at its end.
pub(crate) trait DiskFile: Send {
    /// Adds bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written, and the file's length, durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// Creates `path` with the content `content`, durable when this returns, and never there with less than that.
pub(crate) fn write_whole(disk: &dyn Disk, path: &Path, content: &[u8]) -> io::Result<Box<dyn DiskFile>> {
    let temporary = temporary(path);
    let mut file = disk.create(&temporary)?;
    file.write(content)?;
    file.sync()?;
    disk.rename(&temporary, path)?;
    if let Some(dir) = path.parent() {
        disk.sync_dir(dir)?;
    }
    Ok(file)
}

/// The name of `path` for as long as it is not whole.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(TEMPORARY);
    name.into()
}

/// The disk of this machine.
#[derive(Debug)]
pub(crate) struct RealDisk;

impl Disk for RealDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        match dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => self.sync_dir(parent),
            None => Ok(()),
        }
    }

    fn is_dir(&self, dir: &Path) -> bool {
        dir.is_dir()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(dir)?.map(|item| item.map(|item| item.path())).collect()
    }

    fn read(&self, path: &Path) -> io::Result<Bytes> {
        fs::read(path).map(Bytes::from)
    }

    fn read_at(&self, path: &Path, offset: u64, length: usize) -> io::Result<Bytes> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::with_capacity(length);
        file.take(length as u64).read_to_end(&mut bytes)?;
        Ok(bytes.into())
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        fs::metadata(path).map(|metadata| metadata.len())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(File::create(path)?)))
    }

    fn extend(&self, path: &Path, length: u64) -> io::Result<Box<dyn DiskFile>> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        if file.metadata()?.len() != length {
            file.set_len(length)?;
            file.sync_all()?;
        }
        file.seek(SeekFrom::Start(length))?;
        Ok(Box::new(RealFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        // The length of the file is metadata that `fdatasync` does write, because reading the data needs it.
        self.0.sync_data()
    }
}
