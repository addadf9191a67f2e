//! `tar`, as `kubectl cp` calls it: an archive of some paths to its output, or one from its input into a directory.
//!
//! Files, directories, and symbolic links that stay within their volume. What could lead whoever follows it later out of
//! there is named and left out, both ways, and so are devices.

use std::io::{self, Read, Write as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::{Dir, Metadata, MetadataExt as _, OpenOptions};
use tar::{Archive, Builder, EntryType, Header, PaxExtensions};
use wk_engine::{DIRECTORY_DEPTH_MAX, Usage};

use super::files::{Files, Mount, Place, absolute};
use super::{Process, Step, Stepped};

/// What tar ends with when something is missing or left out.
const FAILED: i32 = 2;
/// The longest name: Linux' `PATH_MAX`.
const NAME_BYTES_MAX: u64 = 4096;
/// Extended headers of one entry: names, times, owners.
const EXTENDED_BYTES_MAX: u64 = 64 * 1024;
/// What a name takes of a disk, and what a file's end is rounded up to.
const BLOCK_BYTES: u64 = 4096;

/// What is deeper is not looked through when a volume is measured.
const TOO_DEEP: &str = "too many directories in one another";

#[derive(Debug, PartialEq, Eq)]
enum Mode {
    Create,
    Extract,
    List,
}

#[derive(Debug)]
struct Options {
    mode: Mode,
    directory: PathBuf,
    keep_times: bool,
    verbose: bool,
    paths: Vec<String>,
}

pub(super) fn run(process: &mut Process<'_>) -> io::Result<i32> {
    let options = match options(&process.args[1..]) {
        Ok(options) => options,
        Err(why) => {
            writeln!(process.stderr, "tar: {why}")?;
            return Ok(FAILED);
        }
    };
    let done = match options.mode {
        Mode::Create => create(process, &options),
        Mode::Extract | Mode::List => read(process, &options),
    };
    match done {
        Ok(true) => Ok(0),
        Ok(false) => {
            writeln!(process.stderr, "tar: Exiting with failure status due to previous errors")?;
            Ok(FAILED)
        }
        Err(error) => {
            writeln!(process.stderr, "tar: {error}")?;
            Ok(FAILED)
        }
    }
}

fn options(args: &[String]) -> Result<Options, String> {
    let mut options = Options {
        mode: Mode::List,
        directory: PathBuf::from("/"),
        keep_times: true,
        verbose: false,
        paths: Vec::new(),
    };
    let (mut mode, mut args, mut first, mut only_paths) = (None, args.iter(), true, false);
    while let Some(arg) = args.next() {
        let letters = match arg.strip_prefix('-') {
            _ if only_paths => None,
            Some("-") => {
                only_paths = true;
                continue;
            }
            // What it says happens anyway: nothing here has owners, and permissions are the directory's.
            Some("-no-same-permissions" | "-no-same-owner" | "-overwrite") => continue,
            Some(long) if long.starts_with('-') => return Err(format!("unrecognized option '-{long}'")),
            Some(letters) if !letters.is_empty() => Some(letters),
            None if first => Some(arg.as_str()),
            _ => None,
        };
        first = false;
        let Some(letters) = letters else {
            options.paths.push(arg.clone());
            continue;
        };
        for letter in letters.chars() {
            let mut value = || args.next().ok_or_else(|| format!("option requires an argument -- '{letter}'"));
            match letter {
                'c' => mode = Some(Mode::Create),
                'x' => mode = Some(Mode::Extract),
                't' => mode = Some(Mode::List),
                'f' if value()? != "-" => return Err("only -f - is answered here: archives come and go by pipe".into()),
                'f' | 'p' | 'o' | 'h' => {}
                'C' => options.directory = absolute(&options.directory, Path::new(value()?)),
                'm' => options.keep_times = false,
                'v' => options.verbose = true,
                other => return Err(format!("invalid option -- '{other}'")),
            }
        }
    }
    options.mode = mode.ok_or("you must specify one of the options -c, -t and -x")?;
    if options.mode == Mode::Create && options.paths.is_empty() {
        return Err("cowardly refusing to create an empty archive".into());
    }
    Ok(options)
}

/// Writes an archive; false when something was left out.
fn create(process: &mut Process<'_>, options: &Options) -> io::Result<bool> {
    let exists = |path: &String| {
        let place = process.files.find(&options.directory, Path::new(path))?;
        if let Place::In(mount, inner) = place { mount.dir.symlink_metadata(inner).map(drop) } else { Ok(()) }
    };
    if let [path] = options.paths.as_slice()
        && let Err(error) = exists(path)
    {
        // Not even an empty archive: kubectl would take that for a success.
        writeln!(process.stderr, "tar: {path}: {error}")?;
        return Ok(false);
    }
    let mut archive = Builder::new(&mut *process.stdout);
    let mut whole = true;
    for path in &options.paths {
        let name: PathBuf = Path::new(path).components().filter(|part| matches!(part, Component::Normal(_))).collect();
        let added = process.files.find(&options.directory, Path::new(path)).and_then(|place| match place {
            Place::In(mount, inner) => {
                let source = Source { dir: &mount.dir, usage: process.usage, step: process.step };
                source.add(&mut archive, (&inner, &name), &mut *process.stderr, 0)
            }
            Place::Above(_) => Err(io::Error::other("Cannot archive what is above the pod's volumes")),
        });
        match added {
            Ok(all) => whole &= all,
            // The reader has gone.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(error),
            Err(error) => {
                writeln!(process.stderr, "tar: {path}: {error}")?;
                whole = false;
            }
        }
    }
    archive.finish()?;
    Ok(whole)
}

/// A directory that an archive is made of.
struct Source<'a> {
    dir: &'a Dir,
    usage: &'a Arc<Usage>,
    step: Step<'a>,
}

