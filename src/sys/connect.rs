//! Connecting to a Unix socket within a time: std can only wait for ever.
//!
//! A listener that accepts nothing (a frozen process) fills its backlog, and from then on
//! `connect(2)` blocks; on Unix sockets `SO_SNDTIMEO` bounds that: socket(7).

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::{Plain, check, uninterrupted};

// SAFETY: integers alone.
unsafe impl Plain for libc::sockaddr_un {}

/// Connects to the socket at `path`, waiting no longer than `wait_ms` (at least 1) for room in
/// its backlog: `WouldBlock` after that. `ConnectionRefused`: nobody listens.
pub fn connect_unix(path: &Path, wait_ms: u32) -> io::Result<UnixStream> {
    let mut address = libc::sockaddr_un::zeroed();
    address.sun_family = libc::AF_UNIX.try_into().expect("AF_UNIX is 1");
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() >= address.sun_path.len() || bytes.contains(&0) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = from.cast_signed() as libc::c_char;
    }
    // SAFETY: takes integers and touches no memory.
    let made =
        check(unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel just made it for us alone.
    let socket = unsafe { OwnedFd::from_raw_fd(made) };
    limit_send(&socket, wait_ms.max(1))?;
    let from = (&raw const address).cast::<libc::sockaddr>();
    let length = length_of::<libc::sockaddr_un>();
    uninterrupted(|| {
        // SAFETY: `from` points to `length` bytes of `address`, ended by a zero byte.
        check(unsafe { libc::connect(socket.as_raw_fd(), from, length) })
    })?;
    Ok(socket.into())
}

fn limit_send(socket: &OwnedFd, ms: u32) -> io::Result<()> {
    let ms = i32::try_from(ms).unwrap_or(i32::MAX);
    let limit = libc::timeval { tv_sec: (ms / 1_000).into(), tv_usec: (ms % 1_000 * 1_000).into() };
    // SAFETY: the value points to a timeval and its length is that of one.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_SNDTIMEO,
            (&raw const limit).cast(),
            length_of::<libc::timeval>(),
        )
    })?;
    Ok(())
}

fn length_of<T>() -> libc::socklen_t {
    size_of::<T>().try_into().expect("a small structure")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    #[test]
    fn connects_is_refused_and_gives_up_in_time() {
        let folder = std::env::temp_dir().join(format!("edge-connect-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a scratch folder");
        let path = folder.join("a.sock");
        let listener = UnixListener::bind(&path).expect("a free path");
        let mut near = connect_unix(&path, 1_000).expect("somebody listens");
        let (mut far, _) = listener.accept().expect("a connection");
        near.write_all(b"x").expect("connected");
        far.read_exact(&mut [0]).expect("connected");
        let mut waiting = Vec::new();
        let full = loop {
            match connect_unix(&path, 1) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
            assert!(waiting.len() < 100_000, "a backlog has an end");
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        drop(listener);
        let refused = connect_unix(&path, 1_000).expect_err("nobody listens");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        std::fs::remove_dir_all(&folder).expect("ours");
        let missing = connect_unix(&path, 1_000).expect_err("no file");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
