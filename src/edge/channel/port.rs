//! A child's end of a channel.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Serialize, de::DeserializeOwned};

use super::{LENGTHS, Lengths, append_head, parse_head};
use crate::sys::socket::{recv_with_fd, send_with_fd};

/// A child's end of a channel: blocking. Also for the pair between two children.
#[derive(Debug)]
pub struct Port {
    socket: OwnedFd,
    outgoing: Vec<u8>,
    /// The head and the body of the frame last received.
    incoming: Vec<u8>,
    body_start: usize,
    fd: Option<OwnedFd>,
}

impl Port {
    /// Takes a connected stream socket that blocks.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, outgoing: Vec::new(), incoming: Vec::new(), body_start: 0, fd: None }
    }

    /// Sends a frame; waits until the whole of it went. Errors: `InvalidInput`, the frame is
    /// larger than allowed (nothing was sent); `BrokenPipe` or `ConnectionReset`.
    pub fn send(&mut self, head: &impl Serialize, body: &[u8]) -> io::Result<()> {
        self.send_with_fd(head, body, None)
    }

    /// Like [`Self::send`], with a copy of a descriptor: one that only the other side has.
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

    /// The socket, for another end.
    pub fn into_socket(self) -> OwnedFd {
        self.socket
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
        self.body_start = self.incoming.len();
        self.fd = None;
        let mut lengths = [0; LENGTHS];
        self.fd = receive_all(self.socket.as_fd(), &mut lengths)?;
        let frame = Lengths::parse(lengths)?;
        // not cleared before: only bytes that are new in the buffer need to be zeroed
        self.incoming.resize(frame.head + frame.body, 0);
        self.body_start = self.incoming.len();
        receive_all(self.socket.as_fd(), &mut self.incoming)?;
        let head = parse_head(&self.incoming[..frame.head])?;
        self.body_start = frame.head;
        Ok(head)
    }

    /// The body of the frame last received; empty after an error.
    pub fn body(&self) -> &[u8] {
        &self.incoming[self.body_start..]
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
