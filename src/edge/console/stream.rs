//! A connection's bytes, over TCP or the Unix socket.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// Either kind of stream, non-blocking.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(tcp) => tcp.as_fd(),
            Self::Unix(unix) => unix.as_fd(),
        }
    }

    /// Reads what is there; `None`: nothing yet.
    pub(super) fn read(&mut self, room: &mut [u8]) -> io::Result<Option<usize>> {
        patient(match self {
            Self::Tcp(tcp) => tcp.read(room),
            Self::Unix(unix) => unix.read(room),
        })
    }

    /// Writes what there is room for; `None`: nothing yet.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        patient(match self {
            Self::Tcp(tcp) => tcp.write(bytes),
            Self::Unix(unix) => unix.write(bytes),
        })
    }

    pub(super) fn end_writing(&self) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.shutdown(Shutdown::Write),
            Self::Unix(unix) => unix.shutdown(Shutdown::Write),
        }
    }
}

fn patient(outcome: io::Result<usize>) -> io::Result<Option<usize>> {
    match outcome {
        Ok(count) => Ok(Some(count)),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
