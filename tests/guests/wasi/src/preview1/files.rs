//! What is in a file: reading, writing, appending, seeking, lengths, times.

use crate::check::{Fact, Outcome};
use crate::sys::{self, READ, WRITE};
use crate::{ensure, given, refused, same};

pub const FACTS: &[Fact] = &[
    ("file-written-is-read-back", write_and_read),
    ("file-opened-to-read-is-not-written", read_only),
    ("file-opened-to-write-is-not-read", write_only),
    ("file-append-goes-to-the-end", append),
    ("file-append-can-be-turned-on-and-off", append_later),
    ("file-pread-and-pwrite-leave-the-cursor", at_offsets),
    ("file-seek-knows-three-beginnings", seek),
    ("file-written-past-its-end-has-a-hole", hole),
    ("file-is-emptied-when-opened-so", truncate),
    ("file-grows-and-shrinks-to-a-size", set_size),
    ("file-has-room-allocated-or-says-it-cannot", allocate),
    ("file-takes-advice", advise),
    ("file-is-synced", sync),
    ("file-times-are-set", times),
    ("file-times-contradict-each-other", times_invalid),
    ("file-that-was-unlinked-is-still-open", dangling),
    ("file-keeps-what-two-descriptors-write", two_descriptors),
    ("file-large-comes-back-whole", large),
];

fn write_and_read() -> Outcome {
    let data = sys::data()?;
    let fd = given!(sys::fresh(data, "plain"));
    same!(given!(sys::write(fd, b"hello")), 5);
    same!(given!(sys::read(fd, 9)), b"");
    same!(given!(sys::seek(fd, 0, wasi::WHENCE_SET)), 0);
    same!(given!(sys::read(fd, 9)), b"hello");
    let stat = given!(sys::stat(fd));
    same!((stat.size, stat.filetype, stat.nlink), (5, wasi::FILETYPE_REGULAR_FILE, 1));
    given!(sys::close(fd));
    refused!(sys::read(fd, 1), wasi::ERRNO_BADF);
    given!(sys::unlink(data, "plain"));
    refused!(sys::stat_at(data, "plain"), wasi::ERRNO_NOENT);
    Ok(())
}

fn read_only() -> Outcome {
    let data = sys::data()?;
    given!(sys::file(data, "read", b"content"));
    let fd = given!(sys::open(data, "read", 0, READ, 0));
    refused!(sys::write(fd, b"x"), wasi::ERRNO_BADF, wasi::ERRNO_NOTCAPABLE, wasi::ERRNO_PERM);
    let shrunk = unsafe { wasi::fd_filestat_set_size(fd, 0) };
    ensure!(shrunk.is_err());
    same!(given!(sys::read(fd, 20)), b"content");
    given!(sys::close(fd));
    given!(sys::unlink(data, "read"));
    Ok(())
}

fn write_only() -> Outcome {
    let data = sys::data()?;
    let fd = given!(sys::open(data, "write", wasi::OFLAGS_CREAT, WRITE, 0));
    same!(given!(sys::write(fd, b"x")), 1);
    refused!(sys::pread(fd, 1, 0), wasi::ERRNO_BADF, wasi::ERRNO_NOTCAPABLE, wasi::ERRNO_PERM);
    given!(sys::close(fd));
    given!(sys::unlink(data, "write"));
    Ok(())
}

fn append() -> Outcome {
    let data = sys::data()?;
    given!(sys::file(data, "append", b"one "));
    let fd = given!(sys::open(data, "append", 0, READ | WRITE, wasi::FDFLAGS_APPEND));
    ensure!(given!(unsafe { wasi::fd_fdstat_get(fd) }).fs_flags & wasi::FDFLAGS_APPEND != 0);
    given!(sys::seek(fd, 0, wasi::WHENCE_SET));
    given!(sys::write(fd, b"two"));
    same!(given!(sys::pread(fd, 20, 0)), b"one two");
    given!(sys::close(fd));
    given!(sys::unlink(data, "append"));
    Ok(())
}

fn append_later() -> Outcome {
    let data = sys::data()?;
    let fd = given!(sys::fresh(data, "later"));
    given!(sys::write(fd, b"abc"));
    given!(unsafe { wasi::fd_fdstat_set_flags(fd, wasi::FDFLAGS_APPEND) });
    given!(sys::seek(fd, 0, wasi::WHENCE_SET));
    given!(sys::write(fd, b"d"));
    given!(unsafe { wasi::fd_fdstat_set_flags(fd, 0) });
    given!(sys::seek(fd, 0, wasi::WHENCE_SET));
    given!(sys::write(fd, b"A"));
    same!(given!(sys::pread(fd, 20, 0)), b"Abcd");
    given!(sys::close(fd));
    given!(sys::unlink(data, "later"));
    Ok(())
}

