//! How files of a share are opened so that a host which vanishes holds up nobody else.
//!
//! A server lets a client keep what nobody else has opened: SMB by leases, NFS by delegations. Whoever
//! opens such a file later waits until the client has given that back, and a host that was cut off
//! gives nothing back.
//!
//! - SMB: a file that is closed stays open at the server, and leased, until the client has a reason
//!   to close it there (`cifs_close`, "deferred close"). The wait is 35 s for each file and more, and
//!   writes fail with EBUSY. A client that saw a lock or an unlock of a file closes it at once
//!   (`CIFS_INO_CLOSE_ON_LOCK`).
//! - NFS: the wait is the server's lease time, 90 s by default, and a little. An open for direct
//!   access asks for no delegation (`nfs4_map_atomic_open_share`, NFS 4.1 and later).
//!
//! # Invariants
//!
//! - Y1: on SMB a byte is given up through every descriptor of the data directory, as it is opened:
//!   one that nobody locks, so that nothing is sent. Nowhere else: on NFS an unlock may cost a lock
//!   that is held.
//! - Y2: on NFS every file of the data directory is opened for direct access, and then used like any
//!   other: what is read and written goes through the page cache as ever. A file that lies
//!   elsewhere (a CA under `/etc`) and knows no direct access is opened without.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use super::mount::Mount;
use crate::sys::direct::{self, DIRECT};
use crate::sys::lock::unlock;

/// A byte that nobody locks.
pub(super) const UNUSED_OFFSET: u64 = 1 << 40;

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
        } else if mount.kind == "nfs4" {
            Self::Nfs
        } else {
            Self::Plain
        }
    }

    /// Opens a file by flags of open(2).
    pub(super) fn open(self, open: impl Fn(i32) -> io::Result<File>) -> io::Result<File> {
        match self {
            Self::Plain => open(0),
            Self::Smb => {
                let file = open(0)?;
                // where that cannot be said, the file is closed later
                let _ = unlock(file.as_fd(), UNUSED_OFFSET);
                Ok(file)
            }
            Self::Nfs => {
                let file = match open(DIRECT) {
                    Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return open(0),
                    opened => opened?,
                };
                direct::use_cache(file.as_fd())?;
                Ok(file)
            }
        }
    }
}
