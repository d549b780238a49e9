//! A file in memory: a CA handed to a TLS library that reads paths only.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{FromRawFd, OwnedFd};

use super::check;

/// A file of no directory that holds `bytes` (`memfd_create(2)`, Linux 3.17). It can be opened as
/// `/proc/self/fd/N` for as long as the descriptor is open. `name` is for people.
pub fn memfd(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let name = CString::new(name)?;
    // SAFETY: `name` ends with a zero and outlives the call.
    let fd = check(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: the descriptor is new and nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::memfd;
    use std::os::fd::AsRawFd;

    #[test]
    fn holds_its_bytes_under_a_path() {
        let fd = memfd("ca", b"-----BEGIN").expect("memfd");
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        assert_eq!(std::fs::read(&path).expect("reopened"), b"-----BEGIN");
        assert_eq!(std::fs::read(&path).expect("and again"), b"-----BEGIN");
    }

    #[test]
    fn refuses_a_name_with_a_zero() {
        let error = memfd("c\0a", b"").expect_err("a C string has no zero inside");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    }
}
