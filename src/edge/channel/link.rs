//! The agent's end of a channel.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use serde::{Serialize, de::DeserializeOwned};

use super::{FRAME_MAX, LENGTHS, Lengths, append_head, parse_head};
use crate::limits::FRAME_HEAD_MAX;
use crate::sys::socket::{send_with_fd, set_nonblocking};

/// What a link's buffers start with: any head, and the small bodies of a standby.
const ROOM_AT_START: usize = LENGTHS + FRAME_HEAD_MAX;
/// Bytes that a link queues for a peer that does not read; beyond, sending is an error.
const QUEUE_MAX: usize = 2 * FRAME_MAX;
/// Descriptors that a link queues before it allocates: one is the rule.
const FDS_AT_START: usize = 2;

/// The agent's end of a channel: non-blocking, buffered both ways.
#[derive(Debug)]
pub struct Link {
    socket: UnixStream,
    outgoing: Outgoing,
    incoming: Incoming,
}

impl Link {
    /// Takes a connected stream socket and makes it non-blocking.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        set_nonblocking(socket.as_fd(), true)?;
        let socket = UnixStream::from(socket);
        Ok(Self { socket, outgoing: Outgoing::new(), incoming: Incoming::new() })
    }

    /// Writes what goes at once and queues the rest, and a copy of `fd` with its first byte.
    ///
    /// Errors: `InvalidInput`, the frame is larger than allowed (nothing was sent); `BrokenPipe`
    /// or `ConnectionReset`, the other side is gone; `QuotaExceeded`, it has long stopped reading.
    pub fn send(
        &mut self,
        head: &impl Serialize,
        body: &[u8],
        fd: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        self.outgoing.queue_head(head, body.len(), fd)?;
        self.flush()?;
        let rest = if self.wants_write() { body } else { self.write_now(body)? };
        self.outgoing.queue_bytes(rest);
        Ok(())
    }

    /// Writes what goes from the caller's own buffer, and gives what is left of it.
    fn write_now<'a>(&self, mut bytes: &'a [u8]) -> io::Result<&'a [u8]> {
        while !bytes.is_empty() {
            match send_with_fd(self.socket.as_fd(), bytes, None) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(bytes)
    }

    /// Writes what goes without waiting. To be called when the socket is writable and
    /// [`Self::wants_write`]. Errors: `BrokenPipe` or `ConnectionReset`.
    pub fn flush(&mut self) -> io::Result<()> {
        self.outgoing.write_to(self.socket.as_fd())
    }

    /// Whether something is queued: the caller polls for writing too.
    pub fn wants_write(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// At most one whole frame; `None`: not here yet.
    ///
    /// To be called until it gives `None`: a second frame may lie in the buffer, of which poll
    /// knows nothing. Errors: `UnexpectedEof`, the other side is gone and every whole frame was
    /// handed out; `InvalidData`.
    pub fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        if self.incoming.read_frame(&self.socket)? {
            self.incoming.head().map(Some)
        } else {
            Ok(None)
        }
    }

    /// The body of the frame last received; empty before the first, and once a further call of
    /// [`Self::receive`] gave none.
    pub fn body(&self) -> &[u8] {
        self.incoming.body()
    }
}

