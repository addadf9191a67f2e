//! What somebody who has broken into a worker would try. Runs inside one, after it has given up its rights.

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use rustix::fs::FlockOperation;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::process::{Pid, test_kill_process};

/// What is there to be reached: all but the volume's files are not the worker's.
pub(crate) struct Targets {
    pub(crate) key: PathBuf,
    pub(crate) compiled: PathBuf,
    pub(crate) unix: PathBuf,
    pub(crate) volume: PathBuf,
    pub(crate) tcp: SocketAddr,
    pub(crate) node: i32,
}

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, compiled, unix, volume, tcp, node } = self;
        let [key, compiled, unix, volume] = [key, compiled, unix, volume].map(|path| path.display());
        write!(f, "{key}|{compiled}|{unix}|{volume}|{tcp}|{node}")
    }
}

impl Targets {
    fn read(text: &str) -> Self {
        let parts: Vec<&str> = text.split('|').collect();
        let path = |index: usize| PathBuf::from(parts[index]);
        Self {
            key: path(0),
            compiled: path(1),
            unix: path(2),
            volume: path(3),
            tcp: parts[4].parse().expect("an address"),
            node: parts[5].parse().expect("a process"),
        }
    }
}

/// Sends a descriptor to itself.
fn send_descriptor() -> io::Result<()> {
    let (one, _other) = UnixStream::pair()?;
    let descriptors = [one.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)), "there is room");
    rustix::net::sendmsg(&one, &[IoSlice::new(b"x")], &mut control, SendFlags::empty())?;
    Ok(())
}

/// Tries everything. The process ends if something works that must not, or the other way round.
pub(crate) fn all(targets: &str, missing: &[String]) {
    let Targets { key, compiled, unix, volume, tcp, node } = Targets::read(targets);
    let has = |what: &str| !missing.iter().any(|it| it.starts_with(what));
    let mut wrong = Vec::new();
    let mut refused = |what: &str, outcome: io::Result<()>| {
        if outcome.is_ok() {
            wrong.push(what.to_owned());
        }
    };
    if has("files") {
        refused("read the node's key", std::fs::read(&key).map(drop));
        refused(
            "replace the node's key",
            std::fs::rename(volume.join("none"), &key).or_else(|_| std::fs::write(&key, "mine")),
        );
        refused("list the node's directory", std::fs::read_dir(key.parent().expect("a directory")).map(drop));
        refused("read the machine's users", std::fs::read("/etc/passwd").map(drop));
        refused("list the code of all", std::fs::read_dir(&compiled).map(drop));
        refused("write code", std::fs::write(compiled.join("x.cwasm"), "mine"));
        refused("read another process' memory", File::open("/proc/1/mem").map(drop));
        refused("make a link out of its volume", std::fs::hard_link(&key, volume.join("key")));
    }
    if has("system calls") {
        refused("connect by TCP", TcpStream::connect(tcp).map(drop));
        refused("open a UDP socket", UdpSocket::bind("127.0.0.1:0").map(drop));
        refused("connect to a socket of the node", UnixStream::connect(&unix).map(drop));
        refused("run a program", Command::new("/bin/true").status().map(drop));
        let node = Pid::from_raw(node).expect("a process");
        refused("signal the node", test_kill_process(node).map_err(io::Error::from));
        // What else `fcntl` does: some of its commands have the kernel signal another process.
        let lock = || Ok(rustix::fs::fcntl_lock(File::create(volume.join("lock"))?, FlockOperation::LockExclusive)?);
        refused("do anything with a descriptor", lock());
        refused("send a descriptor", send_descriptor());
    }
    // What is its own is there.
    if let Err(error) = std::fs::write(volume.join("mine"), "written") {
        wrong.push(format!("not its own: {error}"));
    }
    if !wrong.is_empty() {
        eprintln!("a worker could: {wrong:?}");
        std::process::abort();
    }
}
