//! The share lock: one byte of `edge.lock`, `fcntl(F_OFD_SETLK)`, never waited for.
//!
//! # Invariants
//!
//! - L1: the lock is given up by closing our descriptor, never by an unlock: an uplink that
//!   holds a copy keeps it from coming free.
//! - L2: a granted lock counts only while the file at the path is the one that we locked.
//! - L3: while we hold it, the file is opened elsewhere only to be looked at: an OFD lock
//!   does not end when another descriptor of the file is closed. On SMB it may, see below.
//! - L4: this process makes no copy of the locked descriptor, and closes none but the last.
//!
//! The Linux client of SMB sends an unlock when the process that locked closes any descriptor of
//! that handle, as with plain POSIX locks (`smb2_unlock_range` goes by the process), and an open
//! with the same flags is given the handle that is there (`cifs_open`). So on SMB a held lock's
//! file is not opened a second time, but looked at by its name. That may show a replaced file
//! late; there the slots decide.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::directory::{Root, site_of};
use super::fault::{cannot, fault_of, foreign, missing, reason_of};
use super::ways::UNUSED_OFFSET;
use super::{file, mount};
use crate::engine::share::{LockSeen, ShareError, ShareFault};
use crate::engine::slot::HeaderOf;
use crate::limits::LOCK_OFFSET;
use crate::sys::lock::{TryLock, has_no_locks, try_lock};

/// The share lock as this process has it, or not.
#[derive(Debug, Default)]
pub(super) struct ShareLock {
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    file: File,
    device: u64,
    inode: u64,
    /// Whether opening the file once more could cost us the lock (L3).
    alone: bool,
}

impl ShareLock {
    /// Gives it up, if held (L1).
    pub(super) fn leave(&mut self) {
        self.held = None;
    }

    /// The locked descriptor.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.held.as_ref().map(|held| held.file.as_fd())
    }

    /// Tries for it; if it is held already, only checks that its file is still at the path,
    /// and otherwise gives it up and tries for the new one (L2).
    pub(super) fn try_for(&mut self, root: &Root) -> Result<LockSeen, ShareError> {
        let path = root.lock();
        if self.is_alone() {
            match self.still_at(&path) {
                Ok(Some(inode)) => return Ok(LockSeen::Held { inode }),
                Ok(None) => self.leave(),
                Err(error) => return Err(self.left_if_gone("look at", &path, &error)),
            }
        }
        let file =
            root.open_writable(&path).map_err(|error| self.left_if_gone("open", &path, &error))?;
        let seen = file.metadata().map_err(|error| cannot("look at", &path, &error))?;
        if let Some(held) = self.held.as_ref().filter(|held| held.is(&seen)) {
            return Ok(LockSeen::Held { inode: held.inode });
        }
        self.leave();
        if !readable_header(root, &file)? {
            return Ok(LockSeen::Busy);
        }
        match try_lock(file.as_fd(), LOCK_OFFSET) {
            Ok(TryLock::Busy) => Ok(LockSeen::Busy),
            Ok(TryLock::Held) => {
                let (device, inode) = (seen.dev(), seen.ino());
                let alone = mount::of(&file).is_ok_and(|mount| mount.is_smb());
                self.held = Some(Held { file, device, inode, alone });
                Ok(LockSeen::Held { inode })
            }
            Err(error) if fault_of(&error) == ShareFault::Stale => Ok(LockSeen::Lost),
            // then only silence counts, as where a lost host keeps it for good
            Err(error) if has_no_locks(&error) => Ok(LockSeen::Busy),
            Err(error) => Err(cannot("lock", &path, &error)),
        }
    }

    fn is_alone(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.alone)
    }

    /// The inode of our file, if it is still what stands at the path.
    fn still_at(&self, path: &Path) -> io::Result<Option<u64>> {
        let seen = fs::metadata(path)?;
        Ok(self.held.as_ref().filter(|held| held.is(&seen)).map(|held| held.inode))
    }

    fn left_if_gone(&mut self, doing: &str, path: &Path, error: &io::Error) -> ShareError {
        if fault_of(error) != ShareFault::Other {
            self.leave();
        }
        cannot(doing, path, error)
    }

    /// The inode of the lock file that now stands at the path, of whatever site.
    pub(super) fn inode_at_path(&self, root: &Root) -> Result<u64, ShareError> {
        let path = root.lock();
        let look = |error: &io::Error| cannot("look at", &path, error);
        if self.is_alone() {
            return fs::metadata(&path).map(|seen| seen.ino()).map_err(|error| look(&error));
        }
        let file = root.open(&path).map_err(|error| cannot("open", &path, &error))?;
        readable_header(root, &file)?;
        file.metadata().map(|seen| seen.ino()).map_err(|error| look(&error))
    }

    /// Writes a byte inside the locked range through the locked descriptor, and syncs it.
    /// What comes back with EIO, EACCES, EBADF or ESTALE says that the lock is no longer ours.
    pub(super) fn prove(&mut self, root: &Root, byte: u8) -> Result<LockSeen, ShareError> {
        let Some(held) = &self.held else {
            return Ok(LockSeen::Lost);
        };
        let written =
            file::write_at(&held.file, &[byte], LOCK_OFFSET).and_then(|()| file::sync(&held.file));
        match written {
            Ok(()) => Ok(LockSeen::Held { inode: held.inode }),
            Err(error) => match fault_of(&error) {
                ShareFault::Stale | ShareFault::Denied => {
                    self.leave();
                    Ok(LockSeen::Lost)
                }
                ShareFault::Missing
                | ShareFault::Newer
                | ShareFault::ReadOnly
                | ShareFault::NoSpace
                | ShareFault::Other => Err(cannot("write", &root.lock(), &error)),
            },
        }
    }
}