fn at_offsets() -> Outcome {
    let data = sys::data()?;
    let fd = given!(sys::fresh(data, "offsets"));
    given!(sys::write(fd, b"0123456789"));
    same!(given!(sys::pwrite(fd, b"xy", 2)), 2);
    same!(given!(sys::pread(fd, 4, 1)), b"1xy4");
    same!(given!(sys::pread(fd, 4, 10)), b"");
    same!(given!(unsafe { wasi::fd_tell(fd) }), 10);
    given!(sys::close(fd));
    given!(sys::unlink(data, "offsets"));
    Ok(())
}

fn seek() -> Outcome {
    let data = sys::data()?;
    let fd = given!(sys::fresh(data, "seek"));
    given!(sys::write(fd, b"0123456789"));
    same!(given!(sys::seek(fd, 4, wasi::WHENCE_SET)), 4);
    same!(given!(sys::seek(fd, -1, wasi::WHENCE_CUR)), 3);
    same!(given!(sys::seek(fd, -2, wasi::WHENCE_END)), 8);
    same!(given!(sys::read(fd, 5)), b"89");
    refused!(sys::seek(fd, -20, wasi::WHENCE_CUR), wasi::ERRNO_INVAL);
    refused!(sys::seek(fd, -1, wasi::WHENCE_SET), wasi::ERRNO_INVAL);
    same!(given!(unsafe { wasi::fd_tell(fd) }), 10);
    refused!(sys::seek(data, 0, wasi::WHENCE_CUR), wasi::ERRNO_BADF, wasi::ERRNO_ISDIR, wasi::ERRNO_NOTCAPABLE);
    given!(sys::close(fd));
    given!(sys::unlink(data, "seek"));
    Ok(())
}

fn hole() -> Outcome {
    let data = sys::data()?;
    let fd = given!(sys::fresh(data, "hole"));
    same!(given!(sys::seek(fd, 4, wasi::WHENCE_SET)), 4);
    given!(sys::write(fd, b"x"));
    same!(given!(sys::pread(fd, 9, 0)), b"\0\0\0\0x");
    given!(sys::close(fd));
    given!(sys::unlink(data, "hole"));
    Ok(())
}

fn truncate() -> Outcome {
    let data = sys::data()?;
    given!(sys::file(data, "truncate", b"content"));
    let fd = given!(sys::open(data, "truncate", wasi::OFLAGS_TRUNC, READ | WRITE, 0));
    same!(given!(sys::stat(fd)).size, 0);
    given!(sys::close(fd));
    given!(sys::unlink(data, "truncate"));
    Ok(())
}

fn set_size() -> Outcome {
    let data = sys::data()?;
    let fd = given!(sys::fresh(data, "size"));
    given!(sys::write(fd, b"0123456789"));
    given!(unsafe { wasi::fd_filestat_set_size(fd, 4) });
    same!(given!(sys::pread(fd, 20, 0)), b"0123");
    given!(unsafe { wasi::fd_filestat_set_size(fd, 6) });
    same!(given!(sys::pread(fd, 20, 0)), b"0123\0\0");
    same!(given!(unsafe { wasi::fd_tell(fd) }), 10);
    given!(sys::close(fd));
    given!(sys::unlink(data, "size"));
    Ok(())
}

fn allocate() -> Outcome {
    let data = sys::data()?;
    let fd = given!(sys::fresh(data, "allocate"));
    match unsafe { wasi::fd_allocate(fd, 0, 100) } {
        Ok(()) => same!(given!(sys::stat(fd)).size, 100),
        Err(error) => same!(error, wasi::ERRNO_NOTSUP),
    }
    given!(sys::close(fd));
    given!(sys::unlink(data, "allocate"));
    Ok(())
}

fn advise() -> Outcome {
    let data = sys::data()?;
    let fd = given!(sys::fresh(data, "advice"));
    given!(sys::write(fd, b"content"));
    for advice in [wasi::ADVICE_NORMAL, wasi::ADVICE_SEQUENTIAL, wasi::ADVICE_RANDOM, wasi::ADVICE_WILLNEED] {
        given!(unsafe { wasi::fd_advise(fd, 0, 7, advice) });
    }
    same!(given!(sys::pread(fd, 20, 0)), b"content");
    given!(sys::close(fd));
    given!(sys::unlink(data, "advice"));
    Ok(())
}

