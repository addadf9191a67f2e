//! What a path leads to, and where none leads: out of a directory, into what is read-only, from one disk to another.

use crate::check::{Fact, Outcome};
use crate::sys::{self, READ, WRITE};
use crate::{ensure, given, refused, same};

pub const FACTS: &[Fact] = &[
    ("path-missing-is-not-found", missing),
    ("path-that-must-be-new-is-refused-when-it-exists", exclusive),
    ("path-of-a-file-is-no-directory", not_a_directory),
    ("path-below-a-descriptor-of-a-file-is-refused", below_a_file),
    ("path-with-dots-stays-inside", dots),
    ("path-out-of-the-directory-is-refused", escapes),
    ("path-out-through-a-link-is-refused", link_escapes),
    ("path-with-a-slash-at-its-end-is-a-directory", trailing_slash),
    ("path-names-are-unicode-and-bounded", names),
    ("link-is-followed-only-when-asked", links),
    ("link-to-nothing-can-be-read", dangling_link),
    ("link-in-a-circle-is-an-error", circle),
    ("link-is-read-as-far-as-the-buffer-goes", readlink),
    ("preopen-names-the-mounts-and-nothing-else", preopens),
    ("preopen-can-be-closed-like-any-other", close_preopen),
    ("mount-that-is-read-only-takes-nothing", read_only_mount),
    ("mount-is-a-disk-of-its-own", two_mounts),
];

fn missing() -> Outcome {
    let data = sys::data()?;
    refused!(sys::open(data, "missing", 0, READ, 0), wasi::ERRNO_NOENT);
    refused!(sys::open(data, "missing/below", wasi::OFLAGS_CREAT, READ | WRITE, 0), wasi::ERRNO_NOENT);
    refused!(sys::open(data, "", 0, READ, 0), wasi::ERRNO_NOENT, wasi::ERRNO_INVAL);
    Ok(())
}

fn exclusive() -> Outcome {
    let data = sys::data()?;
    given!(sys::file(data, "exclusive", b""));
    let flags = wasi::OFLAGS_CREAT | wasi::OFLAGS_EXCL;
    refused!(sys::open(data, "exclusive", flags, READ | WRITE, 0), wasi::ERRNO_EXIST);
    refused!(sys::make_dir(data, "exclusive"), wasi::ERRNO_EXIST);
    given!(sys::unlink(data, "exclusive"));
    Ok(())
}

fn not_a_directory() -> Outcome {
    let data = sys::data()?;
    given!(sys::file(data, "plain", b""));
    refused!(sys::open(data, "plain", wasi::OFLAGS_DIRECTORY, READ, 0), wasi::ERRNO_NOTDIR);
    refused!(sys::open(data, "plain/x", 0, READ, 0), wasi::ERRNO_NOTDIR);
    given!(sys::unlink(data, "plain"));
    Ok(())
}

fn below_a_file() -> Outcome {
    let data = sys::data()?;
    let fd = given!(sys::fresh(data, "plain"));
    refused!(sys::open(fd, "x", wasi::OFLAGS_CREAT, READ | WRITE, 0), wasi::ERRNO_NOTDIR, wasi::ERRNO_BADF);
    refused!(sys::make_dir(fd, "x"), wasi::ERRNO_NOTDIR, wasi::ERRNO_BADF);
    refused!(sys::names(fd, 4096), wasi::ERRNO_NOTDIR, wasi::ERRNO_BADF);
    given!(sys::close(fd));
    given!(sys::unlink(data, "plain"));
    Ok(())
}

fn dots() -> Outcome {
    let data = sys::data()?;
    given!(sys::make_dir(data, "outer"));
    given!(sys::make_dir(data, "outer/inner"));
    given!(sys::file(data, "outer/inner/file", b"x"));
    for path in [
        "outer/inner/file",
        "./outer/./inner/file",
        "outer//inner/file",
        "outer/inner/../inner/file",
        "outer/../outer/inner/file",
    ] {
        same!(given!(sys::stat_at(data, path)).size, 1);
    }
    let inner = given!(sys::open(data, "outer/inner", wasi::OFLAGS_DIRECTORY, READ, 0));
    refused!(sys::stat_at(inner, "../inner/file"), wasi::ERRNO_PERM, wasi::ERRNO_NOTCAPABLE);
    given!(sys::close(inner));
    given!(sys::unlink(data, "outer/inner/file"));
    given!(sys::remove_dir(data, "outer/inner"));
    given!(sys::remove_dir(data, "outer"));
    Ok(())
}

