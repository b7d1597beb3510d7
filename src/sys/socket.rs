//! A `SOCK_SEQPACKET` pair: messages keep their borders, and the end of a peer is an event.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The longest message, in bytes.
pub const MAX_MESSAGE: usize = 128 * 1024;

/// One end of a pair, non-blocking and close-on-exec.
#[derive(Debug)]
pub struct SeqPacket(OwnedFd);

/// One message, with the descriptors that came along.
#[derive(Debug)]
pub struct Received {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its descriptors, ours from now on and close-on-exec.
    pub descriptors: Vec<OwnedFd>,
}

impl SeqPacket {
    /// A connected pair.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        )?;
        Ok((Self(a), Self(b)))
    }

    /// Sends one message without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if the peer's queue is full, `BrokenPipe` or `ConnectionReset` if it is gone.
    pub fn send(&self, bytes: &[u8], descriptors: &[RawFd]) -> io::Result<()> {
        let control = [ControlMessage::ScmRights(descriptors)];
        let control = if descriptors.is_empty() {
            &[][..]
        } else {
            &control[..]
        };
        sendmsg::<()>(
            self.0.as_raw_fd(),
            &[IoSlice::new(bytes)],
            control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        )?;
        Ok(())
    }

    /// The next message; `None` once the peer is gone.
    ///
    /// # Errors
    /// `WouldBlock` if there is none yet.
    pub fn receive(&self) -> io::Result<Option<Received>> {
        let mut bytes = vec![0; MAX_MESSAGE];
        let mut space = cmsg_space!([RawFd; 3]);
        let mut buffer = [IoSliceMut::new(&mut bytes)];
        let received = recvmsg::<()>(
            self.0.as_raw_fd(),
            &mut buffer,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        );
        let (length, descriptors) = match received {
            Ok(message) => {
                let mut descriptors = Vec::new();
                for control in message.cmsgs()? {
                    if let ControlMessageOwned::ScmRights(fds) = control {
                        // SAFETY: the kernel has just made these descriptors for us alone.
                        descriptors
                            .extend(fds.iter().map(|&fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                    }
                }
                (message.bytes, descriptors)
            }
            Err(Errno::ECONNRESET) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        if length == 0 {
            return Ok(None);
        }
        bytes.truncate(length);
        Ok(Some(Received { bytes, descriptors }))
    }

    /// The same, as the runtime can wait for it. Must be called within a runtime.
    pub fn into_async(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the descriptor that as_raw_fd returns is owned by `self`, which the AsyncFd owns, and
        // nothing here ever closes or replaces it before the drop.
        unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) }
            .map_err(io::Error::from)
    }

    /// Makes sends wait for room in the peer's queue; receives then wait as well.
    pub fn set_blocking(&self) -> io::Result<()> {
        let flags = OFlag::from_bits_retain(fcntl(&self.0, FcntlArg::F_GETFL)?);
        fcntl(&self.0, FcntlArg::F_SETFL(flags & !OFlag::O_NONBLOCK))?;
        Ok(())
    }
}

impl AsRawFd for SeqPacket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for SeqPacket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
