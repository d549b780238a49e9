//! Small safe wrappers over libc, and the only home of `unsafe`.
//!
//! Everything here takes borrowed or owned descriptors and returns `io::Result`; nothing
//! here decides anything. Invariants:
//!
//! 1. A C return value becomes an `io::Error` in one place: [`check`].
//! 2. No function starts a thread, and none needs a second one to make progress.
//! 3. On 32-bit systems no 32-bit `off_t` is ever handed to the kernel, and a 32-bit
//!    `time_t` only for the time since boot.
//! 4. Only 32-bit atomics: `armv5te` has no wider ones.
//!
//! Not for: policy, retries (but for `EINTR`), or anything that std does safely.

pub mod alloc;
pub mod clock;
pub mod connect;
pub mod dial;
pub mod direct;
pub mod lease;
pub mod lock;
pub mod memfd;
pub mod poll;
pub mod process;
pub mod random;
pub mod signals;
pub mod socket;
pub mod space;
pub mod stdio;

use std::io;

/// What a C function returned, or the error in `errno` if that was -1.
pub(crate) fn check<T: PartialEq + From<i8>>(returned: T) -> io::Result<T> {
    if returned == T::from(-1) { Err(io::Error::last_os_error()) } else { Ok(returned) }
}

/// Calls again for as long as a signal interrupts the call.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// A plain C structure of which all bytes zero is a valid value.
///
/// # Safety
///
/// The structure consists of integers, nullable pointers and padding alone.
pub(crate) unsafe trait Plain: Sized {
    /// The structure with all bytes zero: also the fields that libc keeps private.
    fn zeroed() -> Self {
        // SAFETY: who implements this promises that all bytes zero is a valid value.
        unsafe { std::mem::zeroed() }
    }
}

// SAFETY: integers and padding.
unsafe impl Plain for libc::statvfs {}
// SAFETY: integers and padding.
unsafe impl Plain for libc::timespec {}
// SAFETY: two of the above.
unsafe impl Plain for libc::itimerspec {}
// SAFETY: integers and a union of an integer and a pointer.
unsafe impl Plain for libc::sigevent {}
// SAFETY: integers, a nullable restorer, and the handler as an integer (0: the default).
unsafe impl Plain for libc::sigaction {}
// SAFETY: an array of integers.
unsafe impl Plain for libc::sigset_t {}
// SAFETY: integers and nullable pointers.
unsafe impl Plain for libc::msghdr {}
// SAFETY: integers.
unsafe impl Plain for libc::flock64 {}

#[cfg(test)]
mod tests {
    use super::{check, uninterrupted};
    use std::io;

    #[test]
    fn minus_one_is_the_error_in_errno() {
        // SAFETY: close takes any number; -1 is never a descriptor.
        let error = check(unsafe { libc::close(-1) }).expect_err("-1 is no descriptor");
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        assert_eq!(check(7_isize).ok(), Some(7));
    }

    #[test]
    fn only_interruptions_are_tried_again() {
        let mut calls = 0;
        let outcome = uninterrupted(|| {
            calls += 1;
            if calls < 3 { Err(io::Error::from_raw_os_error(libc::EINTR)) } else { Ok(calls) }
        });
        assert_eq!(outcome.ok(), Some(3));
        let outcome: io::Result<()> =
            uninterrupted(|| Err(io::Error::from_raw_os_error(libc::EIO)));
        assert_eq!(outcome.expect_err("passed on").raw_os_error(), Some(libc::EIO));
    }
}