fn escapes() -> Outcome {
    let data = sys::data()?;
    given!(sys::make_dir(data, "cage"));
    let paths = [
        "..",
        "../",
        "../..",
        "../../../etc/passwd",
        "/",
        "/etc/passwd",
        "/data",
        "cage/../..",
        "cage/../../other",
        "./../data",
    ];
    for path in paths {
        refused!(sys::stat_at(data, path), wasi::ERRNO_PERM, wasi::ERRNO_NOTCAPABLE);
        refused!(sys::follow(data, path, 0, READ), wasi::ERRNO_PERM, wasi::ERRNO_NOTCAPABLE);
        ensure!(sys::make_dir(data, &format!("{path}/made")).is_err());
        ensure!(sys::rename(data, "cage", &format!("{path}/moved")).is_err());
    }
    refused!(sys::stat_at(data, "cage\0/../.."), wasi::ERRNO_INVAL, wasi::ERRNO_ILSEQ, wasi::ERRNO_NOENT);
    given!(sys::remove_dir(data, "cage"));
    Ok(())
}

fn link_escapes() -> Outcome {
    let data = sys::data()?;
    // A link that leaves may be made or not; following it is what must not work.
    let targets = ["..", "../../..", "../../../../../../../../etc/passwd", "/etc/passwd", "/", "/proc/self/root"];
    for (number, target) in targets.iter().enumerate() {
        let name = format!("out-{number}");
        let Ok(()) = sys::symlink(target, data, &name) else { continue };
        let refusals = [wasi::ERRNO_PERM, wasi::ERRNO_NOTCAPABLE, wasi::ERRNO_LOOP];
        let opened = sys::follow(data, &name, 0, READ);
        ensure!(opened.is_err_and(|error| refusals.contains(&error)));
        let through = sys::open(data, &format!("{name}/etc/hostname"), 0, READ, 0);
        ensure!(through.is_err());
        let made = sys::follow(data, &format!("{name}/made"), wasi::OFLAGS_CREAT, READ | WRITE);
        ensure!(made.is_err());
        given!(sys::unlink(data, &name));
    }
    Ok(())
}

fn trailing_slash() -> Outcome {
    let data = sys::data()?;
    given!(sys::file(data, "file", b""));
    given!(sys::make_dir(data, "dir/"));
    refused!(sys::unlink(data, "file/"), wasi::ERRNO_NOTDIR, wasi::ERRNO_NOENT);
    refused!(sys::open(data, "file/", 0, READ, 0), wasi::ERRNO_NOTDIR, wasi::ERRNO_NOENT);
    ensure!(sys::rename(data, "file", "new/").is_err());
    given!(sys::rename(data, "dir/", "dir2/"));
    refused!(sys::unlink(data, "dir2/"), wasi::ERRNO_ISDIR, wasi::ERRNO_PERM);
    given!(sys::remove_dir(data, "dir2/"));
    refused!(sys::remove_dir(data, "file/"), wasi::ERRNO_NOTDIR);
    given!(sys::unlink(data, "file"));
    Ok(())
}

fn names() -> Outcome {
    let data = sys::data()?;
    for name in ["straße", "日本語", "with space", "a\nb", "-", "…"] {
        given!(sys::file(data, name, name.as_bytes()));
        same!(given!(sys::stat_at(data, name)).size, name.len() as u64);
        ensure!(given!(sys::names(data, 4096)).contains(&name.to_owned()));
        given!(sys::unlink(data, name));
    }
    let long = "n".repeat(255);
    given!(sys::file(data, &long, b""));
    given!(sys::unlink(data, &long));
    refused!(sys::file(data, &"n".repeat(256), b""), wasi::ERRNO_NAMETOOLONG);
    Ok(())
}

fn links() -> Outcome {
    let data = sys::data()?;
    given!(sys::file(data, "target", b"twelve bytes"));
    given!(sys::symlink("target", data, "link"));
    same!(given!(sys::stat_at(data, "link")).filetype, wasi::FILETYPE_SYMBOLIC_LINK);
    same!(given!(sys::stat_at(data, "link")).size, 6);
    let followed = given!(unsafe { wasi::path_filestat_get(data, wasi::LOOKUPFLAGS_SYMLINK_FOLLOW, "link") });
    same!((followed.filetype, followed.size), (wasi::FILETYPE_REGULAR_FILE, 12));
    refused!(sys::open(data, "link", 0, READ, 0), wasi::ERRNO_LOOP, wasi::ERRNO_MLINK);
    let fd = given!(sys::follow(data, "link", 0, READ));
    same!(given!(sys::read(fd, 20)), b"twelve bytes");
    given!(sys::close(fd));
    refused!(sys::symlink("other", data, "link"), wasi::ERRNO_EXIST);
    given!(sys::unlink(data, "link"));
    same!(given!(sys::stat_at(data, "target")).size, 12);
    given!(sys::unlink(data, "target"));
    Ok(())
}

fn dangling_link() -> Outcome {
    let data = sys::data()?;
    given!(sys::symlink("nothing", data, "dangling"));
    same!(given!(sys::readlink(data, "dangling", 20)), b"nothing");
    refused!(sys::follow(data, "dangling", 0, READ), wasi::ERRNO_NOENT);
    refused!(sys::open(data, "dangling", wasi::OFLAGS_DIRECTORY, READ, 0), wasi::ERRNO_LOOP, wasi::ERRNO_NOTDIR);
    given!(sys::unlink(data, "dangling"));
    Ok(())
}

