//! Standard error, replaced by a descriptor of our own.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::{check, uninterrupted};

/// Makes descriptor 2 a copy of `file`; it is inherited by children, as before.
pub fn replace_stderr(file: BorrowedFd<'_>) -> io::Result<()> {
    uninterrupted(|| {
        // SAFETY: takes integers and touches no memory; std owns descriptor 2 by number only.
        check(unsafe { libc::dup2(file.as_raw_fd(), libc::STDERR_FILENO) })
    })?;
    Ok(())
}