impl Source<'_> {
    /// Adds what is at `path` by its `name`, with all below; false when something was left out.
    fn add(
        &self,
        archive: &mut Builder<impl io::Write>,
        (path, name): (&Path, &Path),
        stderr: &mut dyn io::Write,
        depth: usize,
    ) -> io::Result<bool> {
        (self.step)()?;
        let mut metadata = self.dir.symlink_metadata(path)?;
        let link = if metadata.is_symlink() { self.dir.read_link(path).ok() } else { None };
        // A link stands for the file that it leads to within the volume, and what was made of objects is links.
        if metadata.is_symlink()
            && let Ok(target) = self.dir.metadata(path)
            && (target.is_file() || link.as_ref().is_some_and(|link| is_of_objects(path, link)))
        {
            metadata = target;
        }
        if metadata.is_file() {
            let length = metadata.len();
            let mut header = header(&metadata, EntryType::Regular, length);
            // A file that shrinks meanwhile is filled up, one that grows is cut: the archive's length is promised.
            let contents = self.dir.open(path)?.chain(io::repeat(0)).take(length);
            archive.append_data(&mut header, name, Stepped { from: contents, step: self.step })?;
            return Ok(true);
        }
        if metadata.is_symlink()
            && let Some(target) = link.filter(|target| stays_within(path, target))
        {
            archive.append_link(&mut header(&metadata, EntryType::Symlink, 0), name, target)?;
            return Ok(true);
        }
        if !metadata.is_dir() {
            writeln!(stderr, "tar: {}: left out, {}", name.display(), odd(metadata.is_symlink()))?;
            return Ok(false);
        }
        if depth > DIRECTORY_DEPTH_MAX {
            return Err(io::Error::other(TOO_DEEP));
        }
        if name.as_os_str().is_empty() {
            // The root of everything has no name of its own.
        } else {
            archive.append_data(&mut header(&metadata, EntryType::Directory, 0), name, io::empty())?;
        }
        // It is open until all below is written.
        let _place = wk_engine::Place::take(self.usage)?;
        let mut whole = true;
        for entry in self.dir.read_dir(path)? {
            let entry = entry?.file_name();
            // Kubernetes' own in such volumes: what they hold is there by its name too.
            if !entry.as_encoded_bytes().starts_with(b"..") {
                whole &= self.add(archive, (&path.join(&entry), &name.join(&entry)), stderr, depth + 1)?;
            }
        }
        Ok(whole)
    }
}

/// Why something is left out.
fn odd(is_link: bool) -> &'static str {
    if is_link { "a link that leads out of the volume" } else { "neither a file, a directory nor a symbolic link" }
}

/// Whether a link at `path` of a volume leads to below the volume's root, going by what it says. Whoever follows it is held
/// to that in any case.
fn stays_within(path: &Path, target: &Path) -> bool {
    let end = target.components().try_fold(path.parent().map_or(0, names), |depth, part| match part {
        Component::Normal(_) => Some(depth + 1),
        Component::CurDir => Some(depth),
        Component::ParentDir => depth.checked_sub(1),
        Component::RootDir | Component::Prefix(_) => None,
    });
    end.is_some()
}

/// Whether a link at `path` is one of those that a volume of objects has at its top. None below it is, so nobody is led on
/// and on.
fn is_of_objects(path: &Path, target: &Path) -> bool {
    names(path) == 1 && target.starts_with("..data")
}

fn names(path: &Path) -> usize {
    path.components().filter(|part| matches!(part, Component::Normal(_))).count()
}

fn header(metadata: &Metadata, kind: EntryType, length: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(length);
    header.set_mode(metadata.mode() & 0o777);
    header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0));
    header
}