fn sync() -> Outcome {
    let data = sys::data()?;
    let fd = given!(sys::fresh(data, "sync"));
    given!(sys::write(fd, b"content"));
    given!(unsafe { wasi::fd_datasync(fd) });
    given!(unsafe { wasi::fd_sync(fd) });
    given!(sys::close(fd));
    given!(sys::unlink(data, "sync"));
    Ok(())
}

fn times() -> Outcome {
    const WHEN: u64 = 1_600_000_000_123_456_789;
    let data = sys::data()?;
    let fd = given!(sys::fresh(data, "times"));
    given!(unsafe { wasi::fd_filestat_set_times(fd, 0, WHEN, wasi::FSTFLAGS_MTIM) });
    let stat = given!(sys::stat(fd));
    // File systems keep what they can: whole seconds at the least.
    same!(stat.mtim / 1_000_000_000, WHEN / 1_000_000_000);
    let before = stat.mtim;
    given!(unsafe { wasi::path_filestat_set_times(data, 0, "times", WHEN, 0, wasi::FSTFLAGS_ATIM) });
    let stat = given!(sys::stat_at(data, "times"));
    same!((stat.mtim, stat.atim / 1_000_000_000), (before, WHEN / 1_000_000_000));
    given!(unsafe { wasi::fd_filestat_set_times(fd, 0, 0, wasi::FSTFLAGS_MTIM_NOW) });
    ensure!(given!(sys::stat(fd)).mtim > WHEN);
    given!(sys::close(fd));
    given!(sys::unlink(data, "times"));
    Ok(())
}

fn times_invalid() -> Outcome {
    let data = sys::data()?;
    let fd = given!(sys::fresh(data, "both"));
    let both = wasi::FSTFLAGS_ATIM | wasi::FSTFLAGS_ATIM_NOW;
    refused!(unsafe { wasi::fd_filestat_set_times(fd, 1, 1, both) }, wasi::ERRNO_INVAL);
    let both = wasi::FSTFLAGS_MTIM | wasi::FSTFLAGS_MTIM_NOW;
    refused!(unsafe { wasi::path_filestat_set_times(data, 0, "both", 1, 1, both) }, wasi::ERRNO_INVAL);
    given!(sys::close(fd));
    given!(sys::unlink(data, "both"));
    Ok(())
}

fn dangling() -> Outcome {
    let data = sys::data()?;
    let fd = given!(sys::fresh(data, "dangling"));
    given!(sys::write(fd, b"still here"));
    given!(sys::unlink(data, "dangling"));
    refused!(sys::stat_at(data, "dangling"), wasi::ERRNO_NOENT);
    same!(given!(sys::pread(fd, 20, 0)), b"still here");
    given!(sys::close(fd));
    Ok(())
}

fn two_descriptors() -> Outcome {
    let data = sys::data()?;
    let one = given!(sys::fresh(data, "two"));
    let other = given!(sys::open(data, "two", 0, READ | WRITE, 0));
    ensure!(one != other);
    given!(sys::write(one, b"aaaa"));
    given!(sys::write(other, b"bb"));
    same!(given!(sys::pread(one, 9, 0)), b"bbaa");
    same!(given!(sys::stat(one)).ino, given!(sys::stat(other)).ino);
    given!(sys::close(one));
    given!(sys::close(other));
    given!(sys::unlink(data, "two"));
    Ok(())
}

fn large() -> Outcome {
    let data = sys::data()?;
    let content: Vec<u8> =
        (0..3_000_000_u32).map(|number| number.to_le_bytes()[usize::from(number % 2 == 0)]).collect();
    let fd = given!(sys::fresh(data, "large"));
    let mut written = 0;
    while written < content.len() {
        written += given!(sys::write(fd, &content[written..]));
    }
    given!(sys::seek(fd, 0, wasi::WHENCE_SET));
    let mut back = Vec::new();
    loop {
        let piece = given!(sys::read(fd, 1 << 20));
        if piece.is_empty() {
            break;
        }
        back.extend(piece);
    }
    ensure!(back == content);
    given!(sys::close(fd));
    given!(sys::unlink(data, "large"));
    Ok(())
}