fn circle() -> Outcome {
    let data = sys::data()?;
    given!(sys::symlink("two", data, "one"));
    given!(sys::symlink("one", data, "two"));
    refused!(sys::follow(data, "one", 0, READ), wasi::ERRNO_LOOP);
    refused!(sys::stat_at(data, "one/x"), wasi::ERRNO_LOOP);
    given!(sys::unlink(data, "one"));
    given!(sys::unlink(data, "two"));
    Ok(())
}

fn readlink() -> Outcome {
    let data = sys::data()?;
    given!(sys::symlink("a-target", data, "link"));
    same!(given!(sys::readlink(data, "link", 100)), b"a-target");
    // A short buffer holds the beginning, or is refused.
    match sys::readlink(data, "link", 3) {
        Ok(start) => same!(start, b"a-t"),
        Err(error) => same!(error, wasi::ERRNO_RANGE),
    }
    given!(sys::file(data, "plain", b""));
    refused!(sys::readlink(data, "plain", 10), wasi::ERRNO_INVAL);
    given!(sys::unlink(data, "plain"));
    given!(sys::unlink(data, "link"));
    Ok(())
}

fn preopens() -> Outcome {
    let mut found = Vec::new();
    for fd in 3.. {
        let Ok(stat) = (unsafe { wasi::fd_prestat_get(fd) }) else { break };
        let mut path = vec![0; unsafe { stat.u.dir.pr_name_len }];
        given!(unsafe { wasi::fd_prestat_dir_name(fd, path.as_mut_ptr(), path.len()) });
        found.push(String::from_utf8_lossy(&path).into_owned());
    }
    found.sort();
    same!(found, ["/data", "/dev", "/fixed", "/other"]);
    ensure!(std::fs::metadata("/etc").is_err());
    ensure!(std::fs::metadata("/proc/self").is_err());
    Ok(())
}

fn close_preopen() -> Outcome {
    let data = sys::data()?;
    let again = given!(sys::open(data, ".", wasi::OFLAGS_DIRECTORY, READ, 0));
    refused!(unsafe { wasi::fd_prestat_get(again) }, wasi::ERRNO_BADF, wasi::ERRNO_NOTSUP);
    same!(given!(sys::stat(again)).ino, given!(sys::stat(data)).ino);
    given!(sys::close(again));
    refused!(sys::stat(again), wasi::ERRNO_BADF);
    Ok(())
}

fn read_only_mount() -> Outcome {
    let fixed = given!(sys::preopen("/fixed"));
    let fd = given!(sys::follow(fixed, "greeting", 0, READ));
    same!(given!(sys::read(fd, 20)), b"hello");
    given!(sys::close(fd));
    let refusals = [wasi::ERRNO_ROFS, wasi::ERRNO_PERM, wasi::ERRNO_NOTCAPABLE, wasi::ERRNO_ACCES, wasi::ERRNO_BADF];
    let attempts = [
        sys::follow(fixed, "greeting", 0, READ | WRITE).and_then(|fd| sys::write(fd, b"x")).map(drop),
        sys::follow(fixed, "greeting", wasi::OFLAGS_TRUNC, READ | WRITE).map(drop),
        sys::fresh(fixed, "new").map(drop),
        sys::make_dir(fixed, "new"),
        sys::unlink(fixed, "greeting"),
        sys::rename(fixed, "greeting", "farewell"),
        sys::symlink("greeting", fixed, "link"),
        unsafe { wasi::path_filestat_set_times(fixed, 0, "greeting", 0, 0, wasi::FSTFLAGS_MTIM_NOW) },
        unsafe { wasi::path_link(fixed, 0, "greeting", fixed, "hard") },
    ];
    for (number, attempt) in attempts.into_iter().enumerate() {
        if !attempt.is_err_and(|error| refusals.contains(&error)) {
            return Err(format!("attempt {number} came to {attempt:?}"));
        }
    }
    let fd = given!(sys::follow(fixed, "greeting", 0, READ));
    same!(given!(sys::read(fd, 20)), b"hello");
    given!(sys::close(fd));
    Ok(())
}

fn two_mounts() -> Outcome {
    let (data, other) = (sys::data()?, given!(sys::preopen("/other")));
    given!(sys::file(data, "file", b"x"));
    refused!(unsafe { wasi::path_rename(data, "file", other, "file") }, wasi::ERRNO_XDEV);
    refused!(unsafe { wasi::path_link(data, 0, "file", other, "file") }, wasi::ERRNO_XDEV);
    same!(given!(sys::names(other, 4096)), Vec::<String>::new());
    given!(sys::unlink(data, "file"));
    Ok(())
}