impl Held {
    fn is(&self, seen: &Metadata) -> bool {
        (self.device, self.inode) == (seen.dev(), seen.ino())
    }
}

/// Whether the file at the path is an `edge.lock` of this site.
pub(super) fn check_header(root: &Root) -> Result<(), ShareError> {
    let path = root.lock();
    let file = root.open(&path).map_err(|error| cannot("open", &path, &error))?;
    readable_header(root, &file).map(|_| ())
}

/// Why the lock file cannot be locked at all, if that is so; tried at a byte that nobody locks.
pub(super) fn gives_none_because(root: &Root) -> Option<String> {
    let file = root.open_writable(&root.lock()).ok()?;
    let error = try_lock(file.as_fd(), UNUSED_OFFSET).err().filter(has_no_locks)?;
    let reason = reason_of(&error);
    Some(format!("this share gives no locks ({reason}): mount one that does, or with locks"))
}

/// The lock, for who must be alone with a data directory for a moment.
pub(super) fn alone(root: &Root) -> Result<ShareLock, ShareError> {
    let mut lock = ShareLock::default();
    match lock.try_for(root)? {
        LockSeen::Held { .. } => Ok(lock),
        LockSeen::Left | LockSeen::Busy | LockSeen::Lost => {
            Err(missing(format_args!("share: {} is in use by an agent", root.path.display())))
        }
    }
}

