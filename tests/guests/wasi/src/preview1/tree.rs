//! What is in a directory: listing, renaming, linking, removing.

use crate::check::{Fact, Outcome};
use crate::sys::{self, READ};
use crate::{ensure, given, refused, same};

pub const FACTS: &[Fact] = &[
    ("dir-lists-what-is-in-it", list),
    ("dir-lists-through-a-small-buffer", list_in_pieces),
    ("dir-listed-from-a-cookie-goes-on", list_from_cookie),
    ("dir-tells-types-and-numbers", entries),
    ("dir-that-is-not-empty-stays", not_empty),
    ("dir-and-file-are-removed-each-its-way", removals),
    ("dir-descriptor-is-no-file", no_file),
    ("rename-moves-a-file-over-another", rename_file),
    ("rename-moves-a-directory-with-its-content", rename_dir),
    ("rename-keeps-files-and-directories-apart", rename_kinds),
    ("hard-link-is-the-same-file", hard_link),
    ("descriptor-takes-another-number", renumber),
];

fn list() -> Outcome {
    let data = sys::data()?;
    given!(sys::make_dir(data, "list"));
    let dir = given!(sys::open(data, "list", wasi::OFLAGS_DIRECTORY, READ | wasi::RIGHTS_FD_READDIR, 0));
    same!(given!(sys::names(dir, 4096)), Vec::<String>::new());
    for name in ["b", "a", "c"] {
        given!(sys::file(dir, name, b""));
    }
    same!(given!(sys::names(dir, 4096)), ["a", "b", "c"]);
    given!(sys::unlink(dir, "b"));
    same!(given!(sys::names(dir, 4096)), ["a", "c"]);
    given!(sys::unlink(dir, "a"));
    given!(sys::unlink(dir, "c"));
    given!(sys::close(dir));
    given!(sys::remove_dir(data, "list"));
    Ok(())
}

fn list_in_pieces() -> Outcome {
    let data = sys::data()?;
    given!(sys::make_dir(data, "many"));
    let dir = given!(sys::open(data, "many", wasi::OFLAGS_DIRECTORY, READ | wasi::RIGHTS_FD_READDIR, 0));
    let mut names: Vec<String> = (0..300).map(|number| format!("file-{number:03}")).collect();
    names.push("n".repeat(200));
    names.sort();
    for name in &names {
        given!(sys::file(dir, name, b""));
    }
    same!(given!(sys::names(dir, 300)), names);
    same!(given!(sys::names(dir, 1 << 20)), names);
    for name in &names {
        given!(sys::unlink(dir, name));
    }
    given!(sys::close(dir));
    given!(sys::remove_dir(data, "many"));
    Ok(())
}

/// The first entry's cookie, type and number, and how many bytes were filled.
fn first(dir: wasi::Fd, cookie: u64) -> Result<(wasi::Dirent, usize), wasi::Errno> {
    let mut bytes = vec![0_u8; 4096];
    let used = unsafe { wasi::fd_readdir(dir, bytes.as_mut_ptr(), bytes.len(), cookie)? };
    Ok((unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) }, used))
}

fn list_from_cookie() -> Outcome {
    let data = sys::data()?;
    given!(sys::make_dir(data, "cookies"));
    let dir = given!(sys::open(data, "cookies", wasi::OFLAGS_DIRECTORY, READ | wasi::RIGHTS_FD_READDIR, 0));
    given!(sys::file(dir, "only", b""));
    let (mut cookie, mut steps) = (0, 0);
    loop {
        let (entry, used) = given!(first(dir, cookie));
        if used == 0 {
            break;
        }
        ensure!(entry.d_next != cookie);
        cookie = entry.d_next;
        steps += 1;
        ensure!(steps <= 3);
    }
    // Itself, the one above, and the file; or the file alone.
    ensure!(steps == 3 || steps == 1);
    given!(sys::unlink(dir, "only"));
    given!(sys::close(dir));
    given!(sys::remove_dir(data, "cookies"));
    Ok(())
}

fn entries() -> Outcome {
    let data = sys::data()?;
    given!(sys::make_dir(data, "types"));
    let stat = given!(sys::stat_at(data, "types"));
    same!(stat.filetype, wasi::FILETYPE_DIRECTORY);
    given!(sys::file(data, "types/file", b"x"));
    given!(sys::symlink("file", data, "types/link"));
    same!(given!(sys::stat_at(data, "types/file")).filetype, wasi::FILETYPE_REGULAR_FILE);
    same!(given!(sys::stat_at(data, "types/link")).filetype, wasi::FILETYPE_SYMBOLIC_LINK);
    ensure!(given!(sys::stat_at(data, "types/file")).ino != given!(sys::stat_at(data, "types/link")).ino);
    given!(sys::unlink(data, "types/file"));
    given!(sys::unlink(data, "types/link"));
    given!(sys::remove_dir(data, "types"));
    Ok(())
}

fn not_empty() -> Outcome {
    let data = sys::data()?;
    given!(sys::make_dir(data, "full"));
    given!(sys::file(data, "full/file", b""));
    refused!(sys::remove_dir(data, "full"), wasi::ERRNO_NOTEMPTY);
    given!(sys::unlink(data, "full/file"));
    given!(sys::remove_dir(data, "full"));
    Ok(())
}

