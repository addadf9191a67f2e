//! The files of an image as a directory: layers one over the other, as the OCI image specification has it (*Image Layer
//! Filesystem Changeset*, with its whiteouts).
//!
//! Whoever made the image chose its names and links, and how deep they lie: everything is written within the directory,
//! resolved there, no more than [`BYTES_MAX`] and [`ENTRIES_MAX`] of it, and nothing is ever walked down. Owners, devices
//! and permissions are passed over.

use std::cell::Cell;
use std::fs::{DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Component, Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use flate2::read::MultiGzDecoder;
use tar::{Archive, Entry, EntryType};

use crate::manifest::Content;
use crate::pull::Layer;

/// What the files may hold together: four of the largest layers. A compressed one can claim to be anything.
const BYTES_MAX: u64 = 1 << 30;
/// Entries of all archives together: a Linux distribution has some 30,000 files.
const ENTRIES_MAX: usize = 100_000;
/// What an archive may take besides the files' bytes: headers and padding of so many entries.
const HEADERS_MAX: u64 = ENTRIES_MAX as u64 * 1536;
/// What stands between the bytes of one file and those of the next: headers, and names too long for them. The archive's
/// reader keeps that in memory, and a compressed name of a gibibyte is a megabyte.
const BETWEEN_MAX: u64 = 64 << 10;
/// What a file or directory takes of a disk at least.
const BLOCK: u64 = 4096;
/// Directories in one another that an entry names. Real trees have some twenty.
const DEPTH_MAX: usize = 128;

/// In a layer, a name with this in front says that what it names in the layers below is gone.
const WHITEOUT: &str = ".wh.";
/// In a layer, a file of this name says that its directory has nothing from the layers below.
const OPAQUE: &str = ".wh..wh..opq";

/// The files of an image cannot be laid out.
#[derive(Debug, thiserror::Error)]
#[error("unpack {}", path.display())]
pub struct UnpackError {
    /// The file it was about.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

/// Where the files are, below what [`unpack`] makes.
pub const FILES: &str = "files";
/// And where those that a later layer says are gone. Who removes them is prepared for any depth.
const GONE: &str = "gone";

/// Makes `dir`, with the files of `layers` in [`FILES`] below it. `has_room` says whether the disk has room for a file of so
/// many bytes more. Answers how many they have. Blocks.
pub fn unpack(layers: &[Layer], dir: &Path, has_room: &dyn Fn(u64) -> io::Result<()>) -> Result<u64, UnpackError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| UnpackError { path, source }
    };
    let open = |name: &str| {
        let dir = dir.join(name);
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        Dir::open_ambient_dir(dir, ambient_authority())
    };
    let open = |name: &str| open(name).map_err(failed(dir));
    let mut into =
        Unpacking { dir: open(FILES)?, gone: open(GONE)?, has_room, bytes: 0, entries: 0, removed: Cell::new(0) };
    for layer in layers {
        let done = match &layer.content {
            Content::File(name) => into.link(name, &layer.path),
            Content::Tar => File::open(&layer.path).and_then(|file| into.archive(file)),
            Content::TarGzip => File::open(&layer.path).and_then(|file| into.archive(MultiGzDecoder::new(file))),
        };
        done.map_err(failed(&layer.path))?;
    }
    Ok(into.bytes)
}

struct Unpacking<'a> {
    dir: Dir,
    gone: Dir,
    has_room: &'a dyn Fn(u64) -> io::Result<()>,
    bytes: u64,
    entries: usize,
    removed: Cell<usize>,
}

