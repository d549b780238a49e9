//! What the Linux client of SMB needs so that a host which vanishes holds up nobody else.
//!
//! A file that is closed stays open at the server, with the client's lease on it, until the client
//! has a reason to close it there (`cifs_close`, "deferred close"). If the host is cut off first,
//! every other host's open of that file waits for a lease break that is never answered, 35 s for
//! each file and more, and its writes fail with EBUSY. A client that saw a lock or an unlock of a
//! file closes it at once (`CIFS_INO_CLOSE_ON_LOCK`).
//!
//! # Invariants
//!
//! - S1: on SMB a byte is given up through every descriptor of the data directory, as it is opened:
//!   one that nobody locks, so that nothing is sent.
//! - S2: nowhere else: on NFS an unlock may cost a lock that is held.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use super::mount::Mount;
use crate::sys::lock::unlock;

/// A byte that nobody locks.
const UNUSED_OFFSET: u64 = 1 << 40;

/// How files are closed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Closing {
    /// As the system does.
    #[default]
    Usual,
    /// At the server too (S1).
    AtOnce,
}

impl Closing {
    /// What this mount needs.
    pub(super) fn of(mount: &Mount) -> Self {
        if mount.is_smb() { Self::AtOnce } else { Self::Usual }
    }

    /// A file that was opened is closed so. Where it cannot be said, it is closed later.
    pub(super) fn arrange(self, opened: io::Result<File>) -> io::Result<File> {
        if let (Self::AtOnce, Ok(file)) = (self, &opened) {
            let _ = unlock(file.as_fd(), UNUSED_OFFSET);
        }
        opened
    }
}
