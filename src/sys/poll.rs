//! The one place where a process sleeps: `poll(2)`.
//!
//! Not for: the lease's timer (its clock counts while the host sleeps; poll's does not, so the
//! caller reads the clock again after every return).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;

/// A descriptor to wait for, and what was seen of it.
///
/// It keeps the number, not the borrow: the caller polls only while the descriptor is open.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct PollFd(libc::pollfd);

impl PollFd {
    /// Waits until `fd` can be read, written, or either. Hang-ups and errors are always seen.
    pub fn new(fd: BorrowedFd<'_>, read: bool, write: bool) -> Self {
        let mut events = 0;
        if read {
            events |= libc::POLLIN;
        }
        if write {
            events |= libc::POLLOUT;
        }
        Self(libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 })
    }

    /// Reading would not block: bytes, a connection, or the other side's end.
    pub fn is_readable(&self) -> bool {
        self.0.revents & (libc::POLLIN | libc::POLLHUP) != 0
    }

    /// Writing would not block.
    pub fn is_writable(&self) -> bool {
        self.0.revents & libc::POLLOUT != 0
    }

    /// An error, a hang-up, or a number that is not open.
    pub fn is_broken(&self) -> bool {
        self.0.revents & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0
    }
}

/// Waits until one of `fds` is ready, `timeout_ms` have passed (`None`: for ever), or a signal
/// arrives, and says how many are ready. A signal gives 0, as a timeout does. Waits longer than
/// 24 days end early.
pub fn poll(fds: &mut [PollFd], timeout_ms: Option<u64>) -> io::Result<usize> {
    for fd in fds.iter_mut() {
        fd.0.revents = 0;
    }
    let timeout = timeout_ms.map_or(-1, |ms| ms.try_into().unwrap_or(libc::c_int::MAX));
    let count = fds.len().try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
    let first = fds.as_mut_ptr().cast::<libc::pollfd>();
    // SAFETY: `first` points to `count` pollfds: `PollFd` is transparent over them.
    match check(unsafe { libc::poll(first, count, timeout) }) {
        Ok(ready) => Ok(ready.try_into().expect("not negative: checked")),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::{PollFd, poll};
    use crate::sys::clock::boottime_ms;
    use crate::sys::socket::{pair, send_with_fd};
    use std::os::fd::AsFd;

    #[test]
    fn says_what_is_ready() {
        let (one, other) = pair().expect("pair");
        let mut fds =
            [PollFd::new(one.as_fd(), true, true), PollFd::new(other.as_fd(), true, false)];
        assert_eq!(poll(&mut fds, Some(0)).expect("poll"), 1);
        assert!(fds[0].is_writable() && !fds[0].is_readable() && !fds[0].is_broken());
        send_with_fd(one.as_fd(), b"x", None).expect("send");
        assert_eq!(poll(&mut fds, None).expect("poll"), 2);
        assert!(fds[1].is_readable() && !fds[1].is_writable());
        drop(other);
        assert_eq!(poll(&mut fds[..1], None).expect("poll"), 1);
        assert!(fds[0].is_broken() && fds[0].is_readable(), "the end can be read");
    }

    #[test]
    fn waits_no_longer_than_asked() {
        let (one, _other) = pair().expect("pair");
        let mut fds = [PollFd::new(one.as_fd(), true, false)];
        let before_ms = boottime_ms();
        assert_eq!(poll(&mut fds, Some(30)).expect("poll"), 0);
        assert!(boottime_ms() - before_ms >= 30);
        assert_eq!(poll(&mut [], Some(1)).expect("nothing to watch"), 0);
    }
}