impl Unpacking<'_> {
    fn count(&mut self, bytes: u64) -> io::Result<()> {
        self.entries += 1;
        // What is empty takes room as well.
        self.bytes = self.bytes.saturating_add(bytes.max(BLOCK));
        if self.entries > ENTRIES_MAX || self.bytes > BYTES_MAX {
            let why = format!("the image holds more than {BYTES_MAX} bytes or {ENTRIES_MAX} files");
            return Err(io::Error::other(why));
        }
        Ok(())
    }

    /// A blob as a file of the directory, without a copy if both are on one disk.
    fn link(&mut self, name: &str, blob: &Path) -> io::Result<()> {
        let path = plain(Path::new(name)).filter(|path| !path.as_os_str().is_empty());
        let path = path.ok_or_else(|| io::Error::other(format!("{name:?} is no name of a file")))?;
        self.count(blob.metadata()?.len())?;
        self.make_parents(&path)?;
        let (from, file) = (blob.parent().unwrap_or(Path::new("/")), blob.file_name().unwrap_or_default());
        let from = Dir::open_ambient_dir(from, ambient_authority())?;
        match from.hard_link(file, &self.dir, &path) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                (self.has_room)(blob.metadata()?.len())?;
                from.copy(file, &self.dir, &path).map(|_| ())
            }
            linked => linked,
        }
    }

    fn archive(&mut self, bytes: impl Read) -> io::Result<()> {
        let left = Cell::new(BETWEEN_MAX);
        let mut archive = Archive::new(Metered { bytes: bytes.take(BYTES_MAX + HEADERS_MAX), left: &left });
        let mut entries = archive.entries()?;
        loop {
            left.set(BETWEEN_MAX);
            let Some(entry) = entries.next() else { return Ok(()) };
            let mut entry = entry?;
            self.count(entry.size())?;
            left.set(left.get().saturating_add(entry.size()));
            self.put(&mut entry)?;
            // What was passed over is read here rather than as a part of what is between.
            io::copy(&mut entry, &mut io::sink())?;
        }
    }

    fn put<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> io::Result<()> {
        let named = entry.path()?.into_owned();
        // As other tools do: what leads out is passed over.
        let Some(path) = plain(&named).filter(|path| !path.as_os_str().is_empty()) else { return Ok(()) };
        if path.components().count() > DEPTH_MAX {
            return Err(io::Error::other(format!("more than {DEPTH_MAX} directories in one another")));
        }
        if self.white_out(&path)? {
            return Ok(());
        }
        (self.has_room)(entry.size().max(BLOCK))?;
        self.make_parents(&path)?;
        match entry.header().entry_type() {
            EntryType::Directory => self.make_directory(&path)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.remove(&path)?;
                io::copy(entry, &mut self.dir.create(&path)?)?;
            }
            EntryType::Symlink => {
                let target = entry.link_name()?.unwrap_or_default().into_owned();
                self.remove(&path)?;
                self.dir.symlink_contents(target, &path)?;
            }
            EntryType::Link => {
                let target = entry.link_name()?.unwrap_or_default().into_owned();
                self.remove(&path)?;
                if let Some(target) = plain(&target) {
                    self.dir.hard_link(target, &self.dir, &path)?;
                }
            }
            // Devices and the like are of no use to a guest.
            _ => {}
        }
        Ok(())
    }

    /// Whether an entry only says what is gone; then it is.
    fn white_out(&self, path: &Path) -> io::Result<bool> {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(false) };
        let parent = path.parent().unwrap_or(Path::new(""));
        if name == OPAQUE {
            let whole = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            let entries = match self.dir.read_dir(whole) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
                Err(error) => return Err(error),
            };
            for entry in entries {
                self.remove(&parent.join(entry?.file_name()))?;
            }
            return Ok(true);
        }
        let Some(gone) = name.strip_prefix(WHITEOUT).filter(|gone| !matches!(*gone, "" | "." | "..")) else {
            return Ok(false);
        };
        self.remove(&parent.join(gone))?;
        Ok(true)
    }

    /// Makes the directories that a path is below. Each counts as what an entry makes does: an archive need not name them.
    fn make_parents(&mut self, path: &Path) -> io::Result<()> {
        let above = path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty());
        let missing: Vec<&Path> = above.take_while(|parent| !self.dir.exists(parent)).collect();
        for parent in missing.into_iter().rev() {
            self.count(0)?;
            self.dir.create_dir(parent)?;
        }
        Ok(())
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        match self.dir.symlink_metadata(path) {
            Ok(there) if there.is_dir() => return Ok(()),
            Ok(_) => self.dir.remove_file(path)?,
            Err(_) => {}
        }
        self.dir.create_dir(path)
    }

    /// Takes a name away. A directory is put aside as it is: links make it as deep as one likes.
    fn remove(&self, path: &Path) -> io::Result<()> {
        match self.dir.symlink_metadata(path) {
            Ok(there) if there.is_dir() => {
                let number = self.removed.replace(self.removed.get() + 1);
                self.dir.rename(path, &self.gone, number.to_string())
            }
            Ok(_) => self.dir.remove_file(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Reads no more than is left.
struct Metered<'a, R> {
    bytes: R,
    left: &'a Cell<u64>,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left.get()).unwrap_or(usize::MAX).min(into.len());
        if most == 0 && !into.is_empty() {
            return Err(io::Error::other(format!("more than {BETWEEN_MAX} bytes of names and headers for one file")));
        }
        let count = self.bytes.read(&mut into[..most])?;
        self.left.set(self.left.get() - count as u64);
        Ok(count)
    }
}

/// A path without `.` and a slash in front; None if it has `..` in it.
fn plain(path: &Path) -> Option<PathBuf> {
    let parts = path.components().filter(|part| !matches!(part, Component::CurDir | Component::RootDir));
    parts.map(|part| if let Component::Normal(name) = part { Some(name) } else { None }).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, text) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            // The builder refuses such names; whoever makes an archive by hand need not.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            if matches!(kind, EntryType::Symlink | EntryType::Link) {
                header.set_link_name(text).unwrap();
                header.set_size(0);
                header.set_cksum();
                builder.append(&header, io::empty()).unwrap();
            } else {
                header.set_size(text.len() as u64);
                header.set_cksum();
                builder.append(&header, text.as_bytes()).unwrap();
            }
        }
        builder.into_inner().unwrap()
    }

    fn layer(top: &Path, name: &str, content: Content, bytes: &[u8]) -> Layer {
        let path = top.join(name);
        std::fs::write(&path, bytes).unwrap();
        Layer { content, path }
    }

    #[test]
    fn layers_lie_over_one_another_and_files_have_their_names() {
        let top = tempfile::tempdir().unwrap();
        let file = EntryType::Regular;
        let below = archive(&[("a", file, "1"), ("./d/b", file, "2"), ("d/c", file, "3"), ("e/f", file, "4")]);
        let mut above = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let changed = [("a", file, "5"), ("d/.wh.b", file, ""), ("e/.wh..wh..opq", file, ""), ("e/g", file, "6")];
        above.write_all(&archive(&changed)).unwrap();
        let layers = [
            layer(top.path(), "1", Content::Tar, &below),
            layer(top.path(), "2", Content::TarGzip, &above.finish().unwrap()),
            layer(top.path(), "3", Content::File("models/small.bin".to_owned()), b"7"),
        ];
        let dir = top.path().join("image");
        unpack(&layers, &dir, &|_| Ok(())).unwrap();
        let text = |path: &str| std::fs::read_to_string(dir.join(FILES).join(path)).ok();
        let found = ["a", "d/b", "d/c", "e/f", "e/g", "models/small.bin"].map(text);
        assert_eq!(found.map(Option::unwrap_or_default), ["5", "", "3", "", "6", "7"]);
    }

    #[test]
    fn layer_whose_files_are_compressed_each_for_itself_is_whole() {
        let top = tempfile::tempdir().unwrap();
        let file = EntryType::Regular;
        let whole = archive(&[("a", file, "1"), ("b", file, "2")]);
        // As eStargz has it: a member for each entry, of a header and a block.
        let members = whole.chunks(1024).map(|part| {
            let mut member = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            member.write_all(part).unwrap();
            member.finish().unwrap()
        });
        let bytes: Vec<u8> = members.flatten().collect();
        let dir = top.path().join("image");
        unpack(&[layer(top.path(), "1", Content::TarGzip, &bytes)], &dir, &|_| Ok(())).unwrap();
        assert_eq!(std::fs::read_to_string(dir.join(FILES).join("b")).unwrap(), "2");
    }

    #[test]
    fn nothing_is_written_outside_of_the_directory() {
        let top = tempfile::tempdir().unwrap();
        std::fs::write(top.path().join("outside"), "kept").unwrap();
        let (file, link) = (EntryType::Regular, EntryType::Symlink);
        let up = archive(&[("../outside", file, "x"), ("up", link, ".."), ("/absolute", file, "within")]);
        let dir = top.path().join("image");
        unpack(&[layer(top.path(), "1", Content::Tar, &up)], &dir, &|_| Ok(())).unwrap();
        assert_eq!(std::fs::read_to_string(dir.join(FILES).join("absolute")).unwrap(), "within");
        for through in [
            archive(&[("up", link, ".."), ("up/outside", file, "x")]),
            archive(&[("own", link, "../outside"), ("hard", EntryType::Link, "own"), ("own/x", file, "x")]),
        ] {
            let layers = [layer(top.path(), "2", Content::Tar, &through)];
            assert!(unpack(&layers, &top.path().join("other"), &|_| Ok(())).is_err());
        }
        assert!(unpack(&[layer(top.path(), "3", Content::File("../x".into()), b"x")], &dir, &|_| Ok(())).is_err());
        assert_eq!(std::fs::read_to_string(top.path().join("outside")).unwrap(), "kept");
    }

    #[test]
    fn a_name_of_a_gibibyte_is_refused_before_it_is_in_memory() {
        let top = tempfile::tempdir().unwrap();
        let mut bytes = archive(&[("a", EntryType::Regular, "1")]);
        let mut long = tar::Header::new_gnu();
        long.set_entry_type(EntryType::GNULongName);
        long.set_size(1 << 30);
        long.set_cksum();
        // Where the archive said that it ends.
        bytes.truncate(bytes.len() - 1024);
        bytes.extend_from_slice(long.as_bytes());
        bytes.resize(bytes.len() + (1 << 20), b'x');
        let refused = unpack(&[layer(top.path(), "1", Content::Tar, &bytes)], &top.path().join("image"), &|_| Ok(()));
        assert!(refused.unwrap_err().source.to_string().contains("of names and headers"));
        let long = "n".repeat(200);
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        builder.append_data(&mut header, &long, &b"1"[..]).unwrap();
        let layers = [layer(top.path(), "2", Content::Tar, &builder.into_inner().unwrap())];
        let dir = top.path().join("other");
        unpack(&layers, &dir, &|_| Ok(())).unwrap();
        assert!(dir.join(FILES).join(long).exists());
    }

    #[test]
    fn what_a_layer_takes_away_is_not_walked_however_deep_links_made_it() {
        let top = tempfile::tempdir().unwrap();
        let deep = "d/".repeat(45);
        let mut names = vec![("d".to_owned(), String::new())];
        for hop in 0..20 {
            let from = if hop == 0 { deep.clone() } else { format!("l{}/{deep}", hop - 1) };
            names.push((from.trim_end_matches('/').to_owned(), String::new()));
            names.push((format!("l{hop}"), from.trim_end_matches('/').to_owned()));
        }
        let kind = |target: &str| if target.is_empty() { EntryType::Directory } else { EntryType::Symlink };
        let mut entries: Vec<_> = names.iter().map(|(name, to)| (name.as_str(), kind(to), to.as_str())).collect();
        entries.push((".wh.d", EntryType::Regular, ""));
        let dir = top.path().join("image");
        unpack(&[layer(top.path(), "1", Content::Tar, &archive(&entries))], &dir, &|_| Ok(())).unwrap();
        assert!(!dir.join(FILES).join("d").exists());
        assert!(dir.join(GONE).join("0").join(&deep).exists(), "as it was");
        let name = "d/".repeat(DEPTH_MAX + 1);
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_data(&mut tar::Header::new_gnu(), &name, io::empty()).unwrap();
        let layers = [layer(top.path(), "2", Content::Tar, &builder.into_inner().unwrap())];
        assert!(unpack(&layers, &top.path().join("other"), &|_| Ok(())).is_err());
    }

    #[test]
    fn directories_that_no_entry_names_count_and_so_do_empty_files() {
        let top = tempfile::tempdir().unwrap();
        let unpack = |name: &str, entries: &[(&str, EntryType, &str)]| {
            let layers = [layer(top.path(), name, Content::Tar, &archive(entries))];
            unpack(&layers, &top.path().join(name).with_extension("d"), &|_| Ok(()))
        };
        assert_eq!(unpack("1", &[("a/b/c", EntryType::Regular, "")]).unwrap(), 3 * BLOCK);
        let again = [("a/b/c", EntryType::Regular, "x"), ("a/b/d", EntryType::Regular, "y")];
        assert_eq!(unpack("2", &again).unwrap(), 4 * BLOCK);
    }

    #[test]
    fn files_that_the_disk_has_no_room_for_are_not_written() {
        let top = tempfile::tempdir().unwrap();
        let layers = [layer(top.path(), "1", Content::Tar, &archive(&[("a", EntryType::Regular, "12345")]))];
        let has_room = |bytes| if bytes > 4 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) };
        let refused = unpack(&layers, &top.path().join("image"), &has_room).unwrap_err();
        assert_eq!(refused.source.kind(), io::ErrorKind::StorageFull);
        assert!(!top.path().join("image").join(FILES).join("a").exists());
    }
}
