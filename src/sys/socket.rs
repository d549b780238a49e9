//! Unix sockets: what std does not do.
//!
//! 1. Every descriptor made or received here is close-on-exec.
//! 2. A descriptor is passed with the first byte of what it is sent with: unix(7),
//!    `SCM_RIGHTS`. At most one a call; more that arrive are closed.
//! 3. Writing to a closed socket is `EPIPE`, never a signal.

use std::fs::Permissions;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::{Plain, check, uninterrupted};

/// Two connected stream sockets (`AF_UNIX`, `SOCK_STREAM`), blocking.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (one, other) = UnixStream::pair()?;
    Ok((one.into(), other.into()))
}

/// Whether reads and writes return `WouldBlock` instead of waiting. It is a property of the
/// open file description: copies of the descriptor share it.
pub fn set_nonblocking(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    // SAFETY: F_GETFL takes no argument and touches no memory.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    let wanted = if on { flags | libc::O_NONBLOCK } else { flags & !libc::O_NONBLOCK };
    // SAFETY: F_SETFL takes the flags as an integer and touches no memory.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, wanted) })?;
    Ok(())
}

/// Listens on a Unix socket, non-blocking, with the permissions `mode` (as 0o660).
///
/// The path must be free (`AddrInUse` otherwise) and no longer than 107 bytes. For the moment
/// between bind and chmod the umask alone says who may connect; it is left as it is, because it
/// belongs to the whole process.
pub fn listen_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Room for the control messages of one call, aligned as their heads want it.
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// Room for a few descriptors: those beyond are closed by the kernel (`MSG_CTRUNC`).
const CONTROL_BYTES: usize = 64;

/// Sends bytes, and a descriptor with the first of them; says how many bytes went.
///
/// The descriptor went if any byte did. `WouldBlock` on a non-blocking socket that is full;
/// `BrokenPipe` if the other side is closed. With a descriptor `bytes` must not be empty.
pub fn send_with_fd(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fd: Option<BorrowedFd<'_>>,
) -> io::Result<usize> {
    let mut piece =
        libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = Control([0; CONTROL_BYTES]);
    let mut message = libc::msghdr::zeroed();
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    if let Some(fd) = fd {
        put_fd(&mut message, &mut control, fd.as_raw_fd());
    }
    let sent = uninterrupted(|| {
        // SAFETY: `message` points to `piece` (only read) and `control`, which outlive the call.
        check(unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) })
    })?;
    Ok(sent.try_into().expect("not negative: checked"))
}

/// The bytes of a descriptor in a control message.
#[allow(clippy::cast_possible_truncation, reason = "it is 4")]
const FD_BYTES: libc::c_uint = size_of::<RawFd>() as libc::c_uint;

/// Makes the message carry a descriptor.
fn put_fd(message: &mut libc::msghdr, control: &mut Control, fd: RawFd) {
    // SAFETY: arithmetic on a small length.
    let space = unsafe { libc::CMSG_SPACE(FD_BYTES) };
    // SAFETY: arithmetic on a small length.
    let length = unsafe { libc::CMSG_LEN(FD_BYTES) };
    assert!(space as usize <= CONTROL_BYTES, "one descriptor fits");
    message.msg_control = (&raw mut control.0).cast();
    message.msg_controllen = space as _;
    // SAFETY: `message` names `control`, aligned and large enough for one head.
    let head = unsafe { libc::CMSG_FIRSTHDR(message) };
    assert!(!head.is_null(), "the control buffer has room for a head");
    // SAFETY: not null, aligned, inside `control`, which nothing else refers to.
    let head = unsafe { &mut *head };
    head.cmsg_level = libc::SOL_SOCKET;
    head.cmsg_type = libc::SCM_RIGHTS;
    head.cmsg_len = length as _;
    // SAFETY: the data follow their head inside `control`.
    let data = unsafe { libc::CMSG_DATA(head) };
    let bytes = fd.to_ne_bytes();
    // SAFETY: `space` bytes of `control` hold the head and one descriptor.
    unsafe { data.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
}

/// Receives bytes, and the descriptor that came with them; 0 bytes: the other side is closed.
///
/// A descriptor may come with the tail of what was sent before it, so read no further than one
/// message if it matters which one brought it. `WouldBlock` on an empty non-blocking socket.
pub fn recv_with_fd(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut piece = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut control = Control([0; CONTROL_BYTES]);
    let mut message = libc::msghdr::zeroed();
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control.0).cast();
    message.msg_controllen = CONTROL_BYTES as _;
    let received = uninterrupted(|| {
        let flags = libc::MSG_CMSG_CLOEXEC;
        // SAFETY: `message` points to `piece` and `control`, both writable, which outlive the call.
        check(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) })
    })?;
    Ok((received.try_into().expect("not negative: checked"), take_fds(&message)))
}

/// The first descriptor that a received message carries; the others are closed.
fn take_fds(message: &libc::msghdr) -> Option<OwnedFd> {
    let mut first = None;
    // SAFETY: the kernel has filled the control buffer that `message` names.
    let mut head = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: null, or a whole head inside the control buffer.
    while let Some(control) = unsafe { head.as_ref() } {
        if control.cmsg_level == libc::SOL_SOCKET && control.cmsg_type == libc::SCM_RIGHTS {
            for index in 0..count_fds(control) {
                let fd = read_fd(control, index);
                first.get_or_insert(fd);
            }
        }
        // SAFETY: `head` is a head of this message.
        head = unsafe { libc::CMSG_NXTHDR(message, head) };
    }
    first
}

