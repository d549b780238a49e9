//! Frames between our own processes, over stream socket pairs.
//!
//! A frame: the length of all that follows (u32), the head's length (u32), the head (postcard of
//! a serde type, at most [`FRAME_HEAD_MAX`] bytes), the body (raw bytes, at most
//! [`FRAME_BODY_MAX`]). Integers are little-endian.
//!
//! 1. A [`Link`], the agent's end, never blocks and, once its buffers have held the largest frame,
//!    never allocates. A [`Port`], a child's end, blocks.
//! 2. A descriptor goes with the first byte of its frame, and a port reads no byte past a frame:
//!    what it hands out came with that very frame.
//! 3. A frame whose lengths make no sense, or whose head is not of the type expected, is
//!    `InvalidData`; the channel is of no use after it.
//!
//! Not for: talking to other programs; both ends are one build of this one.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use postcard::ser_flavors::Flavor;
use serde::{Serialize, de::DeserializeOwned};

use crate::limits::{FRAME_BODY_MAX, FRAME_HEAD_MAX};
use crate::sys::socket::{recv_with_fd, send_with_fd, set_nonblocking};

/// The two lengths before a head.
const LENGTHS: usize = 8;
/// The whole of the largest frame.
const FRAME_MAX: usize = LENGTHS + FRAME_HEAD_MAX + FRAME_BODY_MAX;
/// What a link starts with: any head, and the small bodies of a standby.
const ROOM_AT_START: usize = LENGTHS + FRAME_HEAD_MAX;
/// Bytes that a link queues for a peer that does not read; beyond, sending is an error.
const QUEUE_MAX: usize = 2 * FRAME_MAX;