#[cfg(test)]
impl Link {
    /// The larger of the two buffers, in bytes.
    pub(super) fn room(&self) -> usize {
        self.incoming.bytes.capacity().max(self.outgoing.bytes.capacity())
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What is to be written: bytes, and the places in them at which descriptors go.
#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    written: usize,
    /// Offsets in `bytes`, ascending, none before `written`.
    fds: VecDeque<(usize, OwnedFd)>,
}

impl Outgoing {
    fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(ROOM_AT_START),
            written: 0,
            fds: VecDeque::with_capacity(FDS_AT_START),
        }
    }

    fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    /// Queues the lengths and the head of a frame; so many bytes of body are to follow.
    fn queue_head(
        &mut self,
        head: &impl Serialize,
        body_length: usize,
        fd: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        self.drop_written();
        if self.bytes.len() > QUEUE_MAX - FRAME_MAX {
            return Err(ErrorKind::QuotaExceeded.into());
        }
        let fd = fd.map(|fd| fd.try_clone_to_owned()).transpose()?;
        let start = self.bytes.len();
        append_head(&mut self.bytes, head, body_length)?;
        if let Some(fd) = fd {
            self.fds.push_back((start, fd));
        }
        Ok(())
    }

    fn queue_bytes(&mut self, bytes: &[u8]) {
        // exactly, not doubled: a queue of a megabyte must not take two
        self.bytes.reserve_exact(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// Moves what is left to the front, so that the buffer does not creep.
    fn drop_written(&mut self) {
        self.bytes.drain(..self.written);
        for (offset, _) in &mut self.fds {
            *offset -= self.written;
        }
        self.written = 0;
    }

    fn write_to(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        while !self.is_empty() {
            let piece = &self.bytes[self.written..self.piece_end()];
            let sent = match send_with_fd(socket, piece, self.due_fd()) {
                Ok(sent) => sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            if self.due_fd().is_some() {
                self.fds.pop_front();
            }
            self.written += sent;
        }
        self.drop_written();
        Ok(())
    }

    /// The descriptor that goes with the very next byte.
    fn due_fd(&self) -> Option<BorrowedFd<'_>> {
        let (offset, fd) = self.fds.front()?;
        (*offset == self.written).then(|| fd.as_fd())
    }

    /// Where the bytes end that go in one call: before the next descriptor's first byte.
    fn piece_end(&self) -> usize {
        let later =
            self.fds.iter().map(|(offset, _)| *offset).find(|offset| *offset > self.written);
        later.unwrap_or(self.bytes.len())
    }
}

/// What was read: the frame handed out last, then bytes of those after it.
#[derive(Debug)]
struct Incoming {
    /// All of it is initialised; what was read is `frame.start..filled`.
    bytes: Vec<u8>,
    filled: usize,
    /// The frame last handed out, lengths included; empty: none.
    frame: Range<usize>,
    head_length: usize,
}

impl Incoming {
    fn new() -> Self {
        Self { bytes: vec![0; ROOM_AT_START], filled: 0, frame: 0..0, head_length: 0 }
    }

    /// Drops the last frame and completes the next one, if its bytes are here.
    fn read_frame(&mut self, mut socket: &UnixStream) -> io::Result<bool> {
        self.frame.start = self.frame.end;
        self.head_length = 0;
        loop {
            let Some(missing) = self.missing()? else { return Ok(true) };
            self.make_room(missing);
            match socket.read(&mut self.bytes[self.filled..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// How many bytes the next frame lacks as far as can be told; `None`: it is whole, and
    /// becomes the frame handed out.
    fn missing(&mut self) -> io::Result<Option<usize>> {
        let start = self.frame.start;
        let here = &self.bytes[start..self.filled];
        let Some((lengths, _)) = here.split_first_chunk::<LENGTHS>() else {
            return Ok(Some(LENGTHS - here.len()));
        };
        let frame = Lengths::parse(*lengths)?;
        if here.len() < frame.whole() {
            return Ok(Some(frame.whole() - here.len()));
        }
        self.frame.end = start + frame.whole();
        self.head_length = frame.head;
        Ok(None)
    }

    /// Makes room for so many bytes: by moving the unfinished frame to the front, then by growing.
    fn make_room(&mut self, missing: usize) {
        let start = self.frame.start;
        if self.filled + missing > self.bytes.len() || start == self.filled {
            self.bytes.copy_within(start..self.filled, 0);
            self.filled -= start;
            self.frame = 0..0;
        }
        if self.filled + missing > self.bytes.len() {
            self.bytes.resize(self.filled + missing, 0);
        }
    }

    fn head<T: DeserializeOwned>(&self) -> io::Result<T> {
        let start = self.frame.start + LENGTHS;
        parse_head(&self.bytes[start..start + self.head_length])
    }

    fn body(&self) -> &[u8] {
        let whole = &self.bytes[self.frame.clone()];
        whole.get(LENGTHS + self.head_length..).unwrap_or(&[])
    }
}