#[allow(clippy::unnecessary_cast, reason = "the length is a u32 with musl")]
fn count_fds(head: &libc::cmsghdr) -> usize {
    // SAFETY: arithmetic on a small length.
    let empty = unsafe { libc::CMSG_LEN(0) } as usize;
    (head.cmsg_len as usize).saturating_sub(empty) / size_of::<RawFd>()
}

/// Takes one of a head's descriptors; to be called once for each.
fn read_fd(head: &libc::cmsghdr, index: usize) -> OwnedFd {
    // SAFETY: the data follow their head.
    let data = unsafe { libc::CMSG_DATA(head) };
    // SAFETY: `index` is below the number of descriptors that the head counts.
    let place = unsafe { data.add(index * size_of::<RawFd>()) };
    let mut bytes = [0; size_of::<RawFd>()];
    // SAFETY: the kernel wrote a descriptor there, and `bytes` has room for it.
    unsafe { place.copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) };
    let fd = RawFd::from_ne_bytes(bytes);
    // SAFETY: the descriptor is new in this process and nobody else's.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Makes a socket's buffers as small as the kernel lets them be, so that writes are partial.
#[cfg(test)]
pub(crate) fn shrink_buffers(socket: BorrowedFd<'_>) {
    for option in [libc::SO_SNDBUF, libc::SO_RCVBUF] {
        let bytes: libc::c_int = 1;
        let value = (&raw const bytes).cast();
        let length = size_of_val(&bytes).try_into().expect("4");
        let fd = socket.as_raw_fd();
        // SAFETY: `value` points to an integer of `length` bytes.
        check(unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, value, length) })
            .expect("sockets have buffers");
    }
}

#[cfg(test)]
mod tests {
    use super::{listen_unix, pair, recv_with_fd, send_with_fd, set_nonblocking};
    use std::io::{self, ErrorKind};
    use std::os::fd::{AsFd, AsRawFd};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn inode(fd: &impl AsRawFd) -> io::Result<u64> {
        Ok(std::fs::metadata(format!("/proc/self/fd/{}", fd.as_raw_fd()))?.ino())
    }

    #[test]
    fn a_descriptor_travels_with_its_bytes() {
        let (one, other) = pair().expect("pair");
        let file = crate::sys::memfd::memfd("test", b"text").expect("memfd");
        assert_eq!(send_with_fd(one.as_fd(), b"with", Some(file.as_fd())).expect("send"), 4);
        assert_eq!(send_with_fd(one.as_fd(), b"without", None).expect("send"), 7);
        let mut bytes = [0; 4];
        let (count, fd) = recv_with_fd(other.as_fd(), &mut bytes).expect("receive");
        assert_eq!((count, &bytes), (4, b"with"));
        let fd = fd.expect("it came");
        assert_ne!(fd.as_raw_fd(), file.as_raw_fd());
        assert_eq!(inode(&fd).expect("stat"), inode(&file).expect("stat"));
        let (count, fd) = recv_with_fd(other.as_fd(), &mut bytes).expect("receive");
        assert_eq!((count, &bytes), (4, b"with"));
        assert!(fd.is_none());
    }

    #[test]
    fn received_descriptors_are_close_on_exec() {
        let (one, other) = pair().expect("pair");
        send_with_fd(one.as_fd(), b"x", Some(one.as_fd())).expect("send");
        let (_, fd) = recv_with_fd(other.as_fd(), &mut [0]).expect("receive");
        let fd = fd.expect("it came");
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()));
        let flags = info
            .expect("fdinfo")
            .lines()
            .find_map(|line| u32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok());
        assert_ne!(flags.expect("flags") & libc::O_CLOEXEC.cast_unsigned(), 0);
    }

    #[test]
    fn waiting_can_be_switched_off_and_on() {
        let (one, other) = pair().expect("pair");
        set_nonblocking(other.as_fd(), true).expect("set");
        let error = recv_with_fd(other.as_fd(), &mut [0]).expect_err("empty");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        set_nonblocking(other.as_fd(), false).expect("set");
        send_with_fd(one.as_fd(), b"x", None).expect("send");
        assert_eq!(recv_with_fd(other.as_fd(), &mut [0]).expect("receive").0, 1);
    }

    #[test]
    fn a_closed_peer_is_an_error_and_no_signal() {
        let (one, other) = pair().expect("pair");
        drop(other);
        let error = send_with_fd(one.as_fd(), b"x", None).expect_err("closed");
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        assert_eq!(recv_with_fd(one.as_fd(), &mut [0]).expect("end").0, 0);
    }

    #[test]
    fn a_listener_has_the_permissions_asked_for() {
        let path = std::env::temp_dir().join(format!("edge-listen-{}", std::process::id()));
        let listener = listen_unix(&path, 0o660).expect("listen");
        let mode = std::fs::metadata(&path).expect("stat").permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        assert_eq!(listener.accept().expect_err("nobody").kind(), ErrorKind::WouldBlock);
        let error = listen_unix(&path, 0o660).expect_err("taken");
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        std::fs::remove_file(&path).expect("remove");
    }
}
