//! Lines on standard output in place of a cloud, for a first look.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};

use super::reason::clipped;
use crate::engine::cloud::{Reason, Verdict};
use crate::sys::poll::{PollFd, poll};

/// Writes records as they are, waiting for a slow reader; `Retry` if they cannot be written.
pub fn write_records(lines: &[u8]) -> (Verdict, Reason) {
    outcome(write_all(io::stdout().as_fd(), lines))
}

fn outcome(written: io::Result<()>) -> (Verdict, Reason) {
    match written {
        Ok(()) => (Verdict::Accepted, Reason::new()),
        Err(error) => {
            (Verdict::Retry, clipped(format_args!("cannot write to standard output: {error}")))
        }
    }
}

/// Like `Write::write_all`, but waits where a descriptor that does not block is full.
fn write_all(fd: BorrowedFd<'_>, mut lines: &[u8]) -> io::Result<()> {
    let mut out = File::from(fd.try_clone_to_owned()?);
    while !lines.is_empty() {
        match out.write(lines) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => lines = &lines[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(fd, false, true)], None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn waits_for_a_slow_reader_and_tells_of_one_that_left() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("set");
        let lines = vec![b'x'; 1 << 20];
        let length = lines.len();
        let reader = std::thread::spawn(move || {
            let mut read = vec![0; length];
            theirs.read_exact(&mut read).map(|()| read)
        });
        assert_eq!(outcome(write_all(ours.as_fd(), &lines)), (Verdict::Accepted, Reason::new()));
        assert_eq!(reader.join().expect("joined").expect("read"), lines);
        let (verdict, reason) = outcome(write_all(ours.as_fd(), &lines));
        assert_eq!(verdict, Verdict::Retry);
        assert!(reason.starts_with("cannot write to standard output: "), "{reason}");
    }
}