/// Compares the site in the header. `false`: on SMB a lock is mandatory, and reading ahead
/// into it is refused with EACCES; then somebody holds it, and there is nothing to compare.
fn readable_header(root: &Root, file: &File) -> Result<bool, ShareError> {
    let path = root.lock();
    match site_of(file, &path, HeaderOf::Lock) {
        Ok(site) if site == root.site => Ok(true),
        Ok(site) => Err(foreign(&path, site, root.site)),
        Err(error) if error.errno == libc::EACCES => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a failed look means that the file is gone or another one.
pub(super) fn is_replaced(error: &ShareError) -> bool {
    matches!(error.fault, ShareFault::Missing | ShareFault::Newer)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Folder;
    use super::*;

    #[test]
    fn two_descriptions_exclude_each_other_and_closing_frees() {
        let folder = Folder::new();
        let root = folder.root();
        let (mut a, mut b) = (ShareLock::default(), ShareLock::default());
        let inode = fs::metadata(root.lock()).expect("a file").ino();
        assert_eq!(a.try_for(&root).expect("tried"), LockSeen::Held { inode });
        assert_eq!(a.try_for(&root).expect("tried"), LockSeen::Held { inode });
        assert_eq!(b.try_for(&root).expect("tried"), LockSeen::Busy);
        assert_eq!(b.inode_at_path(&root).expect("looked"), inode);
        assert_eq!(b.try_for(&root).expect("tried"), LockSeen::Busy, "L3");
        a.leave();
        assert_eq!(b.try_for(&root).expect("tried"), LockSeen::Held { inode });
    }

    #[test]
    fn a_copy_of_the_descriptor_keeps_the_lock() {
        let folder = Folder::new();
        let root = folder.root();
        let (mut a, mut b) = (ShareLock::default(), ShareLock::default());
        a.try_for(&root).expect("tried");
        let copy = a.descriptor().expect("held").try_clone_to_owned().expect("copied");
        a.leave();
        assert_eq!(b.try_for(&root).expect("tried"), LockSeen::Busy, "L1");
        drop(copy);
        assert!(matches!(b.try_for(&root).expect("tried"), LockSeen::Held { .. }));
    }

    #[test]
    fn a_replaced_file_is_locked_afresh_and_a_lost_one_is_said() {
        let folder = Folder::new();
        let root = folder.root();
        let mut lock = ShareLock::default();
        let LockSeen::Held { inode: old } = lock.try_for(&root).expect("tried") else {
            panic!("free");
        };
        let copy = folder.path.join("copy");
        fs::copy(root.lock(), &copy).expect("copied");
        fs::rename(&copy, root.lock()).expect("renamed");
        let LockSeen::Held { inode: new } = lock.try_for(&root).expect("tried") else {
            panic!("L2: free");
        };
        assert_ne!(old, new);
        fs::remove_file(root.lock()).expect("gone");
        let error = lock.try_for(&root).expect_err("gone");
        assert!(is_replaced(&error), "{error}");
        assert!(lock.descriptor().is_none());
    }

    /// As on SMB, where the file is not opened a second time (L3).
    #[test]
    fn a_lock_that_must_be_alone_is_looked_after_by_name() {
        let folder = Folder::new();
        let root = folder.root();
        let mut lock = ShareLock::default();
        let LockSeen::Held { inode } = lock.try_for(&root).expect("tried") else {
            panic!("free");
        };
        lock.held.as_mut().expect("held").alone = true;
        assert_eq!(lock.try_for(&root).expect("looked"), LockSeen::Held { inode });
        assert_eq!(lock.inode_at_path(&root).expect("looked"), inode);
        let copy = folder.path.join("copy");
        fs::copy(root.lock(), &copy).expect("copied");
        fs::rename(&copy, root.lock()).expect("renamed");
        assert_ne!(lock.inode_at_path(&root).expect("looked"), inode);
        let LockSeen::Held { inode: new } = lock.try_for(&root).expect("tried") else {
            panic!("L2: free");
        };
        assert_ne!(new, inode);
        lock.held.as_mut().expect("held").alone = true;
        fs::remove_file(root.lock()).expect("gone");
        assert!(is_replaced(&lock.inode_at_path(&root).expect_err("gone")));
        assert!(is_replaced(&lock.try_for(&root).expect_err("gone")));
        assert!(lock.descriptor().is_none());
    }

    #[test]
    fn a_byte_written_leaves_the_header_alone() {
        let folder = Folder::new();
        let root = folder.root();
        let mut lock = ShareLock::default();
        assert_eq!(lock.prove(&root, 9).expect("asked"), LockSeen::Lost, "not held");
        lock.try_for(&root).expect("tried");
        assert!(matches!(lock.prove(&root, 9).expect("written"), LockSeen::Held { .. }));
        let bytes = fs::read(root.lock()).expect("read");
        assert_eq!((bytes[4_096], bytes.len()), (9, 8_192));
        check_header(&root).expect("whole");
    }
}