// --- the agent's end ----------------------------------------------------------------------

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

    /// Queues a frame, and a copy of `fd` with it, and writes what goes at once.
    ///
    /// Errors: `InvalidInput`, the frame is larger than allowed (nothing was queued); `BrokenPipe`
    /// or `ConnectionReset`, the other side is gone; `QuotaExceeded`, it has long stopped reading.
    pub fn send(
        &mut self,
        head: &impl Serialize,
        body: &[u8],
        fd: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        self.outgoing.queue(head, body, fd)?;
        self.flush()
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
        Self { bytes: Vec::with_capacity(ROOM_AT_START), written: 0, fds: VecDeque::new() }
    }

    fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    fn queue(
        &mut self,
        head: &impl Serialize,
        body: &[u8],
        fd: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        self.drop_written();
        if self.bytes.len() > QUEUE_MAX - FRAME_MAX {
            return Err(ErrorKind::QuotaExceeded.into());
        }
        let fd = fd.map(|fd| fd.try_clone_to_owned()).transpose()?;
        let start = self.bytes.len();
        append_head(&mut self.bytes, head, body.len())?;
        self.bytes.extend_from_slice(body);
        if let Some(fd) = fd {
            self.fds.push_back((start, fd));
        }
        Ok(())
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

// --- a child's end --------------------------------------------------------------------------

/// A child's end of a channel: blocking. Also for the pair between two children.
#[derive(Debug)]
pub struct Port {
    socket: OwnedFd,
    outgoing: Vec<u8>,
    /// The head and the body of the frame last received.
    incoming: Vec<u8>,
    head_length: usize,
    fd: Option<OwnedFd>,
}

impl Port {
    /// Takes a connected stream socket that blocks.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, outgoing: Vec::new(), incoming: Vec::new(), head_length: 0, fd: None }
    }

    /// Sends a frame; waits until the whole of it went. Errors: `InvalidInput`, the frame is
    /// larger than allowed (nothing was sent); `BrokenPipe` or `ConnectionReset`.
    pub fn send(&mut self, head: &impl Serialize, body: &[u8]) -> io::Result<()> {
        self.send_with_fd(head, body, None)
    }

    /// Like [`Self::send`], with a copy of a descriptor.
    pub fn send_with_fd(
        &mut self,
        head: &impl Serialize,
        body: &[u8],
        fd: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        self.outgoing.clear();
        append_head(&mut self.outgoing, head, body.len())?;
        let sent = send_with_fd(self.socket.as_fd(), &self.outgoing, fd)?;
        self.send_all(&self.outgoing[sent..])?;
        self.send_all(body)
    }

    fn send_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = send_with_fd(self.socket.as_fd(), bytes, None)?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    /// Waits for a frame. Errors: `UnexpectedEof`, the other side is gone; `InvalidData`.
    pub fn receive<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        self.incoming.clear();
        self.head_length = 0;
        self.fd = None;
        let mut lengths = [0; LENGTHS];
        self.fd = receive_all(self.socket.as_fd(), &mut lengths)?;
        let frame = Lengths::parse(lengths)?;
        self.incoming.resize(frame.head + frame.body, 0);
        receive_all(self.socket.as_fd(), &mut self.incoming)?;
        self.head_length = frame.head;
        parse_head(&self.incoming[..frame.head])
    }

    /// The body of the frame last received.
    pub fn body(&self) -> &[u8] {
        &self.incoming[self.head_length..]
    }

    /// The descriptor that came with the frame last received; it is closed with the next frame
    /// if it was not taken.
    pub fn take_fd(&mut self) -> Option<OwnedFd> {
        self.fd.take()
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Fills `bytes`; gives the first descriptor that came with them.
fn receive_all(socket: BorrowedFd<'_>, mut bytes: &mut [u8]) -> io::Result<Option<OwnedFd>> {
    let mut first = None;
    while !bytes.is_empty() {
        let (count, fd) = recv_with_fd(socket, bytes)?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        first = first.or(fd);
        bytes = &mut bytes[count..];
    }
    Ok(first)
}

// --- frames -----------------------------------------------------------------------------------

/// The two lengths of a frame, checked.
struct Lengths {
    head: usize,
    body: usize,
}

impl Lengths {
    fn parse(bytes: [u8; LENGTHS]) -> io::Result<Self> {
        let (total, head) = bytes.split_at(LENGTHS / 2);
        let total = u32::from_le_bytes(total.try_into().expect("half of eight"));
        let head = u32::from_le_bytes(head.try_into().expect("half of eight"));
        let parts = || {
            let body = usize::try_from(total.checked_sub(4)?.checked_sub(head)?).ok()?;
            let head = usize::try_from(head).ok()?;
            (head <= FRAME_HEAD_MAX && body <= FRAME_BODY_MAX).then_some(Self { head, body })
        };
        parts().ok_or_else(|| {
            let text = format!("channel: a frame of {total} bytes with a head of {head}");
            io::Error::new(ErrorKind::InvalidData, text)
        })
    }

    fn whole(&self) -> usize {
        LENGTHS + self.head + self.body
    }
}

/// Appends a frame's lengths and head; its body is to follow. Leaves `out` alone on error.
fn append_head(out: &mut Vec<u8>, head: &impl Serialize, body_length: usize) -> io::Result<()> {
    let start = out.len();
    if body_length > FRAME_BODY_MAX {
        return Err(too_large("body"));
    }
    out.extend_from_slice(&[0; LENGTHS]);
    let head_start = out.len();
    if postcard::serialize_with_flavor(head, HeadOf { out, end: head_start + FRAME_HEAD_MAX })
        .is_err()
    {
        out.truncate(start);
        return Err(too_large("head"));
    }
    let head_length = out.len() - head_start;
    out[start..start + 4].copy_from_slice(&length_bytes(4 + head_length + body_length));
    out[start + 4..head_start].copy_from_slice(&length_bytes(head_length));
    Ok(())
}

fn length_bytes(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("a frame is far smaller than 4 GiB").to_le_bytes()
}

fn too_large(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, format!("channel: the {what} of a frame is too large"))
}

fn parse_head<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((head, [])) => Ok(head),
        Ok(_) | Err(_) => {
            Err(io::Error::new(ErrorKind::InvalidData, "channel: a head of another type"))
        }
    }
}

/// Where postcard writes a head: the end of a buffer, up to a limit.
struct HeadOf<'a> {
    out: &'a mut Vec<u8>,
    end: usize,
}

impl Flavor for HeadOf<'_> {
    type Output = ();

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if self.out.len() + bytes.len() > self.end {
            return Err(postcard::Error::SerializeBufferFull);
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
