//! `test`, `ls`, `cat`, `env`: as much of each as `kubectl cp` and a curious person need.

use std::io;
use std::path::Path;

use cap_std::fs::{DirEntry, Metadata};

use super::files::{Files, Place};
use super::{Process, Stepped};

/// What `test` and `ls` end with on wrong usage.
const USAGE: i32 = 2;
/// Names that are sorted. Of a directory that has more, so many at a time.
const SORTED_MAX: usize = 10_000;

/// `test -d|-e|-f|-r|-s PATH`, also as `[ … ]`.
pub(super) fn test(process: &mut Process<'_>) -> io::Result<i32> {
    let mut args: Vec<&str> = process.args[1..].iter().map(String::as_str).collect();
    if process.args[0] == "[" && args.last() == Some(&"]") {
        args.pop();
    }
    let holds = match args.as_slice() {
        [text] => !text.is_empty(),
        ["-d", path] => kind(process.files, path) == Some(Kind::Directory),
        ["-f", path] => matches!(kind(process.files, path), Some(Kind::File(_))),
        ["-e" | "-r", path] => kind(process.files, path).is_some(),
        ["-s", path] => matches!(kind(process.files, path), Some(Kind::File(1..))),
        _ => {
            writeln!(process.stderr, "test: only -d, -e, -f, -r and -s are answered here")?;
            return Ok(USAGE);
        }
    };
    Ok(i32::from(!holds))
}

#[derive(PartialEq, Eq)]
enum Kind {
    Directory,
    File(u64),
    Other,
}

impl Kind {
    fn of(metadata: &Metadata) -> Self {
        match metadata.file_type() {
            kind if kind.is_dir() => Self::Directory,
            kind if kind.is_file() => Self::File(metadata.len()),
            _ => Self::Other,
        }
    }
}

fn kind(files: &Files, path: &str) -> Option<Kind> {
    match files.find(Path::new("/"), Path::new(path)).ok()? {
        Place::Above(_) => Some(Kind::Directory),
        Place::In(mount, path) => Some(Kind::of(&mount.dir.metadata(path).ok()?)),
    }
}

/// `ls [-1al] [PATH…]`, one name a line.
pub(super) fn ls(process: &mut Process<'_>) -> io::Result<i32> {
    let (options, mut paths): (Vec<&str>, Vec<&str>) =
        process.args[1..].iter().map(String::as_str).partition(|arg| arg.starts_with('-') && arg.len() > 1);
    let long = options.iter().any(|option| option.contains('l'));
    let all = options.iter().any(|option| option.contains(['a', 'A']));
    if paths.is_empty() {
        paths.push("/");
    }
    let mut code = 0;
    for path in &paths {
        (process.step)()?;
        let mut found = match entries(process.files, path) {
            Ok(found) => found,
            Err(error) => {
                writeln!(process.stderr, "ls: {path}: {error}")?;
                code = USAGE;
                continue;
            }
        };
        if paths.len() > 1 {
            writeln!(process.stdout, "{path}:")?;
        }
        loop {
            let mut part = Vec::new();
            for entry in found.by_ref().take(SORTED_MAX) {
                (process.step)()?;
                part.push(entry?);
            }
            if part.is_empty() {
                break;
            }
            part.sort_by(|one, other| one.0.cmp(&other.0));
            for (name, kind) in part.into_iter().filter(|(name, _)| all || !name.starts_with('.')) {
                match kind {
                    _ if !long => writeln!(process.stdout, "{name}")?,
                    Kind::Directory => writeln!(process.stdout, "d {:>12} {name}", "-")?,
                    Kind::File(bytes) => writeln!(process.stdout, "- {bytes:>12} {name}")?,
                    Kind::Other => writeln!(process.stdout, "l {:>12} {name}", "-")?,
                }
            }
        }
    }
    Ok(code)
}

type Entries = Box<dyn Iterator<Item = io::Result<(String, Kind)>>>;

/// What a path leads to: of a directory all that is in it.
fn entries(files: &Files, path: &str) -> io::Result<Entries> {
    let (mount, inner) = match files.find(Path::new("/"), Path::new(path))? {
        Place::Above(names) => return Ok(Box::new(names.into_iter().map(|name| Ok((name, Kind::Directory))))),
        Place::In(mount, inner) => (mount, inner),
    };
    if !mount.dir.metadata(&inner)?.is_dir() {
        let it = (path.to_owned(), kind(files, path).unwrap_or(Kind::Other));
        return Ok(Box::new(std::iter::once(Ok(it))));
    }
    let look = |entry: DirEntry| -> io::Result<(String, Kind)> {
        let kind = Kind::of(&entry.metadata()?);
        Ok((entry.file_name().to_string_lossy().into_owned(), kind))
    };
    let found = mount.dir.read_dir(&inner)?.map(move |entry| entry.and_then(look));
    let is_gone = |entry: &io::Result<_>| entry.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    Ok(Box::new(found.filter(move |entry| !is_gone(entry))))
}

/// `cat [PATH…]`, `-` for its input.
pub(super) fn cat(process: &mut Process<'_>) -> io::Result<i32> {
    let mut code = 0;
    let none = ["-".to_owned()];
    let paths = if process.args.len() > 1 { &process.args[1..] } else { &none };
    for path in paths {
        (process.step)()?;
        if path == "-" {
            io::copy(&mut process.stdin, &mut process.stdout)?;
            continue;
        }
        match open(process.files, path) {
            Ok(file) => drop(io::copy(&mut Stepped { from: file, step: process.step }, &mut process.stdout)?),
            Err(error) => {
                writeln!(process.stderr, "cat: {path}: {error}")?;
                code = 1;
            }
        }
    }
    Ok(code)
}

fn open(files: &Files, path: &str) -> io::Result<cap_std::fs::File> {
    match files.find(Path::new("/"), Path::new(path))? {
        Place::In(mount, inner) if mount.dir.metadata(&inner)?.is_file() => mount.dir.open(inner),
        Place::In(..) | Place::Above(_) => Err(io::Error::other("Is a directory")),
    }
}

/// `env`, and `printenv [NAME…]`.
pub(super) fn env(process: &mut Process<'_>) -> io::Result<i32> {
    let names = &process.args[1..];
    if names.is_empty() {
        for (name, value) in process.env {
            writeln!(process.stdout, "{name}={value}")?;
        }
        return Ok(0);
    }
    if process.args[0] != "printenv" {
        writeln!(process.stderr, "env: {:?}: executable file not found: a wasm pod has no programs", names[0])?;
        return Ok(super::NOT_FOUND);
    }
    let mut code = 0;
    for name in names {
        (process.step)()?;
        match process.env.iter().rfind(|(known, _)| known == name) {
            Some((_, value)) => writeln!(process.stdout, "{value}")?,
            None => code = 1,
        }
    }
    Ok(code)
}
