//! How much room a file system has left.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::{Plain, check};

/// Bytes that a user without privileges may still write where this file or directory lies
/// (`fstatvfs(3)`). A server may say anything; `EOVERFLOW` on some 32-bit systems.
#[allow(clippy::unnecessary_cast, reason = "the fields are 32 or 64 bits wide")]
pub fn free_bytes(file: BorrowedFd<'_>) -> io::Result<u64> {
    let mut seen = libc::statvfs::zeroed();
    // SAFETY: `seen` is writable and outlives the call.
    check(unsafe { libc::fstatvfs(file.as_raw_fd(), &raw mut seen) })?;
    Ok((seen.f_bavail as u64).saturating_mul(seen.f_frsize as u64))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    #[test]
    fn a_file_system_tells_its_room() {
        let folder = std::fs::File::open(std::env::temp_dir()).expect("a folder");
        assert!(super::free_bytes(folder.as_fd()).expect("told") > 0);
        let proc = std::fs::File::open("/proc").expect("a folder");
        assert_eq!(super::free_bytes(proc.as_fd()).expect("told"), 0);
    }
}
