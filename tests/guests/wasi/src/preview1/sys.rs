//! The calls themselves, with slices in place of pointers.

use wasi::{Errno, Fd, Fdflags, Filestat, Oflags, Rights};

pub const READ: Rights =
    wasi::RIGHTS_FD_READ | wasi::RIGHTS_FD_SEEK | wasi::RIGHTS_FD_TELL | wasi::RIGHTS_FD_FILESTAT_GET;
pub const WRITE: Rights = wasi::RIGHTS_FD_WRITE
    | wasi::RIGHTS_FD_FILESTAT_SET_SIZE
    | wasi::RIGHTS_FD_ALLOCATE
    | wasi::RIGHTS_FD_FILESTAT_SET_TIMES;

/// The preopened directory of this name.
pub fn preopen(name: &str) -> Result<Fd, Errno> {
    for fd in 3.. {
        let stat = unsafe { wasi::fd_prestat_get(fd)? };
        let mut path = vec![0; unsafe { stat.u.dir.pr_name_len }];
        unsafe { wasi::fd_prestat_dir_name(fd, path.as_mut_ptr(), path.len())? };
        if path == name.as_bytes() {
            return Ok(fd);
        }
    }
    Err(wasi::ERRNO_BADF)
}

pub fn data() -> Result<Fd, String> {
    preopen("/data").map_err(|error| format!("/data: {error:?}"))
}

pub fn open(dir: Fd, path: &str, oflags: Oflags, rights: Rights, flags: Fdflags) -> Result<Fd, Errno> {
    unsafe { wasi::path_open(dir, 0, path, oflags, rights, 0, flags) }
}

/// As `open`, with a link at the end followed.
pub fn follow(dir: Fd, path: &str, oflags: Oflags, rights: Rights) -> Result<Fd, Errno> {
    unsafe { wasi::path_open(dir, wasi::LOOKUPFLAGS_SYMLINK_FOLLOW, path, oflags, rights, 0, 0) }
}

/// A new empty file for reading and writing, in place of one that is there.
pub fn fresh(dir: Fd, path: &str) -> Result<Fd, Errno> {
    open(dir, path, wasi::OFLAGS_CREAT | wasi::OFLAGS_TRUNC, READ | WRITE, 0)
}

/// A file with this content, closed.
pub fn file(dir: Fd, path: &str, content: &[u8]) -> Result<(), Errno> {
    let fd = fresh(dir, path)?;
    write(fd, content)?;
    close(fd)
}

pub fn close(fd: Fd) -> Result<(), Errno> {
    unsafe { wasi::fd_close(fd) }
}

pub fn write(fd: Fd, bytes: &[u8]) -> Result<usize, Errno> {
    unsafe { wasi::fd_write(fd, &[wasi::Ciovec { buf: bytes.as_ptr(), buf_len: bytes.len() }]) }
}

pub fn read(fd: Fd, max: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; max];
    let read = unsafe { wasi::fd_read(fd, &[wasi::Iovec { buf: bytes.as_mut_ptr(), buf_len: max }])? };
    bytes.truncate(read);
    Ok(bytes)
}

pub fn pwrite(fd: Fd, bytes: &[u8], offset: u64) -> Result<usize, Errno> {
    unsafe { wasi::fd_pwrite(fd, &[wasi::Ciovec { buf: bytes.as_ptr(), buf_len: bytes.len() }], offset) }
}

pub fn pread(fd: Fd, max: usize, offset: u64) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; max];
    let read = unsafe { wasi::fd_pread(fd, &[wasi::Iovec { buf: bytes.as_mut_ptr(), buf_len: max }], offset)? };
    bytes.truncate(read);
    Ok(bytes)
}

pub fn seek(fd: Fd, offset: i64, whence: wasi::Whence) -> Result<u64, Errno> {
    unsafe { wasi::fd_seek(fd, offset, whence) }
}

pub fn stat(fd: Fd) -> Result<Filestat, Errno> {
    unsafe { wasi::fd_filestat_get(fd) }
}

/// Of a path, with a link at its end not followed.
pub fn stat_at(dir: Fd, path: &str) -> Result<Filestat, Errno> {
    unsafe { wasi::path_filestat_get(dir, 0, path) }
}

pub fn make_dir(dir: Fd, path: &str) -> Result<(), Errno> {
    unsafe { wasi::path_create_directory(dir, path) }
}

pub fn remove_dir(dir: Fd, path: &str) -> Result<(), Errno> {
    unsafe { wasi::path_remove_directory(dir, path) }
}

pub fn unlink(dir: Fd, path: &str) -> Result<(), Errno> {
    unsafe { wasi::path_unlink_file(dir, path) }
}

pub fn rename(dir: Fd, from: &str, to: &str) -> Result<(), Errno> {
    unsafe { wasi::path_rename(dir, from, dir, to) }
}

pub fn symlink(to: &str, dir: Fd, path: &str) -> Result<(), Errno> {
    unsafe { wasi::path_symlink(to, dir, path) }
}

pub fn readlink(dir: Fd, path: &str, max: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; max];
    let read = unsafe { wasi::path_readlink(dir, path, bytes.as_mut_ptr(), max)? };
    bytes.truncate(read);
    Ok(bytes)
}

/// The names of a directory but `.` and `..`, sorted, read through a buffer of this size.
pub fn names(fd: Fd, buffer: usize) -> Result<Vec<String>, Errno> {
    const HEAD: usize = size_of::<wasi::Dirent>();
    let (mut names, mut cookie) = (Vec::new(), 0);
    loop {
        let mut bytes = vec![0_u8; buffer];
        let used = unsafe { wasi::fd_readdir(fd, bytes.as_mut_ptr(), buffer, cookie)? };
        let mut rest = &bytes[..used];
        let mut whole = 0;
        while rest.len() >= HEAD {
            let entry: wasi::Dirent = unsafe { std::ptr::read_unaligned(rest.as_ptr().cast()) };
            let end = HEAD + usize::try_from(entry.d_namlen).expect("a short name");
            if rest.len() < end {
                break;
            }
            names.push(String::from_utf8_lossy(&rest[HEAD..end]).into_owned());
            (rest, cookie, whole) = (&rest[end..], entry.d_next, whole + 1);
        }
        if used < buffer {
            break;
        }
        if whole == 0 {
            return Err(wasi::ERRNO_OVERFLOW);
        }
    }
    names.retain(|name| name != "." && name != "..");
    names.sort();
    Ok(names)
}
