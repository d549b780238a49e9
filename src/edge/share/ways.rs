//! How files of a share are opened so that a host which vanishes holds up nobody else.
//!
//! An SMB server leases to a client what nobody else has open, and whoever opens it later waits until
//! the client has given that back, which a host that was cut off never does: 35 s for each file and
//! more, and writes fail with EBUSY. A file that is closed stays open at the server, and leased,
//! until the client has a reason to close it there (`cifs_close`, "deferred close"). A client that
//! saw a lock or an unlock of a file closes it at once (`CIFS_INO_CLOSE_ON_LOCK`).
//!
//! # Invariants
//!
//! - Y1: on SMB a byte is given up through every descriptor of the data directory, as it is opened:
//!   one that nobody locks, so that nothing is sent.
//! - Y2: nowhere else: on NFS an unlock may cost a lock that is held.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use super::mount::Mount;
use crate::sys::lock::unlock;

/// A byte that nobody locks.
const UNUSED_OFFSET: u64 = 1 << 40;

/// The ways of a share.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Ways {
    /// Nothing needs to be minded (Y2).
    #[default]
    Plain,
    /// Y1.
    Smb,
}

impl Ways {
    /// Those of what this mount is.
    pub(super) fn of(mount: &Mount) -> Self {
        if mount.is_smb() { Self::Smb } else { Self::Plain }
    }

    /// A file that was opened is closed at the server with its last descriptor. Where that cannot
    /// be said, it is closed later.
    pub(super) fn opened(self, opened: io::Result<File>) -> io::Result<File> {
        if let (Self::Smb, Ok(file)) = (self, &opened) {
            let _ = unlock(file.as_fd(), UNUSED_OFFSET);
        }
        opened
    }
}
