//! The socket pair between a node and a worker that is there before the worker's process: messages with descriptors.
//!
//! When the node ends, however it does, the kernel closes its end, and the worker knows.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};

/// The longest message: an assignment with some hundred paths.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Descriptors of one message.
const DESCRIPTORS_MAX: usize = 4;

/// One end.
pub(crate) struct Door(OwnedFd);

impl Door {
    /// Both ends.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (here, there) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(here), there))
    }

    /// The end that this process was started with, as its standard input.
    pub(crate) fn inherited() -> io::Result<Self> {
        Ok(Self(io::stdin().as_fd().try_clone_to_owned()?))
    }

    /// Sends a message. Never waits: the few there are fit into the socket's buffer.
    pub(crate) fn send(&self, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if message.len() > MESSAGE_BYTES_MAX || !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        rustix::net::sendmsg(&self.0, &[IoSlice::new(message)], &mut control, flags)?;
        Ok(())
    }

    /// The next message; waits for it. None when the other end is closed.
    pub(crate) fn receive(&self) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        let mut message = vec![0; MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let into = &mut [IoSliceMut::new(&mut message)];
            match rustix::net::recvmsg(&self.0, into, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other?,
            }
        };
        if received.bytes == 0 {
            return Ok(None);
        }
        message.truncate(received.bytes);
        let descriptors = control.drain().flat_map(|it| match it {
            RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect::<Vec<_>>(),
            _ => Vec::new(),
        });
        Ok(Some((message, descriptors.collect())))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn messages_bring_their_descriptors_and_a_closed_end_is_told() {
        let (here, there) = Door::pair().unwrap();
        let there = Door(there);
        let (mut mine, theirs) = UnixStream::pair().unwrap();
        here.send(b"take this", &[theirs.as_fd()]).unwrap();
        drop(theirs);
        let (message, mut descriptors) = there.receive().unwrap().unwrap();
        assert_eq!(message, b"take this");
        let mut theirs = UnixStream::from(descriptors.remove(0));
        mine.write_all(b"hello").unwrap();
        let mut heard = [0; 5];
        theirs.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"hello");
        drop(here);
        assert!(there.receive().unwrap().is_none());
    }
}