fn removals() -> Outcome {
    let data = sys::data()?;
    given!(sys::make_dir(data, "dir"));
    given!(sys::file(data, "file", b""));
    refused!(sys::unlink(data, "dir"), wasi::ERRNO_ISDIR, wasi::ERRNO_PERM);
    refused!(sys::remove_dir(data, "file"), wasi::ERRNO_NOTDIR);
    refused!(sys::unlink(data, "missing"), wasi::ERRNO_NOENT);
    refused!(sys::remove_dir(data, "missing"), wasi::ERRNO_NOENT);
    given!(sys::unlink(data, "file"));
    given!(sys::remove_dir(data, "dir"));
    Ok(())
}

fn no_file() -> Outcome {
    let data = sys::data()?;
    let dir = given!(sys::open(data, ".", wasi::OFLAGS_DIRECTORY, READ, 0));
    refused!(sys::read(dir, 1), wasi::ERRNO_BADF, wasi::ERRNO_ISDIR, wasi::ERRNO_NOTCAPABLE);
    refused!(sys::write(dir, b"x"), wasi::ERRNO_BADF, wasi::ERRNO_ISDIR, wasi::ERRNO_NOTCAPABLE);
    refused!(sys::pwrite(dir, b"x", 0), wasi::ERRNO_BADF, wasi::ERRNO_ISDIR, wasi::ERRNO_NOTCAPABLE);
    ensure!(unsafe { wasi::fd_filestat_set_size(dir, 0) }.is_err());
    ensure!(unsafe { wasi::fd_allocate(dir, 0, 1) }.is_err());
    given!(sys::close(dir));
    Ok(())
}

fn rename_file() -> Outcome {
    let data = sys::data()?;
    given!(sys::file(data, "old", b"old content"));
    given!(sys::rename(data, "old", "new"));
    refused!(sys::stat_at(data, "old"), wasi::ERRNO_NOENT);
    given!(sys::file(data, "other", b"x"));
    given!(sys::rename(data, "new", "other"));
    same!(given!(sys::stat_at(data, "other")).size, 11);
    given!(sys::rename(data, "other", "other"));
    refused!(sys::rename(data, "missing", "x"), wasi::ERRNO_NOENT);
    given!(sys::unlink(data, "other"));
    Ok(())
}

fn rename_dir() -> Outcome {
    let data = sys::data()?;
    given!(sys::make_dir(data, "from"));
    given!(sys::file(data, "from/file", b"x"));
    given!(sys::make_dir(data, "empty"));
    given!(sys::rename(data, "from", "empty"));
    same!(given!(sys::stat_at(data, "empty/file")).size, 1);
    given!(sys::make_dir(data, "from"));
    refused!(sys::rename(data, "from", "empty"), wasi::ERRNO_NOTEMPTY, wasi::ERRNO_EXIST);
    refused!(sys::rename(data, "empty", "empty/below"), wasi::ERRNO_INVAL);
    given!(sys::remove_dir(data, "from"));
    given!(sys::unlink(data, "empty/file"));
    given!(sys::remove_dir(data, "empty"));
    Ok(())
}

fn rename_kinds() -> Outcome {
    let data = sys::data()?;
    given!(sys::make_dir(data, "dir"));
    given!(sys::file(data, "file", b""));
    refused!(sys::rename(data, "dir", "file"), wasi::ERRNO_NOTDIR);
    refused!(sys::rename(data, "file", "dir"), wasi::ERRNO_ISDIR);
    given!(sys::unlink(data, "file"));
    given!(sys::remove_dir(data, "dir"));
    Ok(())
}

fn hard_link() -> Outcome {
    let data = sys::data()?;
    given!(sys::file(data, "one", b"content"));
    given!(unsafe { wasi::path_link(data, 0, "one", data, "two") });
    let (one, two) = (given!(sys::stat_at(data, "one")), given!(sys::stat_at(data, "two")));
    same!((one.ino, one.nlink, one.size), (two.ino, 2, 7));
    refused!(unsafe { wasi::path_link(data, 0, "one", data, "two") }, wasi::ERRNO_EXIST);
    refused!(unsafe { wasi::path_link(data, 0, "missing", data, "three") }, wasi::ERRNO_NOENT);
    given!(sys::make_dir(data, "dir"));
    ensure!(unsafe { wasi::path_link(data, 0, "dir", data, "three") }.is_err());
    given!(sys::remove_dir(data, "dir"));
    given!(sys::unlink(data, "one"));
    same!(given!(sys::stat_at(data, "two")).nlink, 1);
    given!(sys::unlink(data, "two"));
    Ok(())
}

fn renumber() -> Outcome {
    let data = sys::data()?;
    let one = given!(sys::fresh(data, "one"));
    given!(sys::write(one, b"one"));
    let two = given!(sys::fresh(data, "two"));
    given!(unsafe { wasi::fd_renumber(one, two) });
    refused!(sys::stat(one), wasi::ERRNO_BADF);
    same!(given!(sys::pread(two, 9, 0)), b"one");
    given!(sys::close(two));
    given!(sys::unlink(data, "one"));
    given!(sys::unlink(data, "two"));
    Ok(())
}
