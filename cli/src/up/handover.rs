//! Listening sockets that outlive the process that opened them: a node that goes on as another program hands them over, so
//! that nobody is refused meanwhile. Who connects in between waits until the new one accepts.
//!
//! They lie in a message to ourselves, whose receiving end is the new program's standard input.
//!
//! Not here: when that happens (`upgrade.rs`), and the mesh's socket: other nodes do better to be refused.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};

/// Says to the new program that its standard input is no person's.
const VARIABLE: &str = "WK_HANDED_OVER";
/// The API's, and two of the ingress.
const SOCKETS_MAX: usize = 3;

/// Sockets of this process to be handed on. As long as this lives, who connects to them is not refused.
#[derive(Debug, Default)]
pub(crate) struct Handover(Vec<OwnedFd>);

impl Handover {
    /// Keeps `listener` from closing.
    pub(crate) fn keep(&mut self, listener: &impl std::os::fd::AsFd) -> io::Result<()> {
        self.0.push(listener.as_fd().try_clone_to_owned()?);
        Ok(())
    }

    /// Has `program` find them. If that fails, it starts without them, as it would anyway.
    pub(crate) fn give(self, program: &mut std::process::Command) {
        match self.message() {
            Ok(end) => {
                program.stdin(end).env(VARIABLE, "1");
            }
            Err(error) => {
                tracing::warn!(%error, "listening sockets are not handed over");
                program.env_remove(VARIABLE);
            }
        }
    }

    fn message(&self) -> io::Result<OwnedFd> {
        let (to, from) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        let sockets: Vec<_> = self.0.iter().map(|socket| socket.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&sockets)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        rustix::net::sendmsg(&to, &[IoSlice::new(b"wk")], &mut control, SendFlags::empty())?;
        Ok(from)
    }
}

/// Sockets that the program before this one left.
#[derive(Debug, Default)]
pub(crate) struct Inherited(Vec<TcpListener>);

impl Inherited {
    /// Those of this process, if it took over from another. Called once.
    pub(crate) fn take() -> Self {
        if std::env::var_os(VARIABLE).is_none() {
            return Self::default();
        }
        Self::from(io::stdin()).unwrap_or_else(|error| {
            tracing::warn!(%error, "listening sockets did not arrive");
            Self::default()
        })
    }

    fn from(end: impl std::os::fd::AsFd) -> io::Result<Self> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut word = [0; 2];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        rustix::net::recvmsg(end, &mut [IoSliceMut::new(&mut word)], &mut control, flags)?;
        let mut sockets = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                sockets.extend(received.map(TcpListener::from));
            }
        }
        Ok(Self(sockets))
    }

    /// The one that listens at `address`. What nobody asks for is closed with this.
    pub(crate) fn at(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let found = self.0.iter().position(|listener| listener.local_addr().is_ok_and(|it| it == address))?;
        Some(self.0.swap_remove(found))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn who_connects_while_sockets_change_hands_is_answered_by_the_next_owner() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut handover = Handover::default();
        handover.keep(&listener).unwrap();
        drop(listener);
        let mut client = TcpStream::connect(address).expect("is not refused");
        let end = handover.message().unwrap();
        drop(handover);
        let mut second = TcpStream::connect(address).expect("is not refused either");
        let mut inherited = Inherited::from(&end).unwrap();
        assert!(inherited.at("127.0.0.1:1".parse().unwrap()).is_none());
        let listener = inherited.at(address).expect("is there");
        for stream in [&mut client, &mut second] {
            stream.write_all(b"x").unwrap();
            let mut byte = [0];
            listener.accept().unwrap().0.read_exact(&mut byte).unwrap();
            assert_eq!(byte, *b"x");
        }
        assert!(Inherited::from(&end).is_err(), "there is no second message");
    }
}
