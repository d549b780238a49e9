//! How files of a network share are opened so that a host which vanishes holds up nobody else.
//!
//! A server lets a client keep what nobody else has opened: SMB by leases, NFS by delegations. Who
//! opens such a file later waits until the client has given that back, and a host that was cut off
//! gives nothing back.
//!
//! - SMB: a file that is closed stays open at the server, with the client's lease on it, until the
//!   client has a reason to close it there (`cifs_close`, "deferred close"). The wait is 35 s for each
//!   file and more, and writes fail with EBUSY. A client that saw a lock or an unlock of a file
//!   closes it at once (`CIFS_INO_CLOSE_ON_LOCK`).
//! - NFS: the wait is the server's lease time, 90 s by default. Debian 12's knfsd delegates only what
//!   is opened for reading alone.
//!
//! # Invariants
//!
//! - Y1: on SMB a byte is given up through every descriptor of the data directory, as it is opened:
//!   one that nobody locks, so that nothing is sent. Not on NFS: there an unlock may cost a lock
//!   that is held.
//! - Y2: on NFS a file that another node opens for writing is looked at through a descriptor for
//!   writing. Not `edge.terms`: its readers would see old slots.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use super::file;
use super::mount::Mount;
use crate::sys::lock::unlock;

/// A byte that nobody locks.
const UNUSED_OFFSET: u64 = 1 << 40;

/// The ways of a share.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Ways {
    /// Nothing needs to be minded.
    #[default]
    Plain,
    /// Y1.
    Smb,
    /// Y2.
    Nfs,
}

impl Ways {
    /// Those of what this mount is.
    pub(super) fn of(mount: &Mount) -> Self {
        if mount.is_smb() {
            Self::Smb
        } else if matches!(mount.kind.as_str(), "nfs" | "nfs4") {
            Self::Nfs
        } else {
            Self::Plain
        }
    }

    /// A file that was opened is closed at the server with its last descriptor. Where that cannot
    /// be said, it is closed later.
    pub(super) fn opened(self, opened: io::Result<File>) -> io::Result<File> {
        if let (Self::Smb, Ok(file)) = (self, &opened) {
            let _ = unlock(file.as_fd(), UNUSED_OFFSET);
        }
        opened
    }

    /// Opens for reading what others write. Who may not write it just reads it.
    pub(super) fn look_at(self, path: &Path) -> io::Result<File> {
        let denied = |error: &io::Error| {
            matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EROFS))
        };
        match self {
            Self::Nfs => match file::open_writable(path) {
                Err(error) if denied(&error) => file::open(path),
                opened => opened,
            },
            Self::Plain | Self::Smb => self.opened(file::open(path)),
        }
    }
}
