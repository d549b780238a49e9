//! Files that are opened for direct access, and then used like any other.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;

/// The flag for open(2).
pub const DIRECT: i32 = libc::O_DIRECT;

/// From now on reads and writes go through the page cache. It is a property of the open file
/// description: copies of the descriptor share it.
pub fn use_cache(file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: F_GETFL takes no argument and touches no memory.
    let flags = check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) })?;
    // SAFETY: F_SETFL takes the flags as an integer and touches no memory.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags & !libc::O_DIRECT) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::fd::AsFd;
    use std::os::unix::fs::{FileExt, OpenOptionsExt};

    use super::{DIRECT, use_cache};

    #[test]
    fn a_file_opened_for_direct_access_takes_any_write_afterwards() {
        let path = std::env::temp_dir().join(format!("edge-direct-{}", std::process::id()));
        let mut options = OpenOptions::new();
        let opened = options.create(true).truncate(true).write(true).custom_flags(DIRECT);
        // some file systems have no direct access
        if let Ok(file) = opened.open(&path) {
            use_cache(file.as_fd()).expect("an open file");
            file.write_all_at(b"odd", 1).expect("any length, anywhere");
        }
        std::fs::remove_file(&path).expect("removed");
    }
}