/// Reads an archive, into the directory or to list it; false when something was left out.
fn read(process: &mut Process<'_>, options: &Options) -> io::Result<bool> {
    let Process { files, stdin, stdout, stderr, .. } = process;
    files.recount();
    let mut archive = Archive::new(&mut **stdin);
    let (mut whole, mut long_name, mut long_link) = (true, None, None);
    // Raw: the crate would read a long name of any length into memory.
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        match entry.header().entry_type() {
            EntryType::GNULongName => {
                long_name = Some(text_of(&bounded(&mut entry, NAME_BYTES_MAX)?));
                continue;
            }
            EntryType::GNULongLink => {
                long_link = Some(text_of(&bounded(&mut entry, NAME_BYTES_MAX)?));
                continue;
            }
            EntryType::XHeader => {
                let text = bounded(&mut entry, EXTENDED_BYTES_MAX)?;
                for extension in PaxExtensions::new(&text).filter_map(Result::ok) {
                    match extension.key_bytes() {
                        b"path" => long_name = Some(text_of(extension.value_bytes())),
                        b"linkpath" => long_link = Some(text_of(extension.value_bytes())),
                        _ => {}
                    }
                }
                continue;
            }
            EntryType::XGlobalHeader => continue,
            _ => {}
        }
        let name = match long_name.take() {
            Some(name) => name,
            None => text_of(&entry.header().path_bytes()),
        };
        let link = long_link.take().or_else(|| Some(text_of(&entry.header().link_name_bytes()?))).unwrap_or_default();
        if options.verbose || options.mode == Mode::List {
            writeln!(stdout, "{name}")?;
        }
        if options.mode == Mode::Extract
            && let Err(error) = extract(files, options, &name, Path::new(&link), &mut entry)
        {
            writeln!(stderr, "tar: {name}: {error}")?;
            whole = false;
        }
    }
    // Whoever sends the archive may pad it: read to its end, so that the pipe does not break.
    io::copy(&mut &mut **stdin, &mut io::sink())?;
    Ok(whole)
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

fn bounded(entry: &mut impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    entry.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "an entry's name is too long"));
    }
    Ok(bytes)
}

fn extract(
    files: &Files,
    options: &Options,
    name: &str,
    link: &Path,
    entry: &mut tar::Entry<'_, impl Read>,
) -> io::Result<()> {
    let name = Path::new(name.trim_start_matches('/'));
    if name.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(io::Error::other("Member name contains '..'"));
    }
    let (mount, path) = match files.find(&options.directory, name)? {
        Place::In(mount, path) => (mount, path),
        Place::Above(_) if entry.header().entry_type().is_dir() => return Ok(()),
        Place::Above(_) => return Err(files.nowhere()),
    };
    if mount.read_only {
        return Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "Read-only file system"));
    }
    let (parents, bytes) = match entry.header().entry_type() {
        EntryType::Directory => (Some(path.as_path()), None),
        EntryType::Regular | EntryType::Continuous => (path.parent(), Some(entry.size())),
        EntryType::Symlink if stays_within(&path, link) => return make_link(mount, link, &path),
        kind => return Err(io::Error::other(format!("left out, {}", odd(kind.is_symlink())))),
    };
    if let Some(parents) = parents {
        make_directories(mount, parents)?;
    }
    let Some(bytes) = bytes else { return Ok(()) };
    // As much as it says: less is never written.
    take(mount, bytes)?;
    let mut file = mount.dir.open_with(&path, OpenOptions::new().write(true).create(true).truncate(true))?;
    io::copy(entry, &mut file)?;
    if options.keep_times
        && let Ok(seconds) = entry.header().mtime()
    {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds.min(u64::from(u32::MAX)));
        file.into_std().set_modified(time)?;
    }
    Ok(())
}

/// Makes a link, in place of a file or link of that name.
fn make_link(mount: &Mount, target: &Path, path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parents| make_directories(mount, parents))?;
    take(mount, 0)?;
    match mount.dir.symlink(target, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            mount.dir.remove_file(path)?;
            mount.dir.symlink(target, path)
        }
        made => made,
    }
}

/// Makes a directory and those that it is below. Each takes room: an archive need not have an entry for it.
fn make_directories(mount: &Mount, path: &Path) -> io::Result<()> {
    if path.components().count() >= DIRECTORY_DEPTH_MAX {
        return Err(io::Error::other(TOO_DEEP));
    }
    let above = path.ancestors().filter(|path| !path.as_os_str().is_empty());
    let missing: Vec<&Path> = above.take_while(|path| !mount.dir.is_dir(path)).collect();
    for directory in missing.into_iter().rev() {
        take(mount, 0)?;
        // Somebody else may make it just now.
        mount
            .dir
            .create_dir(directory)
            .or_else(|error| if mount.dir.is_dir(directory) { Ok(()) } else { Err(error) })?;
    }
    Ok(())
}

/// Takes room for so many bytes, and a block for their name.
fn take(mount: &Mount, bytes: u64) -> io::Result<()> {
    mount.room.as_ref().map_or(Ok(()), |room| room.take(bytes.saturating_add(BLOCK_BYTES)))
}
