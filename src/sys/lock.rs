//! One byte of a file, locked for an open file description (`F_OFD_SETLK`, Linux 3.15).
//!
//! 1. The lock belongs to the open file description: every copy of the descriptor, in
//!    whatever process, holds it, and it comes free when the last copy is closed.
//! 2. Closing another descriptor of the same file does not give it up, as it does with
//!    plain POSIX locks: fcntl(2), "Open file description locks (non-POSIX)".
//! 3. Nothing here blocks on the lock; a share that hangs may still block the call.
//!
//! Not for: deciding what a granted lock proves.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::{Plain, check, uninterrupted};

/// What trying for the lock gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TryLock {
    /// It is ours (also if it was already).
    Held,
    /// Another open file description holds it.
    Busy,
}

// On 32-bit systems `fcntl(3)` of some C libraries takes the short `flock` here and of others
// the long one; the system call always takes the long one.
#[cfg(target_pointer_width = "32")]
const FCNTL: libc::c_long = libc::SYS_fcntl64;
#[cfg(not(target_pointer_width = "32"))]
const FCNTL: libc::c_long = libc::SYS_fcntl;

/// Tries to lock the byte at `offset` of an open file for writing. The file must be open
/// for writing.
///
/// `EAGAIN` and `EACCES` mean [`TryLock::Busy`]; every other error is passed on (`EBADF`,
/// `EIO`, `ESTALE`: open the file anew; `ENOLCK`: the share gives no locks).
pub fn try_lock(file: BorrowedFd<'_>, offset: u64) -> io::Result<TryLock> {
    match set_lock(file, offset, libc::F_WRLCK) {
        Ok(()) => Ok(TryLock::Held),
        Err(error) if is_busy(&error) => Ok(TryLock::Busy),
        Err(error) => Err(error),
    }
}

/// Whether an error of [`try_lock`] says that the file system knows no locks, or its server gives
/// none (`ENOLCK`).
pub fn has_no_locks(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOLCK | libc::ENOSYS | libc::EOPNOTSUPP))
}

/// Gives the byte at `offset` up, for every copy of the descriptor.
pub fn unlock(file: BorrowedFd<'_>, offset: u64) -> io::Result<()> {
    set_lock(file, offset, libc::F_UNLCK)
}

fn is_busy(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES))
}

fn set_lock(file: BorrowedFd<'_>, offset: u64, kind: libc::c_int) -> io::Result<()> {
    let mut span = libc::flock64::zeroed();
    span.l_type = kind.try_into().expect("lock kinds are small");
    span.l_whence = libc::SEEK_SET.try_into().expect("SEEK_SET is 0");
    span.l_start = offset.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
    span.l_len = 1;
    uninterrupted(|| {
        // SAFETY: the descriptor is open, and `span` is a whole flock64, as F_OFD_SETLK wants.
        check(unsafe { libc::syscall(FCNTL, file.as_raw_fd(), libc::F_OFD_SETLK, &raw const span) })
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{TryLock, try_lock, unlock};
    use std::fs::{File, OpenOptions};
    use std::os::fd::AsFd;

    // What needs a second process is in `tests/sys_process/`.

    fn open_twice(name: &str) -> (File, File) {
        let path = std::env::temp_dir().join(format!("edge-lock-{name}-{}", std::process::id()));
        let open = || OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let files = (open().expect("open"), open().expect("open"));
        std::fs::remove_file(&path).expect("remove");
        files
    }

    #[test]
    fn excludes_another_open_of_the_same_file() {
        let (one, other) = open_twice("excludes");
        assert_eq!(try_lock(one.as_fd(), 4_096).expect("lock"), TryLock::Held);
        assert_eq!(try_lock(one.as_fd(), 4_096).expect("again"), TryLock::Held);
        assert_eq!(try_lock(other.as_fd(), 4_096).expect("lock"), TryLock::Busy);
        assert_eq!(try_lock(other.as_fd(), 4_097).expect("another byte"), TryLock::Held);
        unlock(one.as_fd(), 4_096).expect("unlock");
        assert_eq!(try_lock(other.as_fd(), 4_096).expect("lock"), TryLock::Held);
    }

    #[test]
    fn offsets_have_64_bits() {
        let (one, other) = open_twice("offsets");
        assert_eq!(try_lock(one.as_fd(), 1 << 40).expect("lock"), TryLock::Held);
        assert_eq!(try_lock(other.as_fd(), 1 << 40).expect("lock"), TryLock::Busy);
        assert_eq!(try_lock(other.as_fd(), 0).expect("lock"), TryLock::Held);
        assert!(try_lock(one.as_fd(), u64::MAX).is_err());
    }

    #[test]
    fn other_errors_are_passed_on() {
        let read_only = File::open("/proc/self/exe").expect("open");
        let error = try_lock(read_only.as_fd(), 0).expect_err("not open for writing");
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }
}
