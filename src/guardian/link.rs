//! The guardian's end of the socket. Its sends never wait: a full queue to a frozen supervisor must
//! not disarm the timer.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::guardian::message::{FromGuardian, ToGuardian, decode, encode};
use crate::rules::Rule;
use crate::sys::SeqPacket;

/// The guardian's end.
#[derive(Debug)]
pub struct Link {
    socket: SeqPacket,
    waiting: VecDeque<FromGuardian>,
    /// Whether nobody listens any more.
    cut: bool,
}

/// What has come from the supervisor.
#[derive(Debug)]
pub enum Incoming {
    /// A message and its descriptors.
    Message(ToGuardian, Vec<OwnedFd>),
    /// Nothing at present.
    Nothing,
    /// The supervisor is gone.
    End,
}

impl Link {
    /// The guardian's end over `socket`.
    pub fn new(socket: SeqPacket) -> Self {
        if Rule::NeverBlock.is_off() {
            let _ = socket.set_blocking();
        }
        Self {
            socket,
            waiting: VecDeque::new(),
            cut: false,
        }
    }

    /// Says `message` as soon as there is room for it.
    pub fn say(&mut self, message: FromGuardian) {
        // Of what repeats itself only the last counts, so the queue stays as short as the run's story.
        let repeats = |old: &FromGuardian| {
            matches!(
                (old, &message),
                (FromGuardian::Acknowledged(_), FromGuardian::Acknowledged(_))
                    | (FromGuardian::Stuck(_), FromGuardian::Stuck(_))
            )
        };
        self.waiting.retain(|old| !repeats(old));
        self.waiting.push_back(message);
        self.flush();
    }

    /// Nobody listens any more: what is said from now on is kept, for the log.
    pub fn cut(&mut self) {
        self.waiting.clear();
        self.cut = true;
    }

    /// What has been said since nobody listens.
    pub fn untold(&mut self) -> Vec<FromGuardian> {
        self.waiting.drain(..).collect()
    }

    /// Sends what waits, as far as there is room.
    pub fn flush(&mut self) {
        if self.cut {
            return;
        }
        while let Some(message) = self.waiting.front() {
            match self.socket.send(&encode(message), &[]) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // Sent, or the supervisor is gone, which `receive` will tell.
                Ok(()) | Err(_) => self.waiting.pop_front(),
            };
        }
    }

    /// Whether something waits for room.
    pub fn is_congested(&self) -> bool {
        !self.cut && !self.waiting.is_empty()
    }

    /// The next message, without waiting.
    pub fn receive(&self) -> Incoming {
        match self.socket.receive() {
            Ok(Some(received)) => match decode(&received.bytes) {
                Some(message) => Incoming::Message(message, received.descriptors),
                // Both ends are one program, so this cannot be. If it is, trust nothing it says.
                None => Incoming::End,
            },
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Incoming::Nothing,
            Ok(None) | Err(_) => Incoming::End,
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::BootInstant;
    use crate::guardian::message::KillReason;
    use crate::timing::Deadline;
    use std::time::Duration;

    #[test]
    fn a_full_queue_is_never_waited_for_and_loses_no_part_of_the_story() {
        let (ours, theirs) = SeqPacket::pair().unwrap();
        let mut link = Link::new(ours);
        let deadline = |n| Deadline(BootInstant::from_duration(Duration::from_secs(n)));
        for n in 0..100_000 {
            link.say(FromGuardian::Acknowledged(deadline(n)));
        }
        assert!(link.is_congested());
        link.say(FromGuardian::Killed(KillReason::Grace));
        assert_eq!(link.waiting.len(), 2, "acknowledgements replace each other");

        let mut last = Vec::new();
        loop {
            while let Ok(Some(received)) = theirs.receive() {
                last.push(decode::<FromGuardian>(&received.bytes).unwrap());
            }
            if !link.is_congested() {
                break;
            }
            link.flush();
        }
        assert_eq!(last.pop(), Some(FromGuardian::Killed(KillReason::Grace)));
        assert_eq!(
            last.pop(),
            Some(FromGuardian::Acknowledged(deadline(99_999)))
        );
    }
}
